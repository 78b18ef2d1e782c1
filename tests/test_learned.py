"""Selecting by trained samplers: the one that is shipped, and mistakes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.running import CHECKOUT, here
from vidsampler import registry, select
from vidsampler.learned import LEARNED, trained_sampler

CLIP = str(CHECKOUT / "tests" / "data" / "clip.mp4")
PICKS = [150, 262, 442, 451]


def test_the_shipped_sampler_is_small_and_has_a_card() -> None:
    assert registry.load("samplers", "learned") is LEARNED
    assert {path.name for path in LEARNED.folder.iterdir()} >= {
        "README.md",
        "config.yaml",
        "model.safetensors",
    }
    assert (LEARNED.folder / "model.safetensors").stat().st_size < 4_000_000
    card = (LEARNED.folder / "README.md").read_text()
    for heading in ("## Data", "## Recipe", "## Figures", "## Limits"):
        assert heading in card


def test_known_picks() -> None:
    found = select(CLIP, 4, sampler="learned")
    assert [frame.index for frame in found.kept] == PICKS
    assert (found.sampler, found.candidates) == ("learned", 64)
    assert 0 < found.gmacs < 1
    again = select(CLIP, 4, checkpoint=LEARNED.folder)
    assert [frame.index for frame in again.kept] == PICKS
    assert again.sampler == "topk"


def test_multiply_adds_are_those_that_flops_counts() -> None:
    from vidsampler.flops import count_policy

    sampler = trained_sampler(None)
    config = sampler.retriever.config
    both = sum(count_policy(config.sampler.policy, 50, sampler.retriever.backbone.width, 1))
    # The grid has no multiply-adds.
    assert sampler.gmacs(50) == pytest.approx(both, rel=1e-9)


@pytest.mark.parametrize("candidates", [1, 2, 9, 64, 100])
def test_any_number_of_candidates_and_of_kept_frames(candidates: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (candidates, 64, 90, 3), np.uint8)
    sampler = trained_sampler(None)
    best: set[int] = set()
    for k in {1, 2, candidates // 2 or 1, candidates, candidates + 3}:
        choice = sampler.choose(frames, k)
        assert len(choice.indices) == min(k, candidates)
        assert (np.diff(choice.indices) > 0).all()
        assert choice.scores is not None
        assert ((choice.scores >= 0) & (choice.scores <= 1)).all()
    for k in range(1, candidates + 1):
        now = set(sampler.choose(frames, k).indices.tolist())
        # More frames are the same ones and others.
        assert best <= now
        best = now


def test_the_command_needs_no_network_no_cache_and_no_image_text_package(tmp_path: Path) -> None:
    program = (
        "import socket, sys\n"
        "def refuse(*_): raise OSError('no network')\n"
        "socket.socket.connect = refuse\n"
        f"sys.argv = ['vidsampler', 'select', {CLIP!r}, '--sampler', 'learned', '-k', '3', "
        "'--csv']\n"
        "from vidsampler.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'open_clip', 'timm', 'torchvision', 'sympy'} & set(sys.modules), 'heavy'\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(tmp_path), "VIDSAMPLER_CACHE": str(tmp_path / "none")},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) == 4
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sampler", "learned", "--checkpoint", "run"], "not learned (--sampler)"),
        (
            ["--checkpoint", "run", "--query", "a dog", "--backbone", "tiny"],
            "does not look at a question",
        ),
        (["--checkpoint", "no/such/run"], "no/such/run is no checkpoint"),
        (
            ["--sampler", "learned", "--query", "a dog", "--backbone", "tiny"],
            "learned does not look at a question",
        ),
        (["--sampler", "topk"], "give the run that trained it with select --checkpoint RUN"),
    ],
)
def test_mistakes_are_one_sentence(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    ran = here(capsys, "select", CLIP, *words)
    assert ran.code == 2
    assert message in ran.err
    assert len(ran.err.splitlines()) <= 2
