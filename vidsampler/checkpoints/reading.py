"""Reads the tensors of a checkpoint, whoever wrote it; nothing in it is executed.

Tensors are views of the file wherever the format allows: what is not used is never read.
"""

from __future__ import annotations

import mmap
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidsampler.checkpoints.unpickle import Inert, Storage, unpickle
from vidsampler.errors import InputError

CONTAINERS = ("state_dict", "model_state_dict", "model")
"""Under which the weights stand, where several tables of tensors are in a file."""

MOST_NAME = 200
"""Letters in the name of a tensor."""

_REFUSED = "nothing in it was run"
_LOCAL_HEADER = struct.Struct("<4s22xHH")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What is in a checkpoint.

    Attributes:
        path: The file.
        tensors: By the names that they have there, without a leading `module.`.
        config: The settings that stand beside them, as plain values; {} where there are none.
        left_out: What else stands beside them, such as "optimizer".
        unwrapped: Every name began with `module.`.
    """

    path: Path
    tensors: dict[str, Tensor]
    config: dict[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    unwrapped: bool = False


def read_checkpoint(path: Path) -> Checkpoint:
    """The tensors of a torch file or a safetensors file.

    Raises:
        InputError: It cannot be read, is damaged, asks to run something, or holds no tensors.
    """
    content = _content(path)
    tensors, beside = _find_tensors(path, content)
    _check_sizes(path, tensors)
    unwrapped = all(key.startswith("module.") for key in tensors)
    if unwrapped:
        tensors = {key.removeprefix("module."): each for key, each in tensors.items()}
    config = beside.get("config")
    return Checkpoint(
        path,
        tensors,
        config=dict(config) if isinstance(config, dict) else {},
        left_out=tuple(str(key)[:80] for key in beside if key != "config"),
        unwrapped=unwrapped,
    )


def _content(path: Path) -> Any:
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the file with the weights", code="missing")
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}", code="missing") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}", code="unreadable") from error
    if not start:
        raise InputError(f"{path}: the file is empty", code="empty")
    read: Callable[[Path], Any]
    if start.startswith(b"PK"):
        read = _read_archive
    elif start[8:] == b"{":
        read = _read_safetensors
    elif start.startswith(b"\x80"):
        read = _read_old
    else:
        raise InputError(
            f"{path} is no checkpoint: neither a torch file nor safetensors", code="damaged"
        )
    try:
        return read(path)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        why = str(error).partition("\n")[0].rstrip(".")
        raise InputError(
            f"{path} is refused: {why}",
            hint=f"{_REFUSED}; if you trust whoever wrote it, save its state_dict alone, best as "
            "safetensors",
            code="refused",
        ) from error
    except zipfile.BadZipFile as error:
        raise InputError(
            f"{path} is truncated or damaged: it begins as a torch file, but its table of contents "
            "is missing",
            hint="fetch or copy it again",
            code="truncated",
        ) from error
    except Exception as error:
        # safetensors, zipfile and torch have many classes for a broken file.
        why = str(error).strip().partition("\n")[0][:120]
        raise InputError(
            f"{path} cannot be read: {why}",
            hint="it is truncated, damaged, or no checkpoint",
            code="damaged",
        ) from error


def _read_safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    return load_file(path)


def _read_old(path: Path) -> Any:
    """A file as torch wrote it before 1.6, by torch's own reader of tensors alone."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Its own words are about how to run what is in the file.
        raise pickle.UnpicklingError(
            "it is a pickle that asks for more than tensors and plain containers"
        ) from error


def _read_archive(path: Path) -> Any:
    """A file as torch writes it since 1.6: a zip of a pickle and the numbers it speaks of."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        members = {each.filename: each for each in archive.infolist()}
        pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("it is a zip file, but no torch file: there is no data.pkl in it")
        root = pickles[0].removesuffix("data.pkl")
        if any(name.startswith((f"{root}code/", f"{root}constants.pkl")) for name in members):
            raise pickle.UnpicklingError("it is a TorchScript archive, which is a program")
        # Written into the view alone, never into the file.
        view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        order = f"{root}byteorder"
        if order in members and bytes(_place(view, members[order])[0]) != b"little":
            raise ValueError("its numbers are in another byte order")
        found: dict[str, Storage] = {}

        def storage(key: str, dtype: torch.dtype, count: int) -> Storage:
            name = f"{root}data/{key}"
            if key in found and found[key].dtype == dtype:
                return found[key]
            if name not in members:
                raise pickle.UnpicklingError(f"the numbers {key} of a tensor are missing")
            place, start = _place(view, members[name])
            if count < 0 or count * dtype.itemsize > len(place):
                raise pickle.UnpicklingError(f"the numbers {key} of a tensor are cut short")
            if not count:
                numbers_N = torch.empty(0, dtype=dtype)
            elif start % dtype.itemsize:
                numbers_N = torch.frombuffer(bytearray(place), dtype=dtype, count=count)
            else:
                numbers_N = torch.frombuffer(view, dtype=dtype, count=count, offset=start)
            found[key] = Storage(dtype, numbers_N)
            return found[key]

        return unpickle(bytes(_place(view, members[pickles[0]])[0]), storage)


def _place(view: mmap.mmap, member: zipfile.ZipInfo) -> tuple[memoryview, int]:
    """The bytes of a member of a zip file, and where they begin."""
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        raise ValueError("its members are compressed, which torch never does")
    header = bytes(view[member.header_offset : member.header_offset + _LOCAL_HEADER.size])
    if len(header) < _LOCAL_HEADER.size:
        raise ValueError("a member lies beyond its end")
    signature, name, extra = _LOCAL_HEADER.unpack(header)
    start = member.header_offset + _LOCAL_HEADER.size + name + extra
    if signature != b"PK\x03\x04" or start + member.file_size > len(view):
        raise ValueError("a member lies beyond its end")
    return memoryview(view)[start : start + member.file_size], start


def _find_tensors(path: Path, content: Any) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """The table of tensors in a file, and what stands beside it."""
    if not isinstance(content, dict) or isinstance(content, Inert):
        what = "a whole pickled object" if isinstance(content, Inert) else type(content).__name__
        raise InputError(
            f"{path} holds no table of named tensors, but {what}",
            hint="save the model's state_dict() alone",
            code="foreign",
        )
    if any(isinstance(value, Tensor) for value in content.values()):
        return _checked(path, content, ""), {}
    tables = [
        key
        for key, value in content.items()
        if isinstance(value, dict) and any(isinstance(each, Tensor) for each in value.values())
    ]
    named = [key for key in CONTAINERS if key in tables]
    if not tables or (len(tables) > 1 and not named):
        several = f"several tables of tensors ({_listed(tables)})" if tables else ""
        raise InputError(
            f"{path} holds {several or 'no table of named tensors'}; its keys are "
            f"{_listed(content)}",
            hint="save the model's state_dict() alone",
            code="foreign",
        )
    chosen = named[0] if named else tables[0]
    beside = {key: value for key, value in content.items() if key != chosen}
    return _checked(path, content[chosen], f"{chosen}: "), beside


def _checked(path: Path, table: dict[Any, Any], place: str) -> dict[str, Tensor]:
    for key, value in table.items():
        if isinstance(key, str) and (len(key) > MOST_NAME or not key.isprintable()):
            raise InputError(
                f"{path}: {place}{key[:40]!r}... is no name of a tensor", code="foreign"
            )
        if not isinstance(key, str) or not isinstance(value, Tensor):
            what = type(value).__name__ if isinstance(key, str) else "under no name"
            raise InputError(
                f"{path}: {place}{str(key)[:80]!r} is no tensor, but {what}",
                hint="save the model's state_dict() alone",
                code="foreign",
            )
        if value.layout != torch.strided or value.is_quantized or value.is_complex():
            raise InputError(
                f"{path}: {place}{key!r} is a {value.dtype} tensor of the layout {value.layout}; "
                "expected plain numbers",
                code="foreign",
            )
    return dict(table)


def _check_sizes(path: Path, tensors: dict[str, Tensor]) -> None:
    """Tensors that share their numbers could ask for any number of times the file's size."""
    total = sum(each.numel() * each.element_size() for each in tensors.values())
    if total > path.stat().st_size:
        raise InputError(
            f"{path}: its tensors take {total:,} bytes, which the file does not have: some share "
            "their numbers",
            hint="save each with its own: {key: tensor.clone() for ...}",
            code="foreign",
        )


def _listed(keys: Any) -> str:
    names = [repr(key)[:60] for key in keys]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "none"
