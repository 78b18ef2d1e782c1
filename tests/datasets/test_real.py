"""Counts on the annotation files that the field passes round."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import pytest

from tests.datasets.writing import read_with, sizes
from vidsampler.datasets import Annotations, differences, match_videos, read, settings_of


@pytest.fixture(scope="module")
def folder(test_data: Path) -> Path:
    return test_data / "annotations"


@pytest.fixture(scope="module")
def msrvtt(folder: Path) -> Annotations:
    return read("msrvtt", folder / "msrvtt")


def test_msrvtt_9k_holds_out_500(msrvtt: Annotations) -> None:
    assert sizes(msrvtt) == {"train": (8500, 170_000), "val": (500, 10_000), "test": (1000, 1000)}
    assert len({record.captions for record in msrvtt.splits["test"]}) == 995
    assert msrvtt.splits["test"][0].captions == ("a person is connecting something to system",)
    assert msrvtt.notes == {"repeated_captions_kept": 13_267}
    assert differences(msrvtt, settings_of("msrvtt")) == ()


def test_the_held_out_videos_never_change(msrvtt: Annotations) -> None:
    held = "\n".join(sorted(record.video for record in msrvtt.splits["val"]))
    assert hashlib.sha256(held.encode()).hexdigest()[:16] == "05dd88cafea1dd8f"


def test_msrvtt_gives_all_9000_back(folder: Path, msrvtt: Annotations) -> None:
    whole = read_with("msrvtt", folder / "msrvtt", "val=0")
    assert sizes(whole) == {"train": (9000, 180_000), "test": (1000, 1000)}
    together = {*msrvtt.splits["train"], *msrvtt.splits["val"]}
    assert together == set(whole.splits["train"])


def test_msrvtt_7k(folder: Path) -> None:
    read_7k = read_with("msrvtt", folder / "msrvtt", "train_list=7k", "val=0")
    assert sizes(read_7k) == {"train": (7010, 140_200), "test": (1000, 1000)}


def test_msrvtt_full(folder: Path) -> None:
    full = read("msrvtt-full", folder / "msrvtt")
    assert sizes(full) == {
        "train": (6513, 130_260),
        "val": (497, 9940),
        "test": (2990, 59_800),
    }


def test_msrvtt_from_the_official_files(folder: Path, tmp_path: Path, msrvtt: Annotations) -> None:
    for path in (folder / "msrvtt").iterdir():
        if path.name != "MSRVTT_data.json":
            (tmp_path / path.name).symlink_to(path)
    assert read("msrvtt", tmp_path).splits == msrvtt.splits


def test_200_000_captions_are_read_in_seconds(folder: Path) -> None:
    start = time.process_time()
    read("msrvtt", folder / "msrvtt")
    # About 1 s; the bound is for a busy machine.
    assert time.process_time() - start < 6


def test_msvd(folder: Path) -> None:
    msvd = read("msvd", folder / "msvd")
    assert sizes(msvd) == {"train": (1200, 48_774), "val": (100, 4290), "test": (670, 27_763)}
    assert msvd.notes == {"repeated_captions_kept": 10_845}


def test_didemo_normalised(folder: Path) -> None:
    didemo = read("didemo", folder / "didemo" / "normalised")
    assert sizes(didemo) == {"train": (8392, 8392), "val": (1065, 1065), "test": (1004, 1004)}
    assert differences(didemo, settings_of("didemo")) == ()
    first = didemo.splits["test"][0]
    assert first.video == "26292851@N04_4253489686_265c3c8051"
    assert first.captions[0].startswith("someone kicks the bug towards some rocks. a man in a red")


def test_didemo_labels(folder: Path) -> None:
    # The folder has the original form too, but without train.
    didemo = read("didemo", folder / "didemo")
    assert sizes(didemo) == {"train": (8362, 8362), "val": (1062, 1062), "test": (1004, 1004)}


def test_didemo_original_without_lists(folder: Path) -> None:
    didemo = read_with("didemo", folder / "didemo", "form=original", "seconds=30")
    assert sizes(didemo) == {"val": (1094, 1094), "test": (1037, 1037)}
    assert "train_data.json" in didemo.absent["train"]
    # 29 and 33 uploads that were described under two names.
    assert didemo.notes == {"videos_under_two_names": 62}
    assert {(record.start, record.end) for record in didemo.splits["val"]} == {(0.0, 30.0)}


def test_didemo_original_with_lists(folder: Path, tmp_path: Path) -> None:
    for split in ("val", "test"):
        name = f"{split}_data.json"
        (tmp_path / name).symlink_to(folder / "didemo" / name)
        normalised = read("didemo", folder / "didemo" / "normalised").splits[split]
        names = json.loads((folder / "didemo" / "normalised" / f"{split}.json").read_text())
        assert len(names) == len(normalised)
        lines = "\r\n".join(names)
        (tmp_path / f"{split}_list.txt").write_text(lines, newline="")
    didemo = read("didemo", tmp_path)
    assert sizes(didemo) == {"val": (1065, 1065), "test": (1004, 1004)}
    # 1,094 - 1,065 and 1,037 - 1,004.
    assert didemo.notes == {"unlisted_videos_dropped": 62}
    labels = read("didemo", folder / "didemo").splits["test"]
    assert {each.video: each.captions for each in didemo.splits["test"]} == {
        each.video: each.captions for each in labels
    }


def test_activitynet(folder: Path) -> None:
    activitynet = read("activitynet", folder / "activitynet")
    assert sizes(activitynet) == {"test": (4917, 4917)}
    assert activitynet.splits["test"][0].captions == (
        "A weight lifting tutorial is given. The coach helps the guy in red with the proper "
        "body placement and lifting technique.",
    )
    assert "train.json" in activitynet.absent["train"]


def test_vatex_lists_without_captions_say_where_to_get_them(folder: Path) -> None:
    from vidsampler.errors import InputError

    with pytest.raises(InputError, match=r"there is no vatex_training_v1\.0\.json or") as caught:
        read("vatex", folder / "vatex")
    assert caught.value.hint is not None
    assert "https://eric-xw.github.io/vatex-website" in caught.value.hint


def test_clips_of_ones_own(test_data: Path) -> None:
    clips = read("captions", test_data / "clips")
    assert sizes(clips).keys() == {"train", "val", "test"}
    assert [len(records) for records in clips.splits.values()] == [125, 16, 16]
    assert sum(count for _, count in sizes(clips).values()) == 364
    files = {path.name: path for path in (test_data / "clips").iterdir() if path.suffix != ".csv"}
    for records in clips.splits.values():
        found, missing = match_videos(records, files)
        assert missing == ()
        assert {path.name: video for video, path in found.items()} == {name: name for name in found}
    grouped = read_with("captions", test_data / "clips", "group=set", "seed=3")
    assert sum(map(len, grouped.splits.values())) == 157


def test_folder_of_clips(test_data: Path) -> None:
    folder = read("folder", test_data / "clips")
    assert {name: len(records) for name, records in folder.splits.items()} == {
        "train": 141,
        "val": 16,
    }
