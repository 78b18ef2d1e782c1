"""`vidsampler extract` as users run it, stop it and kill it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.cli.running import Ran, apart
from tests.rendering import render
from tests.test_extract import hashes
from vidsampler.config import configs_dir
from vidsampler.shards import Reader

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "tests" / "data" / "clip.mp4"
FEW = ("--frames", "2", "--size", "64", "--per-shard", "4")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number in range(12):
        render(folder / f"v{number:02d}.mp4", 20)
    return folder


@pytest.fixture(scope="module")
def undisturbed(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    ran = extract(videos, out, *FEW)
    assert ran.code == 0, ran.err
    return hashes(out)


def extract(videos: Path, out: Path, *words: str) -> Ran:
    ran = apart("extract", str(videos), str(out), "--json", *words)
    assert "Traceback" not in ran.err
    return ran


def begin(videos: Path, out: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vidsampler", "extract", str(videos), str(out), *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def leftovers(out: Path) -> list[str]:
    return [name for name in os.listdir(out) if name.startswith(".")]


def test_numbers_and_a_second_run(
    videos: Path, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    out = tmp_path / "out"
    first = extract(videos, out, *FEW).json
    assert first.pop("seconds") > 0
    assert first == {
        "videos": 12,
        "done": 12,
        "skipped": 0,
        "failed": 0,
        "frames": 24,
        "shards": 3,
        "errors": {},
    }
    assert hashes(out) == undisturbed
    second = extract(videos, out, *FEW)
    assert second.code == 0
    assert (second.json["done"], second.json["skipped"], second.json["frames"]) == (0, 12, 0)
    assert leftovers(out) == []


def test_people_get_a_table(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(CLIP, tmp_path / "in" / "a.mp4")
    (tmp_path / "in" / "b.mp4").write_bytes(b"")
    ran = apart("extract", str(tmp_path / "in"), str(tmp_path / "out"), "--frames", "3")
    assert ran.code == 3
    rows = dict(line.rsplit(None, 1) for line in ran.out.splitlines())
    assert rows["done"] == "1"
    assert rows["failed: empty"] == "1"
    assert f"1 of 2 videos failed: {tmp_path}/out/errors.jsonl" in ran.err


def test_the_resolved_settings_repeat_the_run(
    videos: Path, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    extract(videos, tmp_path / "one", *FEW)
    config = tmp_path / "one" / "config.yaml"
    ran = extract(videos, tmp_path / "two", "--config", str(config))
    assert ran.code == 0, ran.out
    assert hashes(tmp_path / "two") == undisturbed


def test_presets_are_the_published_recipes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(CLIP, tmp_path / "in")
    every = extract(tmp_path / "in", tmp_path / "all", "--config", "all-frames").json
    assert every["frames"] == 550
    assert len(list((tmp_path / "all" / "clip").glob("image_*.jpg"))) == 550
    extract(tmp_path / "in", tmp_path / "small", "--config", "3fps-224")
    sample = Reader(tmp_path / "small")["clip"]
    assert sample.facts["recipe"] == {"fps": 3, "size": 224, "store": "mp4", "crf": 23}
    assert len(sample.facts["numbers"]) == 66
    assert bytes(sample.members["mp4"][4:8]) == b"ftyp"
    default = (configs_dir() / "extract" / "default.yaml").read_text()
    plan = apart("extract", str(CLIP), "x", "--dry-run").out
    for line in default.splitlines():
        assert line.startswith("#") or line.removesuffix("0") in plan


def test_flags_take_the_place_of_what_a_preset_says(tmp_path: Path) -> None:
    plan = apart("extract", str(CLIP), "x", "--config", "all-frames", "--fps", "2", "--dry-run")
    assert plan.code == 0
    assert "all: false" in plan.out
    assert "fps: 2" in plan.out
    said = apart(
        "extract", str(CLIP), "x", "--config", "all-frames", "--set", "recipe.fps=2", "--dry-run"
    )
    assert "choose one" not in said.err
    both = apart("extract", str(CLIP), "x", "--fps", "2", "--frames", "3", "--dry-run")
    assert both.code == 2
    assert "choose one of --frames and --fps" in both.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--frames", "0"), "frames must be from 1"),
        (("--store", "mp4"), "needs --fps"),
        (("--store", "mpeg"), "did you mean"),
        (("--layout", "tar"), "unknown value 'tar'"),
        (("--workers", "0"), "workers must be from 1"),
        (("--set", "recipe.frame=3"), "did you mean"),
        (("--engine", "rai"), "did you mean 'ray'"),
        (("--address", "auto"), "--address needs --engine ray"),
    ],
)
def test_wrong_usage(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    ran = extract(CLIP, tmp_path / "out", *words)
    assert ran.code == 2
    assert message in ran.json["error"]["message"]
    assert not (tmp_path / "out").exists()


def test_places_that_are_not_free(tmp_path: Path, videos: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo.png").write_text("x")
    for name, words in (
        ("file", "is not a folder"),
        ("file/in", "cannot write there"),
        ("full", "holds other things, such as photo.png"),
    ):
        ran = extract(videos, tmp_path / name)
        assert ran.code == 2
        assert words in ran.json["error"]["message"]
    missing = extract(tmp_path / "none", tmp_path / "out")
    assert missing.code == 2
    assert missing.json["error"]["code"] == "missing"


def test_killed_at_any_moment(videos: Path, tmp_path: Path, undisturbed: dict[str, str]) -> None:
    out = tmp_path / "out"
    moments = random.Random(5)
    clock = time.monotonic()
    assert extract(videos, tmp_path / "timed", *FEW).code == 0
    whole = time.monotonic() - clock
    for _ in range(5):
        run = begin(videos, out, *FEW)
        time.sleep(moments.uniform(0.1, 0.9) * whole)
        run.kill()
        run.communicate()
        if out.exists():
            for path in out.glob("0*.json"):  # what is committed is whole
                assert hashes(out).get(path.name) == undisturbed[path.name]
                assert hashes(out)[f"{path.stem}.tar"] == undisturbed[f"{path.stem}.tar"]
    assert extract(videos, out, *FEW).code == 0
    assert hashes(out) == undisturbed
    assert leftovers(out) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_commits_the_shard_at_hand(tmp_path: Path, number: signal.Signals) -> None:
    videos = tmp_path / "in"
    videos.mkdir()
    for position in range(40):
        shutil.copy(CLIP, videos / f"v{position:02d}.mp4")
    words = ("--all", "--size", "64", "--per-shard", "4", "--workers", "1")
    out = tmp_path / "out"
    run = begin(videos, out, *words)
    while not (out.exists() and any(out.glob(".tmp-*/*"))):
        time.sleep(0.01)
    run.send_signal(number)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert errors.splitlines() == [
        "finishing the shard at hand; Ctrl-C again ends at once",
        "interrupted: run the same command again to go on",
    ]
    committed = len(list(out.glob("0*.json")))
    assert 1 <= committed < 10
    assert len(Reader(out, verify=True)) == 4 * committed
    assert leftovers(out) == []
    assert extract(videos, out, *words, "--workers", "2").code == 0
    undisturbed = tmp_path / "undisturbed"
    assert extract(videos, undisturbed, *words).code == 0
    assert hashes(out) == hashes(undisturbed)


def test_the_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    videos = tmp_path / "in"
    videos.mkdir()
    for position in range(40):
        shutil.copy(CLIP, videos / f"v{position:02d}.mp4")
    out = tmp_path / "out"
    run = begin(videos, out, "--all", "--workers", "1")
    while not (out.exists() and any(out.glob(".tmp-*/*"))):
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    time.sleep(0.3)
    clock = time.monotonic()
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert time.monotonic() - clock < 5
    assert run.returncode == 130
    assert "Traceback" not in errors
    assert list(out.glob("*.tar")) == []
    assert leftovers(out) == []


def test_a_worker_that_is_killed_twice_takes_only_its_video(tmp_path: Path) -> None:
    videos = tmp_path / "in"
    videos.mkdir()
    for position in range(4):
        shutil.copy(CLIP, videos / f"v{position}.mp4")
    out = tmp_path / "out"
    run = begin(videos, out, "--all", "--size", "64", "--workers", "1", "--json")
    for _ in range(2):
        # The second one has the same video again.
        while not (spools := list(out.glob(".tmp-*/*"))) or not spools[0].stat().st_size:
            time.sleep(0.01)
        (worker,) = psutil.Process(run.pid).children()
        worker.kill()
        spools[0].unlink(missing_ok=True)
        worker.wait()
    output, errors = run.communicate(timeout=60)
    assert run.returncode == 3
    assert "Traceback" not in errors
    assert json.loads(output)["errors"] == {"crashed": 1}
    assert json.loads(output)["done"] == 3
    assert extract(videos, out, "--all", "--size", "64", "--retry-failed").json["done"] == 1


HOSTILE = {
    "with space.mp4": "with_space-",
    "quote'\"s.mp4": "quote_s-",
    "at@home.mp4": "at_home-",
    "several.dots.in.it.mp4": "several_dots_in_it-",
    "größe 视频.mp4": "groe-",
    "a b.mp4": "a_b-",
    "a_b.mp4": "a_b",
    "a\nb.mp4": "a_b-",
}


def hostile_folder(folder: Path) -> dict[str, str]:
    """Adds files that are no good; gives the class of each fault."""
    whole = CLIP.read_bytes()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("this is no video\n" * 100)
    (folder / "half.mp4").write_bytes(whole[: len(whole) // 2])
    render(folder / "sound-and-video.mp4", 30, audio=True)
    subprocess.run(
        [
            sys.executable,
            "-c",
            AUDIO_ONLY,
            str(folder / "sound-and-video.mp4"),
            str(folder / "sound.mp4"),
        ],
        check=True,
    )
    (folder / "locked.mp4").write_bytes(whole)
    (folder / "locked.mp4").chmod(0)
    for name in HOSTILE:
        shutil.copy(CLIP, folder / name)
    return {
        "empty.mp4": "empty",
        "text.mp4": "not-video",
        "half.mp4": "truncated",
        "sound.mp4": "no-video",
        "locked.mp4": "unreadable",
    }


AUDIO_ONLY = """
import av, sys
with av.open(sys.argv[1]) as source, av.open(sys.argv[2], "w") as out:
    audio = out.add_stream_from_template(source.streams.audio[0])
    for packet in source.demux(source.streams.audio[0]):
        if packet.dts is not None:
            packet.stream = audio
            out.mux(packet)
"""


def as_another_user(words: list[str]) -> list[str]:
    """The command as somebody who may not read every file, as root may."""
    if os.geteuid() != 0:
        return words
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("there is no setpriv to become another user")
    nobody = [setpriv, "--reuid=65534", "--clear-groups"]
    start = "import subprocess as s, sys; s.run([sys.executable, '-c', 'import av'], check=True)"
    probe = [*nobody, sys.executable, "-c", start]
    if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
        return [*nobody, *words]
    # This Python lies where nobody else may look: root without the right to read every file.
    return [setpriv, "--bounding-set=-dac_override,-dac_read_search", *words]


def open_to_all(path: Path) -> None:
    for folder in [path, *path.parents]:
        if folder.stat().st_uid == os.geteuid() and "pytest" in str(folder):
            folder.chmod(0o777 if folder == path else 0o755)


def check_hostile(videos: Path, out: Path, faults: dict[str, str], good: int) -> None:
    out.mkdir()
    open_to_all(out)
    open_to_all(videos)
    command = [sys.executable, "-m", "vidsampler", "extract", str(videos), str(out), "--json"]
    ran = subprocess.run(
        as_another_user([*command, "--frames", "4"]),
        cwd=ROOT,
        env={**os.environ, "HOME": str(out)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "Traceback" not in ran.stderr
    assert ran.returncode == 3, ran.stdout + ran.stderr
    report = json.loads(ran.stdout)
    assert report["errors"] == dict.fromkeys(sorted(faults.values()), 1)
    assert report["done"] == good
    lines = [json.loads(line) for line in (out / "errors.jsonl").read_text().splitlines()]
    assert {line["source"]: line["class"] for line in lines} == faults
    assert all(line["message"].startswith(line["source"]) for line in lines)
    reader = Reader(out, verify=True)
    keys = {sample.source: sample.key for sample in reader}
    assert len(keys) == good
    for name, start in HOSTILE.items():
        assert keys[name].startswith(start)
    assert keys["a_b.mp4"] == "a_b" != keys["a b.mp4"]


def test_hostile_names_and_files(tmp_path: Path) -> None:
    videos = tmp_path / "in"
    videos.mkdir()
    faults = hostile_folder(videos)
    check_hostile(videos, tmp_path / "out", faults, len(HOSTILE) + 1)


@pytest.mark.slow
def test_real_clips_among_hostile_ones(real_clips: list[Path], tmp_path: Path) -> None:
    videos = tmp_path / "in"
    videos.mkdir()
    for clip in real_clips:
        shutil.copy(clip, videos)
    faults = hostile_folder(videos)
    check_hostile(videos, tmp_path / "out", faults, 157 + len(HOSTILE) + 1)


@pytest.mark.slow
def test_real_clips_killed_five_times(real_clips: list[Path], tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    videos = real_clips[0].parent
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    clock = time.monotonic()
    ran = extract(videos, undisturbed)
    whole = time.monotonic() - clock
    assert (ran.code, ran.json["done"]) == (0, 157)
    assert extract(videos, undisturbed).json["skipped"] == 157
    moments = random.Random(11)
    for _ in range(5):
        run = begin(videos, out)
        time.sleep(moments.uniform(0.05, 0.95) * whole)
        run.kill()
        run.communicate()
    assert extract(videos, out).code == 0
    assert hashes(out) == hashes(undisturbed)
    tars = sorted(str(path) for path in out.glob("*.tar"))
    samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert sorted(sample["__key__"] for sample in samples) == sorted(Reader(out).keys)
    assert all(json.loads(sample["json"])["numbers"] for sample in samples)


def test_ctrl_c_where_nobody_reads_stderr_any_more(tmp_path: Path) -> None:
    """As with ``2>&1 | tee log``: Ctrl-C ends tee too."""
    videos = tmp_path / "in"
    videos.mkdir()
    for position in range(12):
        shutil.copy(CLIP, videos / f"v{position:02d}.mp4")
    out = tmp_path / "out"
    words = ["--all", "--size", "64", "--per-shard", "3", "--workers", "1"]
    run = begin(videos, out, *words)
    assert run.stderr is not None
    run.stderr.close()
    run.stderr = None
    while not (out.exists() and any(out.glob(".tmp-*/*"))):
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)
    assert run.returncode == 130
    assert len(Reader(out, verify=True)) == 3 * len(list(out.glob("*.tar"))) > 0
    assert leftovers(out) == []
