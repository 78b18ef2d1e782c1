"""Builds a model from its config, and fills it from a weights file, strictly."""

from __future__ import annotations

import hashlib
import pickle
import warnings
import zipfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidsampler.backbones.frames_only import FramesOnly, is_frames_only
from vidsampler.backbones.sources import refuse_activation
from vidsampler.errors import ConfigError, UsageError, VidsamplerError
from vidsampler.hub import from_hub_or_folder

State = dict[str, Tensor]

_OF_RETRIEVER = "backbone.clip."
# Beside the weights, OpenAI's archives hold these numbers.
_OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size")


def build_model(name: str, config: dict[str, Any], seed: int) -> nn.Module:
    """An open_clip model in fp32 on the CPU, with random weights from a seed.

    Args:
        name: for messages.
        config: open_clip's model config.
        seed: the global generators are left as they were.

    Raises:
        ConfigError: The config does not fit open_clip.
        VidsamplerError: Its text model cannot be fetched, or needs a package that is missing.
    """
    if is_frames_only(config):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return FramesOnly(name, config)
    import open_clip
    from open_clip.coca_model import CoCa

    config = deepcopy(config)
    # Weights come from one file, or from the seed; nothing is to be fetched for the towers.
    if "timm_model_name" in config["vision_cfg"]:
        config["vision_cfg"]["timm_model_pretrained"] = False
    hugging_face = "hf_model_name" in config["text_cfg"]
    if hugging_face:
        need_transformers(name)
        config["text_cfg"]["hf_model_pretrained"] = False
    custom = config.pop("custom_text", False) or hugging_face
    kind = open_clip.CLIP
    if custom:
        kind = CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP

    def build() -> nn.Module:
        model: nn.Module = kind(**config)
        return model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            if hugging_face:
                where = config["text_cfg"]["hf_model_name"]
                model = from_hub_or_folder(f"the text model of {name}", where, build)
            else:
                model = build()
        except TypeError as error:
            raise ConfigError(f"backbone config {name} does not fit open_clip: {error}") from error
    return model.float()


def need_transformers(name: str) -> None:
    """Makes sure that transformers can be imported.

    Raises:
        VidsamplerError: It cannot.
    """
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise VidsamplerError(
            f"backbone {name} has a Hugging Face text model, which needs transformers",
            hint="pip install 'vidsampler[huggingface]'",
        ) from error


def load_weights(model: nn.Module, path: Path, name: str, *, quick_gelu: bool) -> None:
    """Fills a model; every tensor must be there, fit, and be the only one of its name.

    Args:
        model: is changed.
        path: safetensors, a torch file of tensors, or an archive as OpenAI published them.
        name: the model's, for messages.
        quick_gelu: the model computes QuickGELU.

    Raises:
        UsageError: The file cannot be read, or belongs to another model.
    """
    state, from_openai = read_weights(path)
    if from_openai and not quick_gelu:
        refuse_activation(name, str(path), weights_quick=True)
    state = _as_this_model(model, state)
    _check_fit(model.state_dict(), state, path, name)
    model.load_state_dict(state)


def read_weights(path: Path) -> tuple[State, bool]:
    """The tensors of a weights file, and whether it is an archive of OpenAI's.

    Raises:
        UsageError: It is not a weights file, or holds pickled objects besides tensors.
    """
    from_openai = False
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        elif _is_torchscript(path):
            content = _read_torchscript(path)
            from_openai = True
            content = {key: value for key, value in content.items() if key not in _OPENAI_EXTRAS}
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UsageError:
        raise
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{path} holds pickled objects besides tensors, and is not opened: they could run code",
            hint="save its state_dict alone, best as safetensors",
        ) from error
    except Exception as error:  # safetensors and torch have many classes for a broken file
        why = str(error).strip().split("\n")[0][:120]
        raise UsageError(f"cannot read weights {path}: {why}") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise UsageError(f"{path} holds no table of named tensors")
    if any(key.startswith(_OF_RETRIEVER) for key in content):
        # A checkpoint of ours: its backbone alone.
        content = {
            key.removeprefix(_OF_RETRIEVER): value
            for key, value in content.items()
            if key.startswith(_OF_RETRIEVER)
        }
    if content and all(key.startswith("module.") for key in content):
        content = {key.removeprefix("module."): value for key, value in content.items()}
    return content, from_openai


def _read_torchscript(path: Path) -> State:
    """The tensors of one of OpenAI's archives.

    Loading TorchScript can run what is written in it, so only the published files are opened.

    Raises:
        UsageError: It is another archive.
    """
    if _sha256(path) not in _openai_digests():
        raise UsageError(
            f"{path} is a TorchScript archive that OpenAI did not publish, and is not opened: it "
            "could run code",
            hint="save its state_dict alone, best as safetensors",
        )
    with warnings.catch_warnings():
        # torch.jit is deprecated for running models; these files can be read in no other way.
        warnings.simplefilter("ignore", FutureWarning)
        archive: nn.Module = torch.jit.load(path, map_location="cpu")
    return archive.state_dict()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _openai_digests() -> set[str]:
    """sha256 of the archives that OpenAI published: a part of their addresses."""
    import open_clip

    urls = [open_clip.get_pretrained_url(*each) for each in open_clip.list_pretrained()]
    return {url.split("/")[-2] for url in urls if "openaipublic" in url}


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _as_this_model(model: nn.Module, state: State) -> State:
    """Renames and reshapes what open_clip wrote differently over the years."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    state = convert_state_dict(model, state)
    own = model.state_dict()
    if "positional_embedding" in state and "positional_embedding" not in own:
        state = convert_to_custom_text_state_dict(state)
    # transformers before 4.31 saved this counter.
    counter = "text.transformer.embeddings.position_ids"
    state = {key: value for key, value in state.items() if key != counter or key in own}
    for key in ("logit_scale", "logit_bias"):
        if key in state and key in own and state[key].numel() == own[key].numel():
            state[key] = state[key].reshape(own[key].shape)
    return state


def _check_fit(own: State, state: State, path: Path, name: str) -> None:
    if (wrong := other_shapes(own, state)) is not None:
        raise UsageError(
            f"weights {path} belong to another model than {name}: {wrong}",
            hint="give the --backbone that these weights were trained with",
        )
    for found, here, word in ((own, state, "lack"), (state, own, "have")):
        missing = [key for key in found if key not in here]
        if missing:
            rest = "of the model" if word == "lack" else "that the model has not"
            raise UsageError(
                f"weights {path} do not fit {name}: they {word} {len(missing)} tensors {rest}, "
                f"such as {missing[0]} {tuple(found[missing[0]].shape)}",
                hint="give the --backbone that these weights were trained with",
            )


def other_shapes(own: State, state: State) -> str | None:
    """Which tensors of one name have another shape in `state`, in words; None: there are none."""
    wrong = [key for key in own if key in state and own[key].shape != state[key].shape]
    if not wrong:
        return None
    # What tells models apart best: the first kernel, then the largest tensor.
    key = max(wrong, key=lambda k: ("visual" in k and own[k].ndim == 4, own[k].numel(), k))
    more = f", and {len(wrong) - 1} more tensors differ" if len(wrong) > 1 else ""
    return f"{key} is {tuple(state[key].shape)} there and {tuple(own[key].shape)} here{more}"
