"""Trains a method on a dataset, from a laptop to many GPUs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidsampler import plainyaml
from vidsampler.errors import ConfigError, UsageError
from vidsampler.files import TEMPORARY
from vidsampler.folder_shards import folder_shards
from vidsampler.run_folder import CONFIG, CURVES, LAST, replaced
from vidsampler.shards.folder import LOCK
from vidsampler.training.launch import leave_process
from vidsampler.training.settings import TrainConfig, stored_run

if TYPE_CHECKING:
    from vidsampler.backbones.tokens import Tokens
    from vidsampler.loading.loader import Loader, LoaderConfig
    from vidsampler.loading.montage_loader import MontageLoader
    from vidsampler.retriever import Retriever
    from vidsampler.shards.manifest import Failure
    from vidsampler.training.loop import Training, Watch
    from vidsampler.training.validation import Measured
    from vidsampler.world import World

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Trained:
    """What a run came to.

    Attributes:
        folder: Of the run: config.yaml, last/, best/, log.jsonl, curves.png.
        steps: That have been done, those of earlier runs that this one went on from included.
        of: Steps of the whole run.
        seconds: Of this run, all in all.
        best: When the best weights were found, and what was measured then.
        test: On the test split of `shapes`, with the best weights.
        interrupted: The user ended it; `--resume auto` goes on.
        left_out: Videos of the splits in use that could not be put into shards; ``errors.jsonl``
            lists them too.
    """

    folder: Path
    steps: int
    of: int
    seconds: float
    best: dict[str, Any] | None
    test: dict[str, Any] | None = None
    interrupted: bool = False
    left_out: tuple[Failure, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "run": str(self.folder),
            "steps": self.steps,
            "of": self.of,
            "seconds": round(self.seconds, 3),
            "best": self.best,
            "test": self.test,
            "interrupted": self.interrupted,
            "left_out": [each.to_json() for each in self.left_out],
        }


@dataclass(frozen=True)
class Plan:
    """What a run will do, found out without writing.

    Attributes:
        config: All settings.
        folder: Of the run.
        resume: A run is there to go on with.
        changed: Settings of that run that are others now.
    """

    config: TrainConfig
    folder: Path
    resume: bool = False
    changed: list[str] = field(default_factory=list)


def plan_run(config: TrainConfig, output: Path | None = None, *, resume: bool = False) -> Plan:
    """Looks where a run goes and whether it goes on.

    Args:
        config: All settings.
        output: The run folder; None: ``runs/DATASET-METHOD``.
        resume: Go on with what is there; nothing there is a new run.

    Raises:
        UsageError: There is a run already and it is not to be resumed, or it is no folder.
        ConfigError: The run that is there has other settings.
    """
    folder = output or Path("runs") / f"{config.dataset.name}-{config.method}"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, not the folder of a run")
    # A run that came to no checkpoint is none to go on with, and none to lose.
    there = (folder / LAST).is_dir() or replaced(folder / LAST).is_dir()
    if not there:
        strange = folder.is_dir() and any(
            path.name != LOCK and not path.name.startswith(TEMPORARY) for path in folder.iterdir()
        )
        if strange and not (folder / CONFIG).exists():
            raise UsageError(
                f"{folder} holds something else than a run", hint="take another --output"
            )
        return Plan(config, folder)
    if not resume:
        raise _holds_a_run(folder)
    changed = _changed(stored_run(folder / CONFIG).to_plain(), config.to_plain())
    if changed:
        raise ConfigError(
            f"{folder} is a run with other settings: {'; '.join(changed)}",
            hint=f"go on with its own settings by --resume {folder}, or take another --output",
        )
    return Plan(config, folder, resume=True)


def _holds_a_run(folder: Path) -> UsageError:
    return UsageError(
        f"{folder} holds a run already",
        hint="go on with it by --resume auto, or take another --output",
    )


def train(
    config: TrainConfig,
    output: str | Path | None = None,
    *,
    resume: bool = False,
    watch: Watch | None = None,
    progress: Progress | None = None,
    asked_to_stop: Callable[[], None] | None = None,
) -> Trained:
    """Trains a retriever. Under torchrun, every rank calls this.

    Args:
        config: From `train_config`.
        output: The run folder; None: ``runs/DATASET-METHOD``.
        resume: Go on with the run that is there, if there is one.
        watch: Who is told how it goes.
        progress: Of making the shards of `shapes`: videos that are done, and all of them.
        asked_to_stop: Called on the first Ctrl-C.

    Raises:
        UsageError, ConfigError: Settings that do not fit each other, the data or the folder.
        InputError: Shards are missing or damaged, or there is no validation split.
        VidsamplerError: A loss is not a number, the folder cannot be written, or a rank has died.

    Example:
        >>> from vidsampler.training.settings import train_config
        >>> config = train_config(method="adaclip", dataset="shapes")
        >>> train(config, "runs/first")                                   # doctest: +SKIP
    """
    from vidsampler.shards.errors import write_errors
    from vidsampler.stop import Stop
    from vidsampler.world import open_world

    clock = time.perf_counter()
    plan = plan_run(config, None if output is None else Path(output), resume=resume)
    with open_world(config.run.device) as world, ExitStack() as held:
        loaded = _load(plan, world, progress, held)
        with Stop(asked_to_stop, patient=world.size > 1) as stop:
            leave_process()
            training = _training(plan, loaded, world, stop, watch)
            left = _left_out(training)
            if left and world.leads:
                write_errors(plan.folder, left)
            whole = training.run()
        if not whole:
            seconds = time.perf_counter() - clock
            return Trained(
                plan.folder,
                training.done,
                training.steps,
                seconds,
                training.best,
                interrupted=True,
                left_out=left,
            )
        if world.leads:
            from vidsampler.training.curves import draw_curves

            draw_curves(plan.folder, plan.folder / CURVES)
        test = _test_on_shapes(plan, loaded, world) if config.dataset.name == "shapes" else None
        return Trained(
            plan.folder,
            training.done,
            training.steps,
            time.perf_counter() - clock,
            training.best,
            test,
            left_out=left,
        )


@dataclass
class _Loaded:
    retriever: Retriever
    shards: Path
    size: int
    state: dict[str, Any] | None


def _load(plan: Plan, world: World, progress: Progress | None, held: ExitStack) -> _Loaded:
    """Finds the shards, builds the retriever or loads it, and has the folder to itself."""
    from vidsampler.cached_shards import check_shards, dataset_shards
    from vidsampler.files import check_writable, write_file
    from vidsampler.retriever import Retriever
    from vidsampler.training.checkpoint import read_state, restore

    config = plan.config
    # Before a backbone is fetched.
    data = config.dataset
    check_shards(data.name, data.shards, config.splits, data.videos)
    there = plan.folder.is_dir()
    if world.leads and there:
        _hold(plan, held)
        # Of a run that was killed over its first checkpoint, too, which is none to go on with.
        restore(plan.folder)
    elif world.leads:
        # Rather now than after minutes of rendering.
        check_writable(plan.folder, str(plan.folder))
    world.wait()
    state = read_state(plan.folder) if (plan.folder / LAST).is_dir() else None
    # All of them the same one: the first to go on writes the next.
    world.wait()
    if state is not None:
        retriever = Retriever.from_pretrained(plan.folder / LAST)
    else:
        retriever = Retriever.from_config(config)
        if config.sampler_from is not None:
            _take_sampler(retriever, config.sampler_from)
    retriever.check_trainable()
    size = retriever.frame_size
    if data.videos is not None:
        shards = folder_shards(
            data.videos,
            size=size,
            val=data.val,
            seed=config.seed,
            groups=data.groups,
            progress=progress,
        )
    else:
        shards = dataset_shards(
            data.name,
            data.shards,
            render=data.render,
            frames=config.frames,
            size=size,
            progress=progress,
        )
    if world.leads:
        # Not made before what cannot be built is found out; another run may have made it since.
        if not there:
            _hold(plan, held)
        text = plainyaml.dump(config.to_plain())
        write_file(plan.folder / CONFIG, text.encode("utf-8"), durable=True)
    return _Loaded(retriever.to(world.device), shards, size, state)


def _hold(plan: Plan, held: ExitStack) -> None:
    """Takes the run folder, made if need be, for this run alone."""
    from vidsampler.files import writing
    from vidsampler.shards.folder import lock_folder, unlock_folder

    with writing(plan.folder):
        plan.folder.mkdir(parents=True, exist_ok=True)
    held.callback(unlock_folder, plan.folder, lock_folder(plan.folder))
    # One that began and ended meanwhile.
    last = plan.folder / LAST
    if not plan.resume and (last.is_dir() or replaced(last).is_dir()):
        raise _holds_a_run(plan.folder)


def _training(
    plan: Plan, loaded: _Loaded, world: World, stop: Any, watch: Watch | None
) -> Training:
    from vidsampler.cached_shards import split_folder
    from vidsampler.loading.loader import Loader, LoaderConfig
    from vidsampler.training.loop import Training

    config = plan.config
    settings = LoaderConfig(
        frames=config.frames,
        size=loaded.size,
        captions=config.training.captions,
        augment=config.training.augment,
        batch_size=config.training.batch_size,
        seed=config.seed,
        workers=config.run.workers,
        pin_memory=world.device.type == "cuda",
        keep_decoded=room_for_decoded(config),
    )
    folder = split_folder(loaded.shards, "train")
    ranks = {"rank": world.rank, "ranks": world.size}
    loader: Loader
    if config.dataset.name == "folder":
        loader = montage_loader(folder, settings, config, config.dataset.montage.train, **ranks)
    else:
        loader = Loader(folder, settings, tokenizer(loaded.retriever), **ranks)
    validation = None
    if config.run.evals_per_epoch:
        validation = evaluation_loader(
            split_folder(loaded.shards, config.run.select_on),
            loaded.retriever,
            config,
            again=True,
        )
    training = Training(
        loaded.retriever, config, loader, validation, world, plan.folder, stop, watch
    )
    if loaded.state is not None:
        training.resume(loaded.state)
    return training


def _left_out(training: Training) -> tuple[Failure, ...]:
    from vidsampler.shards.errors import left_out

    readers = [training.loader.split.reader]
    if training.validation is not None:
        readers.append(training.validation.split.reader)
    return tuple(each for reader in readers for each in left_out(reader))


def evaluation_loader(
    folder: Path, retriever: Retriever, config: TrainConfig, *, again: bool = False
) -> Loader:
    """All videos of a split in its order; `again`: more than once."""
    from vidsampler.evaluation.embedding import videos_at_once
    from vidsampler.loading.loader import Loader, LoaderConfig

    device = retriever.backbone.logit_scale.device
    settings = LoaderConfig(
        frames=config.frames,
        size=retriever.frame_size,
        captions="none",
        batch_size=min(videos_at_once(device), config.training.batch_size),
        shuffle=False,
        drop_last=False,
        seed=config.seed,
        workers=config.run.workers,
        pin_memory=device.type == "cuda",
        keep_decoded=room_for_decoded(config) if again else 0,
    )
    if config.dataset.name == "folder":
        return montage_loader(folder, settings, config, config.dataset.montage.val)
    loader = Loader(folder, settings)
    loader.split.need_captions()
    return loader


def montage_loader(
    folder: Path, settings: LoaderConfig, config: TrainConfig, count: int, **ranks: int
) -> MontageLoader:
    """So many montages an epoch of the videos of a split."""
    from vidsampler.loading.montage_loader import MontageLoader

    # The frames are as they are stored, and there are no captions.
    plain = replace(settings, captions="none", augment="none", keep_decoded=0)
    return MontageLoader(folder, plain, config.dataset.montage, count, **ranks)


def room_for_decoded(config: TrainConfig) -> int:
    """Bytes of decoded frames of a split that this process may keep."""
    return (config.run.keep_decoded << 20) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def tokenizer(retriever: Retriever) -> Callable[[list[str]], Any]:
    """From captions to token ids, as loaders want it."""

    def tokenize(captions: list[str]) -> Any:
        tokens: Tokens = retriever.backbone.tokenize(captions)
        return tokens.ids_TL

    return tokenize


def _take_sampler(retriever: Retriever, checkpoint: Path) -> None:
    """Gives a retriever the sampler's weights of a checkpoint or run."""
    from vidsampler.retriever import Retriever
    from vidsampler.run_folder import weights_folder

    folder = weights_folder(checkpoint)
    theirs = Retriever.from_pretrained(folder)
    if theirs.sampler is None:
        raise UsageError(f"{folder} has no learned sampler to take (--sampler-from)")
    assert retriever.sampler is not None
    try:
        retriever.sampler.load_state_dict(theirs.sampler.state_dict())
    except RuntimeError as error:
        name = theirs.config.sampler.name
        raise UsageError(
            f"the sampler {name} of {folder} does not fit the sampler "
            f"{retriever.config.sampler.name} as it is set",
            hint="take the same sampler.policy and frames as that checkpoint's config.yaml",
        ) from error


def _test_on_shapes(plan: Plan, loaded: _Loaded, world: World) -> dict[str, Any]:
    """R@1, frames kept, and how many of these matter, on the test split with the best weights."""
    from vidsampler.cached_shards import split_folder
    from vidsampler.datasets.shapes import cached_folder, read
    from vidsampler.retriever import Retriever
    from vidsampler.run_folder import BEST
    from vidsampler.training.validation import measure

    world.wait()
    retriever = Retriever.from_pretrained(plan.folder / BEST).to(world.device)
    folder = split_folder(loaded.shards, "test")
    found = measure(retriever, evaluation_loader(folder, retriever, plan.config), world)
    result = {"split": "test", **found.to_json()}
    if plan.config.dataset.shards is None:
        truth = read(cached_folder(plan.config.dataset.render), "test")
        result |= informative_share(found, {video.video: video for video in truth})
    return result


def informative_share(found: Measured, truth: dict[str, Any]) -> dict[str, float]:
    """How many of the kept frames matter.

    Args:
        found: On a split of `shapes`.
        truth: Video -> its `ShapesVideo`.

    Returns:
        "informative": the share of kept frames that show a fact for the first time;
        "informative_after_first": the same without candidate 0, which `gate` always keeps;
        "showing_a_fact": the share that shows one, repeats included; "facts_shown": the share of
        all facts that are in a kept frame.
    """
    kept, later, facts = [], [], []
    repeats = 0
    for key, times in found.kept_times.items():
        video = truth[key]
        slots = [video.slot_at(time) for time in times]
        kept += [slot.kind == "informative" for slot in slots]
        repeats += sum(slot.fact is not None for slot in slots)
        later += [slot.kind == "informative" for slot in slots if slot is not video.slots[0]]
        facts.append(len(video.facts_shown(times)) / len(video.facts))
    return {
        "informative": sum(kept) / len(kept),
        "informative_after_first": sum(later) / max(1, len(later)),
        "showing_a_fact": repeats / len(kept),
        "facts_shown": sum(facts) / len(facts),
    }


_FREE = (
    "run.device",
    "run.workers",
    "run.checkpoint_every",
    "run.log_every",
    "run.keep_decoded",
    "dataset.shards",
    "dataset.videos",
)
"""What may be another when a run goes on; the loader checks that the shards hold the same."""


def _changed(before: Any, now: dict[str, Any]) -> list[str]:
    """Settings that differ, such as "training.lr was 0.001, is 0.01"."""
    old, new = dict(_leaves(before)), dict(_leaves(now))
    return [
        f"{key} was {old.get(key)}, is {new.get(key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and key not in _FREE
    ]


def _leaves(value: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{above}.{key}" if above else str(key))
    else:
        yield above, value
