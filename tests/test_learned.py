"""Selecting by trained samplers: the one that is shipped, and mistakes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.cli.running import CHECKOUT, here
from tests.rendering import render
from tests.retrieving import FRAMES, config_of, retriever_of
from vidsampler import plainyaml, registry, select
from vidsampler.flops import flops
from vidsampler.learned import LEARNED, trained_sampler
from vidsampler.retriever import Retriever
from vidsampler.training.settings import train_config
from vidsampler.video import Video
from vidsampler.video.positions import uniform_positions

CLIP = str(CHECKOUT / "tests" / "data" / "clip.mp4")
PICKS = [4, 193, 253, 476]


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


def test_the_shipped_sampler_is_of_the_recipe_that_is_shipped() -> None:
    ours = trained_sampler(None).retriever.config
    recipe = train_config(method="default", dataset="folder").retriever()
    assert replace(ours.sampler.policy, frames=None) == recipe.sampler.policy
    assert replace(ours.sampler, policy=recipe.sampler.policy) == recipe.sampler
    assert (ours.backbone, ours.head, ours.frames) == (recipe.backbone, recipe.head, recipe.frames)


def test_multiply_adds_are_those_that_flops_counts() -> None:
    from vidsampler.flops import count_policy

    sampler = trained_sampler(None)
    config = sampler.retriever.config
    both = sum(count_policy(config.sampler.policy, 50, sampler.retriever.backbone.width, 1))
    # The grid has no multiply-adds.
    assert sampler.gmacs(50) == pytest.approx(both, rel=1e-9)


def policy_of(folder: Path, **policy: Any) -> Path:
    """A saved retriever with another policy network."""
    config = config_of("topk", k=3)
    sampler = replace(config.sampler, policy=replace(config.sampler.policy, **policy))
    Retriever.from_config(replace(config, sampler=sampler)).save(folder)
    return folder


@pytest.mark.parametrize("temporal", ["transformer", "lstm", "bilstm", "none"])
def test_every_temporal_model_chooses_and_is_counted(tmp_path: Path, temporal: str) -> None:
    run = policy_of(tmp_path / "run", temporal=temporal)
    assert len(select(CLIP, checkpoint=run).kept) == 3
    sampler = trained_sampler(run)
    parts = flops(sampler.retriever.config)
    wanted = FRAMES * (parts.extractor + parts.temporal + parts.policy_head)
    assert sampler.gmacs(FRAMES) == pytest.approx(wanted, rel=1e-9)


def test_a_policy_that_looks_at_a_vit_costs_all_of_it(tmp_path: Path) -> None:
    extractor = replace(config_of().sampler.policy.extractor, name="clip")
    sampler = trained_sampler(policy_of(tmp_path / "run", extractor=extractor))
    wanted = flops(sampler.retriever.config)
    assert wanted.backbone > 0.01
    assert sampler.gmacs(FRAMES) == pytest.approx(wanted.per_video, rel=1e-9)


def by_the_run(folder: Path, clip: Path) -> list[int]:
    """The frames that the retriever itself keeps of evenly spread candidates."""
    retriever = Retriever.from_pretrained(folder)
    size = retriever.frame_size
    with Video(clip) as video:
        there = video.index.frames
        numbers = uniform_positions(there, min(there, retriever.config.frames))
        rgb = np.stack([frame.rgb for frame in video.frames(numbers, size)])
    left = (rgb.shape[2] - size) // 2
    pixels = torch.from_numpy(rgb[:, :, left : left + size]).permute(0, 3, 1, 2)
    return [int(numbers[i]) for i in retriever.embed_videos(pixels[None]).kept()[0]]


@pytest.mark.parametrize("sampler", ["topk", "gate"])
@pytest.mark.parametrize("frames", [4, 5, 40])
def test_a_checkpoint_chooses_as_its_run_does(tmp_path: Path, sampler: str, frames: int) -> None:
    clip = tmp_path / "clip.mp4"
    render(clip, frames)
    retriever = retriever_of(sampler, k=2 if sampler == "topk" else None)
    with torch.no_grad():
        # What a frame shows and where it stands both count.
        retriever.get_parameter("sampler.policy.temporal.projection.weight").mul_(0.2)
    retriever.save(tmp_path / "run")
    wanted = by_the_run(tmp_path / "run", clip)
    found = select(clip, checkpoint=tmp_path / "run")
    assert found.candidates == min(frames, FRAMES)
    assert [frame.index for frame in found.kept] == wanted
    # Other numbers are the user's.
    assert select(clip, 1, checkpoint=tmp_path / "run", candidates=3).candidates == 3
    assert len(select(clip, 1, checkpoint=tmp_path / "run").kept) == 1


def test_a_frame_of_a_short_clip_keeps_its_place() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), np.uint8)
    sampler = trained_sampler(None)
    assert sampler.frames == 64
    chosen: dict[int | None, Any] = {
        whole: sampler.choose(frames, 20, whole).scores for whole in (None, 20, 64, 128)
    }
    assert np.array_equal(chosen[None], chosen[64])
    assert not np.allclose(chosen[20], chosen[64])
    assert not np.allclose(chosen[128], chosen[64])


def test_the_settings_of_a_run_are_those_of_select(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    retriever_of("topk", k=2).save(tmp_path / "topk")
    retriever_of("gate").save(tmp_path / "gate")
    said = {}
    for name in ("topk", "gate"):
        ran = here(capsys, "select", CLIP, "--checkpoint", str(tmp_path / name), "--dry-run")
        settings = plainyaml.load(ran.out)
        said[name] = (settings["k"], settings["candidates"])
        ran = here(capsys, "select", CLIP, "--checkpoint", str(tmp_path / name))
        assert (ran.code, ran.err) == (0, "")
    assert said == {"topk": (2, FRAMES), "gate": (None, FRAMES)}
    ran = here(capsys, "select", CLIP, "--sampler", "learned", "--dry-run")
    settings = plainyaml.load(ran.out)
    assert (settings["k"], settings["candidates"]) == (8, 64)


def test_a_checkpoint_that_changes_in_place_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = []
    for seed in (0, 1):
        retriever = retriever_of("topk", k=2)
        with torch.no_grad():
            for parameter in retriever.sampler.parameters():  # type: ignore[union-attr]
                parameter.mul_(1 + seed)
        retriever.save(tmp_path / "run")
        scores.append([frame.score for frame in select(CLIP, checkpoint=tmp_path / "run").kept])
    assert scores[0] != scores[1]
    assert trained_sampler(tmp_path / "run") is trained_sampler(tmp_path / "run")
    # One name, another folder.
    (tmp_path / "else").mkdir()
    retriever_of("gate").save(tmp_path / "else" / "run")
    names = []
    for folder in (tmp_path, tmp_path / "else"):
        monkeypatch.chdir(folder)
        names.append(trained_sampler("run").name)
    assert names == ["topk", "gate"]


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
        (["--checkpoint", "no/such/run"], "no/such/run: no such folder"),
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
