"""Which slots of which video show what: plain data, nothing drawn yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from vidsampler.datasets.shapes.facts import Fact, fact_pool
from vidsampler.datasets.shapes.settings import Kind, ShapesSettings, Split

# Test videos come first: they are the same however many others there are.
_ORDER: tuple[Split, ...] = ("test", "val", "train")


@dataclass(frozen=True)
class Slot:
    """One picture of a video.

    Attributes:
        time: when it is first shown, seconds from the start.
        kind: what it is.
        fact: which of the video's facts it shows, from 0, the order of the caption; None: none.
            Informative slots have one, and the frozen ones that repeat them.
        repeats: the slot whose picture a frozen slot shows again; None for all others.
    """

    time: float
    kind: Kind
    fact: int | None = None
    repeats: int | None = None


@dataclass(frozen=True)
class VideoPlan:
    """One video to be.

    Attributes:
        video: its id.
        split: where it belongs.
        number: from 0 in its split.
        facts: what its caption names, in the order in which it is shown.
        slots: its pictures in time order.
    """

    video: str
    split: Split
    number: int
    facts: tuple[Fact, ...]
    slots: tuple[Slot, ...]


def video_rng(
    settings: ShapesSettings, split: Split, number: int, *more: int
) -> np.random.Generator:
    """Random numbers of one video alone, or of one slot of it."""
    return np.random.default_rng([settings.seed, 2, _ORDER.index(split), number, *more])


def plan_videos(settings: ShapesSettings) -> dict[Split, list[VideoPlan]]:
    """All videos of a dataset; none shows all facts of another one, of whatever split."""
    pool = fact_pool(settings.facts, settings.seed)
    taken: set[frozenset[int]] = set()
    covered: set[frozenset[int]] = set()
    plans: dict[Split, list[VideoPlan]] = {"train": [], "val": [], "test": []}
    for split in _ORDER:
        for number in range(getattr(settings, split)):
            rng = video_rng(settings, split, number)
            count = _rounded(settings.informative * settings.slots, rng)
            while True:
                chosen = rng.choice(len(pool), count, replace=False).tolist()
                key = frozenset(chosen)
                # Numbers of facts differ by one at most: no smaller part can be another's all.
                parts = {key - {fact} for fact in key}
                if key not in taken and key not in covered and not parts & taken:
                    break
            taken.add(key)
            covered |= parts
            plans[split].append(
                VideoPlan(
                    f"{split}-{number:05d}",
                    split,
                    number,
                    tuple(pool[i] for i in chosen),
                    _slots(settings, count, rng),
                )
            )
    return plans


def _rounded(value: float, rng: np.random.Generator) -> int:
    """The whole number below or above, so that the mean over many is the value itself."""
    return int(value) + int(rng.random() < value - int(value))


def _slots(settings: ShapesSettings, facts: int, rng: np.random.Generator) -> tuple[Slot, ...]:
    """What each slot shows.

    Informative slots are drawn first and evenly, so that no place says anything about them. Nor
    does being repeated: a frozen slot follows an informative slot as readily as an unrelated one.
    """
    kinds: list[Kind] = ["unrelated"] * settings.slots
    for place in rng.choice(settings.slots, facts, replace=False):
        kinds[place] = "informative"
    counts = _counts(settings, settings.slots - facts, rng)
    rest = [i for i in rng.permutation(settings.slots).tolist() if kinds[i] == "unrelated"]
    for kind in ("black", "noisy", "blurred"):
        for place in rest[: counts[kind]]:
            kinds[place] = kind
        rest = rest[counts[kind] :]
    able = [i for i in rest if i > 0 and kinds[i - 1] in ("informative", "unrelated")]
    for place in able[: counts["frozen"]]:
        kinds[place] = "frozen"
    return _described(kinds, settings.slot_seconds)


def _counts(settings: ShapesSettings, slots: int, rng: np.random.Generator) -> dict[Kind, int]:
    """How many slots are of each kind that is not informative: shares, rounded at random."""
    shares: dict[Kind, float] = asdict(settings.kinds)  # type: ignore[assignment]
    whole = slots / sum(shares.values())
    # Slots are laid along a line that the shares divide, from a random start: each kind gets its
    # share or the whole number next to it, in the mean over many videos its share.
    ends = np.round(np.cumsum(list(shares.values())) * whole, 9) + rng.random()
    counts = np.diff(np.floor(ends), prepend=0).astype(int)
    return dict(zip(shares, counts.tolist(), strict=True))


def _described(kinds: Sequence[Kind], seconds: float) -> tuple[Slot, ...]:
    """Slots with their times, facts and sources."""
    slots: list[Slot] = []
    facts = 0
    for place, kind in enumerate(kinds):
        fact = repeats = None
        if kind == "informative":
            fact, facts = facts, facts + 1
        elif kind == "frozen":
            before = slots[-1]
            fact = before.fact
            repeats = place - 1 if before.repeats is None else before.repeats
        slots.append(Slot(place * seconds, kind, fact, repeats))
    return tuple(slots)
