"""A retriever as a folder, and what does not belong together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.backbones.trying import variant
from tests.retrieving import retriever_of, trial
from vidsampler import plainyaml
from vidsampler.config import Layer, set_layer
from vidsampler.errors import ConfigError, InputError, UsageError
from vidsampler.heads.tmass import TMassConfig
from vidsampler.methods import method_config
from vidsampler.retriever import Retriever
from vidsampler.retriever_config import RetrieverConfig, resolve_tree, retriever_config


def scores(retriever: Retriever) -> torch.Tensor:
    batch = trial()
    videos = retriever.embed_videos(batch.frames_BNCHW, batch.valid_BN, ids=batch.keys)
    return retriever.similarity(retriever.embed_texts(batch.tokens_BL), videos)


@pytest.mark.parametrize(
    ("sampler", "head"), [("gate", "emcl"), ("topk", "mlp"), ("uniform", "xpool")]
)
def test_a_saved_retriever_comes_back_whole(sampler: str, head: str, tmp_path: Path) -> None:
    retriever = retriever_of(sampler, head)
    with torch.no_grad():
        for parameter in retriever.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    retriever.save(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "config.yaml",
        "model.safetensors",
    ]
    again = Retriever.from_pretrained(tmp_path / "run")
    assert not again.training
    # A head without settings was saved with its defaults.
    assert again.config.to_plain() == retriever.config.to_plain()
    assert torch.equal(scores(again), scores(retriever))


def test_a_run_of_train_is_named_by_its_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("method: clip4clip\n")
    for which, frames in (("best", 4), ("last", 5)):
        retriever_of("uniform", frames=frames).save(tmp_path / "run" / which)
    assert Retriever.from_pretrained(tmp_path / "run").config.frames == 4
    assert Retriever.from_pretrained(tmp_path / "run", which="last").config.frames == 5


def test_other_settings_for_a_saved_retriever(tmp_path: Path) -> None:
    retriever = retriever_of("topk", "mlp", k=3)
    retriever.save(tmp_path)
    batch = trial()
    fewer = Retriever.from_pretrained(tmp_path, [set_layer("sampler.k=1")])
    assert fewer.embed_videos(batch.frames_BNCHW, batch.valid_BN).counts_V.tolist() == [1] * 4
    other = Retriever.from_pretrained(tmp_path, [set_layer("sampler.name=uniform")])
    assert other.sampler is None
    assert torch.equal(
        other.head.get_parameter("mlp.0.weight"), retriever.head.get_parameter("mlp.0.weight")
    )
    more = Retriever.from_pretrained(tmp_path, [set_layer("frames=8")])
    with pytest.warns(UserWarning, match="positions of 6 candidate frames; they are interpolated"):
        more.embed_videos(batch.frames_BNCHW, batch.valid_BN)


def test_a_checkpoint_of_another_backbone(tmp_path: Path) -> None:
    retriever_of("topk", "mlp").save(tmp_path / "run")

    def wider(config: dict[str, dict[str, int]]) -> None:
        config["vision_cfg"]["patch_size"] = 32

    path = variant(tmp_path, wider)
    with pytest.raises(UsageError) as caught:
        Retriever.from_pretrained(tmp_path / "run", [set_layer(f"backbone.name={path}")])
    assert caught.value.message == (
        f"the checkpoint {tmp_path / 'run'} was saved with backbone tiny, which does not fit "
        f"{path}: visual.conv1.weight is (128, 3, 16, 16) there and (128, 3, 32, 32) here, and 1 "
        "more tensors differ"
    )
    assert caught.value.hint == "load it with its own backbone, tiny"

    def deeper(config: dict[str, dict[str, int]]) -> None:
        config["vision_cfg"]["layers"] = 4

    path = variant(tmp_path, deeper)
    with pytest.raises(UsageError, match=r"12 tensors differ, such as visual.*\(here only\)"):
        Retriever.from_pretrained(tmp_path / "run", [set_layer(f"backbone.name={path}")])


def test_a_tmass_head_of_another_number_of_frames(tmp_path: Path) -> None:
    retriever_of("uniform", "tmass", settings=TMassConfig(trials=2)).save(tmp_path)
    with pytest.raises(UsageError) as caught:
        Retriever.from_pretrained(tmp_path, [set_layer("sampler.k=4")])
    assert caught.value.message == (
        f"the tmass head in {tmp_path} was trained with 6 frames and would get 4: its radius has "
        "one weight a frame"
    )
    assert "--frames or --top-k 6" in str(caught.value.hint)


def test_other_parts_that_do_not_fit(tmp_path: Path) -> None:
    retriever_of("uniform", "mean").save(tmp_path)
    with pytest.raises(UsageError) as caught:
        Retriever.from_pretrained(tmp_path, [set_layer("head=mlp")])
    assert "has no weights for the head mlp as it is set: 6 tensors differ" in caught.value.message
    with pytest.raises(UsageError, match="has no weights for the sampler gate"):
        Retriever.from_pretrained(tmp_path, [set_layer("sampler.name=gate")])
    with pytest.raises(ConfigError, match=r"unknown key 'sampler.kk'; did you mean 'sampler.k'\?"):
        Retriever.from_pretrained(tmp_path, [set_layer("sampler.kk=4")])
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"cannot read .*model\.safetensors"):
        Retriever.from_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"elsewhere: no such folder"):
        Retriever.from_pretrained(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"safetensors: is not a folder"):
        Retriever.from_pretrained(tmp_path / "model.safetensors")


def test_a_run_without_best_weights_names_the_last_ones(tmp_path: Path) -> None:
    last = tmp_path / "last"
    last.mkdir()
    message = f"{tmp_path} is no checkpoint: there is no config.yaml in it"
    with pytest.raises(InputError, match=message) as caught:
        Retriever.from_pretrained(tmp_path)
    assert caught.value.hint == "give the folder that holds config.yaml and model.safetensors"
    retriever_of("uniform", "mean").save(last)
    with pytest.raises(InputError, match=message) as caught:
        Retriever.from_pretrained(tmp_path)
    assert caught.value.hint == f"{last} is a checkpoint: give that"


# -------------------------------------------------------------------- settings


def test_a_heads_settings_stand_beside_its_name() -> None:
    config = retriever_config([set_layer("head=tmass"), set_layer("head.pooling.dropout=0.1")])
    assert config.head.name == "tmass"
    assert config.head.settings.pooling.dropout == 0.1
    plain = config.to_plain()
    assert plain["head"]["name"] == "tmass"
    assert plain["head"]["pooling"] == {"heads": 1, "dropout": 0.1, "temperature": 1.0}
    text = plainyaml.dump(plain)
    assert resolve_tree(RetrieverConfig, [Layer("{key}", plainyaml.load(text))]) == config


def test_another_head_leaves_the_settings_of_the_former_behind() -> None:
    layers = [Layer("{key}", {"head": {"name": "tmass", "trials": 3}})]
    assert retriever_config([*layers, set_layer("head.name=mean")]).head.name == "mean"
    assert retriever_config([*layers, set_layer("head.name=tmass")]).head.settings.trials == 3
    with pytest.raises(ConfigError) as caught:
        retriever_config([set_layer("head.name=mean"), set_layer("head.dropout=0.1")])
    assert "unknown key 'head.dropout'" in caught.value.message
    with pytest.raises(UsageError, match=r"unknown head 'xpol'; did you mean 'xpool'\?"):
        retriever_config([set_layer("head=xpol")])
    with pytest.raises(ConfigError, match=r"head.dropout: expected a number, not 'much'"):
        retriever_config([set_layer("head=xpool"), set_layer("head.dropout=much")])


def test_slots_of_the_head() -> None:
    for words, slots in (
        (["frames=12"], 12),
        (["frames=12", "sampler.k=5"], 5),
        (["frames=12", "sampler.k=50"], 12),
        (["frames=12", "sampler={name: gate, k: 5}"], 12),
    ):
        assert retriever_config([set_layer(each) for each in words]).head_frames == slots
    assert method_config("adaclip", "activitynet").head_frames == 32


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite(value: float, tmp_path: Path) -> None:
    retriever = retriever_of("topk", "mlp", k=3)
    weights = retriever.head.get_parameter("mlp.0.weight")
    with torch.no_grad():
        # A sum of numbers that are large and finite may overflow.
        weights[0] = 3e38
    retriever.save(tmp_path)
    Retriever.from_pretrained(tmp_path)
    with torch.no_grad():
        weights[-1, -1] = value
    retriever.save(tmp_path)
    with pytest.raises(InputError) as caught:
        Retriever.from_pretrained(tmp_path)
    assert caught.value.message == (
        f"{tmp_path / 'model.safetensors'}: numbers of tensor head.mlp.0.weight are not finite"
    )
    assert (caught.value.code, caught.value.exit_code) == ("damaged", 2)


def test_sizes_that_no_memory_holds(tmp_path: Path) -> None:
    retriever_of("topk", "mean", k=3).save(tmp_path)
    for width in (1 << 30, 1 << 40):
        with pytest.raises(InputError) as caught:
            Retriever.from_pretrained(tmp_path, [set_layer(f"sampler.policy.width={width}")])
        assert caught.value.message == (
            f"{tmp_path / 'config.yaml'}: there is no memory for a retriever of the sizes that it "
            "says"
        )
