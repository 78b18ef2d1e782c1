"""The settings of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.tiny_run import METHODS, tiny
from vidsampler.config import Layer, set_layer
from vidsampler.errors import ConfigError, UsageError
from vidsampler.training.settings import TrainConfig, train_config


@pytest.mark.parametrize("method", METHODS)
def test_shapes_trains_a_small_model_from_random_weights(method: str) -> None:
    config = train_config(method=method, dataset="shapes")
    assert (config.backbone.name, config.backbone.pretrained) == ("shapes", "none")
    assert config.frames == 16
    # Weights of pictures all learn; of words at most their vectors stay as they were drawn.
    assert set(config.training.freeze) <= {"token_embedding"}
    assert config.sampler.policy.extractor.pretrained is None
    assert config.dataset.shards is None


def test_settings_as_plain_data_give_the_same_settings(tmp_path: Path) -> None:
    for config in (
        train_config(method="tmass", dataset="shapes"),
        tiny(tmp_path, "adaclip", sampler_from="somewhere"),
    ):
        again = train_config([Layer("config: {key}", config.to_plain())])
        assert again == config


def test_a_published_run_says_method_and_dataset() -> None:
    config = train_config(run="mmsampler/msrvtt-diff")
    assert (config.method, config.dataset.name) == ("mmsampler", "msrvtt")
    assert config.sampler.policy.features == "diff"
    assert train_config([set_layer("training.epochs=3")], run="adaclip/msrvtt").training.epochs == 3
    with pytest.raises(UsageError, match="the run adaclip/msrvtt is of the method adaclip, not"):
        train_config(run="adaclip/msrvtt", method="xpool")


def test_a_transfer_needs_the_sampler_that_was_trained_elsewhere() -> None:
    name = "mmsampler/transfer-didemo-lstm"
    with pytest.raises(UsageError, match="takes the sampler that the run mmsampler/transfer-activ"):
        train_config(run=name)
    config = train_config([Layer("{key}", {"sampler_from": "there"})], run=name)
    assert str(config.sampler_from) == "there"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": {"evals_per_epoch": -1}}, "run.evals_per_epoch must be at least 0, not -1"),
        ({"run": {"checkpoint_every": 0}}, "run.checkpoint_every must be at least 1, not 0"),
        ({"run": {"select_on": "train"}}, "select_on"),
        ({"sampler_from": "x"}, "sampler_from .--sampler-from. needs a learned sampler; uniform"),
        ({"dataset": {"groups": "groups.csv"}}, "dataset.groups divides the videos of --dataset"),
        ({"trainig": {}}, "did you mean 'training'"),
    ],
)
def test_wrong_settings(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train_config([Layer("file: {key}", changes)], method="clip4clip", dataset="shapes")


def test_what_is_missing() -> None:
    with pytest.raises(UsageError, match="no method is named"):
        train_config(dataset="shapes")
    with pytest.raises(UsageError, match="no dataset is named"):
        train_config(method="xpool")
    assert isinstance(train_config(method="xpool", dataset="msrvtt"), TrainConfig)


def test_of_layers_the_later_one_names_method_and_dataset() -> None:
    first = Layer("first.yaml", {"method": "clip4clip", "dataset": {"name": "msvd"}})
    later = Layer("--set", {"method": "xpool", "dataset": {"name": "didemo"}})
    for layers, method, dataset in (
        ([first], "clip4clip", "msvd"),
        ([first, later], "xpool", "didemo"),
        ([later, first], "clip4clip", "msvd"),
    ):
        config = train_config(layers)
        assert (config.method, config.dataset.name) == (method, dataset)
    flags = train_config([first, later], method="tmass", dataset="lsmdc")
    assert (flags.method, flags.dataset.name) == ("tmass", "lsmdc")
    whole = Layer("first.yaml", {"method": "clip4clip", "head": {"name": "mean"}})
    with pytest.raises(ConfigError, match=r"first.yaml has the head of clip4clip"):
        train_config([whole, later])
