"""Real clips that a frozen backbone has seen once: what `real_clips.py` trains on.

Frames carry their number, by which the backbone's features are looked up: training and evaluation
are the project's own and know nothing of it.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vidsampler.backbones.config import BackboneConfig
from vidsampler.backbones.model import Backbone, PixelInput, load_backbone
from vidsampler.retriever_files import pixels_of
from vidsampler.video import Video
from vidsampler.video.positions import uniform_positions

FRAMES, SMALL = 16, 112


@dataclass(frozen=True, eq=False)
class Clips:
    """V clips, seen once by the backbone.

    Attributes:
        sources: (V) which clips belong together.
        captions: (V) the numbers of their captions, the first one first.
        frames: (V, N, 3, S + 1, S) uint8; the last row of a picture begins with its number.
        times: (V, N) seconds.
        features: (V * N, D) of frames; `texts` (T, D) of captions.
        same: (T) a number for each wording.
    """

    sources: list[str]
    captions: list[list[int]]
    frames: Tensor
    times: Tensor
    features: Tensor
    texts: Tensor
    same: Tensor
    scale: Tensor

    def __len__(self) -> int:
        return len(self.sources)

    def pictures(self, videos: Sequence[int], extractor: str) -> Tensor:
        """Of some clips what an extractor looks at: `clip` at their numbers alone."""
        if extractor == "small":
            return self.frames[list(videos)]
        return self.frames[list(videos)][..., -1:, :1]


class Remembered(Backbone):
    """A frozen backbone that looks up by number what it said of a frame or caption."""

    def __init__(self, clips: Clips) -> None:
        said = nn.Module()
        said.visual = nn.Module()
        said.logit_scale = nn.Parameter(clips.scale.clone())
        width = clips.features.shape[1]
        config = BackboneConfig("tiny", "none")
        model = {"embed_dim": width, "text_cfg": {"context_length": config.words}}
        # What frames look like does not matter: their numbers are looked at.
        pixels = PixelInput(1, 1, (0.0,) * 3, (1.0,) * 3, "bicubic", "shortest")
        super().__init__(config, said, model, pixels)
        self._clips = clips

    def encode_frames(self, pixels_MCHW: Tensor) -> Tensor:
        """(M, 3) digits of numbers, to features."""
        digits = torch.tensor([1, 256, 65536])
        return self._clips.features[(pixels_MCHW.long() * digits).sum(1)]

    def encode_texts(self, tokens_TL: Tensor) -> Tensor:
        """(T, 1) numbers, to features."""
        return self._clips.texts[tokens_TL[:, 0]]


def number_of(frames: Tensor) -> Tensor:
    """(M, 3, S + 1, S) pictures to the digits in their last rows."""
    return frames[:, :, -1, 0]


def source_of(row: dict[str, str]) -> str:
    """Panda-70M: the video that a clip was cut from; else the repository or set."""
    if row["set"] == "panda70m":
        return row["video"].rsplit(".", 2)[0]
    return row["source"].partition(":")[0] if row["set"] == "misc" else row["video"]


@torch.inference_mode()
def look(data: Path) -> Clips:
    """Decodes and encodes all clips whose captions tell them apart (all sets but ucf101)."""
    with (data / "clips" / "captions.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] != "ucf101"]
    # bf16, where there is such arithmetic, takes a quarter of the time.
    name = str(data / "weights" / "lite2_minilm")
    backbone = load_backbone(BackboneConfig(name, precision="auto", words=32))
    pixels = pixels_of(backbone.pixel_input, "lite2_minilm")
    names = list(dict.fromkeys(row["video"] for row in rows))
    texts = [row["caption"] for row in rows]
    known: dict[str, int] = {}
    frames = torch.zeros(len(names), FRAMES, 3, SMALL + 1, SMALL, dtype=torch.uint8)
    times = torch.zeros(len(names), FRAMES, dtype=torch.float64)
    features = []
    for place, name in enumerate(names):
        with Video(data / "clips" / name) as video:
            first, end = video.numbers_between(None, None)
            numbers = first + uniform_positions(end - first, FRAMES)
            found = {each.number: each.rgb for each in video.frames(numbers, pixels.size)}
            times[place] = torch.from_numpy(np.asarray(video.times(numbers), np.float64))
        shown = np.stack([found[number] for number in numbers.tolist()])
        big = torch.from_numpy(shown).permute(0, 3, 1, 2)
        inputs = pixels(big).contiguous(memory_format=torch.channels_last)
        features.append(backbone.encode_frames(inputs))
        side = min(big.shape[-2:])
        top, left = (big.shape[-2] - side) // 2, (big.shape[-1] - side) // 2
        square = big[..., top : top + side, left : left + side].contiguous()
        small = functional.interpolate(square, (SMALL, SMALL), mode="bilinear", antialias=True)
        frames[place, :, :, :SMALL] = small
        for candidate in range(FRAMES):
            number = place * FRAMES + candidate
            for digit in range(3):
                frames[place, candidate, digit, SMALL, 0] = number // 256**digit % 256
    tokens = backbone.tokenize(texts).ids_TL
    return Clips(
        sources=[source_of(next(r for r in rows if r["video"] == name)) for name in names],
        captions=[[i for i, row in enumerate(rows) if row["video"] == name] for name in names],
        frames=frames,
        times=times,
        # Copies, because what inference mode made cannot be learned from.
        features=torch.cat(features).clone(),
        texts=torch.cat([backbone.encode_texts(part) for part in tokens.split(64)]).clone(),
        same=torch.tensor([known.setdefault(text, len(known)) for text in texts]),
        scale=backbone.logit_scale.detach().clone(),
    )


def halves(clips: Clips, rows: Sequence[int], seed: int, share: float) -> tuple[list[int], ...]:
    """Two parts of some clips, the second with about a share of them; no source is in both."""
    sources = sorted({clips.sources[row] for row in rows})
    order = np.random.default_rng(seed).permutation(len(sources))
    second: set[str] = set()
    size = {source: sum(clips.sources[row] == source for row in rows) for source in sources}
    for number in order:
        if sum(size[each] for each in second) + size[sources[number]] <= share * len(rows):
            second.add(sources[number])
    inside = [clips.sources[row] in second for row in rows]
    return (
        [row for row, there in zip(rows, inside, strict=True) if not there],
        [row for row, there in zip(rows, inside, strict=True) if there],
    )
