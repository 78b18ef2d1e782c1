"""EfficientNet-B2 under the names of the efficientnet_pytorch package, against a plain forward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.checkpoints.published import State
from tests.checkpoints.test_families import close, with_network

# Blocks of each stage, kernel, stride of the first, channels out, expansion. Tan and Le, 2019,
# table 1, for widths times 1.1 (rounded to eights) and depths times 1.2 (rounded up).
STAGES = (
    (2, 3, 1, 16, 1),
    (3, 3, 2, 24, 6),
    (3, 5, 2, 48, 6),
    (4, 3, 2, 88, 6),
    (4, 5, 1, 120, 6),
    (5, 5, 2, 208, 6),
    (2, 3, 1, 352, 6),
)
STEM, LAST = 32, 1408
EPS = 1e-3


class Network(nn.Module):
    """The tensors by name, and what they compute."""

    def __init__(self) -> None:
        super().__init__()
        self.held: State = {}
        self.strides: list[int] = []
        generator = torch.Generator().manual_seed(3)

        def conv(name: str, out: int, into: int, kernel: int, bias: bool = False) -> None:
            shape = (out, into, kernel, kernel)
            fan = into * kernel * kernel
            self.held[f"{name}.weight"] = (2 / fan) ** 0.5 * torch.randn(shape, generator=generator)
            if bias:
                self.held[f"{name}.bias"] = 0.1 * torch.randn(out, generator=generator)

        def norm(name: str, width: int) -> None:
            self.held[f"{name}.weight"] = 0.8 + 0.4 * torch.rand(width, generator=generator)
            self.held[f"{name}.bias"] = 0.1 * torch.randn(width, generator=generator)
            self.held[f"{name}.running_mean"] = torch.zeros(width)
            self.held[f"{name}.running_var"] = torch.ones(width)
            self.held[f"{name}.num_batches_tracked"] = torch.tensor(0)

        conv("_conv_stem", STEM, 3, 3)
        norm("_bn0", STEM)
        width = STEM
        for count, kernel, stride, out, expand in STAGES:
            for number in range(count):
                name = f"_blocks.{len(self.strides)}"
                inner = width * expand
                if expand > 1:
                    conv(f"{name}._expand_conv", inner, width, 1)
                    norm(f"{name}._bn0", inner)
                conv(f"{name}._depthwise_conv", inner, 1, kernel)
                norm(f"{name}._bn1", inner)
                conv(f"{name}._se_reduce", width // 4, inner, 1, bias=True)
                conv(f"{name}._se_expand", inner, width // 4, 1, bias=True)
                conv(f"{name}._project_conv", out, inner, 1)
                norm(f"{name}._bn2", out)
                self.strides.append(stride if number == 0 else 1)
                width = out
        conv("_conv_head", LAST, width, 1)
        norm("_bn1", LAST)
        # Unused: the package's classifier, which mmSampler's files may or may not still have.
        self.held["_fc.weight"] = torch.ones(5, LAST)
        self.held["_fc.bias"] = torch.ones(5)
        with torch.no_grad():
            self.run(torch.randn(4, 3, 96, 96, generator=generator), learn=True)

    def state_dict(self, *args: Any, **settings: Any) -> Any:
        return self.held

    def double(self) -> Network:
        self.held = {key: value.double() for key, value in self.held.items()}
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)

    def conv(self, name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        """As TensorFlow pads: what is odd goes to the right and below."""
        weight = self.held[f"{name}.weight"]
        kernel = weight.shape[-1]
        pads = []
        for size in (x.shape[-1], x.shape[-2]):
            missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [missing // 2, missing - missing // 2]
        x = functional.pad(x, pads)
        return functional.conv2d(x, weight, self.held.get(f"{name}.bias"), stride, groups=groups)

    def norm(self, name: str, x: Tensor, learn: bool) -> Tensor:
        if learn:
            self.held[f"{name}.running_mean"] = x.mean((0, 2, 3))
            self.held[f"{name}.running_var"] = x.var((0, 2, 3))
        mean, var, weight, bias = (
            self.held[f"{name}.{each}"][:, None, None]
            for each in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + EPS).sqrt() * weight + bias

    def run(self, x: Tensor, *, learn: bool = False) -> Tensor:
        x = functional.silu(self.norm("_bn0", self.conv("_conv_stem", x, 2), learn))
        for number, stride in enumerate(self.strides):
            name = f"_blocks.{number}"
            y = x
            if f"{name}._expand_conv.weight" in self.held:
                y = self.norm(f"{name}._bn0", self.conv(f"{name}._expand_conv", y), learn)
                y = functional.silu(y)
            y = self.conv(f"{name}._depthwise_conv", y, stride, groups=y.shape[1])
            y = functional.silu(self.norm(f"{name}._bn1", y, learn))
            squeezed = functional.silu(
                self.conv(f"{name}._se_reduce", y.mean((2, 3), keepdim=True))
            )
            y = y * torch.sigmoid(self.conv(f"{name}._se_expand", squeezed))
            y = self.norm(f"{name}._bn2", self.conv(f"{name}._project_conv", y), learn)
            x = x + y if stride == 1 and y.shape[1] == x.shape[1] else y
        x = functional.silu(self.norm("_bn1", self.conv("_conv_head", x), learn))
        return x.mean((2, 3))


def test_efficientnet_b2_with_its_padding_and_epsilon(tmp_path: Path) -> None:
    trip, wanted, found = with_network(tmp_path, Network(), "cnn_model.", LAST)
    close(found, wanted)
    extractor = trip.done.config.sampler.policy.extractor
    assert (extractor.name, extractor.padding) == ("efficientnet_b2", "same")
    assert trip.done.left_out == {"cnn_model._fc.*": "2 tensors: the classifier, which is not used"}
