"""Splits that no file gives: a fixed slice of train, or fractions that a seed decides.

Both depend on the ids alone, not on their order in a file nor on the machine: ids are ranked by a
hash of their names.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from vidsampler.datasets.base import Record

NO_VAL = "nothing is held out of train (--set dataset.val=500 holds out 500 videos)"


def rank(name: str, seed: int | None = None) -> bytes:
    """What ids are sorted by: the SHA-256 of the id, or of "SEED:ID"."""
    text = name if seed is None else f"{seed}:{name}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def hold_out(
    train: Sequence[Record], count: int, counts: Counter[str]
) -> dict[str, tuple[Record, ...]]:
    """Takes a validation split out of train: the `count` ids whose SHA-256 is smallest.

    A smaller count gives a part of what a larger one gives. Of a train split that is less than
    twice the count (a subset for a trial), half is taken and the shortfall is noted.

    Returns:
        {"train", "val"}, both in the order of train.
    """
    taken = min(count, len(train) // 2)
    counts["val_fewer_than_asked"] += count - taken
    held = set(sorted((record.video for record in train), key=rank)[:taken])
    return {
        "train": tuple(record for record in train if record.video not in held),
        "val": tuple(record for record in train if record.video in held),
    }


def with_val(
    splits: Mapping[str, Iterable[Record]], count: int, counts: Counter[str]
) -> dict[str, Iterable[Record]]:
    """The splits with `hold_out` done to train, if there is a train split and a count."""
    if not count or "train" not in splits:
        return dict(splits)
    return {**splits, **hold_out(tuple(splits["train"]), count, counts)}


def by_fraction(
    groups: Mapping[str, str], fractions: Mapping[str, float], seed: int, rest: str = "train"
) -> dict[str, str]:
    """Deals videos out to splits.

    Args:
        groups: id -> its group; videos of one group come into one split.
        fractions: split -> its share of the videos, in the order of dealing.
        seed: another one deals differently.
        rest: where all the others go.

    Returns:
        id -> split. Without larger groups a split has round(share * videos) of them; with them,
        groups are taken in the order of their hashes as long as that comes nearer to this number.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for video, group in groups.items():
        members[group].append(video)
    waiting = sorted(members, key=lambda group: rank(group, seed))
    dealt = dict.fromkeys(groups, rest)
    for name, share in fractions.items():
        wanted = round(share * len(groups))
        left = []
        for group in waiting:
            size = len(members[group])
            if size < 2 * wanted:
                wanted -= size
                dealt.update(dict.fromkeys(members[group], name))
            else:
                left.append(group)
        waiting = left
    return dealt


def into_splits(
    records: Iterable[Record], split_of: Mapping[str, str]
) -> dict[str, tuple[Record, ...]]:
    """Records by split: train, val and test first, in the order of the records."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(split_of[record.video], []).append(record)
    known = [name for name in ("train", "val", "test") if name in found]
    names = [*known, *sorted(set(found) - set(known))]
    return {name: tuple(found[name]) for name in names}
