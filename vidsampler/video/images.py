"""Pictures as files: coding with Pillow, written under a temporary name and renamed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidsampler.errors import UsageError
from vidsampler.files import write_file

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}


def encode_image(rgb: npt.NDArray[np.uint8], format: str = "JPEG", quality: int = 95) -> bytes:
    """Codes a picture.

    Args:
        rgb: (H, W, 3) uint8.
        format: JPEG, PNG or WEBP.
        quality: 1 to 100, for JPEG and WEBP.
    """
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, format, quality=quality)
    return buffer.getvalue()


def narrowed(rgb: npt.NDArray[np.uint8], width: int | None) -> npt.NDArray[np.uint8]:
    """A picture at most so many pixels wide, its shape kept; None leaves it as it is.

    Raises:
        ValueError: ``width`` is below 1.
    """
    if width is not None and width < 1:
        raise ValueError(f"width must be at least 1 pixel, got {width}")
    if width is None or rgb.shape[1] <= width:
        return rgb
    from PIL import Image

    height = max(1, round(rgb.shape[0] * width / rgb.shape[1]))
    small = Image.fromarray(rgb).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(small)


def image_format(path: Path) -> str:
    """The format that a file's ending names.

    Raises:
        UsageError: another ending.
    """
    if not path.name:
        raise UsageError("the name of the picture is empty")
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise UsageError(
            f"{path}: pictures are written as {', '.join(FORMATS)}",
            hint=f"name it {path.with_suffix('.jpg').name}",
        ) from None


def write_image(path: Path, rgb: npt.NDArray[np.uint8], quality: int = 95) -> None:
    """Writes a picture; the file is whole or not there.

    Raises:
        UsageError: the ending names no known format.
        VidsamplerError: the file cannot be written.
    """
    write_file(path, encode_image(rgb, image_format(path), quality))
