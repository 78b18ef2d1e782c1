"""What a search gives is what the retriever gives."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vidsampler
from tests.retrieving import retriever_of
from tests.search.conftest import SOURCES
from vidsampler import Index, Retriever
from vidsampler.errors import InputError, UsageError
from vidsampler.search.index import Hit
from vidsampler.search.manifest import NAME
from vidsampler.search.text import tower_path
from vidsampler.shards.key import make_key
from vidsampler.video import Video
from vidsampler.video.positions import uniform_positions
from vidsampler.video_features import VideoFeatures

TEXTS = ("a blue wave", "numbers in black and white", "noise")


def by_hand(retriever: Retriever, videos: Path) -> tuple[VideoFeatures, list[list[int]]]:
    """Features of all videos, and which frames their candidates are."""
    parts, candidates = [], []
    frames, size = retriever.config.frames, retriever.pixels.size
    for name in SOURCES:
        with Video(videos / name) as video:
            there = video.index.frames
            numbers = uniform_positions(there, min(there, frames))
            rgb = np.stack([each.rgb for each in video.frames(numbers, size)])
            left = (rgb.shape[2] - size) // 2
            rgb = rgb[:, :, left : left + size]  # the square in the middle
            times = torch.from_numpy(video.times(numbers))
        candidates.append(numbers.tolist())
        pixels = torch.from_numpy(rgb).permute(0, 3, 1, 2)
        parts.append(retriever.embed_videos(pixels[None], None, times[None], [make_key(name)]))
    return VideoFeatures.join(parts), candidates


def expected(retriever: Retriever, videos: Path, text: str) -> list[tuple[str, float, int, float]]:
    """(source, score, frame, frame's score), best first."""
    features, candidates = by_hand(retriever, videos)
    text_1D = retriever.embed_texts(retriever.backbone.tokenize([text]).ids_TL)
    scores = retriever.similarity(text_1D, features)[0]
    rows = []
    for place, (source, kept) in enumerate(zip(SOURCES, features.kept(), strict=True)):
        own = features.features_VFD[place][features.keep_VF[place] > 0]
        cosines = torch.cosine_similarity(own, text_1D)
        best = int(cosines.argmax())
        frame = candidates[place][kept[best]]
        rows.append((source, float(scores[place]), frame, float(cosines[best])))
    return sorted(rows, key=lambda row: -row[1])


def check(hits: list[Hit], wanted: list[tuple[str, float, int, float]]) -> None:
    assert [hit.source for hit in hits] == [source for source, *_ in wanted]
    for hit, (_, score, frame, frame_score) in zip(hits, wanted, strict=True):
        assert hit.score == pytest.approx(score, abs=2e-4)
        assert hit.frame == frame
        assert hit.frame_score == pytest.approx(frame_score, abs=2e-4)
        assert hit.time == pytest.approx(frame / 4, abs=1e-3)


def test_scores_and_moments_are_those_of_the_retriever(
    index: Path, videos: Path, checkpoint: Path
) -> None:
    opened = Index.open(index, verify=True)
    retriever = Retriever.from_pretrained(checkpoint)
    assert len(opened) == 5
    assert opened.sources == sorted(SOURCES)
    for text in TEXTS:
        check(opened.search(text), expected(retriever, videos, text))
    assert [hit.source for hit in opened.search(TEXTS[0], k=2)] == [
        source for source, *_ in expected(retriever, videos, TEXTS[0])[:2]
    ]
    first = opened.search(TEXTS[0])[0]
    assert Path(first.video) == videos / first.source
    assert first.duration == pytest.approx(0.5 if first.source == "e.mkv" else 3.0, abs=0.05)
    assert json.dumps(first.to_json())


@pytest.mark.parametrize(
    ("sampler", "head", "more"),
    [
        ("topk", "mlp", {}),
        ("gate", "seq", {}),
        ("random", "mean", {"k": 2}),
        ("coverage", "transformer", {"k": 2}),
        ("topk", "xpool", {}),
        ("gate", "qscore", {}),
        ("topk", "tmass", {}),
        ("uniform", "emcl", {}),
    ],
)
def test_any_sampler_and_head(
    videos: Path, tmp_path: Path, sampler: str, head: str, more: dict[str, Any]
) -> None:
    retriever = retriever_of(sampler, head, **more)
    retriever.save(tmp_path / "run")
    report = vidsampler.embed(
        videos, tmp_path / "index", checkpoint=tmp_path / "run", per_segment=2, workers=1
    )
    assert report.done == 5
    opened = Index.open(tmp_path / "index")
    check(opened.search(TEXTS[1]), expected(retriever, videos, TEXTS[1]))


def test_a_video_is_most_like_itself(index: Path, videos: Path, tmp_path: Path) -> None:
    opened = Index.open(index)
    for source in SOURCES:
        hits = opened.search_like(videos / source, k=3)
        assert hits[0].source == source
        assert hits[0].score == pytest.approx(1, abs=1e-3)
        assert len(hits) == 3
    (tmp_path / "no.mp4").write_bytes(b"")
    with pytest.raises(InputError, match=r"no\.mp4"):
        opened.search_like(tmp_path / "no.mp4")
    with pytest.raises(InputError) as caught:
        opened.search_like(tmp_path / "none.mp4")
    assert caught.value.code == "missing"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("head", ["mean", "xpool"])
def test_a_text_after_a_video_on_a_gpu(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str
) -> None:
    retriever_of("uniform", head, k=3).save(tmp_path / "run")
    vidsampler.embed(videos, tmp_path / "index", checkpoint=tmp_path / "run", workers=1)
    for cached in (True, False):
        if not cached:
            monkeypatch.setenv("VIDSAMPLER_CACHE", str(tmp_path / "other"))
        opened = Index.open(tmp_path / "index")
        wanted = opened.search(TEXTS[0])
        for _ in range(2):
            opened.search_like(videos / SOURCES[0])
            hits = opened.search(TEXTS[0])
            assert [hit.source for hit in hits] == [hit.source for hit in wanted]
            assert [hit.score for hit in hits] == pytest.approx(
                [hit.score for hit in wanted], abs=1e-3
            )


def test_of_shards(index: Path, videos: Path, checkpoint: Path, tmp_path: Path) -> None:
    vidsampler.extract(videos, tmp_path / "shards", frames=6, size=None, quality=100)
    made = tmp_path / "index"
    assert vidsampler.embed(tmp_path / "shards", made, checkpoint=checkpoint, workers=1).done == 5
    opened, direct = Index.open(made), Index.open(index)
    assert opened.manifest.kind == "shards"
    for text in TEXTS:
        others = {hit.source: hit for hit in direct.search(text)}
        for hit in opened.search(text):
            assert hit.video == hit.source
            assert hit.score == pytest.approx(others[hit.source].score, abs=0.01)
            assert hit.duration == others[hit.source].duration
            assert hit.time == pytest.approx(hit.frame / 4, abs=1e-3)
    for one, other in zip(opened.sources, direct.sources, strict=True):
        assert one == other
    for row in range(5):
        mine, theirs = opened.entry(row), direct.entry(row)
        assert mine.numbers_K.tolist() == theirs.numbers_K.tolist()
        # JPEG has changed the pixels a little.
        assert float(mine.video_D.astype(float) @ theirs.video_D.astype(float)) > 0.99
    again = vidsampler.embed(tmp_path / "shards", made, workers=1)
    assert (again.done, again.skipped) == (0, 5)
    with pytest.raises(UsageError, match="was made of shards, not of videos"):
        vidsampler.embed(videos, made)


@pytest.mark.parametrize(("text", "k"), [("", 10), (" \n\t", 10), ("a dog", 0)])
def test_questions_that_cannot_be_asked(index: Path, text: str, k: int) -> None:
    with pytest.raises(UsageError, match=r"the question is empty|at least 1 video"):
        Index.open(index).search(text, k)


def test_vectors_of_ones_own(index: Path) -> None:
    opened = Index.open(index)
    whole = np.concatenate(opened.vectors).astype(np.float32)
    scores, rows = opened.nearest(whole[3:4], 2)
    assert rows[0, 0] == 3
    assert scores[0, 0] == pytest.approx(1, abs=1e-3)


# -------------------------------------------------------------------- which model


@pytest.fixture
def own(index: Path, checkpoint: Path, tmp_path: Path) -> tuple[Path, Path]:
    """An index and its checkpoint to be changed, with nothing in the cache."""
    shutil.copytree(index, tmp_path / "index")
    shutil.copytree(checkpoint, tmp_path / "run")
    path = tmp_path / "index" / NAME
    data = json.loads(path.read_bytes())
    data["checkpoint"] = str(tmp_path / "run" / "best")
    path.write_text(json.dumps(data))
    return tmp_path / "index", tmp_path / "run"


def test_without_the_cache_the_checkpoint_is_read_and_the_cache_filled(
    own: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, run = own
    wanted = Index.open(folder).search(TEXTS[0])
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(tmp_path / "other"))
    assert [hit.source for hit in Index.open(folder).search(TEXTS[0])] == [
        hit.source for hit in wanted
    ]
    assert tower_path(Index.open(folder).manifest.fingerprint).exists()
    shutil.rmtree(run)
    assert Index.open(folder).search(TEXTS[0])[0].source == wanted[0].source


def test_weights_that_are_gone_or_others(
    own: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, run = own
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(tmp_path / "other"))
    run.rename(tmp_path / "moved")
    with pytest.raises(InputError) as caught:
        Index.open(folder).search(TEXTS[0])
    assert "are gone: there is no" in caught.value.message
    assert caught.value.hint == "say where they are now: --checkpoint DIR"
    assert Index.open(folder, checkpoint=tmp_path / "moved").search(TEXTS[0])
    retriever_of("uniform", "mlp", k=3).save(tmp_path / "else")
    with pytest.raises(UsageError) as error:
        Index.open(folder, checkpoint=tmp_path / "else")
    assert f"{folder} was made with another model" in error.value.message
    with pytest.raises(InputError, match="is no checkpoint"):
        Index.open(folder, checkpoint=tmp_path)


def test_another_checkpoint_is_refused_though_nothing_is_to_be_embedded(
    index: Path, videos: Path, checkpoint: Path, tmp_path: Path
) -> None:
    made = tmp_path / "index"
    shutil.copytree(index, made)
    retriever_of("uniform", "mlp", k=3).save(tmp_path / "else")
    with pytest.raises(UsageError, match="was made with other weights"):
        vidsampler.embed(videos, made, checkpoint=tmp_path / "else")
    shutil.copytree(checkpoint, tmp_path / "copy")  # the same weights elsewhere
    assert vidsampler.embed(videos, made, checkpoint=tmp_path / "copy").skipped == 5


def test_paths_are_those_of_the_working_directory_that_it_was_made_in(
    videos: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    vidsampler.embed(videos, tmp_path / "index", checkpoint=checkpoint.name, workers=1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(tmp_path / "cache"))
    assert vidsampler.embed(videos, tmp_path / "index").skipped == 5
    assert len(Index.open(tmp_path / "index").search(TEXTS[0])) == 5


def test_a_folder_without_videos_leaves_no_index(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(InputError) as caught:
            vidsampler.embed(tmp_path / name, tmp_path / "index", checkpoint=checkpoint)
        assert caught.value.code == "missing"
        assert not (tmp_path / "index").exists()
    (tmp_path / "own").mkdir()  # the user's own stays
    with pytest.raises(InputError):
        vidsampler.embed(tmp_path / "empty", tmp_path / "own", checkpoint=checkpoint)
    assert (tmp_path / "own").is_dir()


@pytest.mark.parametrize("name", ["videos", "frames", "times"])
def test_numbers_that_are_none_are_damage(index: Path, tmp_path: Path, name: str) -> None:
    made = tmp_path / "index"
    shutil.copytree(index, made)
    path = sorted(made.glob("*.safetensors"))[0]
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[:8], "little")
    begin, end = json.loads(data[8 : 8 + size])[name]["data_offsets"]
    data[8 + size + begin : 8 + size + end] = b"\xff" * (end - begin)  # NaN
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"is damaged: .* is not a number") as caught:
        Index.open(made).search(TEXTS[0])
    assert caught.value.code == "damaged"
    with pytest.raises(InputError, match="its content has changed"):
        Index.open(made, verify=True)
