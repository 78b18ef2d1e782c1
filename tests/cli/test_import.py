"""`vidsampler import` and `vidsampler export` as a user runs them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.checkpoints.published import SMALL, Draw, openai_clip, policy, sequence, written
from tests.cli.running import here, imported
from vidsampler import plainyaml
from vidsampler.config import file_layer
from vidsampler.retriever import Retriever
from vidsampler.retriever_config import retriever_config


def adaclip(folder: Path) -> Path:
    draw = Draw(1)
    state = openai_clip(draw, SMALL)
    state |= policy(draw, "sampler.", actions=1, into=SMALL.joint, frames=6)
    state = {f"module.{key}": value.half() for key, value in state.items()}
    content = {"state_dict": state, "optimizer": {"state": {}}}
    return written(folder / "model `x`.pth", content)


def test_import_and_what_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, run = adaclip(tmp_path), tmp_path / "run"
    ran = here(capsys, "import", str(file), str(run))
    assert ran.code == 2
    assert "hint: say it with --top-k K" in ran.err
    ran = here(capsys, "import", str(file), str(run), "--top-k", "4", "--set", "seed=3")
    assert ran.code == 0, ran.err
    assert f"{run}: adaclip, " in ran.out
    assert "backbone backbone.json, sampler topk, K = 4, head mean, N = 6" in ran.out
    assert "names: a leading module. is gone" in ran.err
    assert "left out: optimizer (beside the weights)" in ran.err
    assert "assumed: head.name = mean (the file has no weights for frames" in ran.err
    assert "not equal: kept frames are in time order" in ran.err
    card = (run / "README.md").read_text()
    assert "# AdaCLIP (Hu et al., 2023), imported" in card
    assert "- file: `model ?x?.pth`, sha256 `" in card
    assert "almost all published ones were chosen on the test split" in card
    settings = plainyaml.load((run / "config.yaml").read_text())
    assert (settings["seed"], settings["backbone"]["name"]) == (3, "backbone.json")
    assert settings["notes"][-1] in card
    # From wherever it is called, and wherever the folder has gone.
    moved = run.rename(tmp_path / "moved")
    config = str(moved / "config.yaml")
    ran = here(capsys, "flops", "--config", config, "--kept", "4", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["frames"] == 6
    assert ran.json["parts"]["temporal"]["gmacs_per_frame"] > 0
    ran = here(
        capsys, "train", "--config", config, "--method", "adaclip", "--dataset", "shapes",
        "--sampler-from", str(moved), "--dry-run", "--json",
        "--output", str(tmp_path / "training"),
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.json["config"]["backbone"]["name"] == str(moved / "backbone.json")
    assert ran.json["config"]["backbone"]["pretrained"] == str(moved / "model.safetensors")
    assert ran.json["config"]["notes"] == settings["notes"]
    # With its settings, training begins with its backbone's weights.
    from_settings = retriever_config([file_layer(config, "retrievers")])
    mine = Retriever.from_pretrained(moved).backbone.fingerprint()
    assert Retriever.from_config(from_settings).backbone.fingerprint() == mine
    clip = tmp_path / "clip" / "model.safetensors"
    ran = here(capsys, "export", str(moved), str(clip), "--to", "huggingface")
    assert ran.code == 0, ran.err
    assert f"{clip}: " in ran.out
    assert {path.name for path in clip.parent.iterdir()} == {"model.safetensors", "config.json"}


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = Draw(2)
    file = written(
        tmp_path / "seq.bin", openai_clip(draw, SMALL) | sequence(draw, SMALL.joint, 9, 1)
    )
    run = tmp_path / "run"
    ran = here(capsys, "import", str(file), str(run), "--json")
    assert (ran.code, ran.json["error"]["code"]) == (2, "ambiguous")
    ran = here(capsys, "import", str(file), str(run), "--from", "emcl", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["family"] == "emcl"
    assert ran.json["config"]["head"]["sequence"]["positions"] == 9
    assert ran.json["assumed"]["frames"]["value"] == 9
    assert ran.json["notes"] == ran.json["config"]["notes"]
    state = torch.load(file, weights_only=True)
    assert ran.json["tensors"] == len(state) + 1
    ran = here(capsys, "export", str(run), str(tmp_path / "c.safetensors"), "--json")
    assert ran.code == 0
    assert ran.json["to"] == "openclip"
    ran = here(capsys, "export", str(run), str(tmp_path / "c.safetensors"), "--to", "opencl")
    assert (ran.code, "did you mean 'openclip'" in ran.err) == (2, True)
    ran = here(capsys, "export", str(run), str(tmp_path / "d.safetensors"), "--which", "first")
    assert (ran.code, "unknown checkpoint of a run 'first'" in ran.err) == (2, True)


@pytest.mark.parametrize("command", ["import", "export"])
def test_help_imports_nothing_heavy(command: str) -> None:
    assert not imported(command, "--help") & {"torch", "numpy", "open_clip"}
