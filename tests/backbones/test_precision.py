"""In which precision a device computes: what `auto` becomes, and who is told that bf16 is slow."""

from __future__ import annotations

import time

import pytest
import torch

from vidsampler.backbones import precision as of_device
from vidsampler.backbones.config import BackboneConfig
from vidsampler.backbones.model import Backbone, load_backbone
from vidsampler.backbones.precision import computed_in, has_bf16, slow_precision

PIXELS = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))


def encoded(precision: str) -> torch.Tensor:
    backbone = load_backbone(BackboneConfig("tiny", precision=precision))  # type: ignore[arg-type]
    with torch.inference_mode():
        return backbone.encode_frames(PIXELS)


def of_this_machine(monkeypatch: pytest.MonkeyPatch, able: bool) -> None:
    monkeypatch.setattr(of_device, "has_bf16", lambda kind: able)


@pytest.mark.parametrize(("able", "same"), [(True, "bf16"), (False, "fp32")])
def test_auto_is_what_the_device_has_instructions_for(
    monkeypatch: pytest.MonkeyPatch, able: bool, same: str
) -> None:
    of_this_machine(monkeypatch, able)
    assert computed_in("auto", "cpu") == same
    assert torch.equal(encoded("auto"), encoded(same))
    assert load_backbone(BackboneConfig("tiny", precision="auto")).precision == same
    # What is asked for by name is done everywhere.
    assert computed_in("bf16", "cpu") == "bf16"
    assert computed_in("fp32", "cpu") == "fp32"
    assert not torch.equal(encoded("bf16"), encoded("fp32"))


@pytest.mark.parametrize(("able", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_for_inference_matrices_are_held_as_they_are_used(
    monkeypatch: pytest.MonkeyPatch, able: bool, dtype: torch.dtype
) -> None:
    of_this_machine(monkeypatch, able)
    held: Backbone = load_backbone(BackboneConfig("tiny", precision="auto"))
    held.cast_for_inference()
    assert held.clip.get_parameter("visual.conv1.weight").dtype == dtype


def test_slow_bf16_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    of_this_machine(monkeypatch, False)
    assert "--set backbone.precision=auto" in str(slow_precision("bf16", "cpu"))
    assert [slow_precision(each, "cpu") for each in ("auto", "fp32")] == [None, None]
    assert slow_precision("bf16", "cuda") is None
    of_this_machine(monkeypatch, True)
    assert slow_precision("bf16", "cpu") is None


def test_the_quicker_one_is_chosen_here() -> None:
    """Training's kind of work: convolutions, forwards and backwards."""
    conv = torch.nn.Conv2d(16, 32, 3, padding=1).to(memory_format=torch.channels_last)
    frames = torch.randn(64, 16, 24, 24).to(memory_format=torch.channels_last)

    def seconds(bf16: bool) -> float:
        def once() -> float:
            begun = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                out = conv(frames)
            out.float().square().mean().backward()
            return time.perf_counter() - begun

        once()
        return min(once() for _ in range(5))

    taken, other = seconds(has_bf16("cpu")), seconds(not has_bf16("cpu"))
    # A little slower is no harm; slow loops are many times slower.
    assert taken < 2 * other


def test_processors_that_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    able: dict[str, bool] = {}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    for name, found in (
        ("avx2", False),
        ("avx512_bf16", True),
        ("amx_bf16", True),
        ("neon", False),
        ("bf16", True),
        ("sve_bf16", True),
    ):
        able.clear()
        able[name] = True
        assert has_bf16.__wrapped__("cpu") is found
