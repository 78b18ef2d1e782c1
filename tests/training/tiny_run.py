"""Runs that are small enough for tests: a few videos of 4 frames, a CLIP of one block."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.loading.stored import write_samples
from vidsampler.config import Layer
from vidsampler.loading.batch import Batch
from vidsampler.retriever import Retriever
from vidsampler.training.settings import TrainConfig, train_config

FRAMES, SIZE = 4, 32
METHODS = ("adaclip", "clip4clip", "emcl", "mmsampler", "tmass", "xpool")
_CLIP = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {
        "image_size": SIZE,
        "layers": 1,
        "width": 64,
        "head_width": 32,
        "patch_size": 16,
    },
    "text_cfg": {
        "context_length": 12,
        "vocab_size": 49408,
        "width": 64,
        "heads": 2,
        "layers": 1,
    },
}
CONVOLUTIONS = "convolutions"
"""A tower with batch norms, which see the frames of a batch together in training."""
BEFORE_CONVOLUTIONS = "before convolutions"
"""adaclip before such a tower: of 4 frames it keeps 3."""
DRAWS = "draws"
"""adaclip, its policy taught by the worth of several draws."""
BOTH = "draws and straight-through"
"""The same, beside the straight-through gradient."""
_WORDS = ("red", "green", "blue", "large", "small", "round", "square", "old", "new", "fast")


def caption(number: int) -> str:
    """Another one for each number below 100."""
    return f"a {_WORDS[number % 10]} {_WORDS[number // 10 % 10]} thing"


def write_shards(folder: Path, **splits: int) -> Path:
    """Shards of random frames: so many videos of each split."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, videos in splits.items():
        generator = np.random.default_rng(len(split) + videos)
        (folder / split).mkdir()
        samples = {}
        for video in range(videos):
            colour = generator.integers(0, 256, (FRAMES, 1, 1, 3))
            noise = generator.integers(-20, 20, (FRAMES, SIZE, SIZE, 3))
            frames = np.clip(colour + noise, 0, 255).astype(np.uint8)
            facts = {"times": [float(i) for i in range(FRAMES)], "captions": [caption(video)]}
            members = {f"{i:03d}.jpg": _jpeg(frame) for i, frame in enumerate(frames)}
            samples[f"{split}{video}"] = members | {"json": json.dumps(facts).encode()}
        write_samples(folder / split, samples, per_shard=8)
    return folder


def _jpeg(frame: Any) -> bytes:
    data = io.BytesIO()
    Image.fromarray(frame).save(data, "JPEG", quality=95)
    return data.getvalue()


def tiny(folder: Path, method: str = "adaclip", **more: Any) -> TrainConfig:
    """The settings of a small run of a method, on shards in ``folder/shards``.

    Args:
        folder: A model config is written to it.
        method: Registered, or `CONVOLUTIONS`: adaclip, its policy on such a tower's features; or
            `BEFORE_CONVOLUTIONS`, `DRAWS` or `BOTH`.
        more: Sections or values to change.
    """
    clip = _CLIP
    model = folder / "clip.json"
    if method in (CONVOLUTIONS, BEFORE_CONVOLUTIONS):
        tower = {"image_size": SIZE, "timm_model_name": "test_resnet", "timm_proj": "linear"}
        clip, model = clip | {"vision_cfg": tower}, folder / "convolutions.json"
        extractor = {"name": "clip", "size": None, "pretrained": None, "freeze": True}
        policy = {"extractor": extractor, "width": 32, "heads": 2, "hidden": 16}
        before = method == BEFORE_CONVOLUTIONS
        sampler: dict[str, Any] = {"k": FRAMES - 1} if before else {"k": 2, "policy": policy}
        changes = {"sampler": sampler, "backbone": _written(model, clip)}
        return tiny(folder, "adaclip", **(changes | more))
    if method in (DRAWS, BOTH):
        sampler = {"draws": 4, "entropy_weight": 0.1, "straight_through": method == BOTH}
        return tiny(folder, "adaclip", **({"sampler": sampler} | more))
    _written(model, clip)
    values: dict[str, Any] = {
        "dataset": {"shards": str(folder / "shards")},
        "backbone": {"name": str(model), "pretrained": "none", "words": 12},
        "frames": FRAMES,
        "training": {
            "epochs": 2,
            "batch_size": 6,
            "lr": 1e-3,
            "lr_clip": 1e-3,
            "warmup": 0.0,
            "freeze": [],
        },
        "run": {"device": "cpu", "workers": 1, "log_every": 1},
    }
    if method in ("adaclip", "mmsampler"):
        values["sampler"] = {
            "policy": {
                "extractor": {"name": "small", "size": 32, "pretrained": None, "freeze": False},
                "width": 32,
                "heads": 2,
                "hidden": 16,
            }
        }
    if method == "adaclip":
        values["sampler"]["k"] = 2
    layers = [Layer("{key}", values), Layer("{key}", more)]
    return train_config(layers, method=method, dataset="captions")


def _written(model: Path, clip: dict[str, Any]) -> dict[str, Any]:
    """The settings of a backbone whose model config is written to a file."""
    if not model.exists():
        model.write_text(json.dumps(clip))
    return {"name": str(model)}


def batch_of(
    retriever: Retriever, items: Sequence[int], *, seed: int = 0, short: Sequence[int] = (4,)
) -> Batch:
    """A batch of given items; the same item is the same video and caption in any batch.

    Item i is video i // 2 where i is 1, so that two items share a video; items 2 and 3 share a
    caption; those in ``short`` have 3 frames.
    """
    frames, valid, videos, captions = [], [], [], []
    for item in items:
        video = 0 if item == 1 else item
        generator = torch.Generator().manual_seed(1000 * seed + video)
        colour = torch.randint(0, 256, (FRAMES, 3, 1, 1), generator=generator)
        noise = torch.randint(-20, 20, (FRAMES, 3, SIZE, SIZE), generator=generator)
        frames.append((colour + noise).clamp(0, 255).to(torch.uint8))
        valid.append([True] * 3 + [item not in short])
        videos.append(video)
        captions.append(caption(2 if item == 3 else item))
    wordings = {text: number for number, text in enumerate(sorted(set(map(caption, range(50)))))}
    valid_BN = torch.tensor(valid)
    return Batch(
        frames_BNCHW=torch.stack(frames) * valid_BN[:, :, None, None, None],
        valid_BN=valid_BN,
        times_BN=torch.arange(FRAMES).double().expand(len(items), FRAMES),
        tokens_BL=retriever.backbone.tokenize(captions).ids_TL,
        keys=[f"video{video}" for video in videos],
        videos_B=torch.tensor(videos),
        captions_B=torch.tensor(list(items)),
        wordings_B=torch.tensor([wordings[text] for text in captions]),
        epoch=0,
        step=0,
    )
