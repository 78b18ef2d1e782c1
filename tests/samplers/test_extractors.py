"""Extractors: widths, operations, weights from files, and staying frozen."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.samplers.learning import lengths
from vidsampler.errors import ConfigError, VidsamplerError
from vidsampler.samplers.extractors import build_extractor, build_network
from vidsampler.samplers.gate import GateSampler
from vidsampler.samplers.learned import LearnedSampler
from vidsampler.samplers.policy_config import (
    EXTRACTORS,
    ExtractorConfig,
    Feature,
    Head,
    PolicyConfig,
    Temporal,
)
from vidsampler.samplers.topk import TopKSampler
from vidsampler.video import Video

KINDS: tuple[Feature, ...] = get_args(Feature)
TEMPORAL: tuple[Temporal, ...] = get_args(Temporal)
HEADS: tuple[Head, ...] = get_args(Head)
CNNS = ("mobilenet_v2", "mobilenet_v3_large", "efficientnet_b2", "efficientnet_b3", "small")


def untrained(name: str, **settings: Any) -> ExtractorConfig:
    if name in CNNS:
        settings = {"size": 32, **settings}
    return ExtractorConfig(name, pretrained=None, **settings)


def some_frames(count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 40, 56), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("mobilenet_v2", 1280),
        ("mobilenet_v3_large", 1280),
        ("efficientnet_b2", 1408),
        ("efficientnet_b3", 1536),
        ("raw", 3136),
        ("small", 128),
    ],
)
def test_width_and_frozen_for_good(name: str, width: int) -> None:
    torch.manual_seed(0)
    extractor = build_extractor(untrained(name))
    assert extractor is not None
    before = {key: value.clone() for key, value in extractor.state_dict().items()}
    outer = nn.ModuleList([extractor]).train()
    assert outer.training
    assert not any(module.training for module in extractor.modules())
    features = extractor(some_frames())
    assert features.shape == (3, width)
    assert extractor.width == EXTRACTORS[name].width == width
    assert features.dtype == torch.float32
    assert features.std() > 0
    assert not features.requires_grad
    assert not any(parameter.requires_grad for parameter in extractor.parameters())
    assert all(torch.equal(before[key], now) for key, now in extractor.state_dict().items())
    if name == "mobilenet_v3_large":
        # What a Hardswish gives is never below -3/8: the published features end with one.
        assert features.min() >= -0.375
        assert (features < 0).any()
    # Frames do not see each other.
    torch.testing.assert_close(extractor(some_frames()[1:2]), features[1:2], atol=1e-5, rtol=1e-4)


def test_a_free_extractor_trains() -> None:
    extractor = build_extractor(untrained("small", freeze=False))
    assert extractor is not None
    assert extractor.train().network.training
    assert not extractor.eval().network.training
    extractor.train()(some_frames()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in extractor.parameters())


@pytest.mark.parametrize(
    ("name", "size", "millions"),
    [
        ("mobilenet_v2", None, 299.5),
        ("mobilenet_v3_large", None, 215.3),
        ("efficientnet_b2", None, 992.0),
        ("efficientnet_b2", 224, 658.0),
        ("efficientnet_b3", None, 1826.0),
        ("efficientnet_b3", 224, 961.0),
        ("small", None, 15.64),
    ],
)
def test_multiply_adds_without_weights(name: str, size: int | None, millions: float) -> None:
    config = ExtractorConfig(name, size=size, pretrained=None)
    with torch.device("meta"):
        network = build_network(config).eval()
        pictures = torch.empty(1, 3, config.input_size, config.input_size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        assert network(pictures).shape == (1, EXTRACTORS[name].width)
    assert counter.get_total_flops() / 2e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_every_extractor_before_both_samplers(name: str) -> None:
    torch.manual_seed(0)
    frames = some_frames(8).unflatten(0, (2, 4))
    valid = lengths(4, 3, frames=4)
    tiny: dict[str, Any] = {"width": 8, "heads": 1, "hidden": 8, "frames": 4}
    choices = product(KINDS, TEMPORAL, HEADS)
    features: Tensor | None = None
    for number, (kind, temporal, head) in enumerate(choices):
        config = PolicyConfig(
            ExtractorConfig("clip") if number else untrained(name), kind, temporal, head, **tiny
        )
        width = EXTRACTORS[name].width or 5
        samplers: list[LearnedSampler] = [
            GateSampler(config, clip_width=width),
            TopKSampler(config, 2, clip_width=width),
        ]
        # The network once for all forms: it is the slow part.
        if features is None:
            features = samplers[0].extract(frames, valid) if name != "clip" else torch.rand(2, 4, 5)
            assert features.shape == (2, 4, width)
            assert name == "clip" or not features[1, 3].any()
        for sampler in samplers:
            kept = sampler.train()(features, valid)
            choice = kept.selection_BKN if kept.actions_BN is None else kept.actions_BN
            assert choice is not None
            (choice * torch.rand_like(choice)).sum().backward()
            own = [p for p in sampler.policy.parameters() if p.requires_grad]
            assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in own)
            assert sampler.eval()(features, valid).counts_B.min() >= 1


def test_clip_has_no_network_of_its_own() -> None:
    assert build_extractor(ExtractorConfig("clip")) is None
    sampler = GateSampler(PolicyConfig(ExtractorConfig("clip"), frames=16), clip_width=512)
    with pytest.raises(ValueError, match="takes the backbone's features"):
        sampler.extract(some_frames()[None], lengths(3, frames=3))
    with pytest.raises(ValueError, match="needs the width"):
        GateSampler(PolicyConfig(ExtractorConfig("clip")))


def test_weights_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network(untrained("small"))
    file = tmp_path / "small.safetensors"
    save_file({**network.state_dict(), "classifier.weight": torch.zeros(10, 128)}, file)
    torch.manual_seed(1)
    for path in (file, tmp_path):
        if path is tmp_path:
            file = file.rename(tmp_path / "model.safetensors")
        loaded = build_network(ExtractorConfig("small", pretrained=str(path)))
        for key, value in network.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], value)
    with pytest.raises(ConfigError, match=r"not those of the extractor mobilenet_v2: \d+ of \d+"):
        build_network(ExtractorConfig("mobilenet_v2", pretrained=str(file)))


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("mobilenet_v2", "weights/none.safetensors", "no extractor weights at weights/none"),
        (
            "mobilenet_v2",
            "ra_in1",
            "weights of mobilenet_v2 'ra_in1'; did you mean 'ra_in1k'",
        ),
        ("small", "imagenet", "no published weights of the extractor small, so no tag 'imagenet'"),
    ],
)
def test_weights_that_are_not_there(name: str, pretrained: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_extractor(ExtractorConfig(name, pretrained=pretrained))


@pytest.mark.parametrize("tag", ["default", "ra_in1k"])
def test_weights_from_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tag: str) -> None:
    import huggingface_hub.constants as hub

    torch.manual_seed(0)
    network = build_network(untrained("mobilenet_v2"))
    repository = tmp_path / "models--timm--mobilenetv2_100.ra_in1k"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    save_file(
        {**network.state_dict(), "classifier.bias": torch.zeros(1000)},
        snapshot / "model.safetensors",
    )
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    loaded = build_network(ExtractorConfig("mobilenet_v2", pretrained=tag))
    for key, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)


def test_same_padding_is_that_of_tensorflow() -> None:
    # Of an even size, a 3 x 3 convolution of stride 2 pads below and on the right alone.
    network = build_network(untrained("mobilenet_v2", padding="same"))
    pictures = torch.randn(1, 3, 32, 32)
    stem = dict(network.named_children())["conv_stem"]
    weight = dict(network.named_parameters())["conv_stem.weight"]
    expected = nn.functional.conv2d(nn.functional.pad(pictures, (0, 1, 0, 1)), weight, stride=2)
    torch.testing.assert_close(stem(pictures), expected)


def test_files_that_are_no_safetensors(tmp_path: Path) -> None:
    pickle = tmp_path / "weights.pth"
    pickle.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"only \.safetensors files are read"):
        build_extractor(ExtractorConfig(pretrained=str(pickle)))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no such thing")
    with pytest.raises(ConfigError, match="cannot read extractor weights"):
        build_extractor(ExtractorConfig(pretrained=str(broken)))


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants as hub

    # A port that refuses, and an empty cache.
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    what = "cannot fetch the weights timm/mobilenetv2_100.ra_in1k of the extractor mobilenet_v2: "
    begun = time.perf_counter()
    for offline, why in ((False, "refused"), (True, "HF_HUB_OFFLINE is set")):
        monkeypatch.setattr(hub, "HF_HUB_OFFLINE", offline)
        with pytest.raises(VidsamplerError) as caught:
            build_extractor(ExtractorConfig("mobilenet_v2"))
        error = caught.value
        assert (error.code, error.exit_code) == ("network", 1)
        assert error.message.startswith(what)
        assert why in error.message
        assert "model.safetensors" in str(error.hint)
        assert "null for random weights" in str(error.hint)
    assert time.perf_counter() - begun < 5


def test_the_config_costs_no_import_of_torch() -> None:
    program = (
        "import sys, vidsampler.samplers.policy_config;"
        "print([m for m in ('torch', 'timm', 'numpy') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_real_weights_see_what_clips_show(test_data: Path, real_clips: list[Path]) -> None:
    extractor = build_extractor(
        ExtractorConfig(
            "mobilenet_v2",
            size=128,
            pretrained=str(test_data / "weights" / "mobilenet_v2"),
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            padding="same",
        )
    )
    assert extractor is not None
    early: list[Tensor] = []
    late: list[Tensor] = []
    for clip in real_clips[::16]:
        with Video(clip) as video:
            count = video.info().frames
            for rows, place in ((early, count // 4), (late, count // 2)):
                frame = video.frames([place], 128)[0].rgb
                rows.append(extractor(torch.from_numpy(frame.copy()).permute(2, 0, 1)[None])[0])
    before, after = (nn.functional.normalize(torch.stack(each), dim=1) for each in (early, late))
    # Of 10 clips, a frame's nearest among later frames is nearly always its own clip's.
    nearest = (before @ after.T).argmax(1)
    hits = int((nearest == torch.arange(len(nearest))).sum())
    assert hits >= 8
