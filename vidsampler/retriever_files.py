"""A retriever as a folder: config.yaml and model.safetensors."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from vidsampler import __version__, plainyaml
from vidsampler.backbones.model import PixelInput
from vidsampler.backbones.weights import other_shapes
from vidsampler.config import Layer, file_layer
from vidsampler.errors import InputError, UsageError
from vidsampler.files import no_folder, sync_folder, whole_file, write_file, writing
from vidsampler.preprocess import PixelInput as Square
from vidsampler.retriever_config import RetrieverConfig, resolve_tree
from vidsampler.run_folder import BEST, LAST

if TYPE_CHECKING:
    from vidsampler.retriever import Retriever

CONFIG, WEIGHTS = "config.yaml", "model.safetensors"


def pixels_of(wanted: PixelInput, backbone: str) -> Square:
    """How a retriever makes its backbone's pixels of uint8 frames.

    Raises:
        UsageError: The backbone wants no squares.
    """
    if wanted.height != wanted.width:
        raise UsageError(
            f"backbone {backbone} wants frames of {wanted.height} x {wanted.width} pixels; a "
            "retriever works on squares"
        )
    (red, green, blue), (red_std, green_std, blue_std) = wanted.mean, wanted.std
    return Square(
        wanted.height,
        mean=(red, green, blue),
        std=(red_std, green_std, blue_std),
        interpolation="bilinear" if wanted.interpolation == "bilinear" else "bicubic",
    )


def save(retriever: Retriever, folder: Path) -> None:
    """Writes a retriever; see `Retriever.save`."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        # Copies, because safetensors refuses tensors that share memory.
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in retriever.state_dict().items()
    }
    facts = {
        "format": "pt",
        "vidsampler": __version__,
        "backbone": retriever.config.backbone.name,
        "pixels": json.dumps(asdict(retriever.backbone.pixel_input)),
    }
    path = folder / WEIGHTS
    with writing(path), whole_file(path) as (handle, temporary):
        os.close(handle)
        save_file(tensors, temporary, metadata=facts)
        os.replace(temporary, path)
        sync_folder(folder)
    text = plainyaml.dump(retriever.config.to_plain())
    write_file(folder / CONFIG, text.encode("utf-8"), durable=True)


def saved_config(folder: Path, layers: Iterable[Layer] = ()) -> RetrieverConfig:
    """The settings of a saved retriever, with others in their place where layers say so.

    Raises:
        InputError: There is no such folder, or it holds no retriever.
        ConfigError: A layer does not fit.
    """
    hint = f"give the folder that holds {CONFIG} and {WEIGHTS}"
    if not folder.is_dir():
        raise no_folder(folder, hint=hint)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder} is no checkpoint: there is no {name} in it",
                hint=whole_one_below(folder) or hint,
                code="missing",
            )
    return resolve_tree(RetrieverConfig, [file_layer(str(folder / CONFIG), "retrievers"), *layers])


def whole_one_below(run: Path) -> str | None:
    """For hints: which of a run's checkpoints is there; None where none is."""
    for folder in (run / BEST, run / LAST):
        if all((folder / name).is_file() for name in (CONFIG, WEIGHTS)):
            return f"{folder} is a checkpoint: give that"
    return None


def load_weights(
    folder: Path, config: RetrieverConfig, build: Callable[[], Retriever]
) -> Retriever:
    """Builds a retriever and fills it with saved weights.

    Args:
        folder: Where they are.
        config: What the retriever's settings shall be, once it is filled.
        build: Makes it, with any weights.

    Raises:
        InputError: The file cannot be read, or holds numbers that are not finite.
        UsageError: The weights are not those of this retriever.
    """
    path = folder / WEIGHTS
    try:
        state = load_file(path)
        with safe_open(path, "pt") as file:
            facts: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"cannot read {path}: {error}", code="damaged") from error
    retriever = _built(folder, build)
    own = retriever.state_dict()
    if not config.sampler.learned:
        # Another sampler before the same weights.
        state = {name: each for name, each in state.items() if not name.startswith("sampler.")}
    _check_backbone(folder, config, facts, own, state)
    _check_rest(folder, config, own, state)
    _check_finite(path, state)
    retriever.load_state_dict(state)
    # As it is built, but for what it would be fetched with.
    sampler = replace(retriever.config.sampler, policy=_policy(config, retriever))
    retriever.config = replace(config, sampler=sampler)
    retriever.backbone.config = config.backbone
    if "pixels" in facts and facts.get("backbone") == config.backbone.name:
        values: dict[str, Any] = json.loads(facts["pixels"])
        wanted = PixelInput(
            **{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])}
        )
        retriever.backbone.pixel_input = wanted
        retriever.pixels = pixels_of(wanted, config.backbone.name)
    return retriever


def _policy(config: RetrieverConfig, retriever: Retriever) -> Any:
    frames = retriever.config.sampler.policy.frames
    return replace(config.sampler.policy, frames=frames)


def _built(folder: Path, build: Callable[[], Retriever]) -> Retriever:
    try:
        return build()
    except (MemoryError, RuntimeError) as error:
        # torch has no class of its own for memory of the CPU; sizes may be more than 64 bits hold.
        if not isinstance(error, MemoryError) and not any(
            words in str(error) for words in ("can't allocate memory", "Storage size calculation")
        ):
            raise
        raise InputError(
            f"{folder / CONFIG}: there is no memory for a retriever of the sizes that it says",
            hint=f"are they those of {folder / WEIGHTS}?",
            code="damaged",
        ) from error


def _check_finite(path: Path, state: dict[str, Tensor]) -> None:
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            continue
        # A sum is several times faster; it may overflow, but hides no number that is not finite.
        if not tensor.sum(dtype=torch.float32).isfinite() and not tensor.isfinite().all():
            raise InputError(
                f"{path}: numbers of tensor {name} are not finite",
                hint="the file is damaged, or its training had broken down: take another",
                code="damaged",
            )


def _check_backbone(
    folder: Path,
    config: RetrieverConfig,
    facts: dict[str, str],
    own: dict[str, Tensor],
    state: dict[str, Tensor],
) -> None:
    ours, theirs = (
        {
            name.removeprefix("backbone.clip."): tensor
            for name, tensor in part.items()
            if name.startswith("backbone.")
        }
        for part in (own, state)
    )
    wrong = other_shapes(ours, theirs)
    if wrong is None and (different := sorted(ours.keys() ^ theirs.keys())):
        where = "here only" if different[0] in ours else "there only"
        wrong = f"{len(different)} tensors differ, such as {different[0]} ({where})"
    if wrong is not None:
        saved = facts.get("backbone", "another backbone")
        raise UsageError(
            f"the checkpoint {folder} was saved with backbone {saved}, which does not fit "
            f"{config.backbone.name}: {wrong}",
            hint=f"load it with its own backbone, {saved}",
        )


def _check_rest(
    folder: Path, config: RetrieverConfig, own: dict[str, Tensor], state: dict[str, Tensor]
) -> None:
    radius = "head.radius.linear_proj.weight"
    if radius in own and radius in state and own[radius].shape != state[radius].shape:
        there, here = state[radius].shape[1], own[radius].shape[1]
        raise UsageError(
            f"the tmass head in {folder} was trained with {there} frames and would get {here}: its "
            "radius has one weight a frame",
            hint=f"keep {there} frames (--frames or --top-k {there}), or train it with {here}",
        )
    for part, name in (("sampler", config.sampler.name), ("head", config.head.name)):
        ours = {each: own[each] for each in own if each.startswith(f"{part}.")}
        theirs = {each: state[each] for each in state if each.startswith(f"{part}.")}
        wrong = [
            each
            for each in sorted(ours.keys() | theirs.keys())
            if each not in ours or each not in theirs or ours[each].shape != theirs[each].shape
        ]
        if wrong:
            shapes = [
                tuple(each[wrong[0]].shape) if wrong[0] in each else "missing"
                for each in (theirs, ours)
            ]
            raise UsageError(
                f"the checkpoint {folder} has no weights for the {part} {name} as it is set: "
                f"{len(wrong)} tensors differ, such as {wrong[0]}, {shapes[0]} there and "
                f"{shapes[1]} here",
                hint=f"leave the settings of the {part} as they are in {folder / CONFIG}",
            )
