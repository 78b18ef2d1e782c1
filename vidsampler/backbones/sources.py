"""Finds the config and the weights of a backbone: here, in open_clip, or on a hub.

Nothing is built or read in full here, and every way that a name can be wrong ends in one sentence
with the way out.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidsampler import registry
from vidsampler.config import configs_dir
from vidsampler.errors import ConfigError, UsageError, VidsamplerError, unknown
from vidsampler.hub import cached_file, cannot_fetch, hub_file

HUB_PREFIX = "hf-hub:"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_CONFIG = "open_clip_config.json"
_CONFIG_NAMES = (_HUB_CONFIG, "config.json")
_WEIGHTS_NAMES = ("open_clip_model.safetensors", "model.safetensors", "open_clip_pytorch_model.bin")
_WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


@dataclass(frozen=True)
class ModelSource:
    """What a name stands for.

    Attributes:
        name: for messages.
        model: open_clip's model config.
        preprocess: what is known about the pixels it wants.
        auto: what `pretrained: auto` means; None if it has to be said.
        tags: the names of its published weights.
        hub: the hub repository that it was found in.
    """

    name: str
    model: dict[str, Any]
    preprocess: dict[str, Any]
    auto: str | None
    tags: tuple[str, ...] = ()
    hub: str | None = None


@dataclass(frozen=True)
class WeightsSource:
    """Where weights are, and what is known about them.

    Attributes:
        path: the file.
        preprocess: what they want to be given, where it is known.
    """

    path: Path
    preprocess: dict[str, Any]


def find_model(name: str) -> ModelSource:
    """What a backbone's name stands for.

    Raises:
        UsageError: There is no such model, file or folder.
        ConfigError: A config cannot be read.
        VidsamplerError: A hub cannot be reached.
    """
    if name in registry.names("backbones"):
        own = registry.load("backbones", name)
        model, preprocess = _read_config(configs_dir() / own.file)
        return ModelSource(name, model, preprocess, own.pretrained)
    if name.startswith(HUB_PREFIX):
        hub = name.removeprefix(HUB_PREFIX)
        model, preprocess = _read_config(_hub_file(hub, (_HUB_CONFIG,)))
        return ModelSource(name, model, preprocess, hub, hub=hub)
    import open_clip

    path = Path(name)
    known = open_clip.list_models()
    if name not in known and (path.exists() or path.suffix == ".json"):
        file = _config_in(path)
        model, preprocess = _read_config(file)
        beside = [
            str(file.parent / each) for each in _WEIGHTS_NAMES if (file.parent / each).exists()
        ]
        return ModelSource(name, model, preprocess, beside[0] if beside else None)
    if name not in known:
        raise UsageError(
            unknown("backbone", name, [*registry.names("backbones"), *known]),
            hint="a backbone is an open_clip model, a model config (json), or hf-hub:ORG/NAME",
        )
    tags = tuple(open_clip.list_pretrained_tags_by_model(name))
    auto = "openai" if "openai" in tags else tags[0] if len(tags) == 1 else None
    return ModelSource(name, deepcopy(open_clip.get_model_config(name)), {}, auto, tags)


def find_weights(source: ModelSource, pretrained: str) -> WeightsSource | None:
    """The file with the weights, fetched if need be; None for random weights.

    Raises:
        UsageError: There are no such weights, or they were trained for another activation.
        VidsamplerError: A hub cannot be reached.
    """
    if pretrained == "auto":
        if source.auto is None:
            tags = f" (its tags: {', '.join(source.tags)})" if source.tags else ""
            raise UsageError(
                f"backbone {source.name} needs to be told which weights to take{tags}",
                hint="give --pretrained TAG or FILE, or --pretrained none for random weights",
            )
        pretrained = source.auto
    if pretrained == "none":
        return None
    # open_clip writes tags with underscores and takes either.
    tag = pretrained.lower().replace("-", "_")
    if tag in source.tags:
        return _of_tag(source, tag)
    path = Path(pretrained)
    if path.is_dir():
        found = [path / each for each in _WEIGHTS_NAMES if (path / each).is_file()]
        if not found:
            raise UsageError(f"there are no weights in {path}: none of {', '.join(_WEIGHTS_NAMES)}")
        path = found[0]
    if path.is_file():
        return _of_file(source, path, pretrained)
    if path.suffix in _WEIGHTS_SUFFIXES:
        raise UsageError(f"there is no weights file {path}")
    hub = pretrained.removeprefix(HUB_PREFIX)
    if _HUB_ID.fullmatch(hub):
        return _of_hub(source, hub)
    raise UsageError(
        unknown(f"weights of {source.name}", pretrained, source.tags or ("auto", "none")),
        hint="--pretrained takes a tag of the model, a weights file, or a hub id ORG/NAME",
    )


def _of_tag(source: ModelSource, tag: str) -> WeightsSource:
    import open_clip

    facts = open_clip.get_pretrained_cfg(source.name, tag)
    _check_activation(source, tag, facts)
    if repository := facts.get("hf_hub"):
        hub, _, file = repository.rpartition("/")
        path = _hub_file(hub, (file,) if file else _WEIGHTS_NAMES)
    else:
        # Checks the file's sha256 against the one in its address.
        try:
            path = Path(open_clip.download_pretrained_from_url(facts["url"]))
        except (OSError, RuntimeError) as error:
            raise cannot_fetch(f"weights {tag!r} of {source.name}", error) from error
    return WeightsSource(path, dict(facts))


def _of_hub(source: ModelSource, hub: str) -> WeightsSource:
    """Weights of a repository, with what open_clip or its own config says of them."""
    import open_clip

    for model, tag in open_clip.list_pretrained():
        facts = open_clip.get_pretrained_cfg(model, tag)
        if facts.get("hf_hub") == f"{hub}/":
            _check_activation(source, hub, facts)
            return WeightsSource(_hub_file(hub, _WEIGHTS_NAMES), dict(facts))
    path = _hub_file(hub, _WEIGHTS_NAMES)
    if cached_file(hub, _HUB_CONFIG) is None:
        # There need not be one, and weights from the cache need no network.
        with suppress(VidsamplerError):
            _hub_file(hub, (_HUB_CONFIG,))
    return _of_file(source, path, hub)


def _of_file(source: ModelSource, path: Path, name: str) -> WeightsSource:
    """Weights, with what the hub's config in their folder says of them."""
    config = path.parent / _HUB_CONFIG
    if not config.is_file():
        return WeightsSource(path, {})
    model, preprocess = _read_config(config)
    _check_activation(source, name, model)
    return WeightsSource(path, preprocess)


def _hub_file(hub: str, names: tuple[str, ...]) -> Path:
    return hub_file(f"{names[0]} of {hub}", hub, names)


def _check_activation(source: ModelSource, weights: str, facts: dict[str, Any]) -> None:
    """Weights run with the activation that they were trained with; `facts` may say `quick_gelu`."""
    theirs, ours = bool(facts.get("quick_gelu")), bool(source.model.get("quick_gelu"))
    if theirs != ours:
        refuse_activation(source.name, weights, weights_quick=theirs)


def refuse_activation(name: str, weights: str, *, weights_quick: bool) -> None:
    """Refuses weights that would run with another activation than they were trained with.

    Raises:
        UsageError: Always.
    """
    words = ("GELU", "QuickGELU")
    other = f"{name}-quickgelu" if weights_quick else name.removesuffix("-quickgelu")
    raise UsageError(
        f"weights {weights!r} were trained with {words[weights_quick]}, but {name} computes "
        f"{words[not weights_quick]}: its features would be wrong",
        hint=f"take --backbone {other}",
    )


def _config_in(path: Path) -> Path:
    """The config file that a path means: itself, or the one in the folder."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise UsageError(f"there is no backbone config {path}")
    for name in _CONFIG_NAMES:
        if (path / name).is_file():
            return path / name
    raise UsageError(f"there is no {_CONFIG_NAMES[0]} in {path}")


def _read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A model's config and what it says about pixels; in its own form or in the hub's."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not JSON"
        raise ConfigError(f"cannot read backbone config {path}: {why}") from error
    preprocess = config.get("preprocess_cfg", {}) if isinstance(config, dict) else {}
    model = config.get("model_cfg", config) if isinstance(config, dict) else {}
    missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in model]
    if missing:
        raise ConfigError(f"backbone config {path} is no open_clip model config: no {missing[0]}")
    _resolve_text_folder(model["text_cfg"], path.parent)
    return model, preprocess


def _resolve_text_folder(text: dict[str, Any], folder: Path) -> None:
    """Lets a config name the folder of its text model from where it lies itself.

    `text`, or whatever folder beside the config is named, becomes an absolute path; so does the
    placeholder TEXT_DIR, which means `text`.
    """
    for key in ("hf_model_name", "hf_tokenizer_name"):
        name = text.get(key)
        if name and not Path(name).is_absolute():
            beside = folder / ("text" if name == "TEXT_DIR" else name)
            if beside.is_dir():
                text[key] = str(beside.resolve())
