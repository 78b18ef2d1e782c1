"""`vidsampler train`: a method learns on a dataset."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidsampler import plainyaml
from vidsampler.cli import ranks, recipes
from vidsampler.cli.options import Debug, Json, Value, output_of
from vidsampler.cli.output import INTERRUPTED, SOME_FAILED, Bar, Output, Progress
from vidsampler.config import Layer, file_layer, flag_layer, set_layer
from vidsampler.errors import UsageError

if TYPE_CHECKING:
    from vidsampler.retriever_config import SamplerConfig
    from vidsampler.train import Plan, Trained
    from vidsampler.training.settings import TrainConfig
    from vidsampler.training.validation import Measured

NAME = "train"
EXAMPLE = (
    "\b\nExamples:\n"
    "  vidsampler train --dataset shapes --method adaclip --top-k 4\n"
    "  vidsampler train --dataset msrvtt --method mmsampler --shards msrvtt/\n"
    "  vidsampler train --dataset folder --videos DIR --method default\n"
    "  vidsampler train --run adaclip/msrvtt --shards msrvtt/ --nproc 4\n"
    "  vidsampler train --run 'mmsampler/*' --shards shards/ --dry-run"
)
_NAMED = 10
"""So many videos that were left out are printed."""


def command(
    context: typer.Context,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", metavar="NAME", help="See: vidsampler list datasets."),
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", metavar="NAME", help="See: vidsampler list methods.")
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="NAME",
            help="A published run, such as adaclip/msrvtt; 'mmsampler/*': several.",
        ),
    ] = None,
    shards: Annotated[
        Value,
        typer.Option("--shards", metavar="DIR", help="What shard made; shapes needs none."),
    ] = None,
    videos: Annotated[
        Value,
        typer.Option("--videos", metavar="DIR", help="Videos without captions: --dataset folder."),
    ] = None,
    top_k: Annotated[
        Value, typer.Option("-k", "--top-k", metavar="K", help="Frames to keep.")
    ] = None,
    keep_target: Annotated[
        Value,
        typer.Option("--keep-target", metavar="R", help="Share of frames that gate is to keep."),
    ] = None,
    frames: Annotated[
        Value, typer.Option("--frames", metavar="N", help="Candidate frames.")
    ] = None,
    backbone: Annotated[
        Value, typer.Option("--backbone", metavar="NAME", help="An open_clip model.")
    ] = None,
    pretrained: Annotated[
        Value, typer.Option("--pretrained", metavar="TAG", help="Its weights: a tag or a file.")
    ] = None,
    sampler: Annotated[
        Value, typer.Option("--sampler", metavar="NAME", help="Another sampler.")
    ] = None,
    head: Annotated[Value, typer.Option("--head", metavar="NAME", help="Another head.")] = None,
    sampler_from: Annotated[
        Value,
        typer.Option("--sampler-from", metavar="RUN", help="Start from this run's sampler."),
    ] = None,
    freeze_backbone: Annotated[
        bool, typer.Option("--freeze-backbone", help="Only sampler and head learn.")
    ] = False,
    epochs: Annotated[Value, typer.Option("--epochs", metavar="E")] = None,
    batch_size: Annotated[
        Value, typer.Option("--batch-size", metavar="B", help="Of all processes together.")
    ] = None,
    lr: Annotated[
        Value, typer.Option("--lr", metavar="RATE", help="Learning rate of new modules.")
    ] = None,
    seed: Annotated[
        Value, typer.Option("--seed", metavar="S", help="Of weights, order and draws.")
    ] = None,
    workers: Annotated[
        Value, typer.Option("--workers", metavar="W", help="Decoding threads [default: automatic].")
    ] = None,
    evals_per_epoch: Annotated[
        Value,
        typer.Option("--evals-per-epoch", metavar="V", help="Validations [default: 1]."),
    ] = None,
    select_on: Annotated[
        Value,
        typer.Option(
            "--select-on", metavar="SPLIT", help="val, or test as published runs do [default: val]."
        ),
    ] = None,
    checkpoint_every: Annotated[
        Value,
        typer.Option("--checkpoint-every", metavar="STEPS", help="Save after so many too."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="DIR", help="The run folder [default: runs/DATASET-METHOD]."
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="auto|RUN", help="Go on with what is there, or with RUN."),
    ] = None,
    nproc: Annotated[
        int, typer.Option("--nproc", metavar="N", help="Processes, one a GPU.", min=1)
    ] = 1,
    device: Annotated[
        Value, typer.Option("--device", metavar="NAME", help="cpu or cuda [default: cuda if any].")
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="Settings: a YAML file.")
    ] = None,
    settings: recipes.Set = None,
    dry_run: recipes.DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a sampler and retrieval on a dataset.

    On the CPU, a GPU, or several (--nproc). Ctrl-C saves and leaves; --resume auto goes on, to the
    bit. The run folder holds last/, best/, log.jsonl, curves.png and config.yaml.

    A --run with a * trains all published runs of such a name, one after the other, and prints what
    is there; started again, it does what is missing. Each goes to OUTPUT/NAME and has its shards
    from SHARDS/DATASET. With --dry-run, nothing but the table.
    """
    from vidsampler.cached_shards import check_shards
    from vidsampler.cli.train_many import train_many
    from vidsampler.run_folder import CONFIG
    from vidsampler.runs import is_pattern
    from vidsampler.train import plan_run
    from vidsampler.training.launch import launched, under_torchrun
    from vidsampler.training.settings import stored_run, train_config

    out = output_of(context)
    ranks.one_speaks(out)
    if run is not None and is_pattern(run):
        train_many(context, out)
        return
    layers: list[Layer] = []
    if resume not in (None, "auto"):
        assert resume is not None
        if output is not None and output != Path(resume):
            raise UsageError("--resume RUN writes to RUN; leave --output out")
        output = _run_of(Path(resume))
        if not (output / CONFIG).is_file():
            raise UsageError(
                f"{output} is no run: there is no {CONFIG} in it",
                hint="give the folder that train wrote (--output)",
            )
        layers.append(Layer(str(output / CONFIG), stored_run(output / CONFIG).to_plain()))
    layers += [file_layer(config, NAME)] if config is not None else []
    layers += [set_layer(assignment) for assignment in settings or ()]
    layers += [
        flag_layer("--shards", "shards", shards, "dataset"),
        flag_layer("--videos", "videos", videos, "dataset"),
        flag_layer("--top-k", "k", top_k, "sampler"),
        flag_layer("--keep-target", "keep_target", keep_target, "sampler"),
        flag_layer("--frames", "frames", frames),
        flag_layer("--backbone", "name", backbone, "backbone"),
        flag_layer("--pretrained", "pretrained", pretrained, "backbone"),
        flag_layer("--sampler", "name", sampler, "sampler"),
        flag_layer("--head", "name", head, "head"),
        flag_layer("--sampler-from", "sampler_from", sampler_from),
        flag_layer("--epochs", "epochs", epochs, "training"),
        flag_layer("--batch-size", "batch_size", batch_size, "training"),
        flag_layer("--lr", "lr", lr, "training"),
        flag_layer("--seed", "seed", seed),
        # Random weights of the backbone, and frames that `random` keeps, are another seed's too.
        flag_layer("--seed", "seed", seed, "backbone"),
        flag_layer("--seed", "seed", seed, "sampler"),
        flag_layer("--workers", "workers", workers, "run"),
        flag_layer("--evals-per-epoch", "evals_per_epoch", evals_per_epoch, "run"),
        flag_layer("--select-on", "select_on", select_on, "run"),
        flag_layer("--checkpoint-every", "checkpoint_every", checkpoint_every, "run"),
        flag_layer("--device", "device", device, "run"),
    ]
    if freeze_backbone:
        layers.append(Layer("--freeze-backbone", {"training": {"freeze": ["all"]}}))
    resolved = train_config(layers, method=method, dataset=dataset, run=run)
    if not under_torchrun() or (ranks.leads() and not launched()):
        _note_ignored(out, resolved.sampler, top_k=top_k, keep_target=keep_target)
        _note_held(out, resolved)
    plan = plan_run(resolved, output, resume=resume is not None)
    if dry_run:
        _print_plan(out, plan)
        return
    data = resolved.dataset
    check_shards(data.name, data.shards, resolved.splits, data.videos)
    if (code := ranks.start(nproc)) is not None:
        raise typer.Exit(code)
    with ranks.leaving_errors(out):
        _train(out, plan, resume=resume is not None)


def _run_of(path: Path) -> Path:
    """The run folder, also where its last checkpoint is given.

    Raises:
        UsageError: It is the best checkpoint, beside which no state is kept.
    """
    from vidsampler.run_folder import BEST, CONFIG, LAST

    inside = (path.parent / CONFIG).is_file() and path.is_dir()
    if inside and path.name == BEST:
        raise UsageError(
            f"{path} is not what a run goes on from", hint=f"give the run: --resume {path.parent}"
        )
    return path.parent if inside and path.name == LAST else path


def _note_ignored(
    out: Output, sampler: SamplerConfig, *, top_k: str | None, keep_target: str | None
) -> None:
    if top_k is not None and sampler.name == "gate":
        out.note("note: --top-k changes nothing: gate keeps as many frames as --keep-target says")
    if keep_target is not None and sampler.name != "gate":
        out.note(f"note: --keep-target changes nothing: it is of gate, not of {sampler.name}")


def _note_held(out: Output, config: TrainConfig) -> None:
    held, epochs = config.sampler.hold_epochs, config.training.epochs
    if config.sampler.learned and 0 < epochs <= held:
        out.note(
            f"note: the sampler learns nothing: the first {held} epochs keep every frame; give "
            f"more --epochs, or less --set sampler.hold_epochs={held}"
        )


def _train(out: Output, plan: Plan, *, resume: bool) -> None:
    from vidsampler.allocator import keep_freed_memory
    from vidsampler.train import train
    from vidsampler.training.loop import Watch

    keep_freed_memory()
    leads = ranks.leads()
    with Bar(out) as videos, _Steps(out, videos) as bar:
        done = train(
            plan.config,
            plan.folder,
            resume=resume,
            watch=Watch(bar.show, bar.measured, out.note) if leads else None,
            progress=videos.show if leads else None,
            asked_to_stop=bar.stopping if leads else None,
        )
    if leads:
        _print(out, done)
    if done.interrupted:
        ranks.end(INTERRUPTED)
    elif done.left_out:
        ranks.end(SOME_FAILED)


class _Steps:
    """The progress of training, which begins with the first step."""

    def __init__(self, out: Output, videos: Bar) -> None:
        self._out = out
        self._videos = videos
        self._stack = ExitStack()
        self._progress: Progress | None = None

    def __enter__(self) -> _Steps:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._stack.close()

    def show(self, done: int, total: int, loss: float) -> None:
        """A step is done."""
        if self._progress is None:
            self._videos.close()
            left = total - done + 1
            self._progress = self._stack.enter_context(self._out.progress(left, "steps"))
        self._progress.advance(f"loss {loss:.3f}")

    def measured(self, epoch: float, found: Measured) -> None:
        """A validation is done."""
        line = (
            f"epoch {epoch:.3g}: R@1 {found.recall['R@1']:.1f} of {found.queries} queries, "
            f"{found.kept:.2f} of {found.candidates:g} frames kept"
        )
        if self._progress is None:
            self._out.note(line)
            return
        with self._progress.paused():
            self._out.note(line)

    def stopping(self) -> None:
        """The first Ctrl-C."""
        self._out.note("saving after the step at hand; Ctrl-C again ends at once")


def _print(out: Output, done: Trained) -> None:
    if out.json:
        out.result(done.to_json())
        return
    out.line(f"{done.folder}: {done.steps:,} of {done.of:,} steps, {done.seconds:.0f} s")
    if done.best is not None and "t2v" in done.best:
        out.line(
            f"best: R@1 {done.best['t2v']['R@1']:.1f} on {done.best['selected_on']} "
            f"(chance {done.best['chance']:.1f}), epoch {done.best['epoch']:.3g}"
        )
    if done.test is not None:
        test = done.test
        out.line(
            f"test: R@1 {test['t2v']['R@1']:.1f} (chance {test['chance']:.1f}), "
            f"R@5 {test['t2v']['R@5']:.1f}, R@10 {test['t2v']['R@10']:.1f}; "
            f"{test['frames_kept']:.2f} of {test['candidates']:g} frames kept"
        )
        if "informative" in test:
            out.line(
                f"of the kept frames, {test['informative']:.3f} are informative "
                f"({test['informative_after_first']:.3f} without the first candidate), "
                f"{test['showing_a_fact']:.3f} show a fact; "
                f"{test['facts_shown']:.3f} of all facts are shown"
            )
    for left in done.left_out[:_NAMED]:
        out.note(f"left out: {left.message}")
    if len(done.left_out) > _NAMED:
        out.note(f"and {len(done.left_out) - _NAMED:,} more: {done.folder}/errors.jsonl")
    if done.interrupted:
        out.note("interrupted: run the same command with --resume auto to go on")


def _print_plan(out: Output, plan: Plan) -> None:
    plain: dict[str, Any] = plan.config.to_plain()
    if out.json:
        out.result({"config": plain, "writes": str(plan.folder), "resumes": plan.resume})
        return
    out.raw(plainyaml.dump(plain))
    out.line(f"# would {'go on with' if plan.resume else 'write'}: {plan.folder}")
