"""Similarity matrices as blocks of rows, wherever they lie: in memory, in a file, or computed.

Axes: T texts (rows), V videos (columns), R the rows of one block. A matrix may be far larger than
the memory; whoever reads it asks for its blocks, from the first row on, as often as needed.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vidsampler.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[Any]

READ_BYTES = 1 << 22
"""A block that is read or converted at once holds about this many bytes, and at least one row."""
DEVICE_SCORES = 1 << 24
"""A block of a matrix on an accelerator holds about this many scores: more work for each call."""

_MAGIC = b"\x93NUMPY"
_TORCH_SUFFIXES = (".pt", ".pth")


class MatrixError(UsageError):
    """A similarity matrix, or what belongs to it, that cannot be ranked."""

    default_code = "matrix"


class Rows(ABC):
    """A matrix (T, V) of scores that is read in blocks of rows.

    Attributes:
        shape: (T, V).
        name: What errors call it, such as its file.
    """

    def __init__(self, shape: tuple[int, ...], name: str) -> None:
        if len(shape) != 2:
            raise MatrixError(
                f"{name}: a similarity matrix has two dimensions (texts, videos), "
                f"this one has the shape {tuple(shape)}"
            )
        if 0 in shape:
            raise MatrixError(f"{name}: the similarity matrix is empty, its shape is {shape}")
        self.shape: tuple[int, int] = (int(shape[0]), int(shape[1]))
        self.name = name

    @abstractmethod
    def blocks(self, size: int | None = None) -> Iterator[Array | Tensor]:
        """Consecutive blocks (R, V) from the first row to the last, the same ones in each pass.

        NumPy blocks are C-contiguous float32 or float64 in the machine's byte order; float16 comes
        as float32, which holds it exactly.

        Args:
            size: Rows of a block; the last may have fewer. None: as many as are quick to handle.
        """

    def _slices(self, size: int | None, width: int) -> Iterator[slice]:
        texts, videos = self.shape
        step = max(1, READ_BYTES // (videos * width)) if size is None else size
        if step < 1:
            raise ValueError(f"a block must have at least 1 row, got {size}")
        return (slice(start, min(start + step, texts)) for start in range(0, texts, step))


class ArrayRows(Rows):
    """A NumPy array, memory-mapped ones included."""

    def __init__(self, array: Array, name: str = "the matrix") -> None:
        super().__init__(array.shape, name)
        _check_dtype(array.dtype, name)
        self._array = array

    def blocks(self, size: int | None = None) -> Iterator[Array]:
        """See `Rows.blocks`."""
        for rows in self._slices(size, self._array.itemsize):
            yield native(self._array[rows])


class FileRows(Rows):
    """A `.npy` file, read block by block; one of any size takes the memory of a block.

    A file in Fortran order (a transposed matrix that was saved as it was) is memory-mapped: it is
    read as fast as the system pages it in, and pages that were read count as memory in use until
    somebody needs it.

    Args:
        path: The file.

    Raises:
        MatrixError: It is no `.npy` file of float scores, or shorter than its header says.
    """

    def __init__(self, path: Path) -> None:
        self._mapped = open_npy(path)
        super().__init__(self._mapped.shape, str(path))
        _check_dtype(self._mapped.dtype, str(path))
        self._path = path

    def blocks(self, size: int | None = None) -> Iterator[Array]:
        """See `Rows.blocks`."""
        slices = self._slices(size, self._mapped.itemsize)
        if not self._mapped.flags.c_contiguous:
            yield from (native(self._mapped[rows]) for rows in slices)
            return
        # Read, not paged in: pages of a mapped file count as memory of the process.
        videos = self.shape[1]
        with self._path.open("rb") as file:
            file.seek(self._mapped.offset)
            for rows in slices:
                count = (rows.stop - rows.start) * videos
                block = np.fromfile(file, self._mapped.dtype, count)
                if len(block) < count:
                    raise MatrixError(f"{self._path}: became shorter while it was read")
                yield native(block.reshape(-1, videos))


class TensorRows(Rows):
    """A torch tensor; one on an accelerator is ranked there."""

    def __init__(self, tensor: Tensor, name: str = "the matrix") -> None:
        super().__init__(tuple(tensor.shape), name)
        if str(tensor.layout) != "torch.strided":
            raise MatrixError(f"{name}: a sparse tensor", hint="save matrix.to_dense()")
        if not tensor.is_floating_point():
            raise _wrong_dtype(str(tensor.dtype), name)
        self._tensor = tensor.detach()

    def blocks(self, size: int | None = None) -> Iterator[Array | Tensor]:
        """See `Rows.blocks`; blocks of a tensor on an accelerator are tensors there."""
        if self._tensor.device.type == "cpu":
            for rows in self._slices(size, self._tensor.element_size()):
                yield native(_to_numpy(self._tensor[rows]))
            return
        if size is None:
            size = max(1, DEVICE_SCORES // self.shape[1])
        for rows in self._slices(size, self._tensor.element_size()):
            yield self._tensor[rows]


class StreamRows(Rows):
    """Blocks that are computed when they are asked for.

    Args:
        shape: (T, V).
        compute: Gives the blocks (R, V) from the first row on, NumPy arrays or torch tensors. It
            is called once for each pass (two for both directions) and must give the same scores
            each time: where computing costs more than a disk, write a `.npy` file in its place.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        compute: Callable[[], Iterator[Array | Tensor]],
        name: str = "the matrix",
    ) -> None:
        super().__init__(shape, name)
        self._compute = compute

    def blocks(self, size: int | None = None) -> Iterator[Array | Tensor]:
        """See `Rows.blocks`; blocks are as large as they come unless ``size`` cuts them.

        Raises:
            ValueError: Blocks have another width, dtype or number of rows than they should.
        """
        texts, videos = self.shape
        done = 0
        dtype: Any = None
        for block in self._compute():
            dtype = block.dtype if dtype is None else dtype
            if block.ndim != 2 or block.shape[1] != videos or block.dtype != dtype:
                raise ValueError(
                    f"{self.name}: a block of {dtype} and the shape (rows, {videos}) was expected, "
                    f"got {block.dtype} and {tuple(block.shape)}"
                )
            done += len(block)
            if done > texts:
                break
            step = max(1, len(block)) if size is None else size
            for start in range(0, len(block), step):
                part = block[start : start + step]
                if isinstance(part, np.ndarray):
                    _check_dtype(part.dtype, self.name)
                    part = native(part)
                yield part
        if done != texts:
            raise ValueError(
                f"{self.name}: {texts} rows were expected, the blocks had {done}"
                + (" or more" if done > texts else "")
            )


def rows_of(matrix: Any, name: str = "the matrix") -> Rows:
    """Whatever holds a matrix, as rows.

    Args:
        matrix: (T, V): rows already, a NumPy array, a torch tensor, or the path of a `.npy` file
            or of a tensor that torch saved (`.pt`, `.pth`).
        name: What errors call it, where it is no file.

    Raises:
        MatrixError: It is none of these, has other than two dimensions, or holds no floats.
    """
    if isinstance(matrix, Rows):
        return matrix
    if isinstance(matrix, np.ndarray):
        return ArrayRows(matrix, name)
    if isinstance(matrix, (str, Path)):
        path = Path(matrix)
        if path.suffix in _TORCH_SUFFIXES:
            return TensorRows(_load_tensor(path), str(path))
        return FileRows(path)
    if hasattr(matrix, "is_floating_point"):
        return TensorRows(matrix, name)
    raise MatrixError(f"{name}: expected an array, a tensor or a file, not {type(matrix).__name__}")


def open_npy(path: Path) -> np.memmap[Any, Any]:
    """A `.npy` file, mapped and not yet read.

    Raises:
        MatrixError: It is missing, no `.npy` file, holds objects, or is shorter than it says.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
        if magic != _MAGIC:
            raise MatrixError(
                f"{path}: not a .npy file", hint="write one with numpy.save(FILE, matrix)"
            )
        with warnings.catch_warnings():
            # A size that overflows is too large for any file.
            warnings.simplefilter("error", RuntimeWarning)
            return np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise MatrixError(f"{path}: cannot be read: {error.strerror or error}") from error
    except MatrixError:
        raise
    except Exception as error:
        # A header is a Python expression: damage raises whatever NumPy's tokenizer raises.
        raise MatrixError(f"{path}: cannot be read: {_why(path, error)}") from error


def native(block: Array) -> Array:
    """The block C-contiguous, in the machine's byte order, float16 as float32."""
    wide = np.float32 if block.dtype.itemsize == 2 else block.dtype.newbyteorder("=")
    return np.ascontiguousarray(block, dtype=wide)


def to_numpy(block: Array | Tensor) -> Array:
    """A block as a NumPy array, wherever it lies."""
    return native(block if isinstance(block, np.ndarray) else _to_numpy(block))


def _to_numpy(tensor: Tensor) -> Array:
    # NumPy has no bfloat16; float32 holds it, and float16, exactly.
    wide = tensor.float() if tensor.element_size() < 4 else tensor
    array: Array = wide.detach().cpu().numpy()
    return array


def _load_tensor(path: Path) -> Tensor:
    import torch

    try:
        with warnings.catch_warnings():
            # Of sparse tensors, which are refused below.
            warnings.simplefilter("ignore", UserWarning)
            # Nothing but tensors and plain containers is unpickled.
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise MatrixError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        # torch raises whatever the broken bytes make its reader raise.
        raise MatrixError(
            f"{path}: not a tensor that torch.load(..., weights_only=True) reads",
            hint="write one with torch.save(matrix, FILE)",
        ) from error
    if not isinstance(loaded, torch.Tensor):
        raise MatrixError(f"{path}: holds {type(loaded).__name__}, not a tensor")
    return loaded


def _why(path: Path, error: Exception) -> str:
    """What is wrong with a `.npy` file; NumPy's own words speak of its functions."""
    text = str(error)
    if "object" in text.lower():
        return "it holds Python objects, which are never unpickled"
    if "greater than file size" in text or isinstance(error, (RuntimeWarning, OverflowError)):
        return f"it is shorter than its header says ({path.stat().st_size:,} bytes)"
    if "empty file" in text:
        return "it is empty"
    return f"its header is damaged ({text})"


def _check_dtype(dtype: np.dtype[Any], name: str) -> None:
    if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        raise _wrong_dtype(str(dtype), name)


def _wrong_dtype(dtype: str, name: str) -> MatrixError:
    return MatrixError(
        f"{name}: scores must be float16, float32 or float64, not {dtype.removeprefix('torch.')}",
        hint="convert it: matrix.astype('float64')",
    )
