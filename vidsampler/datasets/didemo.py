"""`didemo`: DiDeMo, the descriptions of a video joined to one paragraph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from vidsampler.datasets import normalised
from vidsampler.datasets.base import (
    Annotations,
    DatasetReader,
    DatasetSettings,
    Record,
)
from vidsampler.datasets.gather import (
    CaptionsOf,
    choose,
    finish,
    one_caption_each,
    paragraph,
    records_of,
    strip_extension,
    tidy,
)
from vidsampler.datasets.reading import (
    expect,
    find,
    member,
    missing,
    not_found,
    read_ids,
    read_json,
    read_table,
)

PROTOCOL = "paragraph: all descriptions of a video joined"
FORMS = {
    "normalised": {split: f"{split}.json" for split in ("train", "val", "test")},
    "original": {split: f"{split}_data.json" for split in ("train", "val", "test")},
    "labels": {split: f"didemo_{split}_label.csv" for split in ("train", "val", "test")},
}


@dataclass(frozen=True)
class DidemoSettings(DatasetSettings):
    """Settings of `didemo`.

    Attributes:
        form: Which files: `normalised` (train.json, ...), `original` (train_data.json, ...; with
            the lists train_list.txt, ... if they are there), `labels` (didemo_train_label.csv,
            ...); `auto`: the form with most of its splits there, the earlier one of equals.
        seconds: Look at so many seconds from the start only: the descriptions were written for
            the first 30. null: the whole video, as the published systems do.
    """

    form: Literal["auto", "normalised", "original", "labels"] = "auto"
    seconds: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"seconds must be more than 0, not {self.seconds:g}")


def read(folder: Path, settings: DidemoSettings) -> Annotations:
    """Reads DiDeMo in any of its forms. Ids go without the endings of video files.

    Without lists the original files make 1,094 and 1,037 videos of val and test; the lists of the
    Collaborative Experts split leave 1,065 and 1,004, as the normalised form has them. The others
    are second names of videos that are in there: one upload with two endings, described under
    each. Such ids keep their endings where both are used, and are counted.

    Raises:
        InputError: A file is missing or damaged, or a list names a video without descriptions.
    """
    there = {
        form: {split: path for split, name in names.items() if (path := find(folder, name))}
        for form, names in FORMS.items()
    }
    form: str = settings.form
    if form == "auto":
        form = max(FORMS, key=lambda each: len(there[each]))
    paths = there[form]
    if not paths:
        wanted = FORMS if settings.form == "auto" else [form]
        raise missing("didemo", folder, [name for each in wanted for name in FORMS[each].values()])
    counts: Counter[str] = Counter()
    read_one = {"normalised": _normalised, "original": _original, "labels": _labels}[form]
    captions = {split: read_one(path, counts) for split, path in paths.items()}
    files = list(paths.values())
    absent = {
        split: f"{folder}: {not_found([name])}"
        for split, name in FORMS[form].items()
        if split not in paths
    }
    splits: dict[str, Iterable[Record]] = {
        split: records_of(each) for split, each in captions.items()
    }
    lists = _lists(folder) if form == "original" else {}
    if lists:
        every = {video: text for each in captions.values() for video, text in each.items()}
        source = " and ".join(path.name for path in paths.values())
        for split, path in lists.items():
            if split in paths:
                files.append(path)
                listed = _as_described(read_ids(path, counts), every)
                splits[split] = choose(listed, path, every, source)
        chosen = {record.video for records in splits.values() for record in records}
        counts["unlisted_videos_dropped"] = len(set(every) - chosen)
    splits = _without_endings(splits, counts)
    if settings.seconds is not None:
        splits = {
            split: [replace(record, start=0.0, end=settings.seconds) for record in records]
            for split, records in splits.items()
        }
    return finish("didemo", PROTOCOL, splits, counts, files, absent)


def _lists(folder: Path) -> dict[str, Path]:
    names = {split: f"{split}_list.txt" for split in ("train", "val", "test")}
    return {split: path for split, name in names.items() if (path := find(folder, name))}


def _as_described(listed: dict[str, int], described: CaptionsOf) -> dict[str, int]:
    """The ids of a list as the descriptions have them, wherever the list has no ending, or another.

    Of two names the first one described is taken.
    """
    names: dict[str, str] = {}
    for video in described:
        names.setdefault(strip_extension(video), video)
    return {
        video if video in described else names.get(strip_extension(video), video): line
        for video, line in listed.items()
    }


def _without_endings(
    splits: Mapping[str, Iterable[Record]], counts: Counter[str]
) -> dict[str, Iterable[Record]]:
    """Ids without endings, but for those that would then be the same."""
    records = {split: list(each) for split, each in splits.items()}
    uses = Counter(strip_extension(record.video) for each in records.values() for record in each)
    counts["videos_under_two_names"] = sum(count > 1 for count in uses.values())
    return {
        split: [
            replace(record, video=stem) if uses[stem] == 1 else record
            for record in each
            for stem in [strip_extension(record.video)]
        ]
        for split, each in records.items()
    }


def _normalised(path: Path, counts: Counter[str]) -> CaptionsOf:
    return normalised.as_paragraphs(normalised.read_map(path, counts))


def _original(path: Path, counts: Counter[str]) -> CaptionsOf:
    whole = read_json(path)
    expect(path, "", whole, list, "a list of descriptions")
    sentences: dict[str, list[str]] = {}
    for number, each in enumerate(whole):
        video = member(path, f"[{number}]", each, "video")
        expect(path, f"[{number}].video", video, str, "the id of a video")
        text = member(path, f"[{number}]", each, "description")
        expect(path, f"[{number}].description", text, str, "a description")
        own = sentences.setdefault(video, [])
        if text := tidy(text):
            own.append(text)
        else:
            counts["empty_captions_dropped"] += 1
    return {video: paragraph(own) for video, own in sentences.items()}


def _labels(path: Path, counts: Counter[str]) -> CaptionsOf:
    lines = []
    for row in read_table(path, ["video_path", "text"]):
        # What could not be prepared on the machine that the file was made on.
        if row.values.get("success", "True").strip().casefold() not in ("true", "1"):
            counts["unsuccessful_dropped"] += 1
            continue
        name = row.values["video_path"].strip().replace("\\", "/").rpartition("/")[2]
        lines.append((row.line, strip_extension(name), row.values["text"]))
    return one_caption_each(path, lines, counts)


READER = DatasetReader("didemo", read, DidemoSettings)
