"""Intervals beside a bootstrap in plain loops; tables with the published figures."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from tests.evaluation.slow import slow_interval
from vidsampler import plainyaml
from vidsampler.config import configs_dir
from vidsampler.errors import ConfigError
from vidsampler.evaluation import compare
from vidsampler.evaluation.published import published, published_beside
from vidsampler.evaluation.ranks import DIRECTIONS, METRICS, rank_matrix
from vidsampler.evaluation.results import Result, result_of

GENERATOR = np.random.default_rng(9)


def random_ranks(count: int, hits: float) -> np.ndarray:
    return np.where(GENERATOR.random(count) < hits, 1, 2)


def test_the_interval_is_that_of_drawing_queries_one_by_one() -> None:
    baseline, ranks = random_ranks(300, 0.4), random_ranks(300, 0.5)
    found = compare.paired_interval(baseline, ranks)
    slow = slow_interval(baseline.tolist(), ranks.tolist(), list(range(300)), 4000, 1)
    # Each end has its own noise, of some 0.1 points.
    assert found == pytest.approx(slow, abs=0.5)
    # And by the normal approximation.
    change = 100 * ((ranks == 1).astype(float) - (baseline == 1))
    spread = 1.96 * change.std() / np.sqrt(300)
    assert found == pytest.approx((change.mean() - spread, change.mean() + spread), abs=0.5)


def test_captions_of_one_video_are_drawn_together() -> None:
    owners = np.repeat(np.arange(60), GENERATOR.integers(1, 15, 60))
    by_video = random_ranks(60, 0.3)
    baseline, ranks = by_video[owners], random_ranks(len(owners), 0.4)
    found = compare.paired_interval(baseline, ranks, owners)
    slow = slow_interval(baseline.tolist(), ranks.tolist(), owners.tolist(), 4000, 1)
    assert found == pytest.approx(slow, abs=1.0)
    # One by one they seem to say more than they do.
    narrow = compare.paired_interval(baseline, ranks)
    assert found[1] - found[0] > 1.5 * (narrow[1] - narrow[0])


def test_the_order_of_queries_and_the_side_do_not_matter() -> None:
    baseline, ranks = random_ranks(200, 0.4), random_ranks(200, 0.5)
    order = GENERATOR.permutation(200)
    found = compare.paired_interval(baseline, ranks)
    assert compare.paired_interval(baseline[order], ranks[order]) == found
    turned = compare.paired_interval(ranks, baseline)
    assert (-turned[1], -turned[0]) == pytest.approx(found, abs=0.5)
    assert compare.paired_interval(ranks, ranks) == (0.0, 0.0)


def test_more_confidence_is_a_wider_interval() -> None:
    baseline, ranks = random_ranks(200, 0.4), random_ranks(200, 0.5)
    wide = compare.paired_interval(baseline, ranks, confidence=0.99)
    narrow = compare.paired_interval(baseline, ranks, confidence=0.8)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_pairs_must_be_pairs() -> None:
    with pytest.raises(ValueError, match="3 and 2 ranks"):
        compare.paired_interval(np.ones(3, np.int64), np.ones(2, np.int64))
    with pytest.raises(ValueError, match="0 and 0 ranks"):
        compare.paired_interval(np.ones(0, np.int64), np.ones(0, np.int64))


def results() -> list[Result]:
    scores = GENERATOR.normal(size=(40, 40)) + 2 * np.eye(40)
    better = scores + np.eye(40)
    return [
        result_of(rank_matrix(scores), dataset="msrvtt", split="test"),
        result_of(
            rank_matrix(better),
            dataset="msrvtt",
            split="test",
            frames_kept={"mean": 11.03, "p50": 11, "p95": 16},
            gmacs_per_video=53.83,
            rerank="dsl",
            reranked=("t2v", "v2t"),
            transductive=True,
            selected_on="val",
        ),
    ]


def test_a_table_has_both_directions_and_the_published_figures_beside() -> None:
    names, measured = ["a.json", "b|c.json"], results()
    found = compare.differences(names, measured)
    assert [(each.direction, each.result, each.baseline) for each in found] == [
        ("t2v", "b|c.json", "a.json"),
        ("v2t", "b|c.json", "a.json"),
    ]
    for each in found:
        one, other = (getattr(result, each.direction)["R@1"] for result in measured)
        assert each.difference == pytest.approx(other - one)
        assert each.low <= each.difference <= each.high
    beside = published_beside([("msrvtt", "test")])
    rows = compare.table_rows(names, measured, found, beside)
    assert {len(row) for row in rows} == {len(compare.COLUMNS)} == {len(compare.NUMBERS)}
    (ours,) = (row for row in rows if row[:2] == ["t2v", "b|c.json"])
    assert ours[8:10] == ["11.0", "53.8"]
    assert ours[10] == f"{found[0].difference:+.1f} [{found[0].low:+.1f}, {found[0].high:+.1f}]"
    assert ours[11:] == ["measured", "dsl, transductive, chosen on val"]
    adaclip = "AdaCLIP, top-k 12, best of 30 epochs on test, ViT-B/32"
    (theirs,) = (row for row in rows if row[:2] == ["t2v", adaclip])
    assert theirs[2:8] == ["45.1", "71.7", "79.9", "94.6", "2", "15.5"]
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)

    assert list(csv.reader(io.StringIO(compare.as_csv(rows)))) == [list(compare.COLUMNS), *rows]
    lines = compare.as_markdown(rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert lines[3].startswith("| t2v | b\\|c.json | ")
    assert {line.replace("\\|", "").count("|") for line in lines} == {len(compare.COLUMNS) + 1}


def test_results_of_several_datasets_stand_apart() -> None:
    generator = np.random.default_rng(2)
    names, found = [], []
    for dataset, size in (("msrvtt", 30), ("didemo", 20)):
        for more in (0, 2):
            scores = np.random.default_rng(size).normal(size=(size, size)) + more * np.eye(size)
            names.append(f"{dataset}{more}")
            found.append(result_of(rank_matrix(scores), dataset=dataset))
    order = generator.permutation(4).tolist()
    names, measured = [names[i] for i in order], [found[i] for i in order]
    changes = compare.differences(names, measured)
    # Each dataset has a baseline, its first result.
    firsts = {name[:6]: name for name in reversed(names)}
    assert {(each.result, each.baseline) for each in changes} == {
        (name, firsts[name[:6]]) for name in names if name != firsts[name[:6]]
    }
    assert len(changes) == 4
    for each in changes:
        sign = 1 if each.result.endswith("2") else -1
        assert sign * each.difference > 0
        assert min(sign * each.low, sign * each.high) > 0
    columns, numbers = compare.columns_of(measured)
    assert columns == ("dataset", *compare.COLUMNS)
    beside = published_beside([("msrvtt", None), ("didemo", None)])
    rows = compare.table_rows(names, measured, changes, beside)
    assert {len(row) for row in rows} == {len(columns)} == {len(numbers)}
    assert [row[2] for row in rows if row[-2] == "measured"] == [
        name
        for dataset in dict.fromkeys(name[:6] for name in names)
        for _ in DIRECTIONS
        for name in names
        if name.startswith(dataset)
    ]
    theirs = [row for row in rows if row[2] == "mmSampler, frame, ViT-B/32" and row[1] == "t2v"]
    assert {(row[0], row[3]) for row in theirs} == {("msrvtt", "43.7"), ("didemo", "41.4")}
    lines = compare.as_markdown(rows, columns, numbers).splitlines()
    assert lines[0].startswith("| dataset | direction | ")
    assert compare.as_csv(rows, columns).splitlines()[0].startswith("dataset,direction,system,")
    assert compare.columns_of(measured[:1]) == (compare.COLUMNS, compare.NUMBERS)


def test_only_the_same_queries_are_compared() -> None:
    generator = np.random.default_rng(1)
    scores = generator.normal(size=(6, 3))
    base = result_of(rank_matrix(scores, [0, 0, 1, 1, 2, 2]), dataset="msvd")
    for other, why in (
        (result_of(rank_matrix(scores, [0, 0, 1, 1, 2, 2])), "dataset msvd and None"),
        (result_of(rank_matrix(scores, [0, 1, 0, 1, 2, 2]), dataset="msvd"), "other owners"),
        (result_of(rank_matrix(scores[:3]), dataset="msvd"), "queries 6 and 3"),
    ):
        assert compare.why_not_paired(base, other) == why
        assert compare.differences(["a", "b"], [base, other]) == []
    # As many videos, and others.
    lacking = [
        result_of(rank_matrix(scores, [0, 0, 1, 1, 2, 2]), dataset="msvd", missing=missing)
        for missing in (["x", "y"], ["y", "z"], ["y", "x"])
    ]
    assert compare.why_not_paired(*lacking[:2]) == "other videos are missing, such as x"
    assert compare.why_not_paired(base, lacking[0]) == "other videos are missing, such as x"
    assert [(each.result, each.baseline) for each in compare.differences("abc", lacking)] == [
        ("c", "a"),
        ("c", "a"),
    ]
    grouped = result_of(
        rank_matrix(scores, [0, 0, 1, 1, 2, 2], v2t="grouped"),
        dataset="msvd",
        v2t_convention="grouped",
    )
    found = compare.differences(["a", "b"], [base, grouped])
    assert [each.direction for each in found] == ["t2v"]
    with pytest.raises(ConfigError, match=r"a\.json is given twice"):
        compare.check_names(["a.json", "b.json", "a.json"])


def test_the_published_figures() -> None:
    rows = published()
    assert len(rows) == 141
    keys = {
        (row.dataset, row.split, row.system, row.variant, row.backbone, row.direction)
        for row in rows
    }
    assert len(keys) == len(rows)
    for row in rows:
        assert row.direction in ("t2v", "v2t")
        assert row.kind in ("main", "ablation")
        recalls = [row.metrics[name] for name in METRICS[:4]]
        given = [recall for recall in recalls if recall is not None]
        assert given == sorted(given)
        assert 0 < given[0] <= given[-1] < 100
        if row.kept is not None and row.candidates is not None:
            assert row.kept <= row.candidates
    table = {
        (row.dataset, row.system, row.variant, row.backbone, row.direction): row for row in rows
    }
    # The paper's direction; the release's README has the two headings the wrong way round.
    assert table["msrvtt", "mmSampler", "frame", "ViT-B/32", "t2v"].metrics["R@1"] == 43.7
    assert table["msrvtt", "mmSampler", "frame", "ViT-B/32", "v2t"].metrics["R@1"] == 44.4
    # Table 1 has R@50 and table 7 R@10 of the same run.
    merged = table["activitynet", "CLIP4Clip", "no policy", "ViT-B/32", "t2v"]
    assert list(merged.metrics.values()) == [41.3, 72.3, 84.0, 98.0, 2.0, 7.5]
    assert merged.source == "mmSampler paper, tables 1 and 7"
    assert (
        "cannot both be right"
        in table["didemo", "mmSampler", "extractor Raw", "ViT-B/32", "t2v"].note
    )
    assert all("not reachable honestly" in row.note for row in rows if row.system == "T-MASS")


def test_published_runs_have_the_same_figures() -> None:
    path = configs_dir() / "runs.yaml"
    if not path.exists():
        pytest.skip("there are no published runs")
    rows = published()
    for name, run in plainyaml.load(path.read_text(encoding="utf-8")).items():
        for line in run.get("published", ()):
            for direction in set(DIRECTIONS) & set(line):
                figures = line[direction]
                same = [
                    row
                    for row in rows
                    if (row.dataset, row.system, row.direction)
                    == (run["dataset"], line["system"], direction)
                    and all(row.metrics[metric] == value for metric, value in figures.items())
                ]
                assert same, f"{name}, {direction}: {figures}"


def test_which_published_rows_stand_beside() -> None:
    main = published_beside([("didemo", None)])
    assert {(row.dataset, row.split, row.kind) for row in main} == {("didemo", "test", "main")}
    every = published_beside([("didemo", "test"), (None, None)], "all")
    assert len(every) > len(main)
    assert {row.metrics["R@1"] for row in published_beside([("didemo", "val")])} == {41.7, 42.3}
    assert published_beside([("didemo", "test")], "none") == []
    assert published_beside([("charades", "test")]) == []
