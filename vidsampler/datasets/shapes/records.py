"""The ground truth: `shapes.jsonl` beside the videos of each split, one line a video."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidsampler.datasets.shapes.facts import caption
from vidsampler.datasets.shapes.plan import Slot, VideoPlan
from vidsampler.datasets.shapes.settings import KINDS, SPLITS, Split
from vidsampler.errors import InputError, unknown

RECORDS = "shapes.jsonl"


@dataclass(frozen=True)
class ShapesVideo:
    """One rendered video and what is in it.

    Attributes:
        video: its id, the stem of its file.
        captions: one sentence that names all facts in time order.
        duration: seconds.
        facts: the parts of the caption.
        slots: its pictures in time order, all of equal duration.
        start: where the annotated part begins: None, all of it is.
        end: where it ends: None.
    """

    video: str
    captions: tuple[str, ...]
    duration: float
    facts: tuple[str, ...]
    slots: tuple[Slot, ...]
    start: float | None = None
    end: float | None = None

    def slot_at(self, time: float) -> Slot:
        """The slot that is shown at a time.

        Args:
            time: seconds; from the end of the video on, the last slot is still shown.

        Raises:
            ValueError: the time is below 0.
        """
        if time < 0:
            raise ValueError(f"a video starts at 0 seconds, not at {time:g}")
        # Times of frames are multiples of a frame's duration, rounded: never just below a slot.
        place = int(time / self.duration * len(self.slots) + 1e-6)
        return self.slots[min(place, len(self.slots) - 1)]

    def facts_shown(self, times: Iterable[float]) -> frozenset[int]:
        """Which facts the frames at some times show; a repeat shows as much as its original."""
        facts = {self.slot_at(time).fact for time in times}
        return frozenset(fact for fact in facts if fact is not None)


def to_lines(plans: Sequence[VideoPlan], slot_seconds: float) -> str:
    """The ground truth of a split as JSON lines."""
    lines = []
    for plan in plans:
        record = {
            "video": plan.video,
            "captions": [caption(plan.facts)],
            "duration": len(plan.slots) * slot_seconds,
            "facts": [str(fact) for fact in plan.facts],
            "slots": [
                {key: value for key, value in asdict(slot).items() if value is not None}
                for slot in plan.slots
            ],
        }
        lines.append(json.dumps(record) + "\n")
    return "".join(lines)


def read(folder: Path, split: str) -> list[ShapesVideo]:
    """The videos of one split, in the order of their numbers.

    Args:
        folder: as `render` returns it.
        split: train, val or test.

    Raises:
        InputError: there is no such split, or its file is missing or damaged.
    """
    if split not in SPLITS:
        raise InputError(f"shapes: {unknown('split', split, SPLITS)}", code="missing")
    path = split_folder(folder, split) / RECORDS
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}",
            hint="render the dataset again: it does only what is missing",
            code="missing",
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text", code="damaged") from error
    return [_parse(line, f"{path}, line {n}") for n, line in enumerate(text.splitlines(), 1)]


def split_folder(folder: Path, split: Split | str) -> Path:
    """Where the videos and the ground truth of a split lie."""
    return folder / split


def _parse(line: str, where: str) -> ShapesVideo:
    try:
        data: dict[str, Any] = json.loads(line)
        video = ShapesVideo(
            video=data["video"],
            captions=tuple(data["captions"]),
            duration=float(data["duration"]),
            facts=tuple(data["facts"]),
            slots=tuple(Slot(**slot) for slot in data["slots"]),
        )
    except (ValueError, TypeError) as error:
        raise _damaged(where, f"not a record of a video: {error}") from error
    except KeyError as error:
        raise _damaged(where, f"the record of a video needs {error}") from error
    for number, slot in enumerate(video.slots):
        if slot.kind not in KINDS:
            raise _damaged(where, f"slot {number}: {unknown('kind', str(slot.kind), KINDS)}")
        if slot.fact is not None and slot.fact not in range(len(video.facts)):
            raise _damaged(where, f"slot {number} shows fact {slot.fact} of {len(video.facts)}")
    return video


def _damaged(where: str, what: str) -> InputError:
    hint = "remove the file and render the dataset again"
    return InputError(f"{where}: {what}", hint=hint, code="damaged")
