"""Files: the same bytes each time, whole or absent, taken up after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vidsampler.datasets.shapes import ShapesSettings, cached_folder, read, render
from vidsampler.datasets.shapes.render import slot_pictures
from vidsampler.errors import VidsamplerError

SETTINGS = ShapesSettings(train=9, val=2, test=3, slots=8, informative=0.3, width=64, height=64)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(SETTINGS, tmp_path_factory.mktemp("whole"), workers=1)


def test_files(whole: Path) -> None:
    names = set(files(whole))
    videos = {f"train/train-{i:05d}.mp4" for i in range(9)}
    videos |= {"val/val-00000.mp4", "val/val-00001.mp4"}
    videos |= {f"test/test-{i:05d}.mp4" for i in range(3)}
    records = {f"{split}/shapes.jsonl" for split in ("train", "val", "test")}
    assert names == videos | records | {"settings.json"}
    assert [len(read(whole, split)) for split in ("train", "val", "test")] == [9, 2, 3]


def test_second_call_does_nothing(whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    calls: list[tuple[int, int]] = []
    assert render(SETTINGS, whole, progress=lambda *call: calls.append(call)) == whole
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before
    assert calls == [(14, 14)]


def test_several_processes_write_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    render(SETTINGS, tmp_path / "a", workers=2, progress=lambda *call: calls.append(call))
    assert files(tmp_path / "a") == files(whole)
    assert [total for _, total in calls] == [14, 14, 14]
    assert [done for done, _ in calls] in ([0, 8, 14], [0, 6, 14])


def test_what_is_missing_is_made_again(whole: Path, tmp_path: Path) -> None:
    render(SETTINGS, tmp_path, workers=1)
    (tmp_path / "train" / "train-00004.mp4").unlink()
    (tmp_path / "val" / "shapes.jsonl").unlink()
    old, new = tmp_path / "test" / ".a.mp4.1.part", tmp_path / "test" / ".b.mp4.2.part"
    for left, age in ((old, 3600), (new, 0)):
        left.write_bytes(b"half")
        os.utime(left, (time.time() - age,) * 2)
    calls: list[tuple[int, int]] = []
    render(SETTINGS, tmp_path, workers=1, progress=lambda *call: calls.append(call))
    assert calls == [(13, 14), (14, 14)]
    assert new.exists(), "it may belong to a run that is under way"
    new.unlink()
    assert files(tmp_path) == files(whole)


def test_killed_and_taken_up(whole: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from tests.datasets.shapes.test_render import SETTINGS\n"
        "from vidsampler.datasets.shapes import render\n"
        "render(SETTINGS, Path(sys.argv[1]), workers=1)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) as process:
        wait_for(lambda: any(tmp_path.glob("*/*.mp4")))
        process.send_signal(signal.SIGKILL)
    for name, data in files(tmp_path).items():
        assert name.endswith(".part") or data == files(whole)[name]
    for left in tmp_path.rglob("*.part"):
        os.utime(left, (0, 0))
    render(SETTINGS, tmp_path, workers=1)
    assert files(tmp_path) == files(whole)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
def test_no_process_outlives_a_killed_run(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom dataclasses import replace\nfrom pathlib import Path\n"
        "from tests.datasets.shapes.test_render import SETTINGS\n"
        "from vidsampler.datasets.shapes import render\n"
        "render(replace(SETTINGS, train=300, facts=64), Path(sys.argv[1]), workers=2)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) as process:
        wait_for(lambda: any(tmp_path.glob("*/*.mp4")))
        workers = children(process.pid)
        process.send_signal(signal.SIGKILL)
    assert len(workers) >= 2
    wait_for(lambda: not any(running(worker) for worker in workers))
    assert 0 < len(list(tmp_path.glob("*/*.mp4"))) < 300


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def children(parent: int) -> list[int]:
    pids = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat")]
    return [pid for pid in pids if stat(pid)[1:2] == [str(parent)]]


def running(pid: int) -> bool:
    # A process that has ended, but that nobody has asked about, is a zombie.
    return stat(pid)[:1] not in ([], ["Z"])


def stat(pid: int) -> list[str]:
    """State, parent and more of a process; nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def test_folder_of_other_settings(whole: Path) -> None:
    with pytest.raises(VidsamplerError, match="holds videos of other settings"):
        render(replace(SETTINGS, seed=1), whole)


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VidsamplerError, match=r"file/a: cannot be written: Not a directory"):
        render(SETTINGS, tmp_path / "file" / "a")


def test_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(tmp_path))
    tiny = replace(SETTINGS, train=0, val=0, test=1)
    assert render(tiny, workers=1) == cached_folder(tiny)
    assert cached_folder(tiny).parent == tmp_path / "shapes"
    assert cached_folder(replace(tiny, seed=1)) != cached_folder(tiny)
    assert [video.video for video in read(cached_folder(tiny), "test")] == ["test-00000"]
    assert read(cached_folder(tiny), "val") == []


def test_pictures_of_a_slot_depend_on_their_place_alone() -> None:
    """A video drawn alone is the video drawn among others."""
    from vidsampler.datasets.shapes.plan import plan_videos

    few, many = plan_videos(replace(SETTINGS, train=0)), plan_videos(SETTINGS)
    one, other = slot_pictures(SETTINGS, few["test"][2]), slot_pictures(SETTINGS, many["test"][2])
    assert all((a == b).all() for a, b in zip(one, other, strict=True))
