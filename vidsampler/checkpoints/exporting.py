"""The CLIP of a retriever, for other tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from vidsampler.backbones.frames_only import is_frames_only
from vidsampler.backbones.sources import find_model
from vidsampler.checkpoints.clip import huggingface_recipe
from vidsampler.checkpoints.names import NAMINGS
from vidsampler.checkpoints.table import stacked, transposed
from vidsampler.checkpoints.writing import Part, check_free, write_tensors
from vidsampler.errors import InputError, UsageError, unknown
from vidsampler.files import write_file, writing
from vidsampler.retriever_files import WEIGHTS, saved_config
from vidsampler.run_folder import BEST, weights_folder

CLIP = "backbone.clip."
CONFIG_NAMES = {"openclip": "open_clip_config.json", "huggingface": "config.json"}


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        weights: The file of the tensors.
        config: What the tool needs to know of the model, in the same folder.
        naming: Whose names the tensors have.
        backbone: The model's name.
        tensors: How many.
        parameters: Numbers in them.
    """

    weights: Path
    config: Path
    naming: str
    backbone: str
    tensors: int
    parameters: int

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "weights": str(self.weights),
            "config": str(self.config),
            "to": self.naming,
            "backbone": self.backbone,
            "tensors": self.tensors,
            "parameters": self.parameters,
        }


def export_clip(
    run: str | Path, file: str | Path, *, naming: str = "openclip", which: str = BEST
) -> Exported:
    """Writes the CLIP of a retriever as safetensors, and its config beside it.

    Args:
        run: A run folder or a checkpoint.
        file: The file to write; its config goes into the same folder. Neither may be there.
        naming: `openclip`: its keys, which are OpenAI's; `huggingface`: those of transformers'
            CLIPModel.
        which: `best` or `last`, of a run folder.

    Raises:
        InputError: There is no checkpoint, or it is damaged.
        UsageError: The model is none that the naming can say, or has no text tower, or a file is
            there already.
        VidsamplerError: It cannot be written.
    """
    if naming not in NAMINGS:
        raise UsageError(unknown("naming", naming, NAMINGS))
    path = Path(file)
    if path.suffix != ".safetensors":
        raise UsageError(
            f"{path} must end in .safetensors: nothing is written that has to be unpickled"
        )
    if not Path(run).is_dir():
        raise InputError(f"there is no run folder {run}", code="missing")
    folder = weights_folder(Path(run), which)
    config = saved_config(folder)
    model = find_model(config.backbone.name)
    if is_frames_only(model.model):
        raise UsageError(
            f"the backbone {config.backbone.name} of {run} sees frames and reads no captions: it "
            "is no CLIP, which other tools could load",
            hint="export a run of an image-text model, such as train --backbone ViT-B-32-quickgelu",
        )
    beside = path.parent / CONFIG_NAMES[naming]
    for each in (path, beside):
        check_free(each)
    try:
        with safe_open(folder / WEIGHTS, "pt") as opened:
            facts: dict[str, str] = opened.metadata() or {}
            names = [name for name in opened.keys() if name.startswith(CLIP)]  # noqa: SIM118
            parts: dict[str, Part] = {}
            for name in names:
                ours = name.removeprefix(CLIP)
                shape = tuple(opened.get_slice(name).get_shape())
                get = partial(opened.get_tensor, name)
                parts |= (
                    {ours: Part(shape, get().dtype, get, name)}
                    if naming == "openclip"
                    else _huggingface(ours, shape, get, config.backbone.name)
                )
            if not parts:
                raise InputError(f"{folder / WEIGHTS} holds no {CLIP}*", code="foreign")
            with writing(path.parent):
                path.parent.mkdir(parents=True, exist_ok=True)
            write_tensors(path, parts, {"format": "pt"})
    except (SafetensorError, OSError) as error:
        raise InputError(f"cannot read {folder / WEIGHTS}: {error}", code="damaged") from error
    if naming == "openclip":
        about: dict[str, Any] = {"model_cfg": model.model, "preprocess_cfg": _pixels(facts)}
    else:
        about = huggingface_config(model.model)
    write_file(beside, (json.dumps(about, indent=2) + "\n").encode("utf-8"))
    return Exported(
        weights=path,
        config=beside,
        naming=naming,
        backbone=config.backbone.name,
        tensors=len(parts),
        parameters=sum(_count(part.shape) for part in parts.values()),
    )


def _huggingface(
    name: str, shape: tuple[int, ...], get: Callable[[], Tensor], backbone: str
) -> dict[str, Part]:
    """One of open_clip's tensors under Hugging Face's names: three of attention's q, k and v."""
    try:
        keys, change = huggingface_recipe(name)
    except KeyError as error:
        raise UsageError(
            f"backbone {backbone} is no plain CLIP, so transformers' CLIPModel cannot hold its "
            f"{name}",
            hint="take --to openclip",
        ) from error
    dtype = get().dtype
    if change is stacked:
        rows = shape[0] // 3
        thirds = [(i * rows, (i + 1) * rows) for i in range(3)]
        return {
            key: Part((rows, *shape[1:]), dtype, partial(_rows, get, *each), name)
            for key, each in zip(keys, thirds, strict=True)
        }
    if change is transposed:
        return {keys[0]: Part(shape[::-1], dtype, lambda: get().T, name)}
    return {keys[0]: Part(shape, dtype, get, name)}


def _rows(get: Callable[[], Tensor], first: int, end: int) -> Tensor:
    return get()[first:end]


def huggingface_config(model: dict[str, Any]) -> dict[str, Any]:
    """transformers' config of a plain CLIP.

    Args:
        model: open_clip's.
    """
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    vision, text = CLIPVisionCfg(**model["vision_cfg"]), CLIPTextCfg(**model["text_cfg"])
    act = "quick_gelu" if model.get("quick_gelu") else "gelu"
    joint = model["embed_dim"]
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": joint,
        "text_config": {
            "model_type": "clip_text_model",
            "hidden_act": act,
            "hidden_size": text.width,
            "intermediate_size": int(text.width * text.mlp_ratio),
            "max_position_embeddings": text.context_length,
            "num_attention_heads": text.heads,
            "num_hidden_layers": text.layers,
            "projection_dim": joint,
            "vocab_size": text.vocab_size,
            # The start and the end of a text are the last two words.
            "bos_token_id": text.vocab_size - 2,
            "eos_token_id": text.vocab_size - 1,
            "pad_token_id": text.vocab_size - 1,
        },
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_act": act,
            "hidden_size": vision.width,
            "image_size": vision.image_size,
            "intermediate_size": int(vision.width * vision.mlp_ratio),
            "num_attention_heads": vision.width // vision.head_width,
            "num_hidden_layers": vision.layers,
            "patch_size": vision.patch_size,
            "projection_dim": joint,
        },
    }


def _pixels(facts: dict[str, str]) -> dict[str, Any]:
    """What the model wants to be given, in open_clip's words."""
    pixels = json.loads(facts.get("pixels", "{}"))
    return {
        their: pixels[ours]
        for their, ours in (
            ("mean", "mean"),
            ("std", "std"),
            ("interpolation", "interpolation"),
            ("resize_mode", "resize"),
        )
        if ours in pixels
    }


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
