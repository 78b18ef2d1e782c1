"""Batches of a split."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.loading.stored import (
    SIDE,
    Stored,
    by_pillow,
    number_in,
    seven,
    write_samples,
    write_split,
)
from vidsampler.errors import ConfigError, InputError, UsageError
from vidsampler.loading import augment
from vidsampler.loading.augment import random_region
from vidsampler.loading.batch import Batch
from vidsampler.loading.loader import Loader, LoaderConfig
from vidsampler.loading.order import Purpose, shuffled, uniforms
from vidsampler.loading.split import Split

LENGTH = 24


def tokenize(texts: list[str]) -> Tensor:
    """The bytes of each text."""
    rows = [list(text.encode().ljust(LENGTH, b"\0")) for text in texts]
    return torch.tensor(rows, dtype=torch.int64).reshape(len(texts), LENGTH)


def text_of(tokens_L: Tensor) -> str:
    return bytes(tokens_L.tolist()).rstrip(b"\0").decode()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return Split(seven(tmp_path_factory.mktemp("seven")))


def loader_of(split: Split, *, rank: int = 0, ranks: int = 1, **settings: Any) -> Loader:
    defaults: dict[str, Any] = {"frames": 4, "size": SIDE, "batch_size": 3, "workers": 0}
    config = LoaderConfig(**(defaults | settings))
    return Loader(split, config, tokenize, rank=rank, ranks=ranks)


def content(batch: Batch) -> dict[str, Any]:
    """All that a batch says, to compare."""
    return {
        "keys": batch.keys,
        "frames": batch.frames_BNCHW.numpy().tobytes(),
        "valid": batch.valid_BN.tolist(),
        "times": batch.times_BN.tolist(),
        "tokens": None if batch.tokens_BL is None else batch.tokens_BL.tolist(),
        "videos": batch.videos_B.tolist(),
        "captions": None if batch.captions_B is None else batch.captions_B.tolist(),
        "step": (batch.epoch, batch.step),
    }


def numbers_in(batch: Batch) -> list[list[int]]:
    return [
        [number_in(rgb.permute(1, 2, 0).numpy()) for rgb in frames] for frames in batch.frames_BNCHW
    ]


def test_a_batch_to_the_number(videos: Split) -> None:
    loader = loader_of(videos, seed=5)
    assert len(loader) == 2
    batches = list(loader)
    assert [batch.step for batch in batches] == [0, 1]
    order = shuffled(7, 5, 0).tolist()
    for step, batch in enumerate(batches):
        items = order[3 * step : 3 * step + 3]
        assert batch.frames_BNCHW.shape == (3, 4, 3, SIDE, SIDE)
        assert batch.frames_BNCHW.dtype == torch.uint8
        assert len(batch) == 3
        assert batch.videos_B.tolist() == items
        assert batch.keys == [f"v{v}" for v in items]
        # The middles of four equal parts of eight frames.
        assert numbers_in(batch) == [[10 * v + i for i in (1, 3, 5, 7)] for v in items]
        assert batch.times_BN.tolist() == [[0.5, 1.5, 2.5, 3.5]] * 3
        assert batch.valid_BN.all()
        assert batch.tokens_BL is not None
        assert batch.captions_B is not None
        assert batch.wordings_B is not None
        for v, tokens_L, caption, wording in zip(
            items, batch.tokens_BL, batch.captions_B, batch.wordings_B, strict=True
        ):
            assert text_of(tokens_L) == videos.captions[caption] == videos.texts[wording]
            assert videos.owners[caption] == v
            assert text_of(tokens_L).startswith(f"video {v} ")


def test_frames_to_the_bit(tmp_path: Path) -> None:
    coded = write_split(tmp_path, {"a": Stored([4, 5, 6], beside=9), "b": Stored([7, 8, 9])})
    (batch,) = loader_of(Split(tmp_path), frames=2, batch_size=2, shuffle=False)
    for row, (key, beside) in enumerate((("a", 9), ("b", 0))):
        for place, frame in enumerate((0, 2)):
            expected = by_pillow(coded[key][frame])[:, beside : beside + SIDE]
            rgb = batch.frames_BNCHW[row, place].permute(1, 2, 0).numpy()
            np.testing.assert_array_equal(rgb, expected)


def test_positions_at_the_start(videos: Split) -> None:
    batch = next(iter(loader_of(videos, positions="start", shuffle=False, frames=3)))
    assert numbers_in(batch)[1] == [10, 12, 15]
    assert batch.times_BN[0].tolist() == [0, 1, 2.5]


def test_fewer_frames_than_candidates(tmp_path: Path) -> None:
    write_split(
        tmp_path, {"a": Stored([1, 2]), "b": Stored([3] * 9), "c": Stored([4], more={"times": [7]})}
    )
    (batch,) = loader_of(Split(tmp_path), frames=5, shuffle=False)
    assert batch.valid_BN.sum(1).tolist() == [2, 5, 1]
    assert batch.valid_BN[0].tolist() == [True, True, False, False, False]
    assert numbers_in(batch)[0][:2] == [1, 2]
    assert not batch.frames_BNCHW[~batch.valid_BN].any()
    assert batch.times_BN[0].tolist() == [0, 0.5, 0, 0, 0]
    assert batch.times_BN[2].tolist() == [7, 0, 0, 0, 0]


def test_memory_that_was_used_leaves_nothing_in_the_padding(tmp_path: Path) -> None:
    write_split(tmp_path, {f"v{v}": Stored([50 + v] * (4 if v < 3 else 1)) for v in range(6)})
    loader = loader_of(Split(tmp_path), frames=4, batch_size=3, shuffle=False)
    for _ in range(2):
        for batch in loader:
            assert not batch.frames_BNCHW[~batch.valid_BN].any()
            assert batch.frames_BNCHW[batch.valid_BN].any()
            del batch


def test_without_times_frames_are_counted(tmp_path: Path) -> None:
    from vidsampler.video.images import encode_image

    picture = encode_image(np.zeros((8, 8, 3), np.uint8))
    frames = {f"{i:03d}.jpg": picture for i in range(3)}
    write_samples(
        tmp_path,
        {
            "a": frames | {"json": b'{"numbers": [4, 9, 11]}'},
            "b": frames | {"json": b"{}"},
        },
    )
    config = LoaderConfig(frames=3, size=8, captions="none", batch_size=2, shuffle=False, workers=0)
    (batch,) = Loader(tmp_path, config)
    assert batch.times_BN.tolist() == [[4, 9, 11], [0, 1, 2]]
    assert batch.tokens_BL is None
    assert batch.captions_B is None


@pytest.mark.parametrize("captions", ["one", "all"])
@pytest.mark.parametrize("augmentation", ["none", "flip", "crop", "randaugment"])
def test_workers_change_nothing(videos: Split, captions: str, augmentation: str) -> None:
    runs = []
    for workers, prefetch in ((0, 0), (1, 0), (2, 3)):
        loader = loader_of(
            videos, size=48, captions=captions, augment=augmentation, workers=workers,
            prefetch=prefetch, drop_last=False,
        )  # fmt: skip
        runs.append([content(batch) for _ in range(2) for batch in loader])
    assert runs[0] == runs[1] == runs[2]
    assert len(runs[0]) == 2 * (3 if captions == "one" else 5)
    assert not [thread for thread in threading.enumerate() if "decode" in thread.name]


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("drop_last", [False, True])
def test_ranks_share_the_same_batches(videos: Split, ranks: int, drop_last: bool) -> None:
    settings: dict[str, Any] = {
        "size": 32,
        "batch_size": 6,
        "drop_last": drop_last,
        "augment": "crop",
    }
    alone = list(loader_of(videos, **settings))
    loaders = [loader_of(videos, rank=rank, ranks=ranks, **settings) for rank in range(ranks)]
    assert {len(loader) for loader in loaders} == {1 if drop_last else 2}
    seen = []
    for whole, *parts in zip(alone, *loaders, strict=True):
        seen += whole.keys
        assert [key for part in parts for key in part.keys] == whole.keys
        for name in ("frames_BNCHW", "valid_BN", "times_BN", "tokens_BL", "captions_B"):
            together = torch.cat([getattr(part, name) for part in parts])
            assert torch.equal(together, getattr(whole, name)), name
    left = [loader.left_out(0) for loader in loaders]
    assert all(each == left[0] for each in left)
    assert {loader.dropped for loader in loaders} == {1 if drop_last else 0}
    assert sorted(seen + left[0]) == [f"v{v}" for v in range(7)]


def test_resume_from_every_step(videos: Split) -> None:
    settings: dict[str, Any] = {"size": 32, "batch_size": 2, "augment": "crop", "captions": "all"}
    whole = loader_of(videos, **settings)
    assert len(whole) == 6  # 13 pairs
    states, batches = [whole.state()], []
    for _ in range(2):
        for batch in whole:
            states.append(whole.state())
            batches.append(content(batch))
    assert [(state["epoch"], state["step"]) for state in states[5:8]] == [(0, 5), (1, 0), (1, 1)]
    for done, state in enumerate(states[:-1]):
        again = loader_of(videos, workers=2, **settings)
        again.load_state(state)
        assert (again.epoch, again.step) == divmod(done, 6)
        rest = [content(batch) for batch in again]
        if again.epoch < 2:
            rest += [content(batch) for batch in again]
        assert rest == batches[done:]


def test_a_run_goes_on_with_other_ranks(videos: Split) -> None:
    one = loader_of(videos, size=16, batch_size=2)
    next(iter(one))
    two = [loader_of(videos, size=16, batch_size=2, rank=rank, ranks=2) for rank in range(2)]
    for loader in two:
        loader.load_state(one.state())
    assert [key for loader in two for key in next(iter(loader)).keys] == next(iter(one)).keys


def test_skipped_videos_are_not_decoded(videos: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = loader_of(videos, batch_size=1, size=16)
    decoded = []
    original = loader._decoder.decode

    def noting(sample: Any, *rest: Any) -> Any:
        decoded.append(sample.key)
        return original(sample, *rest)

    monkeypatch.setattr(loader._decoder, "decode", noting)
    loader.seek(3, 5)
    list(loader)
    assert decoded == [f"v{v}" for v in shuffled(7, 0, 3)[5:]]
    assert (loader.epoch, loader.step) == (4, 0)


@pytest.mark.parametrize(
    ("augmentation", "captions", "workers"),
    [("none", "one", 0), ("flip", "all", 3), ("randaugment", "one", 0)],
)
def test_frames_that_are_kept_are_decoded_once(
    videos: Split, augmentation: Any, captions: Any, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 7 * 6 * SIDE * SIDE * 3
    settings: dict[str, Any] = {"frames": 6, "augment": augmentation, "drop_last": False}
    settings |= {"captions": captions, "workers": workers, "batch_size": 7}
    fresh, keeping = loader_of(videos, **settings), loader_of(videos, keep_decoded=room, **settings)
    read: list[int] = []
    plain = type(videos.reader).__getitem__

    def counted(reader: Any, number: int) -> Any:
        read.append(number)
        return plain(reader, number)

    for epoch in range(3):
        expected = [content(batch) for batch in fresh]
        read.clear()
        with monkeypatch.context() as patch:
            patch.setattr(type(videos.reader), "__getitem__", counted)
            assert [content(batch) for batch in keeping] == expected
        assert set(read) == (set(range(7)) if epoch == 0 else set())


@pytest.mark.parametrize("settings", [{"keep_decoded": -1}, {"augment": "crop"}, {}])
def test_all_frames_are_kept_or_none(videos: Split, settings: Any) -> None:
    room = 7 * 4 * SIDE * SIDE * 3
    loader = loader_of(
        videos, **{**settings, "keep_decoded": room + settings.get("keep_decoded", 0)}
    )
    list(loader)
    assert len(loader._decoded) == (6 if settings == {} else 0)


def test_leaving_early_stands_after_the_last_batch(videos: Split) -> None:
    loader = loader_of(videos, batch_size=1, size=16, workers=2, prefetch=4)
    for batch in loader:
        if batch.step == 2:
            break
    del batch
    assert (loader.epoch, loader.step) == (0, 3)
    assert [batch.step for batch in loader] == [3, 4, 5, 6]
    assert [batch.epoch for batch in loader] == [1] * 7


def test_another_run_is_refused(videos: Split) -> None:
    loader = loader_of(videos)
    state = loader.state()
    with pytest.raises(ConfigError, match="batch_size was 3, is 2; captions was one, is all"):
        loader_of(videos, batch_size=2, captions="all").load_state(state)
    with pytest.raises(ConfigError, match="split was other, is"):
        loader.load_state(state | {"split": "other"})
    for epoch, step in ((0, 2), (0, -1), (-1, 0)):
        with pytest.raises(ValueError, match="there is no step"):
            loader.seek(epoch, step)


def test_one_caption_a_video_and_epoch(tmp_path: Path) -> None:
    texts = [f"caption {c}" for c in range(4)]
    write_split(tmp_path, {"a": Stored([1], texts), "b": Stored([2], ["alone"])})
    split = Split(tmp_path)
    loader = loader_of(split, size=8, frames=1, batch_size=2, seed=11)
    chosen: Counter[int] = Counter()
    for epoch in range(200):
        (batch,) = loader
        assert batch.captions_B is not None
        captions = dict(zip(batch.keys, batch.captions_B.tolist(), strict=True))
        draw = uniforms(11, epoch, 0, Purpose.CAPTION, 1)[0]
        assert captions == {"a": int(4 * draw), "b": 4}
        chosen[captions["a"]] += 1
    # 50 each is expected, with a standard deviation of 6.
    assert set(chosen) == {0, 1, 2, 3}
    assert all(30 <= count <= 70 for count in chosen.values())


def test_all_pairs(videos: Split) -> None:
    loader = loader_of(videos, size=8, frames=1, captions="all", batch_size=5, drop_last=False)
    seen: list[int] = []
    for batch in loader:
        assert batch.captions_B is not None
        assert videos.owners[batch.captions_B].tolist() == batch.videos_B.tolist()
        seen += batch.captions_B.tolist()
    assert sorted(seen) == list(range(13))
    assert seen == shuffled(13, 0, 0).tolist()


def test_the_same_crop_for_all_frames_of_a_video(tmp_path: Path) -> None:
    coded = write_split(tmp_path, {f"v{v}": Stored([100 + v] * 3, beside=40) for v in range(8)})
    split = Split(tmp_path)
    loader = loader_of(split, frames=3, size=96, augment="crop", batch_size=8, shuffle=False)
    mirrored = 0
    for epoch in range(2):
        (batch,) = loader
        for v, frames_NCHW in enumerate(batch.frames_BNCHW):
            assert (frames_NCHW == frames_NCHW[:1]).all()
            draws = uniforms(0, epoch, v, Purpose.AUGMENTATION, augment.DRAWS)
            top, left, height, width, mirror = random_region(SIDE, SIDE + 80, draws)
            mirrored += mirror
            part = by_pillow(coded[f"v{v}"][0])[top : top + height, left : left + width]
            resized = Image.fromarray(part).resize((96, 96), Image.Resampling.BICUBIC)
            expected = np.asarray(resized)[:, ::-1] if mirror else np.asarray(resized)
            given = frames_NCHW[0].permute(1, 2, 0).numpy().astype(int)
            assert np.abs(given - expected).max() <= 2
    assert 3 <= mirrored <= 13


def test_randaugment_is_on_the_square_in_the_middle(videos: Split) -> None:
    settings: dict[str, Any] = {"size": 48, "shuffle": False, "batch_size": 7}
    (plain,) = loader_of(videos, **settings)
    loader = loader_of(videos, augment="randaugment", **settings)
    (batch,) = loader
    for v in range(7):
        draws = uniforms(0, 0, v, Purpose.AUGMENTATION, augment.DRAWS)
        expected = augment.randaugment(plain.frames_BNCHW[v], draws)
        assert torch.equal(batch.frames_BNCHW[v], expected)
    (later,) = loader
    assert not torch.equal(later.frames_BNCHW, batch.frames_BNCHW)


def test_padding_stays_black_under_augmentation(tmp_path: Path) -> None:
    write_split(tmp_path, {f"v{v}": Stored([1]) for v in range(6)})
    for kind in ("flip", "crop", "randaugment"):
        loader = loader_of(Split(tmp_path), size=32, frames=2, batch_size=6, augment=kind)
        for _ in range(3):
            (batch,) = loader
            assert not batch.frames_BNCHW[:, 1].any()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_sample_is_named(tmp_path: Path, workers: int) -> None:
    write_split(tmp_path, {f"v{v}": Stored([v] * 2) for v in range(5)})
    tar = tmp_path / "000001.tar"
    data = bytearray(tar.read_bytes())
    at = data.index(b"v4.001.jpg") + 512 + 2000
    data[at : at + 800] = bytes(800)
    tar.write_bytes(data)
    loader = loader_of(Split(tmp_path), batch_size=1, shuffle=False, workers=workers)
    batches = iter(loader)
    assert [next(batches).keys for _ in range(4)] == [["v0"], ["v1"], ["v2"], ["v3"]]
    with pytest.raises(InputError, match=r"000001\.tar: frame 1 of v4 cannot be decoded") as caught:
        next(batches)
    assert caught.value.code == "damaged"
    assert caught.value.hint == "make the shards again, with --overwrite"


def test_facts_that_do_not_fit_the_frames(tmp_path: Path) -> None:
    write_split(tmp_path, {"a": Stored([1, 2], more={"times": [0.0]})})
    with pytest.raises(InputError, match=r"000000\.tar: a\.json tells of 1 frames, there are 2"):
        next(iter(loader_of(Split(tmp_path), batch_size=1)))


def test_texts_come_once_each_and_in_order(tmp_path: Path) -> None:
    write_split(
        tmp_path,
        {"a": Stored([1], ["x", "same"]), "b": Stored([1], ["same", "y"]), "c": Stored([1], ["z"])},
    )
    split = Split(tmp_path)
    for ranks in (1, 2, 3):
        loaders = [
            loader_of(split, captions="none", batch_size=3, drop_last=False, rank=r, ranks=ranks)
            for r in range(ranks)
        ]
        texts: list[str] = []
        wordings: list[int] = []
        for parts in zip(*(loader.texts() for loader in loaders), strict=True):
            for part in parts:
                texts += map(text_of, part.tokens_TL)
                wordings += part.wordings_T.tolist()
        assert texts == ["x", "same", "y", "z"] == split.texts
        assert wordings == [0, 1, 2, 3]
    assert [split.texts[w] for w in split.wordings] == split.captions


def test_memory_is_used_again(videos: Split) -> None:
    loader = loader_of(videos, batch_size=1, size=64, workers=2)
    places = set()
    for _ in range(3):
        for batch in loader:
            places.add(batch.frames_BNCHW.data_ptr())
            del batch
    # One that is given, three that are decoded meanwhile, and for a moment those that the two
    # threads have finished and not yet let go; of 21 batches.
    assert len(places) <= 6


def test_memory_that_is_held_is_not_used_again(videos: Split) -> None:
    loader = loader_of(videos, batch_size=1, size=64)
    frames = [batch.frames_BNCHW[0, 1:, 0] for _ in range(2) for batch in loader]
    gc.collect()
    copies = [each.clone() for each in frames]
    del loader
    gc.collect()
    for each in frames[7:]:
        each.fill_(0)
    assert all(torch.equal(a, b) for a, b in zip(frames[:7], copies[:7], strict=True))
    assert len({each.data_ptr() for each in frames}) == 14


def test_to_moves_tensors_alone(videos: Split) -> None:
    batch = next(iter(loader_of(videos, size=8)))
    moved = batch.to("meta")
    assert moved.frames_BNCHW.is_meta
    assert moved.tokens_BL is not None
    assert moved.tokens_BL.is_meta
    assert moved.keys == batch.keys
    assert moved.step == 0


def test_decoding_threads_leave_threads_of_pytorch_alone(videos: Split) -> None:
    before = torch.get_num_threads()
    inside: list[int] = []
    others: list[int] = []

    def noting(texts: list[str]) -> Tensor:
        inside.append(torch.get_num_threads())
        return tokenize(texts)

    torch.set_num_threads(3)
    try:
        config = LoaderConfig(frames=1, size=8, batch_size=2, workers=2)
        for _ in Loader(videos, config, noting):
            other = threading.Thread(target=lambda: others.append(torch.get_num_threads()))
            other.start()
            other.join()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert inside == [1] * 3
    assert others == [3] * 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_pinned_memory(videos: Split) -> None:
    loader = loader_of(videos, size=16, pin_memory=True, workers=2)
    plain = loader_of(videos, size=16)
    for batch, expected in zip(loader, plain, strict=True):
        assert batch.frames_BNCHW.is_pinned()
        assert torch.equal(batch.to("cuda").frames_BNCHW.cpu(), expected.frames_BNCHW)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_memory_is_pinned_without_a_gpu(videos: Split) -> None:
    with pytest.raises(ConfigError, match="pin_memory needs a GPU"):
        loader_of(videos, pin_memory=True)


def test_a_tokenizer_of_open_clip(videos: Split) -> None:
    open_clip = pytest.importorskip("open_clip")
    clip = open_clip.get_tokenizer("ViT-B-32-quickgelu")
    config = LoaderConfig(frames=1, size=8, batch_size=7, shuffle=False, workers=2)
    (batch,) = Loader(videos, config, clip)
    assert batch.tokens_BL is not None
    assert batch.tokens_BL.shape == (7, 77)
    assert batch.captions_B is not None
    expected = clip([videos.captions[caption] for caption in batch.captions_B])
    assert torch.equal(batch.tokens_BL, expected)


def test_what_a_tokenizer_gives_is_checked(videos: Split) -> None:
    config = LoaderConfig(frames=1, size=8, batch_size=7, workers=0)
    with pytest.raises(ValueError, match=r"the tokenizer gave \(7, 24\) torch.float32"):
        next(iter(Loader(videos, config, lambda texts: tokenize(texts).float())))
    with pytest.raises(ValueError, match=r"gave \(6, 24\) torch.int64 for 7 captions"):
        next(iter(Loader(videos, config, lambda texts: tokenize(texts)[1:])))
    with pytest.raises(ValueError, match="captions need a tokenizer"):
        Loader(videos, config)
    with pytest.raises(ValueError, match="without a tokenizer"):
        next(Loader(videos, LoaderConfig(captions="none", batch_size=2)).texts())


def test_settings_that_cannot_be(videos: Split, tmp_path: Path) -> None:
    for name in ("frames", "size", "batch_size", "workers", "seed", "prefetch"):
        with pytest.raises(ConfigError, match=f"{name} must be at least"):
            LoaderConfig(**{name: -1})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="128 is more than all 7 items"):
        Loader(videos, LoaderConfig(captions="none"))
    write_split(tmp_path, {"a": Stored([1], []), "b": Stored([1])})
    with pytest.raises(InputError, match="1 of 2 videos have no caption, such as a"):
        loader_of(Split(tmp_path))


def test_real_clips(test_data: Path, tmp_path: Path) -> None:
    from vidsampler import extract

    (tmp_path / "clips").mkdir()
    for clip in sorted((test_data / "clips").glob("msrvtt_*.mp4")):
        (tmp_path / "clips" / clip.name).symlink_to(clip)
    for store in ("jpeg", "mp4"):
        shards = tmp_path / store
        extract(tmp_path / "clips", shards, fps=2.0, size=96, store=store, workers=1)
        config = LoaderConfig(frames=6, size=96, captions="none", batch_size=5, shuffle=False)
        (batch,) = Loader(shards, config)
        assert batch.valid_BN.all()
        assert batch.frames_BNCHW.float().std(dim=(2, 3, 4)).min() > 5
        assert (batch.times_BN.diff(dim=1) > 0.4).all()
        if store == "jpeg":
            pixels = batch.frames_BNCHW.clone()
    # Two codings of the same frames.
    difference = (batch.frames_BNCHW.float() - pixels.float()).abs().mean(dim=(1, 2, 3, 4))
    assert difference.max() < 6
