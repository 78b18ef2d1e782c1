"""Videos that are decoded as they are evaluated."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.loading.stored import SIDE, number_in
from tests.rendering import render
from tests.retrieving import shared_retriever_of
from vidsampler.errors import InputError
from vidsampler.evaluation.video_folder import VideoFile, VideoFolder
from vidsampler.loading.batch import Batch


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`long.mp4` of 30 frames and `short.mp4` of 4, 10 a second; pictures carry their numbers."""
    folder = tmp_path_factory.mktemp("clips")
    for name, count in (("long", 30), ("short", 4)):
        render(folder / f"{name}.mp4", count, rate=10, size=(SIDE, SIDE), options={"crf": "12"})
    return folder


def batches(
    clips: Path, sampler: str, k: int | None, size: int = SIDE, **settings: Any
) -> list[Batch]:
    """`short`, `long`, and the part of `long` from 1 s to 2 s, two in a batch."""
    files = [
        VideoFile("short", clips / "short.mp4"),
        VideoFile("long", clips / "long.mp4"),
        VideoFile("part", clips / "long.mp4", 1.0, 2.0),
    ]
    settings = {"workers": 2, **settings}
    folder = VideoFolder(files, shared_retriever_of(sampler, k=k), size, batch_size=2, **settings)
    assert (len(folder), folder.keys) == (2, ["short", "long", "part"])
    return list(folder.pick(range(2)))


def shown(batch: Batch, row: int) -> list[int | None]:
    """The numbers in a video's places; None where a place is black."""
    pictures = batch.frames_BNCHW[row].permute(0, 2, 3, 1).numpy()
    return [number_in(picture) if picture.any() else None for picture in pictures]


def test_where_the_sampler_does_not_look_only_kept_frames_are_decoded(clips: Path) -> None:
    first, second = batches(clips, "uniform", 3)
    assert [first.keys, second.keys] == [["short", "long"], ["part"]]
    assert [first.videos_B.tolist(), second.videos_B.tolist()] == [[0, 1], [2]]
    # Candidates of 4 frames are all 4, of 30 frames the middles of 6 equal parts; of these, 3.
    assert first.valid_BN.sum(1).tolist() == [4, 6]
    assert shown(first, 0) == [0, None, 2, 3, None, None]
    assert shown(first, 1) == [None, 7, None, 17, None, 27]
    assert first.times_BN[1].tolist() == pytest.approx([0.2, 0.7, 1.2, 1.7, 2.2, 2.7])
    # Of frames 10 to 19.
    assert shown(second, 0) == [None, 12, None, 15, None, 19]


@pytest.mark.parametrize(("sampler", "k"), [("coverage", 3), ("gate", None), ("uniform", None)])
def test_where_it_looks_all_candidates_are(clips: Path, sampler: str, k: int | None) -> None:
    first, second = batches(clips, sampler, k)
    assert shown(first, 0) == [0, 1, 2, 3, None, None]
    assert shown(first, 1) == [2, 7, 12, 17, 22, 27]
    assert shown(second, 0) == [10, 12, 14, 15, 17, 19]


@pytest.mark.parametrize("sampler", ["uniform", "random"])
def test_what_is_not_decoded_has_no_part_in_the_features(clips: Path, sampler: str) -> None:
    retriever = shared_retriever_of(sampler, k=3)
    size = retriever.pixels.size
    some = batches(clips, sampler, 3, size)[0]
    every = batches(clips, "coverage", 3, size)[0]
    got, wanted = (
        retriever.embed_videos(batch.frames_BNCHW, batch.valid_BN, batch.times_BN, batch.keys)
        for batch in (some, every)
    )
    assert got.kept() == wanted.kept()
    assert torch.equal(got.features_VFD, wanted.features_VFD)


def test_threads_and_order_of_steps_change_nothing(clips: Path) -> None:
    threads, alone = batches(clips, "coverage", 3), batches(clips, "coverage", 3, workers=0)
    for ours, theirs in zip(threads, alone, strict=True):
        assert torch.equal(ours.frames_BNCHW, theirs.frames_BNCHW)
        assert torch.equal(ours.times_BN, theirs.times_BN)


def test_small_videos_are_enlarged(clips: Path) -> None:
    picture = batches(clips, "uniform", 3, 2 * SIDE)[0].frames_BNCHW[1, 1].permute(1, 2, 0).numpy()
    assert picture.shape == (2 * SIDE, 2 * SIDE, 3)
    assert number_in(np.ascontiguousarray(picture[::2, ::2])) == 7


def test_a_video_that_cannot_be_read_is_named(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes((clips / "long.mp4").read_bytes()[:2000])
    retriever = shared_retriever_of()
    files = [VideoFile("bad", tmp_path / "bad.mp4")]
    folder = VideoFolder(files, retriever, 32, batch_size=1, workers=1)
    with pytest.raises(InputError, match=r"bad\.mp4"):
        list(folder.pick([0]))
    late = VideoFolder(
        [VideoFile("late", clips / "long.mp4", 5.0, 6.0)], retriever, 32, batch_size=1, workers=0
    )
    with pytest.raises(InputError, match=r"long\.mp4: there is no frame from 5 s to 6 s"):
        list(late.pick([0]))


def test_the_fingerprint_follows_the_files(clips: Path, tmp_path: Path) -> None:
    def of(*files: VideoFile) -> str:
        return VideoFolder(files, shared_retriever_of(), 32, batch_size=1).fingerprint

    path = tmp_path / "copy.mp4"
    path.write_bytes((clips / "short.mp4").read_bytes())
    one, other = VideoFile("a", path), VideoFile("a", clips / "long.mp4")
    before = of(one)
    assert of(one) == before
    found = {before, of(other), of(one, other), of(other, one), of(VideoFile("a", path, 0.1))}
    assert len(found) == 5
    os.utime(path, ns=(1, 1))
    assert of(one) not in found
    path.unlink()
    with pytest.raises(InputError, match=r"copy\.mp4: cannot be read: No such file"):
        of(one)
