"""A folder of short videos, each of its own colour, and settings to train on it in seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np

from vidsampler.config import Layer
from vidsampler.training.settings import TrainConfig, train_config

FRAMES, SIZE = 12, 32


def colour(number: int) -> tuple[int, int, int]:
    """Another one for each number below 27."""
    levels = (40, 130, 220)
    return levels[number % 3], levels[number // 3 % 3], levels[number // 9 % 3]


def write_folder(folder: Path, videos: int, *, broken: int = 0) -> Path:
    """Writes a00.mp4 and so on, the broken ones last."""
    folder.mkdir(parents=True)
    for number in range(videos):
        with av.open(str(folder / f"a{number:02d}.mp4"), "w") as out:
            stream = out.add_stream("libx264", rate=5, options={"crf": "1"})
            stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
            for frame in range(20):
                picture = np.empty((32, 48, 3), np.uint8)
                picture[...] = colour(number)
                # A stripe that moves, so that frames of a video are told apart.
                picture[:, 8 + frame : 12 + frame] = 255
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            out.mux(stream.encode(None))
    for number in range(broken):
        (folder / f"b{number:02d}.mp4").write_bytes(b"no video")
    return folder


def settings(folder: Path, videos: Path | None, **more: Any) -> TrainConfig:
    """A run of two epochs of two steps; a model config is written to the folder."""
    model = folder / "small.json"
    preprocess = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear"}
    model.write_text(
        json.dumps(
            {
                "model_cfg": {
                    "embed_dim": 16,
                    "vision_cfg": {"image_size": SIZE, "small_cnn": [[16, 0]]},
                    "text_cfg": {},
                },
                "preprocess_cfg": {**preprocess, "resize_mode": "shortest"},
            }
        )
    )
    values: dict[str, Any] = {
        "dataset": {
            "videos": None if videos is None else str(videos),
            "val": 0.45,
            "montage": {"train": 8, "val": 6, "fewest": 2, "most": 3, "disturbed": 1, "longest": 1},
        },
        "backbone": {"name": str(model)},
        "frames": FRAMES,
        "sampler": {"k": 3, "policy": {"width": 16, "heads": 2, "hidden": 8, "channel_groups": 4}},
        "training": {"epochs": 2, "batch_size": 4, "warmup": 0.0},
        "run": {"device": "cpu", "workers": 1, "log_every": 1},
    }
    layers = [Layer("{key}", values), Layer("{key}", more)]
    return train_config(layers, method="default", dataset="folder")
