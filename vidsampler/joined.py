"""What `shard --dataset` made: its account, and the splits of one folder kept in step."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidsampler.datasets.base import Annotations, Record
from vidsampler.errors import UsageError

if TYPE_CHECKING:
    from vidsampler.shards.run import Report

DATASET = "dataset.json"


@dataclass
class Split:
    """What became of one split.

    Attributes:
        videos: In its shards.
        captions: Of these videos.
        missing: Ids whose video is not in the source.
        unreadable: Videos that are there and cannot be used.
        shards: How many.
        short: Id -> frames, where there are fewer than the dataset's N candidates.
    """

    videos: int = 0
    captions: int = 0
    missing: list[str] = field(default_factory=list)
    unreadable: int = 0
    shards: int = 0
    short: dict[str, int] = field(default_factory=dict)


@dataclass
class Joined:
    """What `join` did.

    Attributes:
        dataset, protocol: Of the annotations.
        recipe: How the frames were made.
        splits: By name.
        errors: Class of fault -> videos that have it.
        notes: What the reader counted, such as captions that were empty.
        differences: Where splits have other sizes than published.
        seconds: How long it took.
        interrupted: The user ended it before everything was done.
    """

    dataset: str
    protocol: str
    recipe: dict[str, Any]
    splits: dict[str, Split]
    errors: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def failed(self) -> int:
        """Videos that are there and cannot be used."""
        return sum(split.unreadable for split in self.splits.values())

    def to_json(self) -> dict[str, Any]:
        """As ``dataset.json`` holds it and ``--json`` prints it."""
        return {
            "dataset": self.dataset,
            "protocol": self.protocol,
            "recipe": self.recipe,
            "splits": {
                name: {
                    "videos": split.videos,
                    "captions": split.captions,
                    "missing": len(split.missing),
                    "unreadable": split.unreadable,
                    "shards": split.shards,
                }
                for name, split in self.splits.items()
            },
            "missing": {name: split.missing for name, split in self.splits.items()},
            "short": {name: split.short for name, split in self.splits.items()},
            "notes": self.notes,
            "differences": self.differences,
            **({"interrupted": True} if self.interrupted else {}),
        }


def with_others(result: Joined, out: Path, read: Annotations) -> dict[str, Any]:
    """``dataset.json``: with the splits that an earlier run made in the same way."""
    plain = result.to_json()
    try:
        before = json.loads((out / DATASET).read_bytes())
        if any(before[name] != plain[name] for name in ("dataset", "protocol", "recipe")):
            return plain
        others = [name for name in read.splits if name in before["splits"]]
        for part in ("splits", "missing", "short"):
            plain[part] = {name: before[part][name] for name in others} | plain[part]
    except (OSError, ValueError, KeyError, TypeError):
        # There is none, or it is not ours: this one takes its place.
        return result.to_json()
    return plain


def settle_splits(out: Path, headers: Mapping[str, Mapping[str, Any]], *, overwrite: bool) -> None:
    """Looks at the splits that a folder holds before any is worked on.

    Splits that were dealt out by other settings may share videos with those to be made: training
    would see what it is measured on.

    Args:
        out: The folder of the splits.
        headers: Of the splits to be made, by name; see `vidsampler.shards.folder.OutputFolder`.
        overwrite: Clear those that were made otherwise.

    Raises:
        UsageError: One was made otherwise.
        VidsamplerError: One cannot be cleared.
    """
    from vidsampler.shards.folder import OutputFolder

    found = dataset_headers(out)
    settings = next(iter(headers.values()))["settings"]
    if overwrite:
        # Of what is made again it no longer speaks the truth.
        with contextlib.suppress(FileNotFoundError):
            (out / DATASET).unlink()
    for name, old in found.items():
        new = headers.get(name)
        same = old.get("settings") == settings and (
            new is None or old.get("annotations") == new["annotations"]
        )
        if same:
            continue
        if not overwrite:
            what = "settings" if old.get("settings") != settings else "captions or windows"
            raise UsageError(
                f"{out / name}: made with other {what} of the dataset",
                hint="name another folder, or start all splits again with --overwrite",
            )
        if new is None:
            cleared = OutputFolder(out / name, {}, overwrite=True)
            cleared.open()
            cleared.close()
            with contextlib.suppress(OSError):
                (out / name).rmdir()


def dataset_headers(out: Path) -> dict[str, dict[str, Any]]:
    """The first line of the plan of each split below a folder."""
    from vidsampler.shards.folder import PLAN

    found = {}
    for path in sorted(out.glob(f"*/{PLAN}")):
        with contextlib.suppress(OSError, ValueError, IndexError):
            header = json.loads(path.read_bytes().splitlines()[0])
            if isinstance(header, dict) and "dataset" in header:
                found[path.parent.name] = header
    return found


def account(
    folder: Path,
    records: Sequence[Record],
    matched: Mapping[str, str],
    report: Report,
    wanted: int,
) -> Split:
    """Counts what a split's shards hold; ``wanted`` is the dataset's N candidates."""
    from vidsampler.shards import Reader

    split = Split(unreadable=report.failed)
    captions = {record.video: len(record.captions) for record in records}
    with Reader(folder) as reader:
        # What an earlier run stored is there, wherever its video has gone; and what went while it
        # was worked on is among the unreadable ones.
        there = matched.keys() | set(reader.sources.values())
        for manifest in reader.manifests:
            there |= {each.source for each in manifest.failed if each.kind == "missing"}
        split.missing = [record.video for record in records if record.video not in there]
        split.shards = sum(bool(manifest.entries) for manifest in reader.manifests)
        for manifest in reader.manifests:
            for entry in manifest.entries:
                split.videos += 1
                split.captions += captions.get(entry.source, 0)
                if 0 < entry.frames < wanted:
                    split.short[entry.source] = entry.frames
    return split
