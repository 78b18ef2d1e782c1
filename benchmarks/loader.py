"""The training loader beside what one would use instead, in one interleaved run.

All contenders deliver the same batches: 16 frames a video, the central 224 x 224 pixels of each,
uint8, with colours last in memory. Samples are shards of `vidsampler extract` (JPEGs, shorter side
224) and, for the plain Dataset, a folder of the same JPEGs. Prints medians, the ratio to the
fastest other one, whether the pixels are the same, and memory over epochs, each contender by
itself in a fresh process.

    python benchmarks/loader.py [--repeats 5] [--videos 616] [--workers 2] [--json loader.json]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from clips import CACHE, make_clip, real_clips
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import vidsampler
from vidsampler.files import to_json_bytes
from vidsampler.loading.loader import Loader, LoaderConfig
from vidsampler.shards import Reader
from vidsampler.shards.writer import Member, ShardWriter

FRAMES = 16
SIZE = 224
PER_SHARD = 44
Epoch = Callable[[], Iterator[tuple[list[str], Tensor]]]
"""One pass: keys and (B, 16, 3, 224, 224) frames of each batch."""


def prepare(videos: int) -> Path:
    """A folder with ``shards`` and ``folders`` of so many videos; kept for later runs."""
    source = "real" if real_clips() else "patterns"
    root = CACHE / f"loader-{source}-{videos}"
    if (root / "done").exists():
        return root
    clips = real_clips()
    if not clips:
        clips = [make_clip("240p15", (426, 240), 15, 250)]
    folder = root / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    for clip in clips:
        link = folder / clip.name
        if not link.exists():
            link.symlink_to(clip)
    vidsampler.extract(folder, root / "extracted", frames=FRAMES, size=SIZE, overwrite=True)
    with Reader(root / "extracted") as reader:
        usable = [sample for sample in reader if len(sample.frames) == FRAMES]
    (root / "shards").mkdir(exist_ok=True)
    for first in range(0, videos, PER_SHARD):
        name = f"{first // PER_SHARD:06d}"
        with ShardWriter(root / "shards", name, {"frames": FRAMES}, root) as writer:
            for number in range(first, min(first + PER_SHARD, videos)):
                sample = usable[number % len(usable)]
                key = f"{number:06d}"
                members = [
                    Member(name, len(data), bytes(data)) for name, data in sample.members.items()
                ]
                writer.add(key, f"{key}.mp4", members, FRAMES)
                pictures = root / "folders" / key
                pictures.mkdir(parents=True, exist_ok=True)
                for place, data in enumerate(sample.frames):
                    (pictures / f"{place:03d}.jpg").write_bytes(data)
            writer.commit()
    (root / "done").write_bytes(to_json_bytes({"videos": videos}))
    return root


# ---------------------------------------------------------------- contenders


def corner(height: int, width: int) -> tuple[int, int]:
    return (height - SIZE) // 2, (width - SIZE) // 2


def with_torchvision(pictures: list[bytes]) -> Tensor:
    """(16, 224, 224, 3)."""
    from torchvision.io import ImageReadMode, decode_jpeg

    parts = []
    for data in pictures:
        coded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        rgb = decode_jpeg(coded, ImageReadMode.RGB).permute(1, 2, 0)
        top, left = corner(*rgb.shape[:2])
        parts.append(rgb[top : top + SIZE, left : left + SIZE])
    return torch.stack(parts)


def with_pil(pictures: list[bytes]) -> Tensor:
    """(16, 224, 224, 3)."""
    parts = []
    for data in pictures:
        rgb = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        top, left = corner(*rgb.shape[:2])
        parts.append(rgb[top : top + SIZE, left : left + SIZE])
    return torch.from_numpy(np.stack(parts))


class FromTar:
    """A sample of webdataset to its key and frames."""

    def __init__(self, decode: Callable[[list[bytes]], Tensor]) -> None:
        self.decode = decode

    def __call__(self, sample: dict[str, Any]) -> tuple[str, Tensor]:
        names = sorted(name for name in sample if name.endswith(".jpg"))
        return sample["__key__"], self.decode([sample[name] for name in names])


class Folders(Dataset[tuple[str, Tensor]]):
    """A folder of JPEGs for each video."""

    def __init__(self, root: Path) -> None:
        self.videos = [
            (folder.name, sorted(str(path) for path in folder.iterdir()))
            for folder in sorted(root.iterdir())
        ]

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, number: int) -> tuple[str, Tensor]:
        key, paths = self.videos[number]
        pictures = []
        for path in paths:
            with open(path, "rb") as file:
                pictures.append(file.read())
        return key, with_torchvision(pictures)


def through_torch(dataset: Any, options: argparse.Namespace, shuffle: bool) -> Epoch:
    loader = DataLoader(
        dataset,
        batch_size=options.batch,
        num_workers=options.workers,
        shuffle=shuffle or None,
        persistent_workers=options.workers > 0,
    )

    def epoch() -> Iterator[tuple[list[str], Tensor]]:
        for keys, frames_BNHWC in loader:
            yield keys, frames_BNHWC.permute(0, 1, 4, 2, 3)

    return epoch


def webdataset_(decode: Callable[[list[bytes]], Tensor]) -> Callable[..., Epoch]:
    def build(root: Path, options: argparse.Namespace) -> Epoch:
        import webdataset

        tars = sorted(str(path) for path in (root / "shards").glob("*.tar"))
        dataset = webdataset.WebDataset(tars, shardshuffle=False).map(FromTar(decode))
        return through_torch(dataset, options, shuffle=False)

    return build


def folders(root: Path, options: argparse.Namespace) -> Epoch:
    return through_torch(Folders(root / "folders"), options, shuffle=True)


def vidsampler_(root: Path, options: argparse.Namespace) -> Epoch:
    config = LoaderConfig(
        frames=FRAMES,
        size=SIZE,
        captions="none",
        batch_size=options.batch,
        drop_last=False,
        workers=options.workers,
    )
    loader = Loader(root / "shards", config)

    def epoch() -> Iterator[tuple[list[str], Tensor]]:
        for batch in loader:
            yield batch.keys, batch.frames_BNCHW

    return epoch


CONTENDERS: dict[str, Callable[[Path, argparse.Namespace], Epoch]] = {
    "vidsampler": vidsampler_,
    "webdataset + torchvision": webdataset_(with_torchvision),
    "webdataset + PIL": webdataset_(with_pil),
    "folder Dataset + torchvision": folders,
}


# ---------------------------------------------------------------- measuring


def tree() -> list[psutil.Process]:
    own = psutil.Process()
    return [own, *own.children(recursive=True)]


def cpu_seconds() -> float:
    return sum(sum(each.cpu_times()[:2]) for each in tree())


def compare(epochs: dict[str, Epoch], videos: int) -> dict[str, str]:
    """Whether each contender's pixels are ours: in words."""
    ours: dict[str, bytes] = {}
    kept: dict[str, Tensor] = {}
    words = {}
    for name, epoch in epochs.items():
        same, seen, most = 0, 0, 0
        for keys, frames_BNCHW in epoch():
            for key, frames_NCHW in zip(keys, frames_BNCHW, strict=True):
                content = hash(frames_NCHW.contiguous().numpy().tobytes()).to_bytes(
                    8, "little", signed=True
                )
                if name == "vidsampler":
                    ours[key] = content
                    if int(key) % 16 == 0:
                        kept[key] = frames_NCHW.clone()
                seen += 1
                same += ours[key] == content
                if key in kept:
                    other = frames_NCHW.to(torch.int16) - kept[key].to(torch.int16)
                    most = max(most, int(other.abs().max()))
        if seen != videos:
            raise SystemExit(f"{name} delivered {seen} of {videos} videos")
        words[name] = (
            "identical" if same == seen else f"{seen - same} videos differ, by {most} at most"
        )
    return words


def measure(
    epochs: dict[str, Epoch], repeats: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds and processor seconds of each pass, the contenders one after the other in turns."""
    wall: dict[str, list[float]] = {name: [] for name in epochs}
    cpu: dict[str, list[float]] = {name: [] for name in epochs}
    for _ in range(repeats):
        for name, epoch in epochs.items():
            before, begin = cpu_seconds(), time.perf_counter()
            for _ in epoch():
                pass
            wall[name].append(time.perf_counter() - begin)
            cpu[name].append(cpu_seconds() - before)
    return wall, cpu


def print_memory(name: str, root: Path, options: argparse.Namespace) -> None:
    """Memory of this process and its children, MB: the most of each third of each epoch."""
    epoch = CONTENDERS[name](root, options)
    rows = []
    for _ in range(options.memory_epochs):
        samples = []
        for _ in epoch():
            samples.append(sum(each.memory_info().rss for each in tree()) / 1e6)
        thirds = np.array_split(np.array(samples), 3)
        rows.append([round(part.max()) for part in thirds if len(part)])
    print(json.dumps(rows))


def memory_of(name: str, options: argparse.Namespace) -> list[list[int]]:
    arguments = ["--memory-of", name, "--videos", str(options.videos)]
    arguments += ["--workers", str(options.workers), "--batch", str(options.batch)]
    arguments += ["--memory-epochs", str(options.memory_epochs)]
    done = subprocess.run(
        [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    rows: list[list[int]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--videos", type=int, default=616)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--batch", type=int, default=44)
    parser.add_argument("--memory-epochs", type=int, default=3)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    root = prepare(options.videos)
    if options.memory_of:
        print_memory(options.memory_of, root, options)
        return
    print(
        f"{options.videos} videos, {FRAMES} frames each, {SIZE} px, batches of {options.batch}, "
        f"{options.workers} workers, {'real clips' if real_clips() else 'patterns'}"
    )
    epochs = {name: build(root, options) for name, build in CONTENDERS.items()}
    pixels = compare(epochs, options.videos)  # starts all workers and reads all files once
    wall, cpu = measure(epochs, options.repeats)
    speed = {name: options.videos / statistics.median(times) for name, times in wall.items()}
    for name, times in wall.items():
        print(
            f"  {name:30} {speed[name]:6.0f} videos/s  (from {options.videos / max(times):.0f} to "
            f"{options.videos / min(times):.0f}), processor "
            f"{statistics.median(cpu[name]) / options.videos * 1e3:5.1f} ms a video, "
            f"pixels {pixels[name]}",
            flush=True,
        )
    best = max((name for name in speed if name != "vidsampler"), key=lambda name: speed[name])
    ratio = speed["vidsampler"] / speed[best]
    print(f"ratio to the fastest other, {best}: {ratio:.2f}x (goal: 1.15x)")
    del epochs
    memory = {name: memory_of(name, options) for name in CONTENDERS}
    print("memory, MB, the most in each third of each epoch:")
    for name, rows in memory.items():
        print(f"  {name:30} " + " | ".join(" ".join(map(str, row)) for row in rows))
    if options.json:
        options.json.write_text(
            json.dumps(
                {
                    "machine": platform.processor() or platform.machine(),
                    "cpus": os.cpu_count(),
                    "videos": options.videos,
                    "workers": options.workers,
                    "batch": options.batch,
                    "videos_a_second": speed,
                    "seconds": wall,
                    "processor_seconds": cpu,
                    "ratio": ratio,
                    "pixels": pixels,
                    "memory_mb": memory,
                },
                indent=1,
            )
            + "\n"
        )


if __name__ == "__main__":
    main()
