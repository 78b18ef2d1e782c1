"""Montages: what a video without captions is trained on. Plans are pure numbers, no pixels here.

A montage is a row of N candidates: stretches of several videos, cut together, with disturbances
between and inside them. The whole video that kept frames are to find is what its stretches show,
each counting the same however long it is, without the disturbances. All of it is drawn from (seed,
epoch, item), so that no two epochs see the same and a run that goes on sees what it would have
seen. The two montages of a pair share most of their stretches: they are told apart by the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vidsampler.errors import ConfigError

Kind = Literal["clip", "black", "noise", "blur", "frozen", "foreign"]
DISTURBANCES: tuple[Kind, ...] = ("black", "noise", "blur", "frozen", "foreign")
LEAST_VIDEOS = 4
"""Of fewer no montages can be told apart."""

_PIECES, _OF_PIECE = 64, 8
DRAWS = _PIECES * _OF_PIECE
"""Random numbers that a montage is planned with, of its own and of its pair."""


@dataclass(frozen=True)
class MontageSettings:
    """How montages are made of the videos of a folder.

    Attributes:
        train: So many an epoch; another epoch has others.
        val: So many to choose a checkpoint by, of videos that are not trained on.
        fewest: Stretches of a montage, at least.
        most: At most; never more than there are videos.
        uneven: The longest stretch is up to so many times the shortest, on a logarithmic scale.
        disturbed: Up to so many disturbances of each kind: black, noise, blur, frozen, foreign.
        longest: Candidates of a disturbance, at most.
        own: Stretches that the other montage of the pair does not have; all others they share.
        recolour: Mirror every other stretch and change its colours: more clips from few videos.
    """

    train: int = 1024
    val: int = 128
    fewest: int = 5
    most: int = 12
    uneven: float = 25.0
    disturbed: int = 1
    longest: int = 3
    own: int = 2
    recolour: bool = True

    def __post_init__(self) -> None:
        for name, least in (
            ("train", 1),
            ("val", 1),
            ("fewest", 2),
            ("most", self.fewest),
            ("uneven", 1),
            ("disturbed", 0),
            ("longest", 1),
            ("own", 1),
        ):
            if not getattr(self, name) >= least:
                raise ConfigError(
                    f"dataset.montage.{name} must be at least {least}, not {getattr(self, name):g}"
                )
        if not math.isfinite(self.uneven):
            raise ConfigError("dataset.montage.uneven must be a number")
        if self.most > _PIECES // 4 or self.disturbed > 4:
            raise ConfigError(
                f"dataset.montage: most must be at most {_PIECES // 4}, and disturbed at most 4"
            )

    @property
    def room(self) -> int:
        """Candidates that a montage needs at least."""
        return self.most + len(DISTURBANCES) * self.disturbed * self.longest


@dataclass(frozen=True)
class Look:
    """How a stretch is shown.

    Attributes:
        mirrored: Left to right.
        gains: What red, green and blue are multiplied by.
    """

    mirrored: bool = False
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Piece:
    """Some candidates in a row.

    Attributes:
        kind: What they are.
        clip: Which of the montage's stretches they belong to or come from; -1 for none.
        video: Which video they show, or -1.
        places: (L,) which of its stored frames, ascending; of black and noise only the number of
            places counts.
        look: How they are shown.
        strength: 0 to 1: how bright a black stretch is, or how far out of focus a blurred one.
    """

    kind: Kind
    clip: int
    video: int
    places: tuple[int, ...]
    look: Look = Look()
    strength: float = 0.0

    def __len__(self) -> int:
        """Candidates."""
        return len(self.places)


class _Draws:
    """Hands out random numbers from 0 to below 1, one after the other."""

    def __init__(self, numbers: Sequence[float]) -> None:
        self._numbers = numbers
        self._next = 0

    def __call__(self) -> float:
        self._next += 1
        return self._numbers[self._next - 1]

    def below(self, count: int) -> int:
        return int(self() * count)

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self()

    def order(self, count: int) -> list[int]:
        keys = [self() for _ in range(count)]
        return sorted(range(count), key=keys.__getitem__)


@dataclass(frozen=True)
class _Clip:
    video: int
    share: float
    window: float
    start: float
    look: Look


def plan_montage(
    stored: Sequence[int],
    candidates: int,
    settings: MontageSettings,
    of_pair: Sequence[float],
    own: Sequence[float],
) -> list[Piece]:
    """The pieces of one montage, in order; together they are N candidates.

    Args:
        stored: (V,) stored frames of each video, at least one each.
        candidates: N.
        settings: How.
        of_pair: `DRAWS` numbers from 0 to below 1 that the other montage of the pair has too.
        own: `DRAWS` numbers of this one.

    Raises:
        ConfigError: N is too few for these settings.
        ValueError: There are not `LEAST_VIDEOS` videos.
    """
    if len(stored) < LEAST_VIDEOS:
        raise ValueError(f"montages need {LEAST_VIDEOS} videos, there are {len(stored)}")
    if candidates < settings.room:
        raise ConfigError(
            f"{candidates} candidate frames are too few for montages of up to {settings.most} "
            f"stretches and their disturbances, which need {settings.room}",
            hint=f"take --frames {settings.room} or more, or a lower dataset.montage.most",
        )
    pair, draw = _Draws(of_pair), _Draws(own)
    most = min(settings.most, len(stored) - 1)
    count = min(settings.fewest, most) + draw.below(most - min(settings.fewest, most) + 1)
    shared = max(0, count - settings.own)
    free = list(range(len(stored)))
    # As many as any montage of the pair may share, so that what follows is drawn alike.
    clips = [_clip(free, pair, settings) for _ in range(most)][:shared]
    free = [video for video in range(len(stored)) if video not in {clip.video for clip in clips}]
    clips += [_clip(free, draw, settings) for _ in range(count - shared)]
    clips = [clips[place] for place in draw.order(count)]
    bad: list[tuple[Kind, int]] = [
        (kind, 1 + draw.below(settings.longest))
        for kind in DISTURBANCES
        for _ in range(draw.below(settings.disturbed + 1))
    ]
    lengths = _lengths([clip.share for clip in clips], candidates - sum(n for _, n in bad))
    pieces = [
        Piece("clip", i, clip.video, _places(stored[clip.video], length, clip), clip.look)
        for i, (clip, length) in enumerate(zip(clips, lengths, strict=True))
    ]
    for place in draw.order(len(bad)):
        kind, length = bad[place]
        _disturb(pieces, kind, length, draw, stored, free)
    return pieces


def whole_weights(pieces: Sequence[Piece]) -> list[float]:
    """(N,) what each candidate counts in the whole: every stretch the same, disturbances nothing.

    Their sum is 1.
    """
    frames: dict[int, int] = {}
    for piece in pieces:
        if piece.kind == "clip":
            frames[piece.clip] = frames.get(piece.clip, 0) + len(piece)
    weights: list[float] = []
    for piece in pieces:
        of_clip = piece.kind == "clip"
        weights += [1 / (len(frames) * frames[piece.clip]) if of_clip else 0.0] * len(piece)
    return weights


def shown_and_bad(pieces: Sequence[Piece], kept: Sequence[int]) -> tuple[float, int]:
    """The share of the stretches that kept candidates show, and how many show a disturbance."""
    owners = [piece for piece in pieces for _ in range(len(piece))]
    clips = {piece.clip for piece in pieces if piece.kind == "clip"}
    shown = {owners[i].clip for i in kept if owners[i].kind == "clip"}
    return len(shown) / len(clips), sum(owners[i].kind != "clip" for i in kept)


def _clip(free: list[int], draw: _Draws, settings: MontageSettings) -> _Clip:
    """A stretch of a video that is taken out of `free`."""
    video = free.pop(draw.below(len(free)))
    share = settings.uneven ** draw()
    window, start, mirrored = draw.between(0.3, 1.0), draw(), draw()
    red, green, blue = draw(), draw(), draw()
    look = Look()
    if settings.recolour:
        look = Look(mirrored < 0.5, (_gain(red), _gain(green), _gain(blue)))
    return _Clip(video, share, window, start, look)


def _gain(draw: float) -> float:
    return 0.8 + 0.4 * draw


def _lengths(shares: Sequence[float], frames: int) -> list[int]:
    """Candidates of each stretch: in proportion to the shares, at least 1, `frames` in all."""
    left = frames - len(shares)
    total = sum(shares)
    exact = [left * share / total for share in shares]
    lengths = [1 + int(each) for each in exact]
    rest = sorted(range(len(shares)), key=lambda i: (int(exact[i]) - exact[i], i))
    for i in rest[: frames - sum(lengths)]:
        lengths[i] += 1
    return lengths


def _places(stored: int, length: int, clip: _Clip) -> tuple[int, ...]:
    """Evenly spread over a window of the stored frames; of a short video some more than once."""
    window = min(stored, max(length, round(stored * clip.window)))
    first = int(clip.start * (stored - window + 1))
    return tuple(first + (2 * i + 1) * window // (2 * length) for i in range(length))


def _disturb(
    pieces: list[Piece],
    kind: Kind,
    length: int,
    draw: _Draws,
    stored: Sequence[int],
    free: Sequence[int],
) -> None:
    """Puts a disturbance in: half of the time between two pieces, else inside a stretch."""
    number, inside, source, strength = draw(), draw(), draw(), draw()
    clips = [i for i, piece in enumerate(pieces) if piece.kind == "clip"]
    at = clips[int(number * len(clips))]
    host = pieces[at]
    # A stretch of another video is only told from the montage's own where these go on after it.
    if len(host) > 1 and (inside < 0.5 or kind == "foreign"):
        cut = 1 + int(2 * inside * (len(host) - 1)) % (len(host) - 1) if len(host) > 2 else 1
        first, second = host.places[:cut], host.places[cut:]
        pieces[at : at + 1] = [_with(host, first), _with(host, second)]
        host = pieces[at]
    of = pieces[clips[int(source * len(clips)) % len(clips)]]
    new = {
        "black": Piece("black", -1, -1, (0,) * length, strength=strength),
        "noise": Piece("noise", -1, -1, (0,) * length, strength=strength),
        "frozen": Piece("frozen", host.clip, host.video, host.places[-1:] * length, host.look),
    }
    if kind == "foreign":
        others = free or [video for video in range(len(stored)) if video != host.video]
        video = others[int(source * len(others))]
        first_place = int(strength * max(1, stored[video] - length))
        places = tuple(min(first_place + i, stored[video] - 1) for i in range(length))
        new[kind] = Piece("foreign", -1, video, places)
    elif kind == "blur":
        blurred = (of.places * length)[:length] if of.kind == "clip" else host.places[-1:] * length
        owner = of if of.kind == "clip" else host
        new[kind] = Piece(
            "blur", owner.clip, owner.video, tuple(sorted(blurred)), owner.look, strength
        )
    pieces.insert(at + 1, new[kind])


def _with(piece: Piece, places: tuple[int, ...]) -> Piece:
    return Piece(piece.kind, piece.clip, piece.video, places, piece.look)
