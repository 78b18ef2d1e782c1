"""Settings of `shard`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vidsampler.errors import ConfigError


@dataclass(frozen=True)
class ShardConfig:
    """Settings of `shard`.

    Attributes:
        per_shard: At most so many videos a shard; they are spread evenly.
        shards: So many shards, in place of `per_shard`.
        frames: Keep so many of each video's frames, evenly spread; null: all.
        positions: `middle` or `start` of the equal segments that `frames` makes.
        workers: Processes; null: as many as there are processors to use.
        timeout: Seconds that one video may take; null: no limit.
    """

    per_shard: int = 128
    shards: int | None = None
    frames: int | None = None
    positions: Literal["middle", "start"] = "middle"
    workers: int | None = None
    timeout: float | None = 600.0

    def __post_init__(self) -> None:
        for name, value, most in (
            ("per_shard", self.per_shard, 100_000),
            ("shards", self.shards, 1_000_000),
            ("frames", self.frames, 1_000_000),
            ("workers", self.workers, 1024),
        ):
            if value is not None and not 1 <= value <= most:
                raise ConfigError(f"{name} must be from 1 to {most:,}, not {value}")
        if self.timeout is not None and not 0 < self.timeout < float("inf"):
            raise ConfigError(f"timeout must be more than 0 seconds, not {self.timeout:g}")
