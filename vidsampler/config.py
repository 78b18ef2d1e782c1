"""One strict tree of settings: dataclasses filled from YAML files, `--set a.b=c` and flags.

A job's settings are a frozen dataclass whose fields may be dataclasses again. `resolve` fills it
from layers, later ones winning: shipped defaults < `--config FILE` < `--set` < flags. An unknown
key, a wrong type or a key given twice is an error that names the place, the key and what fits.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vidsampler import plainyaml
from vidsampler.backbones.config import Precision
from vidsampler.errors import ConfigError, unknown
from vidsampler.query import check_one_sampler, check_questions
from vidsampler.schema import Leaves, Path_, build, read_leaves
from vidsampler.timecode import parse_time

if TYPE_CHECKING:
    from vidsampler.learned import TrainedSampler

T = TypeVar("T")


KEPT, CANDIDATES = 8, 64
"""K and N of `select` and `embed`, where nothing else is said."""


@dataclass(frozen=True)
class SelectConfig:
    """Settings of `select`: which frames of a video to keep.

    Attributes:
        k: Frames to keep, at least 1 (`--top-k`); null: 8, or as many as the checkpoint keeps.
        sampler: A registered sampler; null: `coverage`, or `mdp3` where there is a question.
        checkpoint: A checkpoint or run whose learned sampler chooses, in place of `sampler`.
        candidates: Frames to look at, at least 1; `keyframe` and `scene` bring their own. Null: 64,
            or as many as the checkpoint looks at.
        start: Look no earlier than this, seconds from the container's start (`--from`).
        end: Look no later than this, seconds (`--to`).
        seed: For samplers that draw at random.
        threads: Decoding threads; null: as many as there are processors to use.
        timeout: Seconds that one video may take; null: no limit.
        salvage: Use what decodes of a damaged file in place of refusing it.
        query: Questions: what the kept frames are to show; K is shared among them.
        backbone: The image-text model that scores frames by the questions, a name or a path.
        pretrained: Its weights; see `BackboneConfig`.
        precision: What it computes in; see `BackboneConfig`.
        min_gap: Seconds between two frames that are kept for questions, at least.
        cache: Keep the candidates' features for the next question.
    """

    k: int | None = None
    sampler: str | None = None
    checkpoint: str | None = None
    candidates: int | None = None
    start: float | None = field(default=None, metadata={"parse": parse_time})
    end: float | None = field(default=None, metadata={"parse": parse_time})
    seed: int = 0
    threads: int | None = None
    timeout: float | None = None
    salvage: bool = False
    query: tuple[str, ...] = ()
    backbone: str | None = None
    pretrained: str = "auto"
    precision: Precision = "fp32"
    min_gap: float = 0.0
    cache: bool = True

    def __post_init__(self) -> None:
        check_questions(
            self.query,
            KEPT if self.k is None else self.k,
            self.min_gap,
            self.backbone,
            self.pretrained,
            self.precision,
        )
        check_one_sampler(self.sampler, self.checkpoint, question=bool(self.query))
        for name, value, least in (
            ("k (--top-k)", self.k, 1),
            ("candidates", self.candidates, 1),
            ("seed", self.seed, 0),
            ("threads", self.threads, 1),
        ):
            if value is not None and value < least:
                raise ConfigError(f"{name} must be at least {least}, not {value}")
        for name, time in (("start (--from)", self.start), ("end (--to)", self.end)):
            if time is not None and not 0 <= time < float("inf"):
                raise ConfigError(f"{name} must be a time from 0 on, not {time:g}")
        if self.timeout is not None and not 0 < self.timeout < float("inf"):
            raise ConfigError(f"timeout must be more than 0 seconds, not {self.timeout:g}")
        if self.end is not None and self.end <= (self.start or 0.0):
            raise ConfigError(
                f"end (--to) must come after start (--from): "
                f"{self.end:g} s is not after {self.start or 0.0:g} s"
            )

    def explicit(self) -> SelectConfig:
        """The same with K and N, but for the K of a `gate`, which decides for itself.

        Raises:
            InputError, UsageError: The checkpoint has no learned sampler.
        """
        run = None
        if self.checkpoint is not None:
            from vidsampler.learned import trained_sampler

            run = trained_sampler(self.checkpoint)
        k, candidates = kept_and_candidates(self.k, self.candidates, run)
        return replace(self, k=k, candidates=candidates)


def kept_and_candidates(
    k: int | None, candidates: int | None, run: TrainedSampler | None
) -> tuple[int | None, int]:
    """K and N: what is said, or else what a run has, or 8 of 64.

    K stays None for a run whose `gate` decides for itself.
    """
    own = (KEPT, CANDIDATES) if run is None else (run.k, run.frames)
    return own[0] if k is None else k, own[1] if candidates is None else candidates


@dataclass(frozen=True)
class Layer:
    """Some values and where they came from.

    Attributes:
        place: What an error names, with "{key}" for the dotted key.
        values: Nested mapping, as YAML gives it.
        text: The values are words of the command line, still to be read.
    """

    place: str
    values: Mapping[str, Any]
    text: bool = False


def file_layer(name: str, kind: str) -> Layer:
    """The values of a YAML file, or of a shipped preset.

    Args:
        name: A path, or the bare name of a preset (a preset wins over a file of that name).
        kind: The folder of presets under `configs/`, such as "select".

    Raises:
        ConfigError: No such file or preset, or it cannot be read as a YAML mapping.
    """
    presets = {path.stem: path for path in sorted((configs_dir() / kind).glob("*.yaml"))}
    path = presets.get(name, Path(name))
    bare = Path(name).name == name and not Path(name).suffix
    if name not in presets and bare and not path.exists():
        raise ConfigError(unknown("preset", name, presets), hint="or give the path of a file")
    try:
        values = plainyaml.load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read config {path}: {error.strerror or error}") from error
    except ValueError as error:
        # UnicodeDecodeError is a ValueError too; its own words would not help anybody.
        why = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise ConfigError(f"cannot read config {path}: {why}") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"config {path} must be a mapping of keys to values")
    _find_backbone(values, path.parent)
    return Layer(f"{path}: {{key}}", values)


def set_layer(assignment: str) -> Layer:
    """One `--set a.b=c`.

    Raises:
        ConfigError: There is no "=", or a part of the key is empty.
    """
    key, equals, value = assignment.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise ConfigError(f"--set takes KEY=VALUE, not {assignment!r}")
    values: Any = value
    for part in reversed(parts):
        values = {part: values}
    return Layer("--set {key}", values, text=True)


def flag_layer(flag: str, key: str, value: str | bool | None, section: str | None = None) -> Layer:
    """The value of one flag; no value at all where the flag was not given (None)."""
    values: dict[str, Any] = {} if value is None else {key: value}
    if values and section is not None:
        values = {section: values}
    return Layer(flag, values, text=isinstance(value, str))


def layer_part(layer: Layer, key: str) -> Layer:
    """What a layer says under a key.

    Raises:
        ConfigError: No mapping is there.
    """
    values = layer.values.get(key)
    place = layer.place.replace("{key}", f"{key}.{{key}}")
    if values is not None and not isinstance(values, Mapping):
        raise ConfigError(f"{layer.place.format(key=key)}: expected a mapping, not {values!r}")
    return Layer(place, values or {}, layer.text)


def layer_without(layer: Layer, keys: Iterable[str]) -> Layer:
    """A layer without what it says under some keys."""
    left_out = set(keys)
    values = {key: value for key, value in layer.values.items() if key not in left_out}
    return Layer(layer.place, values, layer.text)


def resolve(cls: type[T], layers: Iterable[Layer]) -> T:
    """Fills a config dataclass, later layers winning over earlier ones.

    Raises:
        ConfigError: An unknown key, a value of a wrong type or out of range, or a missing key.
    """
    leaves: Leaves = {}
    for layer in layers:
        for path, value in read_leaves(cls, layer.values, layer.place, text=layer.text).items():
            _put(leaves, path, value)
    return build(cls, leaves)


def to_plain(config: Any) -> dict[str, Any]:
    """A config as plain data: what JSON and YAML can hold, and `resolve` takes back."""
    plain: dict[str, Any] = _plain(asdict(config))
    return plain


def configs_dir() -> Path:
    """The folder of shipped configs: inside an installed package, or beside a checkout's.

    Raises:
        ConfigError: Neither is there.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if folder.is_dir():
            return folder
    raise ConfigError(f"the shipped configs are missing beside {package}", hint="install again")


def cache_dir() -> Path:
    """Where rendered and cached data live; it may not exist yet.

    `$VIDSAMPLER_CACHE`, else `$XDG_CACHE_HOME/vidsampler`, else `~/.cache/vidsampler`.
    """
    if own := os.environ.get("VIDSAMPLER_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG rules say that a relative path there is to be ignored.
    base = Path(shared) if os.path.isabs(shared) else Path.home() / ".cache"
    return base / "vidsampler"


def _find_backbone(values: dict[str, Any], folder: Path) -> None:
    """A backbone's config and weights that lie beside the file are found from there."""
    backbone = values.get("backbone")
    for key, ending in (("name", ".json"), ("pretrained", ".safetensors")):
        name = backbone.get(key) if isinstance(backbone, dict) else None
        if isinstance(name, str) and Path(name).name == name and name.endswith(ending):
            beside = folder / name
            if isinstance(backbone, dict) and beside.is_file():
                backbone[key] = str(beside)


def _put(leaves: Leaves, path: Path_, value: Any) -> None:
    """Stores a value; what an earlier layer said above or below it no longer counts."""
    for other in list(leaves):
        shorter = min(len(other), len(path))
        if other[:shorter] == path[:shorter]:
            del leaves[other]
    leaves[path] = value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value
