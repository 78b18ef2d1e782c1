"""What can be set of the rendered dataset."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from typing import Literal

from vidsampler.errors import ConfigError

VERSION = 3
"""Raise it whenever the same settings give other videos, captions or records."""

Kind = Literal["informative", "unrelated", "frozen", "black", "noisy", "blurred"]
KINDS: tuple[Kind, ...] = ("informative", "unrelated", "frozen", "black", "noisy", "blurred")
"""What a slot can be. Only informative ones matter; `frozen` ones repeat the slot before."""

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class KindShares:
    """How the slots that are not informative are divided; only the ratios count.

    Attributes:
        unrelated: Pictures that no caption describes, otherwise like the informative ones.
        frozen: Repeats of the slot before, which is an informative or an unrelated one.
        black: (Nearly) nothing to be seen.
        noisy: An unrelated picture under heavy noise.
        blurred: An unrelated picture, far out of focus.
    """

    unrelated: float = 0.2
    frozen: float = 0.2
    black: float = 0.2
    noisy: float = 0.2
    blurred: float = 0.2

    def __post_init__(self) -> None:
        for name, share in asdict(self).items():
            if not 0 <= share < math.inf:
                raise ConfigError(f"kinds.{name} must be a share from 0 on, not {share:g}")
        if sum(asdict(self).values()) == 0:
            raise ConfigError("one of the shares of kinds must be above 0")
        if self.frozen and not self.unrelated:
            raise ConfigError(
                "kinds.unrelated must be above 0 where kinds.frozen is: an unrelated picture "
                "stands where nothing can be repeated"
            )


@dataclass(frozen=True)
class ShapesSettings:
    """Everything that the videos depend on: the same settings give the same pixels.

    A video is a row of slots of equal duration, each with one still picture, so that N = `slots`
    uniform candidates see each slot once.

    Attributes:
        train: Videos to train on.
        val: Videos to choose a checkpoint by.
        test: Videos to measure on; they do not depend on the sizes of the other splits.
        slots: Pictures of a video.
        informative: The share of slots that matter, in the mean over the videos. Each shows one
            fact of the caption; where it asks for 3.5 of them, half of the videos have 3.
        facts: How many facts there are to draw from. The fewer, the more videos share each.
        fps: Encoded frames a second.
        slot_frames: Encoded frames of a slot: it lasts `slot_frames / fps` seconds.
        width: Pixels, even.
        height: Pixels, even. Facts lie inside the central square: a centre crop cuts none.
        seed: Other videos, and other facts, for each.
        kinds: What the other slots are.
    """

    train: int = 3600
    val: int = 200
    test: int = 500
    slots: int = 16
    informative: float = 0.25
    facts: int = 32
    fps: int = 1
    slot_frames: int = 1
    width: int = 80
    height: int = 64
    seed: int = 0
    kinds: KindShares = field(default_factory=KindShares)

    def __post_init__(self) -> None:
        for name, least, most in (
            ("train", 0, 10_000_000),
            ("val", 0, 10_000_000),
            ("test", 0, 10_000_000),
            ("slots", 2, 1024),
            ("facts", 8, 200),
            ("fps", 1, 120),
            ("slot_frames", 1, 120),
            ("width", 64, 1024),
            ("height", 64, 1024),
            ("seed", 0, 2**63),
        ):
            if not least <= getattr(self, name) <= most:
                raise ConfigError(
                    f"{name} must be from {least} to {most}, not {getattr(self, name)}"
                )
        for name in ("width", "height"):
            if getattr(self, name) % 2:
                raise ConfigError(f"{name} must be even, not {getattr(self, name)}")
        if not 2 <= self.informative * self.slots <= self.slots:
            raise ConfigError(
                f"informative must be from {2 / self.slots:g} (2 of {self.slots} slots) to 1, "
                f"not {self.informative:g}"
            )
        if self.most_facts > self.facts // 2:
            raise ConfigError(
                f"facts must be at least {2 * self.most_facts}, twice what a video may show, "
                f"not {self.facts}"
            )
        # A set of facts bars its own parts; and drawing at random must not take forever.
        enough = math.comb(self.facts, self.fewest_facts) // (2 * self.most_facts)
        if self.videos > enough:
            raise ConfigError(
                f"{self.videos} videos need as many different captions; {self.facts} facts, "
                f"{self.fewest_facts} a video, are enough for {enough}",
                hint="raise facts, slots or informative",
            )

    @property
    def videos(self) -> int:
        """Videos of all splits."""
        return self.train + self.val + self.test

    @property
    def fewest_facts(self) -> int:
        """Facts of the videos that have the fewest."""
        return math.floor(self.informative * self.slots)

    @property
    def most_facts(self) -> int:
        """Facts of the videos that have the most."""
        return math.ceil(self.informative * self.slots)

    @property
    def slot_seconds(self) -> float:
        """How long a slot is shown."""
        return self.slot_frames / self.fps

    def key(self, codec: str) -> str:
        """16 hex digits that name these settings, this version and the codec."""
        text = json.dumps([VERSION, codec, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
