"""What `vidsampler eval --pictures` calls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.tiny_run import FRAMES, SIZE, write_shards
from vidsampler.cli.eval_pictures import check_pictures, write_pictures
from vidsampler.cli.output import Output
from vidsampler.errors import UsageError
from vidsampler.evaluation.pictures import DROPPED, KEPT
from vidsampler.evaluation.ranks import rank_matrix
from vidsampler.loading.loader import Loader, LoaderConfig
from vidsampler.loading.pictures import candidates_of
from vidsampler.loading.split import Split


def test_a_picture_of_a_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shards(tmp_path / "shards", val=5)
    split = Split(tmp_path / "shards" / "val")
    scores = np.random.default_rng(1).normal(size=(5, 5))
    write_pictures(
        Output(),
        tmp_path / "result.png",
        2,
        scores_of=lambda queries: scores[queries],
        captions=split.captions,
        ranks=rank_matrix(scores),
        names=split.keys,
        kept=[[0, 3]] * 5,
        candidates=[FRAMES] * 5,
        frames_of=candidates_of(split.reader, FRAMES, SIZE),
    )
    assert "2 queries, kept frames green" in capsys.readouterr().err
    picture = np.asarray(Image.open(tmp_path / "result.png"))
    # Two queries of three videos, half of whose four frames are kept.
    cell = (1280 - 190 - 12) // 8 - 2
    strips = picture[:-250, 190:]
    for colour in (KEPT, DROPPED):
        same = (strips == np.array(colour, np.uint8)).all(-1)
        assert same.sum() == 2 * 3 * 2 * (cell**2 - (cell - 6) ** 2)


def test_the_frames_are_those_that_a_retriever_is_given(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", val=3)
    split = Split(tmp_path / "shards" / "val")
    config = LoaderConfig(
        frames=2, size=24, captions="none", batch_size=3, shuffle=False, drop_last=False
    )
    (batch,) = Loader(split, config)
    get = candidates_of(split.reader, 2, 24)
    for video in range(3):
        assert (get(video) == batch.frames_BNCHW[video].permute(0, 2, 3, 1).numpy()).all()


@pytest.mark.parametrize(
    ("name", "queries", "message"),
    [
        (None, 3, "--queries is for --pictures"),
        ("a.png", 0, "--queries must be at least 1, not 0"),
        ("a.gif", None, "pictures are written as"),
        ("none/a.png", None, "there is no folder"),
    ],
)
def test_mistakes(tmp_path: Path, name: str | None, queries: int | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_pictures(None if name is None else tmp_path / name, queries)
    check_pictures(tmp_path / "a.png", None)
    check_pictures(None, None)
