"""`vidsampler.evaluate`: from a checkpoint and a dataset to ranks."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vidsampler
from tests.evaluated import VIDEOS, write_run, write_videos
from vidsampler import plainyaml
from vidsampler.errors import ConfigError, InputError, UsageError
from vidsampler.evaluation.ranks import rank_matrix
from vidsampler.evaluation.rerank import Rerank, rank_reranked
from vidsampler.evaluation.results import Result
from vidsampler.evaluation.similarity import text_ids
from vidsampler.flops import flops
from vidsampler.loading.loader import Loader, LoaderConfig
from vidsampler.retriever import Retriever

FEW = [("a.mp4", "a red thing"), ("a.mp4", "a dog"), ("b.mp4", "a dog"), ("c.mp4", "a blue thing")]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache for each test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runs of some methods and their shards are."""
    folder = tmp_path_factory.mktemp("runs")
    for method in ("adaclip", "clip4clip", "emcl", "tmass"):
        write_run(folder, method)
    return folder


def evaluated(checkpoint: Path | None, **settings: Any) -> Result:
    """On split test of `captions`, on the CPU."""
    settings = {"device": "cpu", "workers": 0, **settings}
    return vidsampler.evaluate(checkpoint, "captions", **settings)


def scores_by_hand(
    weights: Path, shards: Path, texts: list[str], **changes: Any
) -> np.ndarray[Any, Any]:
    """The similarity of texts with the videos of a split, as one batch."""
    retriever = Retriever.from_pretrained(weights)
    loader = Loader(
        shards,
        LoaderConfig(4, size=32, captions="none", batch_size=64, shuffle=False, drop_last=False),
    )
    (batch,) = loader
    videos = retriever.embed_videos(batch.frames_BNCHW, batch.valid_BN, batch.times_BN, batch.keys)
    features = retriever.embed_texts(retriever.backbone.tokenize(texts).ids_TL)
    ids = text_ids(texts)
    scores: np.ndarray[Any, Any] = retriever.similarity(features, videos, text_ids_T=ids).numpy()
    return scores


@pytest.mark.parametrize("method", ["adaclip", "tmass"])
def test_a_run_on_shards(folder: Path, method: str) -> None:
    result = evaluated(folder / method)
    split = Loader(folder / "shards" / "test", LoaderConfig(captions="none", drop_last=False)).split
    scores = scores_by_hand(folder / method / "best", folder / "shards" / "test", split.captions)
    ranks = rank_matrix(scores)
    assert result.ranks.t2v == ranks.t2v.tolist()
    assert result.ranks.v2t == ranks.v2t.tolist()
    assert (result.queries, result.videos) == (VIDEOS, VIDEOS)
    assert (result.dataset, result.split, result.protocol) == ("captions", "test", None)
    kept = 2 if method == "adaclip" else 4
    assert result.frames_kept == {"mean": kept, "p50": kept, "p95": kept}
    config = Retriever.from_pretrained(folder / method / "best").config
    assert result.gmacs_per_video == flops(config, kept=kept).per_video
    assert result.checkpoint == str(folder / method / "best")
    assert (result.selected_on, result.seed, result.transductive) == ("val", 0, False)
    assert result.missing == []


def test_the_second_time_nothing_is_embedded(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluated(folder / "adaclip")
    assert len(list((cache / "features").iterdir())) == 2
    monkeypatch.setattr(Retriever, "embed_videos", None)
    monkeypatch.setattr(Retriever, "embed_texts", None)
    assert evaluated(folder / "adaclip").ranks == first.ranks
    # Other weights, and the same ones in another place, are told apart by their numbers.
    assert evaluated(folder / "adaclip" / "last").ranks == first.ranks
    with pytest.raises(TypeError):
        evaluated(folder / "adaclip", cache=False)


def test_batches_and_blocks_change_nothing(folder: Path) -> None:
    first = evaluated(folder / "tmass")
    assert evaluated(folder / "tmass", batch_size=5, block=3, cache=False).ranks == first.ranks


def test_another_sampler_before_the_same_weights(folder: Path) -> None:
    result = evaluated(folder / "adaclip", sampler="uniform", top_k=3)
    assert result.frames_kept is not None
    assert result.frames_kept["mean"] == 3
    fewer = evaluated(folder / "clip4clip", frames=2)
    assert fewer.frames_kept is not None
    assert fewer.frames_kept["mean"] == 2
    settings = {"sampler": {"name": "random", "k": 1, "seed": 3}}
    random = evaluated(folder / "clip4clip", settings=settings)
    assert random.frames_kept is not None
    assert random.frames_kept["p95"] == 1


def test_the_last_weights(folder: Path) -> None:
    result = evaluated(folder / "adaclip", which="last")
    assert result.checkpoint == str(folder / "adaclip" / "last")
    assert result.selected_on == "last"
    # The very folder of the weights will do; where shards are, the run beside it says.
    assert evaluated(folder / "adaclip" / "best").selected_on == "val"


def test_reranking(folder: Path) -> None:
    weights, shards = folder / "adaclip" / "best", folder / "shards"
    split = Loader(shards / "test", LoaderConfig(captions="none", drop_last=False)).split
    train = Loader(shards / "train", LoaderConfig(captions="none", drop_last=False)).split
    scores = scores_by_hand(weights, shards / "test", split.captions)
    bank = scores_by_hand(weights, shards / "test", train.captions)
    result = evaluated(folder / "adaclip", rerank="qb-norm")
    assert result.ranks.t2v == rank_reranked(scores, None, Rerank("qb-norm", bank)).t2v.tolist()
    assert (result.reranked, result.transductive) == (["t2v"], False)
    result = evaluated(folder / "adaclip", rerank="dsl", v2t="grouped")
    assert result.ranks.v2t == rank_reranked(scores, None, Rerank("dsl")).v2t.tolist()
    assert (result.reranked, result.transductive) == (["t2v", "v2t"], True)
    assert result.v2t_convention == "grouped"


def test_a_head_that_sees_the_gallery_says_so(folder: Path) -> None:
    result = evaluated(folder / "emcl")
    assert (result.transductive, result.reranked) == (True, [])


def test_a_folder_of_videos(folder: Path, tmp_path: Path) -> None:
    videos = write_videos(tmp_path / "videos", [*FEW, ("gone", "it is not there")])
    result = evaluated(folder / "adaclip", videos=videos)
    assert (result.queries, result.videos) == (4, 3)
    assert result.ranks.owners == [0, 0, 1, 2]
    assert result.missing == ["gone"]
    assert result.protocol == "every caption is a query"
    # "a dog" is said of two videos: one of them is ahead of the other in both rows.
    assert result.ranks.t2v[1] != result.ranks.t2v[2]
    # Annotations may lie elsewhere.
    (tmp_path / "words").mkdir()
    (videos / "captions.csv").rename(tmp_path / "words" / "captions.csv")
    again = evaluated(folder / "adaclip", videos=videos, annotations=tmp_path / "words")
    assert again.ranks == result.ranks


def test_shapes_needs_no_path(tmp_path: Path, cache: Path) -> None:
    run = write_run(tmp_path, "clip4clip")
    plain: Any = plainyaml.load((run / "config.yaml").read_text())
    render = plain["dataset"]["render"] | {"train": 2, "val": 2, "test": 5}
    plain["dataset"] = {"name": "shapes", "shards": None, "render": render}
    (run / "config.yaml").write_text(plainyaml.dump(plain))
    # The run says what its videos are like.
    result = vidsampler.evaluate(run, device="cpu", workers=0)
    assert (result.dataset, result.videos, result.queries) == ("shapes", 5, 5)
    assert (cache / "shapes").is_dir()


def test_zero_shot(folder: Path, tmp_path: Path) -> None:
    videos = write_videos(tmp_path / "videos", FEW)
    backbone = {"name": str(folder / "clip.json"), "pretrained": "none", "words": 12}
    settings = {"backbone": backbone}
    result = evaluated(None, videos=videos, settings=settings, sampler="uniform", top_k=5)
    assert result.frames_kept == {"mean": 5, "p50": 5, "p95": 5}
    assert result.checkpoint == f"{folder / 'clip.json'}, none, zero-shot"
    assert result.selected_on is None
    qscore = {**settings, "head": {"name": "qscore"}}
    assert evaluated(None, videos=videos, settings=qscore).queries == 4
    for wrong, message in (
        ({"head": {"name": "mlp"}}, "the head mlp has weights"),
        ({"sampler": {"name": "gate"}}, "the sampler gate has nothing to choose by"),
    ):
        with pytest.raises(UsageError, match=message):
            evaluated(None, videos=videos, settings=settings | wrong)
    with pytest.raises(UsageError, match="neither a checkpoint nor a backbone"):
        evaluated(None, videos=videos)


def test_what_is_missing_from_shards_is_told(folder: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "test").symlink_to(folder / "shards" / "test")
    account = {"dataset": "captions", "protocol": "as it is", "missing": {"test": ["x", "y"]}}
    (shards / "dataset.json").write_text(json.dumps(account))
    result = evaluated(folder / "adaclip", shards=shards)
    assert (result.missing, result.protocol) == (["x", "y"], "as it is")
    with pytest.raises(UsageError, match="holds shards of captions, not of msvd"):
        vidsampler.evaluate(folder / "adaclip", "msvd", shards=shards, device="cpu")


def test_settings_that_cannot_be(folder: Path) -> None:
    for settings, kind, message in (
        ({"rerank": "dls"}, UsageError, "did you mean 'dsl'"),
        ({"v2t": "group"}, UsageError, "did you mean 'grouped'"),
        ({"blok": 3}, UsageError, "unknown option 'blok'; did you mean 'block'"),
        ({"batch_size": 0}, ConfigError, "batch_size must be at least 1, not 0"),
        ({"sampler": "unifrom"}, UsageError, "did you mean 'uniform'"),
        ({"settings": {"framse": 3}}, ConfigError, "did you mean 'frames'"),
        ({"annotations": "x"}, UsageError, "annotations .* are for videos"),
        ({"shards": "x", "videos": "y"}, UsageError, "not both"),
    ):
        with pytest.raises(kind, match=message):
            evaluated(folder / "adaclip", **settings)


def test_scores_that_are_no_numbers(folder: Path, tmp_path: Path) -> None:
    retriever = Retriever.from_pretrained(folder / "clip4clip" / "best")
    with torch.no_grad():
        # Finite, as weights have to be; what they are multiplied with overflows.
        retriever.backbone.clip.text_projection.fill_(3e38)  # type: ignore[operator]
    retriever.save(tmp_path / "broken")
    with pytest.raises(UsageError, match="broken: 81 of 81 scores are NaN or infinite"):
        evaluated(tmp_path / "broken", shards=folder / "shards")


@pytest.mark.slow
def test_zero_shot_on_real_clips(test_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    weights = test_data / "weights" / "lite2_minilm"
    captions: dict[str, str] = {}
    with (test_data / "clips" / "captions.csv").open() as file:
        for row in csv.DictReader(file):
            if row["set"] != "ucf101":
                captions.setdefault(row["video"], row["caption"])
    assert len(captions) == 141
    with (tmp_path / "captions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["video", "caption", "split"])
        rows.writerows([video, caption, "test"] for video, caption in captions.items())
    result = vidsampler.evaluate(
        None,
        "captions",
        videos=test_data / "clips",
        annotations=tmp_path,
        frames=8,
        settings={"backbone": {"name": str(weights), "precision": "auto"}},
        cache=False,
    )
    assert (result.queries, result.videos, result.missing) == (141, 141, [])
    # Measured by an independent script: 24.1, 51.8, 70.2.
    measured = [result.t2v[name] for name in ("R@1", "R@5", "R@10")]
    assert measured == pytest.approx([24.1, 51.8, 70.2], abs=2)
    assert result.t2v["R@1"] == pytest.approx(24, abs=2)


def test_an_empty_split_and_other_faults_of_the_data(folder: Path, tmp_path: Path) -> None:
    videos = write_videos(tmp_path / "videos", FEW, split="train")
    for settings, message in (
        ({"videos": videos}, "unknown split 'test'"),
        ({"videos": tmp_path / "nowhere"}, "nowhere"),
        ({"videos": videos, "split": "train", "annotations": tmp_path}, "captions.csv"),
        ({"split": "val"}, "there is no split val"),
        ({"shards": tmp_path / "nowhere"}, "no such folder of shards"),
    ):
        with pytest.raises(InputError, match=message):
            evaluated(folder / "adaclip", **settings)
    (tmp_path / "shards" / "test").mkdir(parents=True)
    with pytest.raises(InputError, match=r"test: there is no shard in it"):
        evaluated(folder / "adaclip", shards=tmp_path / "shards")
    (videos / "more").mkdir()
    for name in ("one", "more"):
        (videos / name).mkdir(exist_ok=True)
        (videos / name / "a.mp4").write_bytes((videos / "b.mp4").read_bytes())
    (videos / "a.mp4").unlink()
    with pytest.raises(InputError, match=r"two videos fit the id 'a.mp4': more/a.mp4 and one/a"):
        evaluated(folder / "adaclip", videos=videos, split="train")
