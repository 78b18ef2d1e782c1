"""The light networks of policy samplers: timm's names, and those of the published files.

torchvision's MobileNets and the efficientnet_pytorch package's EfficientNets are the networks that
timm has, under other names. Where their batch norms have another epsilon, the variance makes up for
it, so that in eval mode, in which a frozen extractor always is, the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import accumulate

from torch import Tensor

from vidsampler.checkpoints.table import Recipe, Source, same

EPS = 1e-5
"""Of timm's batch norms."""
PUBLISHED_EPS = 1e-3
"""Of torchvision's MobileNetV3 and of efficientnet_pytorch."""

_V2_BLOCKS = (1, 2, 3, 4, 3, 3, 1)
_V3_BLOCKS = (1, 2, 3, 4, 2, 3)
_V3_SQUEEZES = (2, 4, 5)
_EFFICIENT_BLOCKS = {
    "efficientnet_b2": (2, 3, 3, 4, 4, 5, 2),
    "efficientnet_b3": (2, 3, 3, 5, 5, 6, 2),
}
_EFFICIENT_WIDTHS = {1408: "efficientnet_b2", 1536: "efficientnet_b3"}

_V2_FIRST = {"conv_dw": "0.0", "bn1": "0.1", "conv_pw": "1", "bn2": "2"}
_V2_BLOCK = {
    "conv_pw": "0.0",
    "bn1": "0.1",
    "conv_dw": "1.0",
    "bn2": "1.1",
    "conv_pwl": "2",
    "bn3": "3",
}
_V3_FIRST = {"conv_dw": "0.0", "bn1": "0.1", "conv_pw": "1.0", "bn2": "1.1"}
_V3_BLOCK = {
    "conv_pw": "0.0",
    "bn1": "0.1",
    "conv_dw": "1.0",
    "bn2": "1.1",
    "conv_pwl": "2.0",
    "bn3": "2.1",
}
_V3_SQUEEZED = {
    **_V3_BLOCK,
    "se.conv_reduce": "2.fc1",
    "se.conv_expand": "2.fc2",
    "conv_pwl": "3.0",
    "bn3": "3.1",
}
_EFFICIENT_FIRST = {
    "conv_dw": "_depthwise_conv",
    "bn1": "_bn1",
    "se.conv_reduce": "_se_reduce",
    "se.conv_expand": "_se_expand",
    "conv_pw": "_project_conv",
    "bn2": "_bn2",
}
_EFFICIENT_BLOCK = {
    "conv_pw": "_expand_conv",
    "bn1": "_bn0",
    "conv_dw": "_depthwise_conv",
    "bn2": "_bn1",
    "se.conv_reduce": "_se_reduce",
    "se.conv_expand": "_se_expand",
    "conv_pwl": "_project_conv",
    "bn3": "_bn2",
}


def network_of(source: Source, prefix: str) -> str | None:
    """Which of the extractors a file's network is; None where it has none.

    Args:
        source: The file.
        prefix: How the names of the network begin.

    Raises:
        UsageError: It is one that vidsampler does not have.
    """
    if not (there := source.under(prefix)):
        return None
    if source.under(f"{prefix}features.1.conv."):
        return "mobilenet_v2"
    if source.under(f"{prefix}features.1.block."):
        return "mobilenet_v3_large"
    if source.under(f"{prefix}_blocks."):
        wide = source.shape(f"{prefix}_conv_head.weight", 4)[0]
        if wide in _EFFICIENT_WIDTHS:
            return _EFFICIENT_WIDTHS[wide]
    what = "a ResNet" if source.under(f"{prefix}layer1.") else f"another one ({there[0]})"
    raise source.misfits(
        f"its policy looks at frames with a network that vidsampler does not have: {what}; there "
        "are MobileNetV2, MobileNetV3-Large, EfficientNet-B2 and -B3"
    )


def network_recipe(extractor: str, prefix: str) -> Callable[[str], Recipe]:
    """From timm's names to those of a published file.

    Args:
        extractor: As `network_of` gives it.
        prefix: How the names of the network begin there.
    """
    rename: Callable[[str], str] = partial(_efficient, extractor)
    if extractor in ("mobilenet_v2", "mobilenet_v3_large"):
        rename = _v2 if extractor == "mobilenet_v2" else _v3

    def recipe(name: str) -> Recipe:
        module, _, leaf = name.rpartition(".")
        key = f"{prefix}{rename(module)}.{leaf}"
        change: Callable[[Tensor], Tensor] = same
        if leaf == "running_var" and extractor != "mobilenet_v2":
            change = _other_epsilon
        elif key == f"{prefix}classifier.0.weight":
            change = _as_convolution
        return Recipe((key,), change)

    return recipe


def _other_epsilon(variance: Tensor) -> Tensor:
    return variance.double() + (PUBLISHED_EPS - EPS)


def _as_convolution(matrix: Tensor) -> Tensor:
    return matrix[..., None, None]


def _v2(module: str) -> str:
    outer = {"conv_stem": "features.0.0", "bn1": "features.0.1"}
    outer |= {"conv_head": "features.18.0", "bn2": "features.18.1"}
    if module in outer:
        return outer[module]
    stage, number, rest = _block(module, _V2_BLOCKS)
    return f"features.{number + 1}.conv.{(_V2_BLOCK if stage else _V2_FIRST)[rest]}"


def _v3(module: str) -> str:
    outer = {"conv_stem": "features.0.0", "bn1": "features.0.1", "conv_head": "classifier.0"}
    outer |= {"blocks.6.0.conv": "features.16.0", "blocks.6.0.bn1": "features.16.1"}
    if module in outer:
        return outer[module]
    stage, number, rest = _block(module, _V3_BLOCKS)
    names = _V3_SQUEEZED if stage in _V3_SQUEEZES else _V3_BLOCK if stage else _V3_FIRST
    return f"features.{number + 1}.block.{names[rest]}"


def _efficient(extractor: str, module: str) -> str:
    outer = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
    if module in outer:
        return outer[module]
    stage, number, rest = _block(module, _EFFICIENT_BLOCKS[extractor])
    return f"_blocks.{number}.{(_EFFICIENT_BLOCK if stage else _EFFICIENT_FIRST)[rest]}"


def _block(module: str, blocks: tuple[int, ...]) -> tuple[int, int, str]:
    """The stage of `blocks.STAGE.INDEX.REST`, its number among all blocks, and the rest."""
    _, stage, index, rest = module.split(".", 3)
    before = list(accumulate(blocks, initial=0))[int(stage)]
    return int(stage), before + int(index), rest
