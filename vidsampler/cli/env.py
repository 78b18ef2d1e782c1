"""`vidsampler env`: what a bug report needs."""

from __future__ import annotations

from typing import Any

import typer

from vidsampler import __version__
from vidsampler.cli.options import Debug, Json, output_of
from vidsampler.config import cache_dir, configs_dir
from vidsampler.errors import ConfigError

NAME = "env"
EXAMPLE = "\b\nExample:\n  vidsampler env --json"

PACKAGES = (
    "av",
    "numpy",
    "open_clip_torch",
    "pillow",
    "ptflops",
    "pyyaml",
    "rich",
    "safetensors",
    "simplejpeg",
    "torch",
    "torchvision",
    "typer",
    "webdataset",
)
# FFmpeg's own "av1" decoder needs a graphics card, so the software ones are asked first.
DECODERS = {
    "h264": ("h264",),
    "hevc": ("hevc",),
    "vp8": ("vp8", "libvpx"),
    "vp9": ("vp9", "libvpx-vp9"),
    "av1": ("libdav1d", "libaom-av1", "av1"),
    "mpeg4": ("mpeg4",),
    "mjpeg": ("mjpeg",),
    "gif": ("gif",),
}


def command(context: typer.Context, json: Json = False, debug: Debug = False) -> None:
    """Print what a bug report needs.

    Versions, devices, codecs, caches.
    """
    out = output_of(context)
    import platform

    from vidsampler.video.container import usable_cpus

    report = {
        "vidsampler": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": usable_cpus(),
        "packages": {name: _version(name) for name in PACKAGES},
        **_video_libraries(),
        "torch": _torch_devices(),
        "cache": {"path": str(cache_dir()), "exists": cache_dir().is_dir()},
        "configs": _configs(),
    }
    if out.json:
        out.result(report)
    else:
        out.table(["what", "value"], [[key, value] for key, value in _flat(report)])


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _video_libraries() -> dict[str, Any]:
    """FFmpeg's versions and its decoders, or why PyAV cannot say."""
    try:
        import av
        from av.codec import Codec
    except ImportError as error:
        # A report must still come out of an installation that is broken: this is its purpose.
        return {"ffmpeg": {"error": str(error)}, "decoders": {}}

    def found(name: str) -> bool:
        try:
            Codec(name, "r")
        except ValueError:
            return False
        return True

    return {
        "ffmpeg": {
            name: ".".join(map(str, number)) for name, number in sorted(av.library_versions.items())
        },
        "decoders": {
            codec: next((name for name in names if found(name)), None)
            for codec, names in DECODERS.items()
        },
    }


def _torch_devices() -> dict[str, Any]:
    try:
        import torch
    except (ImportError, OSError) as error:
        # OSError: torch is there, but one of its shared libraries is not.
        return {"error": str(error)}
    cuda = torch.cuda.is_available()
    return {
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "devices": [
            "cpu",
            *(
                f"cuda:{number} {torch.cuda.get_device_name(number)}"
                for number in range(torch.cuda.device_count() if cuda else 0)
            ),
        ],
    }


def _configs() -> str | None:
    try:
        return str(configs_dir())
    except ConfigError:
        return None


def _flat(report: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in report.items():
        name = f"{above}{key}"
        if isinstance(value, dict):
            rows += _flat(value, f"{name}.")
        elif isinstance(value, list):
            rows.append((name, ", ".join(map(str, value))))
        elif isinstance(value, bool):
            rows.append((name, "yes" if value else "no"))
        else:
            rows.append((name, "missing" if value is None else str(value)))
    return rows
