"""The first Ctrl-C asks, the second interrupts, and closing is interrupted by none."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.faults.doing import CLIP
from vidsampler.extract import extract
from vidsampler.shards import folder
from vidsampler.stop import Stop


def test_the_first_asks_and_the_second_interrupts() -> None:
    asked: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    with Stop(lambda: asked.append("asked")) as stop, stop.until_closing():
        assert not stop.requested
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert asked == ["asked"]
    assert signal.getsignal(signal.SIGINT) is before


def test_none_interrupts_the_closing() -> None:
    with Stop() as stop:
        with stop.until_closing():
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_a_patient_one_is_never_interrupted() -> None:
    with Stop(patient=True) as stop:
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        assert stop.requested


def test_a_folder_is_given_back_in_peace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlock = folder.unlock_folder

    def interrupted(path: Path, lock: int) -> None:
        signal.raise_signal(signal.SIGINT)
        unlock(path, lock)

    def twice(done: int, total: int) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(folder, "unlock_folder", interrupted)
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    (videos / "clip.mp4").write_bytes(CLIP.read_bytes())
    with pytest.raises(KeyboardInterrupt):
        extract(videos, out, workers=1, progress=twice)
    assert [name for name in os.listdir(out) if name.startswith(".")] == []
