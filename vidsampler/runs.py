"""Every published run by name, such as `mmsampler/msrvtt-diff`: its settings and its figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from vidsampler import plainyaml
from vidsampler.config import Layer, configs_dir, resolve
from vidsampler.errors import ConfigError, UsageError, unknown
from vidsampler.methods import MethodConfig, method_layer
from vidsampler.retriever_config import resolve_tree


@dataclass(frozen=True)
class Figures:
    """What was published of a run.

    Attributes:
        source: Where.
        system: As it is called there.
        variant: Likewise.
        split: Which split was measured; almost all checkpoints were chosen on the test split too.
        kept: Mean kept frames of a video.
        gmacs_per_video: By the accounting `published`.
        t2v: Text to video: R@1, R@5, R@10, R@50 in percent, MdR, MnR, as far as published.
        v2t: Video to text.
        note: What to know before comparing.
    """

    source: str
    system: str = ""
    variant: str = ""
    split: str = "test"
    kept: float | None = None
    gmacs_per_video: float | None = None
    t2v: dict[str, float] = field(default_factory=dict)
    v2t: dict[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class PublishedRun:
    """One run of `configs/runs.yaml`.

    Attributes:
        method: A registered method.
        dataset: A registered dataset.
        set: Settings that differ from the method's on this dataset.
        sampler_from: The run whose trained sampler is taken, or null.
        published: Its figures; none where there are none.
    """

    method: str
    dataset: str
    set: dict[str, Any] = field(default_factory=dict)
    sampler_from: str | None = None
    published: tuple[dict[str, Any], ...] = ()

    def figures(self) -> tuple[Figures, ...]:
        """What was published, checked."""
        return tuple(resolve(Figures, [Layer("published: {key}", each)]) for each in self.published)

    def config(self, layers: Iterable[Layer] = ()) -> MethodConfig:
        """Its settings, with what the layers say in their place.

        Raises:
            ConfigError: A layer does not fit.
        """
        own = method_layer(self.method, self.dataset, self.set)
        return resolve_tree(MethodConfig, [own, *layers])


def run_names() -> tuple[str, ...]:
    """The names of all published runs, in the order of the file."""
    return tuple(_runs())


def published_run(name: str) -> PublishedRun:
    """A published run.

    Raises:
        UsageError: There is none of this name; the message has the nearest.
    """
    runs = _runs()
    if name not in runs:
        raise UsageError(
            unknown("published run", name, runs), hint="see them with: vidsampler list runs"
        )
    return resolve(PublishedRun, [Layer(f"runs.yaml, {name}: {{key}}", runs[name])])


@cache
def _runs() -> dict[str, Any]:
    path = configs_dir() / "runs.yaml"
    try:
        runs = plainyaml.load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if not isinstance(runs, dict):
        raise ConfigError(f"{path} must be a mapping of names to runs")
    return runs


def is_pattern(name: str) -> bool:
    """Whether a name stands for several runs, as `mmsampler/*` does."""
    return any(letter in name for letter in "*?[")


def matching_runs(pattern: str) -> list[str]:
    """The published runs that a shell pattern fits, each after the one whose sampler it takes.

    Raises:
        UsageError: It fits none.
    """
    names = [name for name in run_names() if fnmatchcase(name, pattern)]
    if not names:
        raise UsageError(
            f"no published run fits {pattern!r}", hint="see them with: vidsampler list runs"
        )
    # Sorting keeps the order of the file otherwise; no source takes a sampler itself.
    return sorted(names, key=lambda name: published_run(name).sampler_from is not None)
