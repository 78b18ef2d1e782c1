"""What `vidsampler select` does for one video after the other, and what it prints."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vidsampler.cli.inputs import STDIN, Item, opened
from vidsampler.cli.output import SOME_FAILED, Output, StdoutError, as_error
from vidsampler.cli.targets import Target
from vidsampler.config import SelectConfig
from vidsampler.files import make_folder
from vidsampler.timecode import format_time

if TYPE_CHECKING:
    from vidsampler.query import ImageText
    from vidsampler.selection import Selection

CSV_HEADER = ("video", "index", "pts", "time", "score")


@dataclass(frozen=True)
class Wishes:
    """What is to come out, besides the settings of what to choose.

    Attributes:
        csv: Lines in place of a table.
        hand_over: The vision-language model whose message content is printed, or None.
        max_width: Of frames that are written or handed over, in pixels.
        sheet_all: Show all candidates on the contact sheet.
    """

    csv: bool = False
    hand_over: str | None = None
    max_width: int | None = None
    sheet_all: bool = False


class Run:
    """One run over the videos: what is printed while it goes, and at its end."""

    def __init__(self, out: Output, config: SelectConfig, wishes: Wishes, *, many: bool) -> None:
        self._out = out
        self._config = config
        self._wishes = wishes
        self._many = many
        self._model: ImageText | None = None

    def over(self, items: Sequence[Item], targets: Sequence[Target]) -> None:
        """Chooses and prints, video by video.

        Raises:
            typer.Exit: Some videos failed.
            VidsamplerError: The only one failed, or the image-text model cannot be loaded.
        """
        self._load_model(items)
        results: list[dict[str, Any]] = []
        failed = 0
        if self._wishes.csv:
            self._out.raw(_csv_line(CSV_HEADER))
        with self._out.progress(len(items), "videos") as progress:
            for item, target in zip(items, targets, strict=True):
                try:
                    selection, content = self._one(item, target)
                except Exception as caught:
                    # Whatever happens with one of several videos, the others go on.
                    if len(items) == 1 or isinstance(caught, BrokenPipeError | StdoutError):
                        raise
                    error = as_error(caught)
                    failed += 1
                    with progress.paused():
                        self._out.problem(error)
                    results.append({"video": item.name, "error": error.to_json()})
                else:
                    if content is None:
                        results.append(selection.to_json())
                    else:
                        named = {"video": item.name} if self._many else {}
                        results.append({**named, **content})
                    with progress.paused():
                        self._print(item, selection, last=item is items[-1])
                progress.advance()
        if self._out.json or self._wishes.hand_over is not None:
            self._out.result({"videos": results} if self._many else results[0])
        if failed:
            self._out.note(f"{failed} of {len(items)} videos failed")
            raise typer.Exit(SOME_FAILED)

    def _load_model(self, items: Sequence[Item]) -> None:
        """Once for all videos, and before them: without it, none of them can be asked about."""
        if not self._config.query:
            return
        from vidsampler.query import ImageText

        if len(items) == 1:
            # A name that is mistyped should not wait for the model.
            check_files(items)
        config = self._config
        assert config.backbone is not None
        self._model = ImageText(config.backbone, config.pretrained, config.precision)
        self._model.load()
        self._out.note(f"{config.backbone} in {self._model.precision} on {self._model.device}")

    def _one(self, item: Item, target: Target) -> tuple[Selection, dict[str, Any] | None]:
        """Chooses and writes the frames of one video; the message content if it is wanted."""
        from vidsampler.select import select

        settings = asdict(self._config)
        if self._model is not None:
            for name in ("backbone", "pretrained", "precision"):
                del settings[name]
            settings["model"] = self._model
        if item.name == STDIN:
            # Its temporary file never comes again.
            settings["cache"] = False
        if target.sheet is not None:
            make_folder(target.sheet.parent)
        wishes, content = self._wishes, None
        with opened(item) as path:
            selection = select(path, settings.pop("k"), **settings)
            # By the name that the user gave: of standard input the path is nobody's, and other
            # names are shown as they were written.
            reading = {**selection.reading, "path": path}
            selection = replace(selection, video=item.name, reading=reading)
            files: list[Path] = []
            if target.frames is not None:
                files = selection.write_frames(target.frames, wishes.max_width)
            if target.sheet is not None:
                selection.write_sheet(target.sheet, every=wishes.sheet_all)
            if wishes.hand_over is not None:
                content = selection.message(
                    wishes.hand_over, files=files, max_width=wishes.max_width
                )
        return selection, content

    def _print(self, item: Item, selection: Selection, *, last: bool) -> None:
        out = self._out
        for note in selection.notes:
            out.note(f"{item.name}: {note}")
        if self._config.k is not None and len(selection.kept) < self._config.k:
            kept = len(selection.kept)
            frames = "frame" if kept == 1 else "frames"
            few = f"{kept} {frames} kept, {self._config.k} were asked for"
            out.note(f"{item.name}: {few}")
        if out.json or self._wishes.hand_over is not None:
            return
        if self._wishes.csv:
            for frame in selection.kept:
                score = "" if frame.score is None else f"{frame.score:.6g}"
                out.raw(_csv_line((item.name, frame.index, frame.pts, f"{frame.time:.6f}", score)))
            return
        out.line("standard input" if item.name == STDIN else item.name)
        out.line(
            f"{format_time(selection.duration)} at {selection.fps:.5g} fps; "
            f"{selection.sampler} kept {len(selection.kept)} of {selection.candidates} candidates"
        )
        rows = [
            [
                str(number),
                str(kept.index),
                format_time(kept.time),
                "-" if kept.score is None else f"{kept.score:.4f}",
            ]
            for number, kept in enumerate(selection.kept, 1)
        ]
        columns, numbers = ["#", "frame", "time", "score"], "rrrr"
        if len(selection.queries) > 1:
            columns.append("question")
            for row, frame in zip(rows, selection.kept, strict=True):
                row.append(frame.query or "")
        out.table(columns, rows, numbers=numbers)
        if not last:
            out.line()


def check_files(items: Sequence[Item]) -> None:
    """Whether there is something to read at all.

    Raises:
        InputError: There is not.
    """
    from vidsampler.video.container import check_file

    for item in items:
        if item.error is not None:
            raise item.error
        if item.name != STDIN:
            check_file(Path(item.name))


def _csv_line(cells: tuple[Any, ...]) -> str:
    text = io.StringIO()
    # With this line end the writer quotes carriage returns too.
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"
