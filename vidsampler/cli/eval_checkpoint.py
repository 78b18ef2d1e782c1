"""The part of `vidsampler eval` that evaluates a checkpoint on a dataset."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from vidsampler import plainyaml
from vidsampler.cli import ranks
from vidsampler.cli.eval_pictures import check_pictures, write_pictures
from vidsampler.cli.options import Value
from vidsampler.cli.output import INTERRUPTED, SOME_FAILED, Bar, Output, Progress
from vidsampler.config import Layer, flag_layer, set_layer
from vidsampler.errors import UsageError, unknown

if TYPE_CHECKING:
    from vidsampler.evaluate import Options
    from vidsampler.evaluation.plan import Plan
    from vidsampler.evaluation.results import Result

WHICH = ("best", "last")


@dataclass(frozen=True)
class Words:
    """What the command line says of an evaluation; see the help of the options."""

    checkpoint: Path | None
    dataset: str | None
    split: str | None
    shards: Path | None
    videos: Path | None
    annotations: Path | None
    which: str | None
    sampler: Value
    top_k: Value
    frames: Value
    backbone: Value
    pretrained: Value
    head: Value
    settings: list[str] | None
    device: str | None
    workers: int | None
    batch_size: int | None
    nproc: int | None
    no_cache: bool
    pictures: Path | None
    queries: int | None
    dry_run: bool


def run(out: Output, words: Words, rerank: str, v2t: str, finish: Callable[[Result], None]) -> None:
    """Evaluates.

    Args:
        out: The sink.
        words: What the command line says.
        rerank: Of `evaluation.rerank`.
        v2t: Of `evaluation.ranks`.
        finish: Called with the result, in the process that talks to the user.

    Raises:
        typer.Exit: Some videos were missing, or other processes have done it.
        KeyboardInterrupt: The user ended them.
    """
    from vidsampler.cached_shards import check_shards
    from vidsampler.evaluate import Options
    from vidsampler.evaluation.rerank import Method

    check_pictures(words.pictures, words.queries)
    plan = _plan(words)
    options = Options(
        rerank=cast(Method, rerank),
        v2t="grouped" if v2t == "grouped" else "best",
        device=words.device,
        workers=words.workers,
        batch_size=words.batch_size,
        cache=not words.no_cache,
    )
    if words.dry_run:
        _print_plan(out, plan)
        return
    if plan.data.shards is not None:
        # Before a backbone is fetched, and processes are started.
        check_shards(plan.data.dataset, plan.data.shards, [plan.data.split])
    if (code := ranks.start(words.nproc or 1)) is not None:
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        raise typer.Exit(code)
    with ranks.leaving_errors(out):
        result = _evaluate(out, plan, options, words)
        if ranks.leads():
            finish(result)
            # That videos are not in the shards was said when these were made.
            if result.unreadable or (result.missing and words.videos is not None):
                ranks.end(SOME_FAILED)


def _plan(words: Words) -> Plan:
    from vidsampler.evaluation.plan import Data, Which, plan_evaluation, retriever_layers

    if words.dataset is None:
        raise UsageError("no dataset is named", hint="such as --dataset shapes")
    if words.which is not None and words.which not in WHICH:
        raise UsageError(unknown("choice of weights", words.which, WHICH))
    if words.checkpoint is not None:
        for flag, value in (
            ("--backbone", words.backbone),
            ("--pretrained", words.pretrained),
            ("--head", words.head),
        ):
            if value is not None:
                raise UsageError(
                    f"{flag} is for zero-shot evaluation: {words.checkpoint} has its own",
                    hint=f"leave out {flag}, or the checkpoint",
                )
    elif words.which is not None:
        raise UsageError("--which is for the folder of a run")
    data = Data(words.dataset, words.split or "test", words.shards, words.videos, words.annotations)
    layers: list[Layer] = [set_layer(assignment) for assignment in words.settings or ()]
    layers += [
        *retriever_layers(sampler=words.sampler, top_k=words.top_k, frames=words.frames),
        flag_layer("--backbone", "name", words.backbone, "backbone"),
        flag_layer("--pretrained", "pretrained", words.pretrained, "backbone"),
        flag_layer("--head", "name", words.head, "head"),
    ]
    return plan_evaluation(words.checkpoint, data, layers, cast(Which, words.which or "best"))


def _evaluate(out: Output, plan: Plan, options: Options, words: Words) -> Result:
    from vidsampler.evaluate import Evaluated, Watch, run_evaluation

    if not ranks.leads():
        return run_evaluation(plan, options)
    with Bar(out) as rendered, Bar(out) as embedded, _Texts(out) as scored:

        def embed(done: int, total: int) -> None:
            rendered.close()
            embedded.show(done, total)

        def score(done: int, total: int) -> None:
            embedded.close()
            scored.show(done, total)

        def note(text: str) -> None:
            # Notes come between the stages, when no bar is there.
            rendered.close()
            embedded.close()
            out.note(text)

        def draw(found: Evaluated) -> None:
            assert words.pictures is not None
            scored.close()
            write_pictures(
                out,
                words.pictures,
                words.queries,
                scores_of=found.scores_of,
                captions=found.captions,
                ranks=found.ranks,
                names=found.names,
                kept=found.kept,
                candidates=found.candidates,
                frames_of=found.frames_of,
            )

        done = None if words.pictures is None else draw
        return run_evaluation(plan, options, Watch(rendered.show, embed, score, note, done))


class _Texts:
    """The progress of scoring, which begins with the first block."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._stack = ExitStack()
        self._progress: Progress | None = None
        self._shown = 0

    def __enter__(self) -> _Texts:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()

    def close(self) -> None:
        """Takes the bar away."""
        self._stack.close()

    def show(self, done: int, total: int) -> None:
        """So many texts are scored."""
        if done < self._shown:  # a bank comes after the texts
            self._stack.close()
            self._progress, self._shown = None, 0
        if self._progress is None:
            self._progress = self._stack.enter_context(self._out.progress(total, "texts"))
        while self._shown < done:
            self._shown += 1
            self._progress.advance()


def _print_plan(out: Output, plan: Plan) -> None:
    if out.json:
        out.result(plan.to_plain())
    else:
        out.raw(plainyaml.dump(plan.to_plain()))
