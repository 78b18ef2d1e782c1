"""`vidsampler env`: whole even where something is broken."""

from __future__ import annotations

import platform
import sys
from types import SimpleNamespace

import pytest

from tests.cli.running import here
from vidsampler import __version__


@pytest.fixture(autouse=True)
def _light_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for torch, whose import would take longer than all of these tests."""
    torch = SimpleNamespace(
        cuda=SimpleNamespace(
            is_available=lambda: True,
            device_count=lambda: 2,
            get_device_name=lambda number: f"GPU number {number}",
        ),
        version=SimpleNamespace(cuda="13.2"),
        get_num_threads=lambda: 3,
    )
    monkeypatch.setitem(sys.modules, "torch", torch)


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    report = here(capsys, "env", "--json").json
    assert report["vidsampler"] == __version__
    assert report["python"] == platform.python_version()
    assert report["cpus"] >= 1
    assert {"av", "torch", "typer", "numpy", "open_clip_torch"} <= set(report["packages"])
    assert report["packages"]["av"]
    assert report["ffmpeg"]["libavcodec"].count(".") == 2
    wanted = {"h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mjpeg", "gif"}
    assert set(report["decoders"]) == wanted
    assert report["decoders"]["h264"] == "h264"
    assert report["torch"] == {
        "threads": 3,
        "cuda": "13.2",
        "devices": ["cpu", "cuda:0 GPU number 0", "cuda:1 GPU number 1"],
    }
    assert set(report["cache"]) == {"path", "exists"}


def test_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDSAMPLER_CACHE", "/nowhere/cache")
    rows = dict(
        line.split(maxsplit=1) for line in here(capsys, "env").out.splitlines() if " " in line
    )
    assert rows["vidsampler"] == __version__
    assert rows["cache.path"] == "/nowhere/cache"
    assert rows["cache.exists"] == "no"
    assert rows["torch.devices"] == "cpu, cuda:0 GPU number 0, cuda:1 GPU number 1"


def test_what_cannot_be_imported_is_part_of_the_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # None makes Python refuse the import.
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "av", None)
    ran = here(capsys, "env", "--json")
    assert ran.code == 0
    assert "torch" in ran.json["torch"]["error"]
    assert "av" in ran.json["ffmpeg"]["error"]
    assert ran.json["decoders"] == {}
