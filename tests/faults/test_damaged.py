"""Real clips with flipped, missing and zeroed bytes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.doing import (
    at_work,
    begin,
    check_committed,
    check_completed,
    command,
    damage,
    end,
    failures,
    wait_for,
)
from tests.test_extract import hashes
from vidsampler.errors import InputError
from vidsampler.video.reader import probe

WORDS = ("--frames", "4", "--size", "96", "--per-shard", "10", "--timeout", "30")
CLASSES = {"damaged", "truncated", "not-video", "no-video", "empty", "unsupported", "too-large"}


@pytest.fixture(scope="module")
def damaged(real_clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged")
    rng = random.Random(10)
    small = sorted(real_clips, key=lambda path: path.stat().st_size)[:60]
    for number in range(30):
        source = rng.choice(small)
        target = folder / f"{number:02d}{source.suffix}"
        target.write_bytes(damage(source.read_bytes(), rng))
    return folder


def test_damaged_clips_harm_nobody(damaged: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, report = end(begin(command(damaged, out, *WORDS, "--workers", "2")))
    assert code == 3
    assert report["done"] + report["failed"] == 30
    assert report["done"] > 0
    assert report["failed"] > 5
    assert len(failures(out)) == report["failed"]
    assert set(report["errors"]) <= CLASSES
    undisturbed, errors = hashes(out), (out / "errors.jsonl").read_bytes()
    check_completed(out, undisturbed)

    killed = tmp_path / "killed"
    run = begin(command(damaged, killed, *WORDS, "--workers", "1"))
    wait_for(lambda: (killed / "000000.json").exists() or at_work(killed))
    run.kill()
    run.communicate(timeout=60)
    check_committed(killed, undisturbed)
    code, report = end(begin(command(damaged, killed, *WORDS, "--workers", "1")))
    assert code == 3
    check_completed(killed, undisturbed)
    assert (killed / "errors.jsonl").read_bytes() == errors


def test_probe_and_select_refuse_them_in_a_sentence(damaged: Path) -> None:
    from vidsampler.select import select

    errors = []
    for path in sorted(damaged.iterdir())[:15]:
        for look in (probe, lambda path: select(path, 2, candidates=8, sampler="coverage")):
            try:
                look(path)
            except InputError as error:
                errors.append(error)
    assert {error.code for error in errors} <= CLASSES
    assert all(str(damaged) in error.message for error in errors)
    assert 0 < len(errors) < 30
