"""Writes tensors one after the other, so that only one is in memory, and folders at once."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from torch import Tensor

from vidsampler.errors import UsageError
from vidsampler.files import sync_folder, whole_file, writing

_NAMES = {torch.float32: "F32", torch.int64: "I64"}


class Part(NamedTuple):
    """A tensor that is yet to be made.

    Attributes:
        shape: Its sizes.
        dtype: float32 or int64.
        make: Makes it, of any type.
        origin: What it is made of, for messages.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]
    origin: str


def write_tensors(path: Path, parts: Mapping[str, Part], facts: Mapping[str, str]) -> None:
    """Writes a safetensors file; it is whole or not there.

    Args:
        path: The file.
        parts: The tensors, in any order.
        facts: Stored beside them.

    Raises:
        UsageError: A number is not finite.
        VidsamplerError: It cannot be written.
    """
    header: dict[str, object] = {"__metadata__": dict(facts)}
    # As the format's own writer has them: aligned, and the same whatever the order was.
    order = sorted(parts, key=lambda name: (-parts[name].dtype.itemsize, name))
    end = 0
    for name in order:
        start, end = end, end + _bytes(parts[name])
        header[name] = {
            "dtype": _NAMES[parts[name].dtype],
            "shape": list(parts[name].shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    with writing(path), whole_file(path) as (handle, temporary):
        with os.fdopen(handle, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in order:
                _write(file, name, parts[name])
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder, to be filled; it is at its place when the block ends without an error.

    Raises:
        UsageError: There is something at its place already.
        VidsamplerError: It cannot be written.
    """
    check_free(folder)
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield temporary
        with writing(folder):
            temporary.chmod(0o755)
            os.replace(temporary, folder)
            sync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_free(path: Path) -> None:
    """Makes sure that nothing is overwritten.

    Raises:
        UsageError: There is a file, or a folder that is not empty.
    """
    if path.is_symlink() or path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise UsageError(f"{path} is there already", hint="take another place, or remove it")


def _bytes(part: Part) -> int:
    count = part.dtype.itemsize
    for size in part.shape:
        count *= size
    return count


def _write(file: BinaryIO, name: str, part: Part) -> None:
    tensor = part.make().detach().to(part.dtype).contiguous()
    if tuple(tensor.shape) != part.shape:
        raise ValueError(f"{name} is {tuple(tensor.shape)}, not {part.shape}")
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        bad = tensor.numel() - int(tensor.isfinite().sum())
        raise UsageError(f"{bad:,} of {tensor.numel():,} numbers of {part.origin} are not finite")
    file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
