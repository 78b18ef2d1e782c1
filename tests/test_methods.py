"""The six methods, each on each dataset."""

from __future__ import annotations

from typing import Any

import pytest

from vidsampler import registry
from vidsampler.config import Layer, set_layer
from vidsampler.errors import ConfigError, UsageError
from vidsampler.methods import Method, MethodConfig, method_config
from vidsampler.retriever_config import RetrieverConfig, resolve_tree

METHODS = registry.names("methods")
SHARED = {"warmup": 0.1, "clip_norm": 1.0, "weight_decay": 0.2, "lr_clip": 1e-6}
LUO = {"betas": (0.9, 0.98), "lr": 1e-4}
POOLING = {"betas": (0.9, 0.999), "eps": 1e-6, "batch_size": 32, "epochs": 5, "freeze": ()}
FROZEN = ("patch_conv", "embeddings", "ln_pre", "token_embedding")


PUBLISHED = ("adaclip", "clip4clip", "emcl", "mmsampler", "tmass", "xpool")


def test_all_six_and_our_own_are_here() -> None:
    assert set(METHODS) == {*PUBLISHED, "default"}


@pytest.mark.parametrize("name", METHODS)
def test_each_resolves_on_each_dataset(name: str) -> None:
    method: Method = registry.load("methods", name)
    assert method.name == name
    for dataset in (None, *registry.names("datasets")):
        config = method.config(dataset)
        if dataset == "shapes":  # trained from scratch, with settings of its own
            assert config.backbone.name == "shapes"
        elif name == "default":
            assert config.backbone.name == "grid"
        else:
            assert config.backbone.name == "ViT-B-32-quickgelu"
            for key, value in SHARED.items():
                assert getattr(config.training, key) == value
        # What is stored gives the same back.
        stored = Layer("{key}", config.to_plain())
        assert resolve_tree(MethodConfig, [stored]) == config
        assert config.retriever() == resolve_tree(
            RetrieverConfig, [Layer("{key}", config.retriever().to_plain())]
        )


@pytest.mark.parametrize(
    ("name", "sampler", "head", "training"),
    [
        ("clip4clip", "uniform", "mean", {**LUO, "freeze": FROZEN, "captions": "one"}),
        ("mmsampler", "gate", "mean", {**LUO, "freeze": FROZEN, "captions": "one"}),
        ("adaclip", "topk", "mlp", {**LUO, "freeze": FROZEN, "captions": "one"}),
        ("xpool", "uniform", "xpool", {**POOLING, "captions": "all", "augment": "crop"}),
        ("tmass", "uniform", "tmass", {**POOLING, "captions": "all", "augment": "crop"}),
        ("emcl", "uniform", "emcl", {**LUO, "freeze": ("patch_conv",), "captions": "all"}),
    ],
)
def test_the_recipes(name: str, sampler: str, head: str, training: dict[str, Any]) -> None:
    config = method_config(name, "msrvtt")
    assert (config.sampler.name, config.head.name) == (sampler, head)
    for key, value in training.items():
        assert getattr(config.training, key) == value, key


# frames, K, words, epochs, batch; K None: not set.
NUMBERS = {
    ("clip4clip", "msrvtt"): (16, None, 32, 30, 128),
    ("clip4clip", "didemo"): (32, None, 64, 5, 64),
    ("clip4clip", "activitynet"): (32, None, 64, 30, 64),
    ("mmsampler", "msrvtt"): (16, None, 32, 30, 128),
    ("mmsampler", "msvd"): (16, None, 32, 30, 128),
    ("mmsampler", "didemo"): (32, None, 64, 5, 64),
    ("mmsampler", "activitynet"): (32, None, 64, 30, 64),
    ("adaclip", "msrvtt"): (16, 12, 32, 30, 192),
    ("adaclip", "didemo"): (32, 16, 64, 5, 96),
    ("adaclip", "activitynet"): (64, 32, 64, 30, 48),
    ("xpool", "msrvtt"): (12, None, 77, 5, 32),
    ("tmass", "didemo"): (12, None, 77, 5, 32),
    ("emcl", "msrvtt"): (12, None, 32, 5, 128),
    ("emcl", "msvd"): (12, None, 32, 20, 128),
    ("emcl", "didemo"): (64, None, 64, 20, 128),
    ("emcl", "activitynet"): (64, None, 64, 20, 128),
}


@pytest.mark.parametrize(("name", "dataset"), NUMBERS)
def test_the_numbers_of_each_dataset(name: str, dataset: str) -> None:
    config = method_config(name, dataset)
    found = (
        config.frames,
        config.sampler.k,
        config.backbone.words,
        config.training.epochs,
        config.training.batch_size,
    )
    assert found == NUMBERS[name, dataset]


def test_what_differs_between_datasets() -> None:
    assert method_config("tmass", "msrvtt").head.settings.support_weight == 0.8
    assert method_config("tmass", "msvd").head.settings.support_weight == 0
    assert method_config("tmass", "lsmdc").head.settings.noise == "normal"
    assert method_config("tmass", "lsmdc").head.settings.std == 0.003
    dropouts = [method_config("xpool", each).head.settings.dropout for each in ("msrvtt", "msvd")]
    assert dropouts == [0.3, 0.4]
    rates = [method_config("xpool", each).training.lr for each in ("msrvtt", "didemo")]
    assert rates == [3e-5, 1e-5]
    gate = method_config("mmsampler")
    assert (gate.sampler.uniform_weight, gate.sampler.keep_target) == (0.03, 0.5)
    assert gate.sampler.policy.extractor.name == "mobilenet_v2"
    assert method_config("adaclip").sampler.policy.extractor.name == "mobilenet_v3_large"


def test_a_method_with_another_sampler_and_head() -> None:
    config = method_config(
        "tmass", "msrvtt", [set_layer("sampler={name: topk, k: 6}"), set_layer("head.trials=4")]
    )
    assert (config.sampler.k, config.head_frames, config.head.settings.trials) == (6, 6, 4)
    assert config.head.settings.support_weight == 0.8
    assert method_config("tmass", "msrvtt", [set_layer("head=mean")]).head.name == "mean"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("epochs=-1", "training.epochs must be at least 0, not -1"),
        ("batch_size=1", "training.batch_size must be at least 2, not 1"),
        ("lr=-1", "training.lr must be at least 0, not -1"),
        ("betas=[0.9, 1.0]", "training.betas must be from 0 to below 1, not 1"),
        ("warmup=1", "training.warmup must be from 0 to below 1, not 1"),
        ("clip_norm=0", "training.clip_norm must be above 0, not 0"),
        ("freeze=[visual]", "unknown value 'visual'"),
        ("epoch=3", "unknown key 'training.epoch'; did you mean 'training.epochs'?"),
    ],
)
def test_training_settings_are_strict(values: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        method_config("xpool", None, [set_layer(f"training.{values}")])
    assert message in caught.value.message


def test_unknown_names() -> None:
    with pytest.raises(UsageError, match=r"unknown method 'mmsample'; did you mean 'mmsampler'\?"):
        method_config("mmsample")
    with pytest.raises(UsageError, match=r"unknown dataset 'msrvt'; did you mean 'msrvtt'\?"):
        method_config("mmsampler", "msrvt")
