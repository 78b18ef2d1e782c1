"""The loop of training, the same for every method and any number of ranks."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidsampler.backbones.precision import slow_precision
from vidsampler.errors import ConfigError
from vidsampler.loading.batch import Batch
from vidsampler.loading.loader import Loader
from vidsampler.retriever import Retriever
from vidsampler.samplers.topk import TopKSampler
from vidsampler.stop import Stop
from vidsampler.training.checkpoint import save_best, save_last, save_progress
from vidsampler.training.journal import Journal
from vidsampler.training.settings import TrainConfig
from vidsampler.training.step import NotFiniteError, Stepped, Stepper
from vidsampler.training.validation import Measured, measure
from vidsampler.world import World

_NAMED = 8
"""So many videos of a bad batch stand in the message; the log has them all."""


@dataclass
class Watch:
    """Who is told how a run goes; rank 0 alone.

    Attributes:
        step: Called after each step with its number from 1, the number of all and the loss.
        measured: Called after each validation with the epoch as a number and what was found.
        note: A sentence worth knowing, before the first step.
    """

    step: Callable[[int, int, float], None] = lambda done, total, loss: None
    measured: Callable[[float, Measured], None] = lambda epoch, found: None
    note: Callable[[str], None] = lambda text: None


@dataclass
class _Interval:
    """What has come together since the last line of the log."""

    begun: float
    steps: int = 0
    pairs: int = 0
    terms: dict[str, Tensor] | None = None
    gradient: Tensor | None = None
    kept_N: Tensor | None = None
    valid_N: Tensor | None = None

    def add(self, done: Stepped, pairs: int) -> None:
        self.steps += 1
        self.pairs += pairs
        before = self.terms or {}
        self.terms = {name: before.get(name, 0) + term for name, term in done.terms.items()}
        self.gradient = done.gradient + (0 if self.gradient is None else self.gradient)
        self.kept_N = done.kept_N + (0 if self.kept_N is None else self.kept_N)
        self.valid_N = done.valid_N + (0 if self.valid_N is None else self.valid_N)


class Training:
    """A run, from its first step or from where it stopped.

    Args:
        retriever: What learns; on its device, the same on all ranks.
        config: All settings.
        loader: Of the training split.
        validation: Of the split that checkpoints are chosen by; None: the last one is the best.
        world: The ranks.
        folder: Of the run; rank 0 writes to it.
        stop: Whether the user wants to leave.
        watch: Who is told.
    """

    def __init__(
        self,
        retriever: Retriever,
        config: TrainConfig,
        loader: Loader,
        validation: Loader | None,
        world: World,
        folder: Path,
        stop: Stop,
        watch: Watch | None = None,
    ) -> None:
        self.retriever = retriever
        self.config = config
        self.loader = loader
        self.validation = validation
        self.world = world
        self.folder = folder
        self.stop = stop
        self.watch = watch or Watch()
        self.steps = config.training.epochs * len(loader)
        self.stepper = Stepper(retriever, config.training, world, self.steps, config.seed)
        self.done = 0
        self.best: dict[str, Any] | None = None
        self._owes_validation = False

    def resume(self, state: dict[str, Any]) -> None:
        """Goes on from a state; the retriever has the weights beside it already.

        Raises:
            ConfigError: The state is of another run.
        """
        self.loader.load_state(state["loader"])
        try:
            self.stepper.optimizer.load_state_dict(state["optimizer"])
        except ValueError as error:
            raise ConfigError(
                f"cannot go on where the run stopped: {error}",
                hint="resume with the settings of the run",
            ) from error
        self.done = int(state["step"])
        self.best = state["best"]
        self._owes_validation = state["owes_validation"]

    def run(self) -> bool:
        """Trains to the end, or until the user wants to leave.

        Returns:
            Whether it came to the end. Everything is saved either way.

        Raises:
            NotFiniteError: A loss is not a number; the last checkpoint stays as it is.
            InputError: A video cannot be read.
            VidsamplerError: The folder cannot be written, or ranks have come apart.
        """
        journal = None
        if self.world.leads:
            owed = self.config.run.select_on if self._owes_validation else None
            journal = Journal(self.folder, self.done, owed)
        try:
            slow = slow_precision(self.config.backbone.precision, self.world.device)
            if slow is not None and self.world.leads:
                self.watch.note(slow)
            if self.done == 0:
                self.world.spread(self.retriever)
            if self._owes_validation:
                self.retriever.set_epoch((self.done - 1) // len(self.loader))
                self._validate(journal)
            while self.loader.epoch < self.config.training.epochs:
                if not self._epoch(journal):
                    return False
            if self.best is None:
                self._keep_best({"step": self.done, "selected_on": "last"})
                # Of no epochs at all nothing was saved.
                if self.done:
                    self._save_progress()
                else:
                    self._save()
            return True
        finally:
            if journal is not None:
                journal.close()

    def _epoch(self, journal: Journal | None) -> bool:
        """The rest of an epoch; False when the user wants to leave."""
        self.retriever.set_epoch(self.loader.epoch)
        since = _Interval(time.perf_counter())
        with closing(iter(self.loader)) as batches:
            for batch in batches:
                stepped = self._step(batch, journal)
                self.done += 1
                since.add(stepped, len(batch) * self.world.size)
                whole = batch.step + 1 == len(self.loader)
                if self.done % self.config.run.log_every == 0 or whole:
                    self._log(journal, batch, stepped, since)
                    since = _Interval(time.perf_counter())
                if self.world.leads:
                    self.watch.step(self.done, self.steps, _total(stepped.terms))
                leaving = self.world.agree(self.stop.requested)
                self._owes_validation = self._validation_is_due(batch.step)
                every = self.config.run.checkpoint_every
                due = whole or self._owes_validation or (every and self.done % every == 0)
                if due or leaving:
                    self._save()
                del batch, stepped
                if self._owes_validation and not leaving:
                    begun = time.perf_counter()
                    self._validate(journal)
                    since.begun += time.perf_counter() - begun
                    leaving = self.world.agree(self.stop.requested)
                if leaving:
                    return False
        return True

    def _step(self, batch: Batch, journal: Journal | None) -> Stepped:
        try:
            return self.stepper.step(batch.to(self.world.device), self.done)
        except NotFiniteError as error:
            keys = self.loader.keys_of(batch.epoch, batch.step)
            if journal is not None:
                journal.write(self.done + 1, {"not_finite": error.message, "videos": keys})
            named = ", ".join(keys[:_NAMED])
            more = f" and {len(keys) - _NAMED} more (log.jsonl names them)"
            raise NotFiniteError(
                f"{error.message} in step {batch.step + 1} of epoch {batch.epoch + 1}, with the "
                f"videos {named}{more if len(keys) > _NAMED else ''}",
                hint="saved checkpoints are as they were; look at these videos, or take a lower "
                "--lr",
            ) from error

    def _validation_is_due(self, step: int) -> bool:
        times, steps = self.config.run.evals_per_epoch, len(self.loader)
        return self.validation is not None and step * times // steps != (step + 1) * times // steps

    def _validate(self, journal: Journal | None) -> None:
        """Measures weights that are saved already: whatever happens here costs no step."""
        assert self.validation is not None
        found = measure(self.retriever, self.validation, self.world)
        epoch = self.done / len(self.loader)
        result = {
            "step": self.done,
            "epoch": epoch,
            "selected_on": self.config.run.select_on,
            **found.to_json(),
        }
        # Of equals the later one: it has learned longer.
        if self.best is None or found.recall["R@1"] >= self.best["t2v"]["R@1"]:
            self._keep_best(result)
        if journal is not None:
            journal.write(self.done, {"epoch": epoch, self.config.run.select_on: found.to_json()})
            self.watch.measured(epoch, found)
        self._owes_validation = False
        self._save_progress()

    def _keep_best(self, result: dict[str, Any]) -> None:
        self.best = result
        if self.world.leads:
            save_best(self.folder, self.retriever, result)

    def _save(self) -> None:
        self.world.check_same(self.retriever)
        if self.world.leads:
            # Generators have no part in it: each step's draws come from (seed, epoch, step).
            state = {
                "step": self.done,
                "loader": self.loader.state(),
                "optimizer": self.stepper.optimizer.state_dict(),
            }
            save_last(self.folder, self.retriever, state, self._progress())
        self.world.wait()

    def _save_progress(self) -> None:
        """After `_save`, whose weights these still are."""
        if self.world.leads:
            save_progress(self.folder, self._progress())
        self.world.wait()

    def _progress(self) -> dict[str, Any]:
        return {
            "step": self.done,
            "of": self.steps,
            "owes_validation": self._owes_validation,
            "best": self.best,
        }

    def _log(
        self, journal: Journal | None, batch: Batch, stepped: Stepped, since: _Interval
    ) -> None:
        assert since.terms is not None
        assert since.gradient is not None
        assert since.kept_N is not None
        assert since.valid_N is not None
        kept_N = self.world.add(since.kept_N)
        valid_N = self.world.add(since.valid_N)
        if journal is None:
            return
        terms = {name: float(term) / since.steps for name, term in since.terms.items()}
        sampler = self.retriever.sampler
        entry: dict[str, Any] = {
            "epoch": batch.epoch + (batch.step + 1) / len(self.loader),
            "loss": sum(terms.values()),
            "terms": terms,
            "gradient_norm": float(since.gradient) / since.steps,
            "rates": stepped.rates,
            "precision": self.retriever.backbone.precision,
            "scale": float(self.retriever.backbone.scale().detach()),
            "keep_ratio": float(kept_N.sum() / valid_N.sum()),
            "kept_at": [round(each, 4) for each in (kept_N / kept_N.sum()).tolist()],
            "videos_per_second": since.pairs / (time.perf_counter() - since.begun),
            "memory_gib": _memory(self.world.device),
        }
        if sampler is not None:
            entry["temperature"] = sampler.tau
        if isinstance(sampler, TopKSampler):
            entry["k"] = sampler.k_of(self.config.frames)
        journal.write(self.done, entry)


def _total(terms: dict[str, Tensor]) -> float:
    return float(sum(term.item() for term in terms.values()))


def _memory(device: torch.device) -> float:
    """The most that this process has held, in GiB: of the GPU, or of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
