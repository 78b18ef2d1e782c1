"""Names are listed and checked without an import, and loaded when asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vidsampler import registry
from vidsampler.errors import UsageError


def test_kinds_and_training_free_samplers() -> None:
    assert registry.KINDS == ("samplers", "heads", "backbones", "methods", "datasets")
    assert set(registry.names("samplers")) >= {
        "coverage",
        "keyframe",
        "random",
        "scene",
        "uniform",
    }
    assert list(registry.names("samplers")) == sorted(registry.names("samplers"))


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_entry_fits_the_listing(kind: str) -> None:
    for name in registry.names(kind):
        entry = registry.entry(kind, name)
        module, colon, attribute = entry.target.partition(":")
        assert module.startswith("vidsampler.")
        assert colon
        assert attribute.isidentifier()
        # "samplers  coverage  " and this make one line of a terminal.
        assert 10 < len(entry.summary) <= 60


@pytest.mark.parametrize("name", registry.names("samplers"))
def test_loading_gives_the_sampler_of_that_name(name: str) -> None:
    assert registry.load("samplers", name).name == name


def test_an_unknown_name_is_an_error_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown sampler 'unifrom'; did you mean 'uniform'\?"):
        registry.load("samplers", "unifrom")


def test_an_unknown_kind_is_an_error_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown kind 'sampler'; did you mean 'samplers'\?"):
        registry.names("sampler")


def test_listing_imports_no_sampler() -> None:
    program = (
        "import sys; from vidsampler import registry;"
        "[registry.entry(k, n) for k in registry.KINDS for n in registry.names(k)];"
        "print([m for m in sys.modules if m.startswith('vidsampler.samplers') or m == 'numpy'])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_learned_samplers_are_marked() -> None:
    learned = {name for name in registry.names("samplers") if registry.entry("samplers", name)[2]}
    assert learned == {"gate", "topk"}
    asking = set(registry.asking_samplers())
    assert asking == {"aks", "bolt", "mdp3", "topscore"}
    free = set(registry.training_free_samplers())
    shipped = {name for name in registry.names("samplers") if registry.entry("samplers", name)[4]}
    assert shipped == {"learned"}
    assert free == set(registry.names("samplers")) - learned - asking - shipped
    registry.check_ready("learned")
    assert registry.default_sampler() in free
    assert registry.default_sampler(question=True) in asking


def test_samplers_and_questions_belong_together() -> None:
    registry.check_ready("coverage")
    registry.check_ready("aks", question=True)
    with pytest.raises(UsageError, match="aks chooses frames by a question, and there is none"):
        registry.check_ready("aks")
    with pytest.raises(UsageError, match="coverage does not look at a question") as caught:
        registry.check_ready("coverage", question=True)
    assert caught.value.hint == "those that do: aks, bolt, mdp3, topscore"


@pytest.mark.parametrize("name", ["gate", "topk"])
def test_a_learned_sampler_needs_a_retriever(name: str) -> None:
    from vidsampler import select

    for ask in (registry.check_ready, lambda sampler: select("no.mp4", sampler=sampler)):
        with pytest.raises(UsageError) as caught:
            ask(name)
        assert caught.value.message == (
            f"{name} is a learned sampler; it works inside a trained retriever"
        )
        assert "coverage" in str(caught.value.hint)
