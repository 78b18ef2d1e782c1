"""The pickle inside a torch file, read so that nothing in it can run.

Tensors and plain containers are built. An object of any other class becomes a table of what it
held, and its class is never looked for; a call of anything else is refused.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, NoReturn

import torch
from torch import Tensor

MOST_PICKLE = 16 << 20
"""Bytes. The pickle of a model with its optimiser has some hundred thousand."""

_DTYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}


class Storage(NamedTuple):
    """A run of numbers in the file.

    Attributes:
        dtype: Their type.
        numbers_N: All of them, (N,); a view of the file.
    """

    dtype: torch.dtype
    numbers_N: Tensor


class Inert(dict[Any, Any]):
    """What an object of a class that is not looked for held."""


class _Foreign(type):
    """Makes stand-ins for classes and functions, which cannot be called."""

    asked: str

    def __call__(cls, *args: object, **settings: object) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks to run {cls.asked}")


def _ordered(*args: object) -> OrderedDict[Any, Any]:
    """An empty table; what it holds comes one by one, by names that are looked at."""
    if args:
        raise pickle.UnpicklingError("a table that is made of something else")
    return OrderedDict()


def _inert(*args: object) -> Inert:
    """In place of a call whose result nobody needs."""
    return Inert()


def _reconstructed(cls: object, base: object, state: object) -> Inert:
    """In place of `copyreg._reconstructor`, which builds objects in old pickles."""
    return Inert(state if isinstance(state, dict) else {})


def _parameter(data: Tensor, *flags: object) -> Tensor:
    """In place of `torch._utils._rebuild_parameter`: a parameter's tensor will do."""
    return data


_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _ordered,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("copyreg", "_reconstructor"): _reconstructed,
    ("copy_reg", "_reconstructor"): _reconstructed,
    # What stands beside the weights: schedules, the best score so far, paths.
    ("builtins", "frozenset"): _inert,
    ("builtins", "set"): _inert,
    ("__builtin__", "frozenset"): _inert,
    ("__builtin__", "set"): _inert,
    ("collections", "Counter"): _inert,
    ("collections", "defaultdict"): _inert,
    ("_codecs", "encode"): _inert,
    ("numpy", "dtype"): _inert,
    ("numpy.core.multiarray", "scalar"): _inert,
    ("numpy._core.multiarray", "scalar"): _inert,
    ("pathlib", "Path"): _inert,
    ("pathlib", "PosixPath"): _inert,
    ("pathlib", "WindowsPath"): _inert,
    ("torch", "device"): _inert,
}


_LOAD: dict[int, Callable[[Any], None]] = {**pickle._Unpickler.dispatch}
# A bytearray's room is made before its bytes are there. Sets are looked into by hash, and the hash
# of a few nested tuples can take for ever.
_LEFT_OUT = {
    code[0] for code in (pickle.BYTEARRAY8, pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET)
}


class _Unpickler(pickle._Unpickler):
    """Reads the pickle of a torch file.

    In Python rather than C, as for annotations: the one in C makes room for as many objects as the
    file says that it has.

    Args:
        data: The pickle.
        storage: From the id of a storage, its type and its length to its numbers.
    """

    def __init__(self, data: bytes, storage: Callable[[str, torch.dtype, int], Storage]) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self.stack: list[Any] = []
        self.metastack: list[list[Any]] = []
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name; nothing is imported."""
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) in _NAMES:
            return _NAMES[module, name]
        return _Foreign("Foreign", (Inert,), {"asked": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Storage:
        """The numbers that a tensor lies in."""
        try:
            kind, dtype, key, _, count = pid
        except (TypeError, ValueError):
            kind = dtype = key = count = None
        if (
            kind != "storage"
            or not isinstance(dtype, torch.dtype)
            or not isinstance(key, str)
            or type(count) is not int
        ):
            raise pickle.UnpicklingError("it asks for something else than the numbers of a tensor")
        return self._storage(key, dtype, count)

    def _build(self) -> None:
        state = self.stack.pop()
        held = self.stack[-1]
        if isinstance(held, Inert):
            # (attributes, slots) of classes with slots.
            parts = state if isinstance(state, tuple) else (state,)
            for part in parts:
                if isinstance(part, dict):
                    held.update(part)
        elif not isinstance(held, OrderedDict):
            # An OrderedDict of a model has its version as an attribute. Nothing else has any.
            raise pickle.UnpicklingError(f"it asks to change {type(held).__name__}")

    def _set_item(self) -> None:
        _check_keys(self.stack[-3:-2], self.stack[-2:-1])
        _LOAD[pickle.SETITEM[0]](self)

    def _set_items(self) -> None:
        _check_keys(self.metastack[-1][-1:], self.stack[::2])
        _LOAD[pickle.SETITEMS[0]](self)

    def _dict(self) -> None:
        _check_keys([{}], self.stack[::2])
        _LOAD[pickle.DICT[0]](self)

    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        **{code: load for code, load in _LOAD.items() if code not in _LEFT_OUT},
        pickle.BUILD[0]: _build,
        pickle.DICT[0]: _dict,
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
    }


def unpickle(data: bytes, storage: Callable[[str, torch.dtype, int], Storage]) -> Any:
    """Reads the pickle of a torch file; nothing is run.

    Args:
        data: The pickle.
        storage: From the id of a storage, its type and its length to its numbers.

    Raises:
        pickle.UnpicklingError: It asks for anything else, which is refused, or it is damaged.
    """
    if len(data) > MOST_PICKLE:
        raise pickle.UnpicklingError(f"a pickle of {len(data):,} bytes, more than any model needs")
    try:
        return _Unpickler(data, storage).load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:
        # The documentation of pickle says that damaged data can raise any exception.
        raise pickle.UnpicklingError(
            f"its pickle is damaged ({type(error).__name__}: {str(error)[:80]})"
        ) from error


def _check_keys(tables: list[Any], keys: list[Any]) -> None:
    if not all(isinstance(table, dict) for table in tables):
        raise pickle.UnpicklingError("it asks to change what is no table")
    if not all(key is None or isinstance(key, str | int | float | bytes) for key in keys):
        raise pickle.UnpicklingError("a table with keys that are neither text nor numbers")


def _tensor(
    storage: object, first: object, shape: object, strides: object, *flags: object
) -> Tensor:
    """A view of a storage, in place of `torch._utils._rebuild_tensor_v2`."""
    if not isinstance(storage, Storage) or not isinstance(first, int) or first < 0:
        raise pickle.UnpicklingError("a tensor that lies nowhere")
    sizes, steps = _whole_numbers(shape), _whole_numbers(strides)
    if len(sizes) != len(steps):
        raise pickle.UnpicklingError("a tensor whose shape has no sense")
    count, last = 1, first
    for size, step in zip(sizes, steps, strict=True):
        count *= size
        last += (size - 1) * step
    held = len(storage.numbers_N)
    # A stride of 0 would make a few bytes as large as one likes.
    if count > held or (count and last >= held):
        raise pickle.UnpicklingError(f"a tensor {sizes} of more numbers than the file has for it")
    if not count:
        return torch.empty(sizes, dtype=storage.dtype)
    return storage.numbers_N.as_strided(sizes, steps, first)


def _whole_numbers(values: object) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or not all(
        type(each) is int and each >= 0 for each in values
    ):
        raise pickle.UnpicklingError("a tensor whose shape has no sense")
    return tuple(values)
