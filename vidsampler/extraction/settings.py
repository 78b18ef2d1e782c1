"""Settings of `extract`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from vidsampler.errors import ConfigError

WHICH = ("frames", "fps", "keyframes", "all")
"""The ways to say which frames; one of them is taken."""

DEFAULT_FRAMES = 16

LEAST_MP4_FPS = 0.001
"""The rate of a file is a fraction of small numbers."""


@dataclass(frozen=True)
class Recipe:
    """What is stored of each video. Two extractions with equal recipes give equal bytes.

    Attributes:
        frames: So many frames, evenly spread; all there are where there are fewer. 16 where
            nothing is said.
        fps: The frames shown at so many points a second.
        keyframes: The file's keyframes.
        all: Every frame.
        positions: `middle` or `start` of the equal segments that `frames` makes.
        size: Length of the shorter side in pixels, never enlarged; null: as the source.
        store: `jpeg`, one picture a frame, or `mp4`, one H.264 file a video at `fps`.
        quality: Of the JPEGs, 1 to 100.
        crf: Of the mp4, 0 (best) to 51.
        salvage: Take what decodes of a cut or damaged file in place of refusing it.
    """

    frames: int | None = None
    fps: float | None = None
    keyframes: bool = False
    all: bool = False
    positions: Literal["middle", "start"] = "middle"
    size: int | None = 224
    store: Literal["jpeg", "mp4"] = "jpeg"
    quality: int = 90
    crf: int = 23
    salvage: bool = False

    def __post_init__(self) -> None:
        given = [name for name in WHICH if _is_set(getattr(self, name))]
        if len(given) > 1:
            raise ConfigError(
                "choose one of " + " and ".join(f"--{name}" for name in given),
                hint="they all say which frames to take",
            )
        if self.store == "mp4" and self.fps is None:
            raise ConfigError(
                "--store mp4 needs --fps, the rate of the new files", hint="such as --fps 3"
            )
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ConfigError(f"fps must be more than 0 and at most 1000, not {self.fps:g}")
        if self.store == "mp4" and self.fps is not None and self.fps < LEAST_MP4_FPS:
            raise ConfigError(f"fps of an mp4 must be at least {LEAST_MP4_FPS}, not {self.fps:g}")
        for name, value, least, most in (
            ("frames", self.frames, 1, 1_000_000),
            ("size", self.size, 2, 16_384),
            ("quality", self.quality, 1, 100),
            ("crf", self.crf, 0, 51),
        ):
            if value is not None and not least <= value <= most:
                raise ConfigError(f"{name} must be from {least} to {most:,}, not {value}")

    @property
    def spread(self) -> int | None:
        """So many frames, evenly spread; None where the frames are said in another way."""
        if self.fps is None and not self.keyframes and not self.all:
            return self.frames or DEFAULT_FRAMES
        return None

    def to_json(self) -> dict[str, Any]:
        """What identifies it: without what has no effect on the bytes."""
        plain = {key: value for key, value in asdict(self).items() if _is_set(value)}
        if self.spread is None:
            del plain["positions"]
        else:
            plain = {"frames": self.spread, **plain}
        del plain["quality" if self.store == "mp4" else "crf"]
        return plain


def _is_set(value: object) -> bool:
    # Not by "in (None, False)": 0 is a number here, and equal to False.
    return value is not None and value is not False


@dataclass(frozen=True)
class ExtractConfig:
    """Settings of `extract`.

    Attributes:
        recipe: What is stored of each video.
        layout: `shards`, WebDataset tars, or `folders`, one folder of pictures a video.
        per_shard: Videos a shard.
        workers: Processes; null: as many as there are processors to use.
        timeout: Seconds that one video may take; null: no limit.
        engine: `local`, or `ray`: shards are made on the nodes of a Ray cluster, which see the
            videos and the output folder under the same paths.
        address: Of the Ray cluster; null: `RAY_ADDRESS`, or a Ray of this machine's processors.
    """

    recipe: Recipe = Recipe()
    layout: Literal["shards", "folders"] = "shards"
    per_shard: int = 128
    workers: int | None = None
    timeout: float | None = 600.0
    engine: Literal["local", "ray"] = "local"
    address: str | None = None

    def __post_init__(self) -> None:
        if self.address is not None and self.engine != "ray":
            raise ConfigError("--address needs --engine ray", hint="it is that of a Ray cluster")
        if not 1 <= self.per_shard <= 100_000:
            raise ConfigError(f"per_shard must be from 1 to 100,000, not {self.per_shard}")
        if self.workers is not None and not 1 <= self.workers <= 1024:
            raise ConfigError(f"workers must be from 1 to 1024, not {self.workers}")
        if self.timeout is not None and not 0 < self.timeout < float("inf"):
            raise ConfigError(f"timeout must be more than 0 seconds, not {self.timeout:g}")

    def explicit(self) -> ExtractConfig:
        """The same, with the number of frames said where nothing was."""
        return replace(self, recipe=replace(self.recipe, frames=self.recipe.spread))
