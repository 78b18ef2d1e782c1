"""Embedded videos and captions on the disk, so that the next evaluation starts from them.

A file is named by a fingerprint of everything that its numbers depend on: weights, recipe, input,
kind of device, and the version of this program. Head and reranking have no part in it. Files are
whole or not there; one that cannot be read counts as not there. Delete the folder at any time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vidsampler import __version__
from vidsampler.errors import VidsamplerError
from vidsampler.evaluation.embedding import (
    Captions,
    Progress,
    Source,
    Videos,
    embed_texts,
    embed_videos,
)
from vidsampler.files import to_json_bytes, whole_file, writing
from vidsampler.retriever import Retriever
from vidsampler.video_features import VideoFeatures

if TYPE_CHECKING:
    from vidsampler.world import World

FORMAT = 1
FOLDER = "features"
"""Below the folder of all caches."""

Tensors = dict[str, Tensor]


class EmbeddingCache:
    """Embeds what is not there yet.

    Args:
        retriever: In eval mode, on its device.
        folder: Of the files; None: nothing is kept.
        world: The processes; the first one writes.
        note: Told in a sentence why something could not be kept.
    """

    def __init__(
        self,
        retriever: Retriever,
        folder: Path | None,
        world: World | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._retriever = retriever
        self._folder = folder
        self._world = world
        self._note = note
        self._weights = "" if folder is None else retriever.backbone.fingerprint()

    def videos(
        self,
        source: Source,
        keys: Sequence[str],
        fingerprint: str,
        progress: Progress | None = None,
    ) -> Videos:
        """The videos of a source.

        Args:
            source: Of their frames.
            keys: Their ids.
            fingerprint: Of what the source reads.
            progress: Called with videos, where they have to be embedded.
        """

        def make() -> Tensors:
            found = embed_videos(self._retriever, source, keys, self._world, progress)
            return {
                "times_VN": found.times_VN,
                "candidates_V": found.candidates_V,
                **{each.name: getattr(found.features, each.name) for each in fields(VideoFeatures)},
            }

        found = self._keep("videos", {"input": fingerprint, "keys": list(keys)}, len(keys), make)
        features = VideoFeatures(*(found[each.name] for each in fields(VideoFeatures)))
        return Videos(list(keys), features, found["times_VN"], found["candidates_V"])

    def texts(self, texts: Sequence[str]) -> Captions:
        """Captions, each once."""

        def make() -> Tensors:
            found = embed_texts(self._retriever, texts, self._world)
            cut = torch.tensor([found.cut], dtype=torch.float64)
            return {"features_UD": found.features_UD, "cut": cut}

        found = self._keep("texts", {"texts": list(texts)}, len(texts), make)
        return Captions(found["features_UD"], float(found["cut"]))

    def _keep(
        self, kind: str, facts: Mapping[str, Any], rows: int, make: Callable[[], Tensors]
    ) -> Tensors:
        """Reads a file, or makes and writes what it holds."""
        if self._folder is None:
            return make()
        device = self._retriever.backbone.logit_scale.device
        path = self._folder / f"{kind}-{self._fingerprint(kind, facts)}.safetensors"
        found = _read(path, rows)
        missing = found is None
        # Machines may have other disks: either all read, or all work.
        if missing if self._world is None else self._world.agree(missing):
            made = make()
            if self._world is None or self._world.leads:
                self._write(path, made)
            return made
        assert found is not None
        return {name: tensor.to(device) for name, tensor in found.items()}

    def _fingerprint(self, kind: str, facts: Mapping[str, Any]) -> str:
        retriever = self._retriever
        config = retriever.config.to_plain()
        known: dict[str, Any] = {
            "format": FORMAT,
            "version": __version__,
            "device": retriever.backbone.logit_scale.device.type,
            "weights": self._weights,
            "precision": retriever.backbone.precision,
            "words": retriever.config.backbone.words,
            **facts,
        }
        if kind == "videos":
            known |= {
                "words": None,
                "pixels": asdict(retriever.pixels),
                "frames": config["frames"],
                "slots": retriever.config.head_frames,
                "sampler": config["sampler"],
                "policy": _digest(retriever.sampler),
            }
        return hashlib.sha256(to_json_bytes(known)).hexdigest()[:32]

    def _write(self, path: Path, tensors: Tensors) -> None:
        try:
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                with whole_file(path) as (handle, temporary):
                    os.close(handle)
                    here = {name: each.cpu().contiguous() for name, each in tensors.items()}
                    try:
                        save_file(here, temporary)
                    except SafetensorError as error:
                        raise OSError(str(error)) from error
                    os.replace(temporary, path)
        except VidsamplerError as error:
            # The evaluation itself needs no disk.
            self._note(f"features are not kept: {error.message}")


def _read(path: Path, rows: int) -> Tensors | None:
    if not path.is_file():
        return None
    try:
        found = load_file(path)
    except (SafetensorError, OSError):
        return None
    whole = all(len(tensor) == rows for name, tensor in found.items() if name != "cut")
    return found if found and whole else None


def _digest(module: torch.nn.Module | None) -> str | None:
    from vidsampler.world import fingerprint

    if module is None:
        return None
    return fingerprint(tensor for _, tensor in sorted(module.state_dict().items())).hex()
