"""`vidsampler.embed`: an index stays what its folder is."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import vidsampler
from tests.rendering import render
from tests.retrieving import retriever_of
from tests.search.making import contents
from vidsampler import Index
from vidsampler.errors import ConfigError, InputError, UsageError
from vidsampler.files import write_file
from vidsampler.search.journal import NAME as JOURNAL
from vidsampler.search.manifest import NAME as LIST
from vidsampler.search.settings import EmbedConfig, embed_config, named_layers
from vidsampler.search.store import Store


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    retriever_of("uniform", "mean", k=2).save(folder)
    return folder


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    for number in range(8):
        render(folder / f"v{number}.mp4", range(100 * number, 100 * number + 8), rate=4)
    return folder


@pytest.fixture
def videos(rendered: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(rendered, tmp_path / "videos"))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def embed(videos: Path, index: Path, **more: Any) -> dict[str, Any]:
    report = vidsampler.embed(videos, index, **{"workers": 1, **more}).to_json()
    assert report.pop("seconds") > 0
    return report


def numbers(report: dict[str, Any]) -> tuple[int, ...]:
    return tuple(report[name] for name in ("done", "skipped", "failed", "dropped"))


def sources(index: Path) -> list[str]:
    return Index.open(index, verify=True).sources


def test_an_index_follows_its_folder(videos: Path, run: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    (videos / "v7.mp4").rename(tmp_path / "later.mp4")
    first = embed(videos, index, checkpoint=run, per_segment=3)
    assert first == {
        "videos": 7,
        "done": 7,
        "skipped": 0,
        "failed": 0,
        "dropped": 0,
        "frames": 14,
        "errors": {},
    }
    before = contents(index)
    assert numbers(embed(videos, index)) == (0, 7, 0, 0)
    assert contents(index) == before
    # New, changed, gone, touched; only the first two are embedded.
    (tmp_path / "later.mp4").rename(videos / "v7.mp4")
    shutil.copy(videos / "v0.mp4", videos / "v1.mp4")
    (videos / "v2.mp4").unlink()
    os.utime(videos / "v3.mp4", ns=(1, 1))
    assert numbers(embed(videos, index)) == (2, 5, 0, 1)
    assert sources(index) == [f"v{number}.mp4" for number in (0, 1, 3, 4, 5, 6, 7)]
    opened = Index.open(index)
    assert opened.entry(1).video_D.tolist() == opened.entry(0).video_D.tolist()
    assert opened.entry(2).stamp.mtime == 1
    # As if it had been made at once.
    embed(videos, tmp_path / "fresh", checkpoint=run, per_segment=3)
    assert contents(index) == contents(tmp_path / "fresh")


def test_workers_do_not_change_the_bytes(videos: Path, run: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        index = tmp_path / "index"
        embed(videos, index, checkpoint=run, per_segment=2, workers=workers)
        (index / "config.yaml").unlink()
        found = contents(index)
        found["index.json"] = found["index.json"].replace(f'"workers":{workers}'.encode(), b"")
        index.rename(tmp_path / str(workers))
        if workers == 1:
            first = found
    assert found == first


def test_failures(videos: Path, run: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    whole = (videos / "v1.mp4").read_bytes()
    (videos / "v1.mp4").write_bytes(whole[: len(whole) // 2])
    (videos / "x.mp4").write_bytes(b"")
    first = embed(videos, index, checkpoint=run)
    assert numbers(first) == (7, 0, 2, 0)
    assert first["errors"] == {"empty": 1, "truncated": 1}
    lines = [json.loads(line) for line in (index / "errors.jsonl").read_text().splitlines()]
    assert [(line["source"], line["key"], line["stage"], line["class"]) for line in lines] == [
        ("v1.mp4", "v1", "decode", "truncated"),
        ("x.mp4", "x", "open", "empty"),
    ]
    assert str(videos) not in str(lines)
    # Left alone, until they change, or are tried again, or go.
    assert numbers(embed(videos, index)) == (0, 7, 2, 0)
    (videos / "v1.mp4").write_bytes(whole)
    assert numbers(embed(videos, index)) == (1, 7, 1, 0)
    assert numbers(embed(videos, index, retry_failed=True)) == (0, 8, 1, 0)
    # One that was in the index and is damaged now is no longer what the index says.
    (videos / "v1.mp4").write_bytes(whole[:100])
    assert numbers(embed(videos, index)) == (0, 7, 2, 0)
    assert "v1.mp4" not in sources(index)
    (videos / "x.mp4").unlink()
    assert numbers(embed(videos, index)) == (0, 7, 1, 0)


def test_a_folder_that_cannot_be_looked_into_drops_nothing(
    videos: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidsampler.files import Found, unreadable_folder

    (videos / "sub").mkdir()
    (videos / "v0.mp4").rename(videos / "sub" / "v0.mp4")
    index = tmp_path / "index"
    embed(videos, index, checkpoint=run)
    error = unreadable_folder(PermissionError(13, "Permission denied", str(videos / "sub")))
    walk = [Found(str(videos / f"v{number}.mp4")) for number in range(1, 8)]
    monkeypatch.setattr(
        # Not by its dotted name: that is the function.
        sys.modules["vidsampler.extract"],
        "walk_videos",
        lambda *_, **__: iter([*walk, Found(str(videos / "sub"), error)]),
    )
    report = embed(videos, index)
    assert numbers(report) == (0, 7, 1, 0)
    assert report["errors"] == {"unreadable": 1}
    assert "sub/v0.mp4" in sources(index)


def test_interrupted_it_keeps_what_is_done(videos: Path, run: Path, tmp_path: Path) -> None:
    import signal

    index = tmp_path / "index"

    def interrupt(finished: int, total: int) -> None:
        if finished == 3:
            os.kill(os.getpid(), signal.SIGINT)

    asked = []
    report = vidsampler.embed(
        videos,
        index,
        checkpoint=run,
        workers=1,
        progress=interrupt,
        asked_to_stop=lambda: asked.append(1),
    )
    assert report.interrupted
    assert asked == [1]
    assert 3 <= report.done <= 4
    assert len(sources(index)) == report.done
    assert not (index / JOURNAL).exists()
    rest = vidsampler.embed(videos, index, workers=1)
    assert (rest.done, rest.skipped) == (8 - report.done, report.done)
    embed(videos, tmp_path / "fresh", checkpoint=run)
    assert contents(index) == contents(tmp_path / "fresh")


def test_what_failed_in_a_killed_run_is_tried_again(
    videos: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"
    path = videos / "v1.mp4"
    whole, stat = path.read_bytes(), path.stat()
    path.write_bytes(bytes(len(whole)))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def killed(_: object) -> None:
        raise ArithmeticError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["vidsampler.embed"]._Run, "_commit", killed)
        with pytest.raises(ArithmeticError, match="killed"):
            embed(videos, index, checkpoint=run)
    assert (index / JOURNAL).exists()
    # What was the matter with it is over, and nobody can tell by looking at the file.
    path.write_bytes(whole)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    left_alone = Path(shutil.copytree(index, tmp_path / "left alone"))
    assert numbers(embed(videos, left_alone, checkpoint=run)) == (7, 0, 1, 0)
    assert numbers(embed(videos, index, checkpoint=run, retry_failed=True)) == (8, 0, 0, 0)


def test_a_run_killed_before_its_first_list_is_taken_up(
    videos: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, whole = tmp_path / "index", tmp_path / "whole"
    embed(videos, whole, checkpoint=run, per_segment=2)

    def killed(path: Path, *args: Any, **more: Any) -> None:
        if path.name == LIST:
            raise KeyboardInterrupt
        write_file(path, *args, **more)

    with monkeypatch.context() as patched:
        patched.setattr("vidsampler.search.store.write_file", killed)
        with pytest.raises(KeyboardInterrupt):
            embed(videos, index, checkpoint=run, per_segment=2)
    assert not (index / LIST).exists()
    assert any(index.glob("*.safetensors"))
    # What is nobody's segment is still somebody's.
    (index / "model.safetensors").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"holds other things, such as model\.safetensors"):
        embed(videos, index, checkpoint=run, per_segment=2)
    (index / "model.safetensors").unlink()
    assert numbers(embed(videos, index, checkpoint=run, per_segment=2)) == (8, 0, 0, 0)
    assert contents(index) == contents(whole)
    # Segments alone, without a sign of a run, are not ours to delete.
    (index / LIST).unlink()
    with pytest.raises(UsageError, match="holds other things, such as"):
        embed(videos, index, checkpoint=run, per_segment=2)


def test_a_run_killed_while_it_clears_is_taken_up(
    videos: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"
    embed(videos, index, checkpoint=run, per_segment=2)
    before = contents(index)

    def killed(store: Store) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Store, "_sweep", killed)
        with pytest.raises(KeyboardInterrupt):
            embed(videos, index, checkpoint=run, per_segment=2, overwrite=True)
    assert not (index / LIST).exists()
    assert any(index.glob("*.safetensors"))
    assert numbers(embed(videos, index, checkpoint=run, per_segment=2)) == (8, 0, 0, 0)
    assert contents(index) == before


def test_another_make_is_refused(videos: Path, run: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    embed(videos, index, checkpoint=run)
    before = contents(index)
    with pytest.raises(UsageError) as caught:
        embed(videos, index, k=3)
    assert caught.value.message == f"{index} was made with other settings: sampler.k 2 (now 3)"
    other = tmp_path / "other"
    retriever_of("uniform", "mean", k=2).save(other)
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-3] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    render(videos / "new.mp4", 5)
    with pytest.raises(UsageError, match="was made with other weights"):
        embed(videos, index, checkpoint=other)
    (videos / "new.mp4").unlink()
    assert contents(index) == before
    assert numbers(embed(videos, index, checkpoint=other, overwrite=True)) == (8, 0, 0, 0)
    # The same weights may lie elsewhere.
    shutil.copytree(other, tmp_path / "copy")
    assert numbers(embed(videos, index, checkpoint=tmp_path / "copy")) == (0, 8, 0, 0)


def test_another_folder_is_refused_and_a_moved_one_is_not(
    videos: Path, run: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    embed(videos, index, checkpoint=run)
    (tmp_path / "slip").mkdir()
    shutil.copy2(videos / "v0.mp4", tmp_path / "slip")
    with pytest.raises(UsageError) as caught:
        embed(tmp_path / "slip", index)
    assert "the index holds 8 videos of" in caught.value.message
    assert "has 1 of them: the others would be dropped" in caught.value.message
    videos.rename(tmp_path / "moved")
    assert numbers(embed(tmp_path / "moved", index)) == (0, 8, 0, 0)
    hit = Index.open(index).search("waves", k=1)[0]
    assert Path(hit.video).parent == tmp_path / "moved"


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("none", InputError, "no such folder of videos"),
        ("file", UsageError, "is a file; an index is made of a folder"),
        ("empty", InputError, "the folder has no videos in it"),
        ("taken", UsageError, "holds other things, such as notes.txt"),
        ("checkpoint", InputError, "is no checkpoint"),
        ("sampler", UsageError, "did you mean 'uniform'"),
        ("name", ConfigError, "unknown setting 'kk'; did you mean 'k'?"),
    ],
)
def test_what_cannot_be(
    videos: Path, run: Path, tmp_path: Path, what: str, kind: type[Exception], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    places = {
        "none": tmp_path / "none",
        "file": videos / "v0.mp4",
        "empty": tmp_path / "empty",
    }
    index = tmp_path / ("taken" if what == "taken" else "index")
    wrong: dict[str, dict[str, Any]] = {
        "checkpoint": {"checkpoint": tmp_path / "empty"},
        "sampler": {"sampler": "unifrom"},
        "name": {"kk": 3},
    }
    more = wrong.get(what, {"checkpoint": run})
    with pytest.raises(kind, match=message):
        embed(places.get(what, videos), index, **more)
    assert not (tmp_path / "index" / "index.json").exists()
    assert (tmp_path / "taken" / "notes.txt").read_text() == "mine"


def test_settings_without_a_checkpoint() -> None:
    def settings(**said: Any) -> tuple[str, int | None, int]:
        config = embed_config(named_layers(said))
        return config.sampler.name, config.sampler.k, config.frames

    assert settings() == ("uniform", 8, 8)
    assert settings(k=12) == ("uniform", 12, 12)
    assert settings(k=4, frames=20) == ("uniform", 4, 20)
    assert settings(sampler="coverage") == ("coverage", 8, 64)
    assert settings(sampler="random", k=100) == ("random", 100, 100)
    assert EmbedConfig().identity() == EmbedConfig(checkpoint="x", which="last").identity()
    assert EmbedConfig().identity() != EmbedConfig(frames=3).identity()
