"""`vidsampler shard --dataset`: videos meet their annotations."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import vidsampler
from tests.cli.running import apart
from tests.rendering import render
from tests.test_extract import hashes, number_of
from vidsampler.config import set_layer
from vidsampler.errors import ConfigError, InputError, UsageError
from vidsampler.extraction.settings import Recipe
from vidsampler.join import JoinConfig, join, join_config
from vidsampler.shard import Source, find_any_source
from vidsampler.shards import Reader

NAMES = tuple(f"video{i}" for i in range(8))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight videos of 2 seconds at 10 fps; frame f of video v carries the number 100 v + f."""
    folder = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(NAMES):
        render(folder / f"{name}.mp4", range(100 * number, 100 * number + 20), rate=10)
    return folder


@pytest.fixture(name="annotations")
def annotation_folder(tmp_path: Path) -> Path:
    """Two captions a video; a split column; video9 has no file; two windows."""
    folder = tmp_path / "annotations"
    folder.mkdir()
    rows = ["video,caption,split,start,end"]
    splits = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    for name, split in zip(NAMES, splits, strict=True):
        window = {"video1": "0.5,1.5", "video7": "1.0,"}.get(name, ",")
        rows += [f"{name},first of {name},{split},{window}"]
        rows += [f"{name},second of {name},{split},{window}"]
    rows.append("video9,nobody has it,train,,")
    (folder / "captions.csv").write_text("\n".join(rows) + "\n")
    return folder


def config(**recipe: Any) -> JoinConfig:
    layers = [set_layer("dataset.frames=4")]
    layers += [set_layer(f"recipe.{name}={json.dumps(value)}") for name, value in recipe.items()]
    return join_config("captions", layers)


def test_every_split_gets_its_videos_and_captions(
    videos: Path, annotations: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = join(videos, out, annotations, config(frames=4, size=None))
    said = json.loads((out / "dataset.json").read_text())
    assert said == result.to_json()
    assert said["splits"] == {
        "train": {"videos": 4, "captions": 8, "missing": 1, "unreadable": 0, "shards": 1},
        "val": {"videos": 2, "captions": 4, "missing": 0, "unreadable": 0, "shards": 1},
        "test": {"videos": 2, "captions": 4, "missing": 0, "unreadable": 0, "shards": 1},
    }
    assert said["missing"] == {"train": ["video9"], "val": [], "test": []}
    assert said["dataset"] == "captions"
    assert said["recipe"]["frames"] == 4
    train = Reader(out / "train", verify=True)
    assert train.keys == ["video0", "video1", "video2", "video3"]
    facts = train["video2"].facts
    assert facts["captions"] == ["first of video2", "second of video2"]
    assert (facts["video"], facts["source"]) == ("video2", "video2.mp4")
    assert [number_of(frame) for frame in train["video2"].frames] == [202, 207, 212, 217]


def test_candidates_lie_inside_the_window(videos: Path, annotations: Path, tmp_path: Path) -> None:
    join(videos, tmp_path / "out", annotations, config(frames=5, size=None))
    sample = Reader(tmp_path / "out" / "train")["video1"]
    assert [number_of(frame) for frame in sample.frames] == [106, 108, 110, 112, 114]
    assert sample.facts["window"] == [0.5, 1.5]
    late = Reader(tmp_path / "out" / "test")["video7"]
    assert [number_of(frame) - 700 for frame in late.frames] == [11, 13, 15, 17, 19]


def test_shards_and_folders_give_the_same_samples_as_videos(
    videos: Path, annotations: Path, tmp_path: Path
) -> None:
    vidsampler.extract(videos, tmp_path / "shards", all=True, size=None)
    vidsampler.extract(videos, tmp_path / "folders", all=True, size=None, layout="folders")
    wanted = config(all=True, size=None)
    found = {}
    for source in (videos, tmp_path / "shards", tmp_path / "folders"):
        out = tmp_path / f"of-{source.name}"
        result = join(source, out, annotations, wanted)
        assert result.splits["train"].missing == ["video9"]
        found[source.name] = {
            (split, sample.key): (
                [bytes(frame) for frame in sample.frames],
                sample.facts["captions"],
                sample.facts["times"],
            )
            for split in ("train", "val", "test")
            for sample in Reader(out / split)
        }
    first, *others = found.values()
    assert len(first) == 8
    assert len(first["train", "video1"][0]) == 10
    assert all(other == first for other in others)


def test_frames_outside_the_window_are_dropped_and_shortfalls_listed(
    videos: Path, annotations: Path, tmp_path: Path
) -> None:
    vidsampler.extract(videos, tmp_path / "shards", frames=6, size=None)
    result = join(tmp_path / "shards", tmp_path / "out", annotations, config())
    # Frames 1, 5, 8, 11, 15, 18 of 20; video1 is wanted from 5 up to 15, video7 from 10.
    assert result.splits["train"].short == {"video1": 3}
    assert result.splits["test"].short == {"video7": 3}
    sample = Reader(tmp_path / "out" / "train")["video1"]
    assert [number_of(frame) for frame in sample.frames] == [105, 108, 111]


def test_foreign_frame_folders_need_a_rate_for_windows(
    videos: Path, annotations: Path, tmp_path: Path
) -> None:
    vidsampler.extract(videos, tmp_path / "folders", all=True, size=None, layout="folders")
    for path in (tmp_path / "folders").glob("*.json*"):
        path.unlink()
    out = tmp_path / "out"
    result = join(tmp_path / "folders", out, annotations, config())
    assert result.errors == {"no-times": 2}
    assert result.splits["train"].unreadable == 1
    line = json.loads((out / "train" / "errors.jsonl").read_text())
    assert line["source"] == "video1"
    assert "--rate" in line["message"]
    again = join_config("captions", [set_layer("rate=10")])
    join(tmp_path / "folders", tmp_path / "rated", annotations, again)
    sample = Reader(tmp_path / "rated" / "train")["video1"]
    assert [number_of(frame) for frame in sample.frames] == list(range(105, 115))


def test_unreadable_videos_are_counted_and_found_later(
    videos: Path, annotations: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "videos"
    shutil.copytree(videos, copy)
    (copy / "video4.mp4").write_bytes(b"")
    (copy / "video0.mp4").unlink()
    out = tmp_path / "out"
    first = join(copy, out, annotations, config(frames=2))
    assert first.splits["val"].unreadable == 1
    assert first.splits["train"].missing == ["video0", "video9"]
    assert first.errors == {"empty": 1}
    before = hashes(out / "train")
    shutil.copy(videos / "video0.mp4", copy)
    shutil.copy(videos / "video4.mp4", copy)
    second = join(copy, out, annotations, config(frames=2), retry_failed=True)
    assert second.splits["val"].unreadable == 0
    assert second.splits["val"].videos == 2
    assert second.splits["train"].videos == 4
    assert before.items() <= hashes(out / "train").items()
    assert Reader(out / "train").keys[-1] == "video0"


def test_other_captions_are_another_dataset(
    videos: Path, annotations: Path, tmp_path: Path
) -> None:
    join(videos, tmp_path / "out", annotations, config(frames=2))
    table = annotations / "captions.csv"
    table.write_text(table.read_text().replace("first of video2", "something else"))
    with pytest.raises(UsageError, match="made with other captions or windows of the dataset"):
        join(videos, tmp_path / "out", annotations, config(frames=2))
    join(videos, tmp_path / "out", annotations, config(frames=2), overwrite=True)
    facts = Reader(tmp_path / "out" / "train")["video2"].facts
    assert facts["captions"][0] == "something else"


def test_the_wrong_folder_is_an_error(videos: Path, annotations: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    shutil.copy(videos / "video0.mp4", tmp_path / "other" / "holiday.mp4")
    with pytest.raises(InputError, match="none of the 5 videos of split train is there"):
        join(tmp_path / "other", tmp_path / "out", annotations, config())
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="'tset'; did you mean 'test'"):
        join(
            videos,
            tmp_path / "out",
            annotations,
            join_config("captions", [set_layer("splits=[tset]")]),
        )


def test_splits_of_several_runs_stand_side_by_side(
    videos: Path, annotations: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for name in ("test", "train"):
        layers = [set_layer(f"splits=[{name}]"), set_layer("recipe.frames=2")]
        join(videos, out, annotations, join_config("captions", layers))
    said = json.loads((out / "dataset.json").read_text())
    assert {name: split["videos"] for name, split in said["splits"].items()} == {
        "train": 4,
        "test": 2,
    }
    assert said["missing"] == {"train": ["video9"], "test": []}
    layers = [set_layer("splits=[train]"), set_layer("recipe.frames=3")]
    join(videos, out, annotations, join_config("captions", layers), overwrite=True)
    assert list(json.loads((out / "dataset.json").read_text())["splits"]) == ["train"]


def test_a_video_that_is_stored_is_not_missing(
    videos: Path, annotations: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "videos"
    shutil.copytree(videos, copy)
    join(copy, tmp_path / "out", annotations, config(frames=2))
    (copy / "video0.mp4").unlink()
    train = join(copy, tmp_path / "out", annotations, config(frames=2)).splits["train"]
    assert (train.videos, train.missing, train.unreadable) == (4, ["video9"], 0)


def test_a_video_that_goes_while_it_is_worked_on_is_counted_once(
    videos: Path, annotations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "videos"
    shutil.copytree(videos, copy)

    def found_and_gone(*given: Any, **more: Any) -> Source:
        found = find_any_source(*given, **more)
        (copy / "video0.mp4").unlink(missing_ok=True)
        return found

    module = import_module("vidsampler.shard")  # the name alone is the function
    monkeypatch.setattr(module, "find_any_source", found_and_gone)
    for _ in range(2):
        train = join(copy, tmp_path / "out", annotations, config(frames=2)).splits["train"]
        assert (train.videos, train.missing, train.unreadable) == (3, ["video9"], 1)


def test_videos_may_lie_beside_the_tar_that_they_came_in(
    videos: Path, annotations: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "videos"
    shutil.copytree(videos, copy)
    (copy / "videos.tar").write_bytes(b"an archive")
    result = join(copy, tmp_path / "out", annotations, config(frames=2))
    assert result.splits["train"].videos == 4
    (tmp_path / "tars").mkdir()
    shutil.copy(copy / "videos.tar", tmp_path / "tars")
    with pytest.raises(InputError, match="not a shard"):
        join(tmp_path / "tars", tmp_path / "none", annotations, config(frames=2))


def test_annotations_without_a_video(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "train.json").write_text("{}")
    with pytest.raises(InputError, match="there is no video in it"):
        join(videos, tmp_path / "out", tmp_path / "empty", join_config("activitynet", []))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("assignment", ["frames=2", "rate=3"])
def test_settings_of_pictures_are_refused_for_videos(
    videos: Path, annotations: Path, tmp_path: Path, assignment: str
) -> None:
    wanted = join_config("captions", [set_layer(assignment)])
    with pytest.raises(UsageError, match=r"^(frames|rate) is for"):
        join(videos, tmp_path / "out", annotations, wanted)
    assert not (tmp_path / "out").exists()


def test_the_settings_of_the_dataset_and_of_the_frames() -> None:
    plain = join_config("msrvtt", [])
    assert plain.recipe == Recipe(fps=3.0)
    other = join_config(
        None,
        [
            set_layer("dataset.name=msrvtt"),
            set_layer("dataset.val=0"),
            set_layer("recipe.size=112"),
        ],
    )
    assert (other.dataset, other.recipe.size) == ("msrvtt", 112)
    assert other.to_plain()["dataset"]["val"] == 0
    assert join_config("msrvtt", [set_layer("recipe.frames=8")]).recipe == Recipe(frames=8)
    for assignment, words in (
        ("dataset.vla=0", "unknown key 'vla'; did you mean 'val'"),
        ("recipe.sise=3", "did you mean 'size'"),
        ("pershard=3", "did you mean 'per_shard'"),
        ("rate=0", "rate must be more than 0"),
        ("dataset=3", "expected a mapping"),
    ):
        with pytest.raises(ConfigError, match=words):
            join_config("msrvtt", [set_layer(assignment)])
    with pytest.raises(UsageError, match="no dataset is named"):
        join_config(None, [])


def test_the_command_and_its_settings_again(
    videos: Path, annotations: Path, tmp_path: Path
) -> None:
    words = ("shard", str(videos))
    more = ("--dataset", "captions", "--annotations", str(annotations), "--frames", "2")
    ran = apart(*words, str(tmp_path / "one"), *more, "--json", "--size", "64")
    assert ran.code == 0, ran.out
    assert ran.json["splits"]["train"]["videos"] == 4
    assert "1 videos are missing" in ran.err
    stored = str(tmp_path / "one" / "train" / "config.yaml")
    again = apart(
        *words, str(tmp_path / "two"), "--config", stored, "--annotations", str(annotations)
    )
    assert again.code == 0, again.err
    for split in ("train", "val", "test"):
        assert hashes(tmp_path / "one" / split) == hashes(tmp_path / "two" / split)
    lines = again.out.splitlines()
    assert lines[0].split() == ["split", "videos", "captions", "missing", "unreadable", "shards"]
    assert lines[1].split() == ["train", "4", "8", "1", "0", "1"]
    plan = apart(*words, "x", *more, "--dry-run")
    assert "name: captions" in plan.out
    assert "# videos: 8 videos" in plan.out


def test_flags_that_have_no_effect_are_refused(
    videos: Path, annotations: Path, tmp_path: Path
) -> None:
    vidsampler.extract(videos, tmp_path / "shards", frames=4)
    more = ("--dataset", "captions", "--annotations", str(annotations), "--json")
    ran = apart("shard", str(tmp_path / "shards"), "x", *more, "--size", "64")
    assert ran.code == 2
    assert "--size is for videos" in ran.json["error"]["message"]
    bare = apart("shard", str(tmp_path / "shards"), "x", "--rate", "3", "--json")
    assert bare.code == 2
    assert "need a dataset" in bare.json["error"]["message"]
    empty = apart("shard", str(videos), "x", *more, "--splits", ",")
    assert empty.code == 2
    assert "names no split" in empty.json["error"]["message"]


def test_shapes_becomes_a_dataset(tmp_path: Path) -> None:
    from vidsampler.datasets.shapes import ShapesSettings, render

    settings = ShapesSettings(train=6, val=2, test=2)
    folder = render(settings, tmp_path / "rendered")
    layers = [
        set_layer(f"dataset.render.{name}={getattr(settings, name)}")
        for name in ("train", "val", "test")
    ]
    result = join(folder, tmp_path / "out", None, join_config("shapes", layers))
    assert {name: split.videos for name, split in result.splits.items()} == {
        "train": 6,
        "val": 2,
        "test": 2,
    }
    sample = Reader(tmp_path / "out" / "train")[0]
    assert len(sample.frames) == 16
    assert len(sample.facts["captions"]) == 1


@pytest.mark.slow
def test_real_clips_with_their_captions(test_data: Path, tmp_path: Path) -> None:
    ran = apart(
        "shard", str(test_data / "clips"), str(tmp_path / "out"), "--dataset", "captions",
        "--frames", "8", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    splits = ran.json["splits"]
    assert {name: split["videos"] for name, split in splits.items()} == {
        "train": 125,
        "val": 16,
        "test": 16,
    }
    assert sum(split["captions"] for split in splits.values()) == 364


def test_no_video_is_in_two_splits_after_other_settings(videos: Path, tmp_path: Path) -> None:
    """Splits that other settings dealt out would leak what is measured into training."""
    table = tmp_path / "captions.csv"
    table.write_text("video,caption\n" + "".join(f"{name},say {name}\n" for name in NAMES))
    out = tmp_path / "out"
    quarter = [set_layer(f"dataset.{name}=0.25") for name in ("val", "test")]
    join(videos, out, tmp_path, join_config("captions", [*quarter, set_layer("recipe.frames=1")]))
    none = [set_layer("dataset.val=0"), set_layer("dataset.test=0.25")]
    other = join_config("captions", [*none, set_layer("recipe.frames=1")])
    with pytest.raises(UsageError, match="made with other settings of the dataset"):
        join(videos, out, tmp_path, other)
    assert len(Reader(out / "val")) == 2
    join(videos, out, tmp_path, other, overwrite=True)
    assert not (out / "val").exists()
    assert set(json.loads((out / "dataset.json").read_text())["splits"]) == {"train", "test"}
    train, test = Reader(out / "train").keys, Reader(out / "test").keys
    assert not set(train) & set(test)
    assert len(train) + len(test) == 8


def test_progress_counts_what_is_there_already(
    videos: Path, annotations: Path, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    join(videos, tmp_path / "out", annotations, config(frames=1))
    (tmp_path / "out" / "val" / "000000.json").unlink()
    join(
        videos,
        tmp_path / "out",
        annotations,
        config(frames=1),
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(5, 8), (6, 8)]
