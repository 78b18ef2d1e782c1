"""Montages: what they are made of, and that their pixels are what the plan says."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.folder_of_videos import FRAMES, SIZE, colour, write_folder
from vidsampler.errors import ConfigError, InputError
from vidsampler.folder_shards import divided, folder_shards
from vidsampler.loading.loader import LoaderConfig
from vidsampler.loading.montage import (
    DRAWS,
    MontageSettings,
    Piece,
    plan_montage,
    shown_and_bad,
    whole_weights,
)
from vidsampler.loading.montage_loader import MontageLoader
from vidsampler.loading.order import Purpose, uniforms

STORED = [30, 128, 5, 64, 1, 100, 77, 128, 12, 40, 3, 90, 50, 60]


def planned(item: int, settings: MontageSettings, candidates: int = 64) -> list[Piece]:
    """A montage of 14 videos."""
    of_pair = uniforms(7, 0, item // 2, Purpose.MONTAGE_PAIR, DRAWS)
    own = uniforms(7, 0, item, Purpose.MONTAGE, DRAWS)
    return plan_montage(STORED, candidates, settings, of_pair, own)


@pytest.mark.parametrize(
    "settings",
    [
        MontageSettings(),
        MontageSettings(disturbed=2, longest=2, fewest=2, most=6),
        MontageSettings(disturbed=0, uneven=1.0, recolour=False),
    ],
)
def test_montages_are_what_the_settings_say(settings: MontageSettings) -> None:
    kinds: set[str] = set()
    for item in range(200):
        pieces = planned(item, settings)
        assert sum(map(len, pieces)) == 64
        assert planned(item, settings) == pieces
        videos = {piece.clip: piece.video for piece in pieces if piece.kind == "clip"}
        assert settings.fewest <= len(videos) <= settings.most
        assert len(set(videos.values())) == len(videos)
        for piece in pieces:
            kinds.add(piece.kind)
            assert len(piece) >= 1
            assert list(piece.places) == sorted(piece.places)
            if piece.video >= 0:
                assert piece.places[0] >= 0
                assert piece.places[-1] < STORED[piece.video]
            if piece.kind == "foreign":
                assert piece.video not in videos.values()
            if piece.kind in ("black", "noise"):
                assert (piece.video, piece.clip) == (-1, -1)
        for before, piece in pairwise(pieces):
            # A frozen stretch repeats what it follows.
            if piece.kind == "frozen" and before.kind == "clip":
                assert (piece.video, set(piece.places)) == (before.video, {before.places[-1]})
    bad = {"black", "noise", "blur", "frozen", "foreign"}
    assert kinds == ({"clip"} | bad if settings.disturbed else {"clip"})


def test_a_pair_shares_all_but_two_stretches_and_others_do_not() -> None:
    settings = dataclasses.replace(MontageSettings(), fewest=8, most=8)

    def clips(item: int) -> set[tuple[object, ...]]:
        return {(p.video, p.look) for p in planned(item, settings) if p.kind == "clip"}

    for pair in range(20):
        assert len(clips(2 * pair) & clips(2 * pair + 1)) >= 6
        assert clips(2 * pair) != clips(2 * pair + 1)
        assert len(clips(2 * pair) & clips(2 * pair + 2)) <= 3


def test_the_whole_counts_each_stretch_the_same_and_nothing_else() -> None:
    pieces = [
        Piece("clip", 0, 5, (1, 2, 3)),
        Piece("black", -1, -1, (0, 0)),
        Piece("clip", 0, 5, (4,)),
        Piece("clip", 1, 2, (0, 1)),
        Piece("frozen", 1, 2, (1,)),
    ]
    assert whole_weights(pieces) == [1 / 8] * 3 + [0, 0] + [1 / 8] + [1 / 4] * 2 + [0]
    assert shown_and_bad(pieces, [0, 3, 5]) == (0.5, 1)
    assert shown_and_bad(pieces, [5, 6, 8]) == (1.0, 1)
    assert sum(whole_weights(planned(3, MontageSettings()))) == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fewest": 1}, "dataset.montage.fewest must be at least 2, not 1"),
        ({"most": 3}, "dataset.montage.most must be at least 5, not 3"),
        ({"most": 17}, "most must be at most 16, and disturbed at most 4"),
        ({"own": 0}, "dataset.montage.own must be at least 1, not 0"),
        ({"uneven": float("nan")}, "dataset.montage.uneven must be at least 1, not nan"),
    ],
)
def test_settings_are_strict(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MontageSettings(**change)
    assert message in caught.value.message


def test_too_few_candidates() -> None:
    with pytest.raises(ConfigError, match="26 candidate frames are too few for montages of up to"):
        planned(0, MontageSettings(), 26)
    assert sum(map(len, planned(0, MontageSettings(), 27))) == 27


SMALL = MontageSettings(train=8, val=6, fewest=3, most=4, longest=2)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of ten videos, four of them for validation."""
    folder = tmp_path_factory.mktemp("montages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDSAMPLER_CACHE", str(folder / "cache"))
        videos = write_folder(folder / "videos", 10)
        return folder_shards(videos, size=SIZE, val=0.4, seed=0, groups=None)


def loader(shards: Path, split: str = "train", **more: int) -> MontageLoader:
    config = LoaderConfig(frames=20, size=SIZE, captions="none", batch_size=4, workers=0)
    return MontageLoader(shards / split, config, SMALL, 8, **more)


def test_pixels_are_what_the_plan_says(shards: Path) -> None:
    source = loader(shards)
    seen: set[str] = set()
    for epoch in range(3):
        for batch in source.pick(range(2), epoch):
            assert batch.whole_BN is not None
            for row in range(4):
                item = 4 * batch.step + row
                pieces = source.plan(epoch, item)
                assert batch.keys[row] == f"montage {item}"
                assert batch.whole_BN[row].tolist() == pytest.approx(whole_weights(pieces))
                frames = batch.frames_BNCHW[row].permute(0, 2, 3, 1).numpy()
                owners = [piece for piece in pieces for _ in range(len(piece))]
                for place, (frame, piece) in enumerate(zip(frames, owners, strict=True)):
                    seen.add(piece.kind)
                    if piece.kind == "black":
                        assert frame.max() <= 12
                    elif piece.kind == "noise":
                        assert 60 < frame.std() < 90
                    elif piece.kind != "blur":
                        key = source.split.keys[piece.video]
                        name = source.split.reader.sources[key]
                        wanted = np.array(colour(int(name[1:3]))) * piece.look.gains
                        # The right half has no stripe in most frames: the median tells.
                        found = np.median(frame.reshape(-1, 3), axis=0)
                        assert abs(found - wanted.clip(0, 255)).max() < 8
                    if piece.kind == "frozen" and owners[place - 1] is piece:
                        assert (frame == frames[place - 1]).all()
    assert seen == {"clip", "black", "noise", "blur", "frozen", "foreign"}


def test_the_same_from_any_rank_and_place(shards: Path) -> None:
    whole = [batch.frames_BNCHW.clone() for batch in loader(shards)]
    parts = [
        [batch.frames_BNCHW.clone() for batch in loader(shards, rank=rank, ranks=2)]
        for rank in range(2)
    ]
    for step in range(2):
        assert (whole[step][:2] == parts[0][step]).all()
        assert (whole[step][2:] == parts[1][step]).all()
    later = loader(shards)
    state = loader(shards).state()
    later.load_state({**state, "step": 1})
    (batch,) = list(later)
    assert (batch.frames_BNCHW == whole[1]).all()
    assert later.epoch == 1
    again = next(iter(later))
    assert not (again.frames_BNCHW == whole[0]).all()
    config = LoaderConfig(frames=20, size=SIZE, captions="none", batch_size=4, workers=0)
    others = dataclasses.replace(SMALL, own=1)
    with pytest.raises(ConfigError, match="montage was"):
        MontageLoader(shards / "train", config, others, 8).load_state(state)


def test_no_video_is_on_both_sides(shards: Path) -> None:
    sides = [set(loader(shards, split).split.reader.sources.values()) for split in ("train", "val")]
    assert not sides[0] & sides[1]
    assert [len(side) for side in sides] == [6, 4]


def test_groups_stay_together_and_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(tmp_path / "cache"))
    videos = write_folder(tmp_path / "videos", 10)
    table = tmp_path / "groups.csv"
    table.write_text("video,group\n" + "".join(f"a{i:02d}.mp4,{i // 2}\n" for i in range(10)))
    shards = folder_shards(videos, size=SIZE, val=0.4, seed=0, groups=table)
    val = sorted(loader(shards, "val").split.reader.sources.values())
    assert len(val) == 4
    assert int(val[0][1:3]) // 2 == int(val[1][1:3]) // 2
    assert int(val[2][1:3]) // 2 == int(val[3][1:3]) // 2
    # Nothing is decoded twice.
    before = {path: path.stat().st_mtime_ns for path in shards.rglob("*.tar")}
    assert folder_shards(videos, size=SIZE, val=0.4, seed=0, groups=table) == shards
    assert before == {path: path.stat().st_mtime_ns for path in shards.rglob("*.tar")}
    table.write_text("video,group\nnone.mp4,1\n")
    with pytest.raises(InputError, match=r"groups.csv: line 2: there is no video 'none.mp4'"):
        folder_shards(videos, size=SIZE, val=0.4, seed=0, groups=table)


def test_too_few_videos(tmp_path: Path) -> None:
    videos = write_folder(tmp_path / "videos", 7)
    with pytest.raises(InputError, match="7 videos leave 1 for the split val, which needs 4") as no:
        folder_shards(videos, size=SIZE, val=0.2, seed=0, groups=None)
    assert no.value.hint == "there must be 8 videos at least"
    assert FRAMES < 20


def test_eight_videos_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(tmp_path / "cache"))
    videos = write_folder(tmp_path / "videos", 8)
    shards = folder_shards(videos, size=SIZE, val=0.1, seed=0, groups=None)
    sides = [set(loader(shards, split).split.reader.sources.values()) for split in ("train", "val")]
    assert [len(side) for side in sides] == [4, 4]
    assert not sides[0] & sides[1]


@pytest.mark.parametrize(
    ("count", "val", "expected"),
    [(8, 0.1, 4), (13, 0.1, 4), (13, 0.9, 9), (13, 0.0, 4), (50, 0.1, 5), (200, 0.1, 20)],
)
def test_both_sides_get_enough(count: int, val: float, expected: int) -> None:
    names = [f"{number}.mp4" for number in range(count)]
    share, split_of = divided(Path("v"), names, val, 0, None)
    assert sum(split == "val" for split in split_of.values()) == expected
    assert (share == val) == (4 <= round(val * count) <= count - 4)


def test_groups_that_leave_too_few(tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    names = [f"{number}.mp4" for number in range(12)]

    def grouped(*groups: int) -> dict[str, str]:
        lines = [f"{name},{group}\n" for name, group in zip(names, groups, strict=True)]
        table.write_text("video,group\n" + "".join(lines))
        return divided(tmp_path, names, 0.1, 0, table)[1]

    halves = grouped(*[0] * 6, *[1] * 6)
    assert sum(split == "val" for split in halves.values()) == 6
    assert len({halves[name] for name in names[:6]}) == 1
    with pytest.raises(InputError) as caught:
        grouped(*[0] * 9, 1, 2, 3)
    assert caught.value.message == (
        f"{tmp_path}: 12 videos in the groups of {table} leave 1 for the split val, which needs 4 "
        "to make montages of"
    )
    assert caught.value.hint == "groups stay together: make smaller ones"
