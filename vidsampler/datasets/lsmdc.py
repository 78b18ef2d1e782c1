"""`lsmdc`: LSMDC (2016), one caption a movie clip."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from vidsampler.datasets import normalised
from vidsampler.datasets.base import Annotations, DatasetReader, DatasetSettings, Record
from vidsampler.datasets.gather import finish, strip_extension, tidy
from vidsampler.datasets.reading import damaged, find, missing, not_found, shown, split_lines

PROTOCOL = "one caption a clip"
FILES = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",
}
# 1004_Juno_00.00.32.167-00.00.32.551: the movie, then from when to when in it.
_CLIP = re.compile(r"(?P<movie>.+)_\d+\.\d+\.\d+\.\d+-\d+\.\d+\.\d+\.\d+")


def read(folder: Path, settings: DatasetSettings) -> Annotations:
    """Reads LSMDC: tab-separated, no header, clip id first and caption last.

    The times in the files are places in the movie; the clips are cut, so they are no time window
    here. Ids are `<movie>/<clip>`, as the clips are laid out.

    Raises:
        InputError: A file is missing or damaged.
    """
    if normalised.is_instead(folder, FILES.values()):
        return normalised.read_splits("lsmdc", PROTOCOL, folder)
    counts: Counter[str] = Counter()
    splits: dict[str, Iterable[Record]] = {}
    files, absent = [], {}
    for split, name in FILES.items():
        if path := find(folder, name):
            files.append(path)
            splits[split] = _read_clips(path, counts)
        else:
            absent[split] = f"{folder}: {not_found([name])}"
    if not files:
        raise missing("lsmdc", folder, FILES.values())
    return finish("lsmdc", PROTOCOL, splits, counts, files, absent)


def _read_clips(path: Path, counts: Counter[str]) -> list[Record]:
    found: dict[str, tuple[str, ...]] = {}
    width = 0
    for number, line in enumerate(split_lines(path), 1):
        if not line.strip():
            continue
        # Captions of this set begin and end with quotes at will: they are no CSV quotes.
        fields = line.split("\t")
        width = width or len(fields)
        if len(fields) != width or width < 2:
            problem = (
                f"expected {max(width, 2)} fields with tabs between, the clip first and the "
                f"caption last; found {len(fields)}: {shown(line)}"
            )
            raise damaged(path, f"line {number}", problem)
        video, text = _with_movie(path, number, fields[0].strip()), tidy(fields[-1])
        own = found.get(video, ())
        if video in found:
            # A few clips were described twice.
            counts["repeated_ids_merged"] += 1
        counts["empty_captions_dropped"] += not text
        found[video] = own if not text else (*own, text)
    return [Record(video, captions) for video, captions in found.items()]


def _with_movie(path: Path, number: int, clip: str) -> str:
    clip = strip_extension(clip)
    match = _CLIP.fullmatch(clip)
    if match is None:
        problem = f"expected a clip such as 1004_Juno_00.00.32.167-00.00.32.551, found {clip!r}"
        raise damaged(path, f"line {number}", problem)
    return f"{match['movie']}/{clip}"


READER = DatasetReader("lsmdc", read, DatasetSettings)
