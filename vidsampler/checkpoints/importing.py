"""Turns a checkpoint of a published system into a folder that every command takes."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidsampler import __version__, plainyaml
from vidsampler.checkpoints.card import model_card
from vidsampler.checkpoints.clip import EXTRAS, clip_model, clip_recipe, known_model
from vidsampler.checkpoints.names import FAMILIES
from vidsampler.checkpoints.reading import Checkpoint, read_checkpoint
from vidsampler.checkpoints.table import Described, Recipe, Source, recipes
from vidsampler.checkpoints.writing import Part, check_free, whole_folder, write_tensors
from vidsampler.config import Layer
from vidsampler.errors import UsageError, unknown
from vidsampler.files import write_file
from vidsampler.flops import meta_backbone
from vidsampler.methods import method_config
from vidsampler.retriever import Retriever
from vidsampler.retriever_config import RetrieverConfig, retriever_config
from vidsampler.retriever_files import CONFIG, WEIGHTS

BACKBONE = "backbone.json"
CARD = "README.md"

CHOSEN_SOMEWHERE = (
    "the file does not say on which split its weights were chosen; almost all published ones were "
    "chosen on the test split"
)


@dataclass(frozen=True)
class Imported:
    """What came of a file.

    Attributes:
        folder: Holds config.yaml, model.safetensors, README.md (the model card) and, of a model
            that has no name in open_clip, backbone.json.
        family: Whose file it is.
        source: The name of the file.
        sha256: Of the file.
        config: The retriever's settings.
        tensors: How many the retriever has.
        parameters: Numbers in them.
        widened: How many of the tensors were of half precision; here all are float32.
        unwrapped: All names began with `module.`.
        left_out: What was in the file and is not in the folder -> why.
        assumed: Settings that the file does not say -> their values and why these.
        notes: What cannot be equal to the published system.
        seconds: How long it took.
    """

    folder: Path
    family: str
    source: str
    sha256: str
    config: RetrieverConfig
    tensors: int
    parameters: int
    widened: int
    unwrapped: bool
    left_out: dict[str, str]
    assumed: dict[str, tuple[Any, str]]
    notes: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "run": str(self.folder),
            "family": self.family,
            "source": self.source,
            "sha256": self.sha256,
            "config": self.config.to_plain(),
            "tensors": self.tensors,
            "parameters": self.parameters,
            "widened": self.widened,
            "left_out": self.left_out,
            "assumed": {
                key: {"value": value, "why": why} for key, (value, why) in self.assumed.items()
            },
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }


def import_checkpoint(
    file: str | Path, out: str | Path, *, family: str | None = None, layers: Sequence[Layer] = ()
) -> Imported:
    """Converts a checkpoint of a published system; nothing in it is executed.

    Only one tensor is in memory at a time, beside the pages of the file that are being read.

    Args:
        file: A torch file or safetensors.
        out: The folder to write; it must not be there, or be empty.
        family: One of `FAMILIES`; None: by the names of the tensors.
        layers: Settings that the file does not say, such as `set_layer("head.heads=4")`.

    Raises:
        InputError: The file cannot be read, or asks to run something, which is refused.
        UsageError: It is of another family, or does not fit; its family or a setting has to be
            said; or the folder is there already.
        ConfigError: A layer does not fit.
        VidsamplerError: The folder cannot be written.
    """
    began = time.monotonic()
    path, folder = Path(file), Path(out)
    check_free(folder)
    checkpoint = read_checkpoint(path)
    if family is None:
        family = recognise(checkpoint)
    elif family not in FAMILIES:
        raise UsageError(unknown("family of checkpoints", family, FAMILIES))
    kind = import_module(f"vidsampler.checkpoints.families.{family}")
    source = Source(checkpoint, family)
    model = clip_model(source, kind.PREFIX)
    described: Described = kind.describe(source, model["embed_dim"])
    described.names.append(("backbone.clip.", clip_recipe(source, kind.PREFIX)))
    described.ignored |= {kind.PREFIX + key: why for key, why in EXTRAS.items()}
    described.notes.append(CHOSEN_SOMEWHERE)
    name = known_model(model)
    described.settings["backbone"] = {"name": name or BACKBONE, "pretrained": WEIGHTS}
    config = _config(path, kind.METHOD, model, described, layers)
    if _said(layers, "backbone.name"):
        # Such as a config that knows of other attention heads; its sizes are checked below.
        name = config.backbone.name
    with tempfile.TemporaryDirectory() as scratch:
        if name is None:
            (Path(scratch) / BACKBONE).write_text(json.dumps(model), encoding="utf-8")
        there = str(Path(scratch) / BACKBONE) if name is None else config.backbone.name
        bare = _without_weights(replace(config, backbone=replace(config.backbone, name=there)))
    config = replace(bare.config, backbone=config.backbone, notes=tuple(described.notes))
    parts = _parts(source, described, bare, config)
    used = source.tensors.keys() - source.ignored(described)
    done = Imported(
        folder=folder,
        family=family,
        source=path.name,
        sha256=_sha256(path),
        config=config,
        tensors=len(parts),
        parameters=sum(each.numel() for each in bare.parameters()),
        widened=sum(source.tensors[key].dtype.itemsize == 2 for key in used),
        unwrapped=checkpoint.unwrapped,
        left_out=_left_out(source, described, checkpoint),
        assumed=_assumed(described, config, layers),
        notes=config.notes,
        seconds=0.0,
    )
    facts = {
        "format": "pt",
        "vidsampler": __version__,
        "backbone": config.backbone.name,
        "pixels": json.dumps(asdict(bare.backbone.pixel_input)),
    }
    with whole_folder(folder) as temporary:
        if name is None:
            text = json.dumps(model, indent=4) + "\n"
            write_file(temporary / BACKBONE, text.encode("utf-8"), durable=True)
        write_tensors(temporary / WEIGHTS, parts, facts)
        text = plainyaml.dump(config.to_plain())
        write_file(temporary / CONFIG, text.encode("utf-8"), durable=True)
        write_file(temporary / CARD, model_card(done).encode("utf-8"), durable=True)
    return replace(done, seconds=time.monotonic() - began)


def recognise(checkpoint: Checkpoint) -> str:
    """Whose file it is, by the names of its tensors.

    Raises:
        UsageError: Two families have these names, or none has.
    """
    names = tuple(checkpoint.tensors)

    def has(*prefixes: str) -> bool:
        return any(name.startswith(prefixes) for name in names)

    if has("clip.clip."):
        return "mmsampler"
    if has("clip."):
        if has("sampler.", "frame_agg_"):
            return "adaclip"
        if has("stochastic."):
            return "tmass"
        if has("pool_frames."):
            return "xpool"
        if has("transformerClip.", "lstm_visual.", "frame_position_embeddings."):
            raise UsageError(
                f"{checkpoint.path} may be of CLIP4Clip, AdaCLIP without a policy, or EMCL-Net: "
                "their tensors have the same names",
                hint="say whose it is with --from clip4clip, adaclip or emcl",
                code="ambiguous",
            )
        return "clip4clip"
    if has("visual.", "text_model."):
        raise UsageError(
            f"{checkpoint.path} holds a CLIP alone, and no retrieval system",
            hint="give it to train as it is: --pretrained FILE",
            code="foreign",
        )
    listed = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    raise UsageError(
        f"{checkpoint.path} has the tensors of none of {', '.join(FAMILIES)}: {listed}",
        code="foreign",
    )


def _config(
    path: Path,
    method: str,
    model: dict[str, Any],
    described: Described,
    layers: Sequence[Layer],
) -> RetrieverConfig:
    """The retriever's settings: the method's, the file's, then the user's, which may not differ
    from what the tensors fix."""
    for key, sentence in described.asks.items():
        if not _said(layers, key):
            flag = {"sampler.k": "--top-k K"}.get(key, f"--set {key}=VALUE")
            raise UsageError(f"{path}: {sentence}", hint=f"say it with {flag}")
    start = method_config(method).retriever()
    words = min(start.backbone.words, model["text_cfg"]["context_length"])
    backbone = replace(start.backbone, words=words)
    config = retriever_config(
        [
            Layer("{key}", replace(start, backbone=backbone).to_plain()),
            Layer("{key}", described.settings),
            *layers,
        ]
    )
    plain = config.to_plain()
    for key, (value, tensor) in described.fixed.items():
        given = _at(plain, key)
        if given != value:
            raise UsageError(
                f"{path}: its tensors fix {key} at {_shown(value)} ({tensor}), so it cannot be "
                f"{_shown(given)}",
                hint=f"leave {key} out",
            )
    k = config.sampler.k
    if config.sampler.name == "topk" and k is not None and k > config.frames:
        raise UsageError(f"{path}: sampler.k is {k}, but there are {config.frames} frames")
    return config


def _without_weights(config: RetrieverConfig) -> Retriever:
    """The retriever as it will be, on the meta device."""
    return Retriever.with_backbone(config, meta_backbone(config))


def _parts(
    source: Source, described: Described, bare: Retriever, config: RetrieverConfig
) -> dict[str, Part]:
    expected = bare.state_dict()
    found = recipes(source, described, expected)
    parts = {}
    for name, like in expected.items():
        shape = tuple(like.shape)
        if name in described.drawn:
            make: Callable[[], Tensor] = partial(described.drawn[name], config)
            parts[name] = Part(shape, like.dtype, make, name)
        else:
            recipe = found[name]
            parts[name] = Part(shape, like.dtype, partial(_made, source, recipe), recipe.keys[0])
    return parts


@torch.no_grad()
def _made(source: Source, recipe: Recipe) -> Tensor:
    return recipe.change(*(source.tensors[key] for key in recipe.keys))


def _left_out(source: Source, described: Described, checkpoint: Checkpoint) -> dict[str, str]:
    left = dict.fromkeys(checkpoint.left_out, "beside the weights")
    for name, why in described.ignored.items():
        if name.endswith("."):
            if found := source.under(name):
                many = f"{len(found)} tensors: " if len(found) > 1 else ""
                left[f"{name}*"] = many + why
        elif name in source.tensors:
            left[name] = why
    return left


def _assumed(
    described: Described, config: RetrieverConfig, layers: Sequence[Layer]
) -> dict[str, tuple[Any, str]]:
    plain = config.to_plain()
    # What is null has its value by a rule.
    plain["sampler"]["policy"]["heads"] = config.sampler.policy.attention_heads
    return {
        key: (_at(plain, key), why)
        for key, why in described.assumed.items()
        if not _said(layers, key)
    }


def _said(layers: Sequence[Layer], key: str) -> bool:
    return any(_at(layer.values, key) is not None for layer in layers)


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
