"""Finds the config and the weights of a backbone: here, in open_clip, or on a hub.

Nothing is built or read in full here, and every way that a name can be wrong ends in one sentence
with the way out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vidsampler import registry
from vidsampler.config import configs_dir
from vidsampler.errors import ConfigError, UsageError, VidsamplerError, unknown

T = TypeVar("T")

HUB_PREFIX = "hf-hub:"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_CONFIG_NAMES = ("open_clip_config.json", "config.json")
_WEIGHTS_NAMES = ("open_clip_model.safetensors", "model.safetensors", "open_clip_pytorch_model.bin")
_WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
_OFFLINE_HINT = (
    "download the file where there is a network and give its path with --pretrained FILE, or fill "
    "the hub's cache (HF_HOME), or take --pretrained none for random weights"
)


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
    import open_clip

    if name in registry.names("backbones"):
        own = registry.load("backbones", name)
        model, preprocess = _read_config(configs_dir() / own.file)
        return ModelSource(name, model, preprocess, own.pretrained)
    if name.startswith(HUB_PREFIX):
        hub = name.removeprefix(HUB_PREFIX)
        model, preprocess = _read_config(_from_hub(hub, (_CONFIG_NAMES[0],)))
        return ModelSource(name, model, preprocess, hub, hub=hub)
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
        return WeightsSource(path, {})
    if path.suffix in _WEIGHTS_SUFFIXES:
        raise UsageError(f"there is no weights file {path}")
    hub = pretrained.removeprefix(HUB_PREFIX)
    if _HUB_ID.fullmatch(hub):
        return WeightsSource(_from_hub(hub, _WEIGHTS_NAMES), {})
    raise UsageError(
        unknown(f"weights of {source.name}", pretrained, source.tags or ("auto", "none")),
        hint="--pretrained takes a tag of the model, a weights file, or a hub id ORG/NAME",
    )


def from_hub_or_folder(what: str, name: str, fetch: Callable[[], T]) -> T:
    """Runs something of Hugging Face's that reads a folder, or fetches a repository.

    Args:
        what: for the message.
        name: the folder, or the repository.
        fetch: does it.

    Raises:
        VidsamplerError: It failed.
    """
    from huggingface_hub import try_to_load_from_cache

    try:
        if not Path(name).is_dir() and not try_to_load_from_cache(name, "config.json"):
            _reach_hub()
        return fetch()
    except Exception as error:  # every library between here and the network has its own classes
        raise _unreachable(what, error) from error


def _of_tag(source: ModelSource, tag: str) -> WeightsSource:
    import open_clip

    facts = open_clip.get_pretrained_cfg(source.name, tag)
    theirs, ours = bool(facts.get("quick_gelu")), bool(source.model.get("quick_gelu"))
    if theirs != ours:
        refuse_activation(source.name, tag, weights_quick=theirs)
    if repository := facts.get("hf_hub"):
        hub, _, file = repository.rpartition("/")
        path = _from_hub(hub, (file,) if file else _WEIGHTS_NAMES)
    else:
        # Checks the file's sha256 against the one in its address.
        try:
            path = Path(open_clip.download_pretrained_from_url(facts["url"]))
        except (OSError, RuntimeError) as error:
            raise _unreachable(f"weights {tag!r} of {source.name}", error) from error
    return WeightsSource(path, dict(facts))


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


def _from_hub(hub: str, names: tuple[str, ...]) -> Path:
    """The first of these files that a hub repository has, from the cache where it is there."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError

    for name in names:
        if isinstance(cached := try_to_load_from_cache(hub, name), str):
            return Path(cached)
    failure: Exception | None = None
    try:
        _reach_hub()
        for name in names:
            try:
                return Path(hf_hub_download(hub, name))
            except EntryNotFoundError as error:
                failure = failure or error
    except Exception as error:  # the hub's own errors, the HTTP library's, the disk's
        failure = error
    assert failure is not None
    raise _unreachable(f"{names[0]} of {hub}", failure) from failure


def _reach_hub() -> None:
    """Fails at once where the hub cannot be reached: its own client tries for half a minute."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        raise ConnectionError("HF_HUB_OFFLINE is set")
    get_session().head(constants.ENDPOINT, timeout=10)


def _unreachable(what: str, error: Exception) -> VidsamplerError:
    root: BaseException = error
    while root.__cause__ or root.__context__:
        root = root.__cause__ or root.__context__ or root
    reason = re.split(r"[\n]|(?<=\w)\. ", str(root).strip() or type(root).__name__)[0].rstrip(".")
    return VidsamplerError(
        f"cannot fetch {what}: {reason[:160]}", hint=_OFFLINE_HINT, code="network"
    )
