"""What a video costs in multiply-adds: counted on the model itself, or by the papers' constants.

The field's "GFLOPs" are multiply-adds. Here both are given by their names: one multiply-add (MAC)
is two FLOPs. No weights are needed: models are built on the meta device.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vidsampler import registry
from vidsampler.backbones.model import Backbone, load_backbone
from vidsampler.errors import UsageError
from vidsampler.heads.base import PairHead
from vidsampler.retriever_config import RetrieverConfig
from vidsampler.samplers.extractors import build_network
from vidsampler.samplers.policy import PolicyNetwork
from vidsampler.samplers.policy_config import EXTRACTORS, PolicyConfig

Accounting = Literal["counted", "published"]
ACCOUNTINGS: tuple[Accounting, ...] = ("counted", "published")

PUBLISHED_BACKBONES = {"ViT-B-32": 4.4111, "ViT-B-16": 17.578}
"""GMACs a frame, of mmSampler and AdaCLIP."""
PUBLISHED_EXTRACTORS = {
    "mobilenet_v2": 0.3190,
    "mobilenet_v3_large": 0.22708,
    "efficientnet_b2": 1.0,
    "efficientnet_b3": 1.8,
    "raw": 0.0,
    "clip": 0.0,
}
"""GMACs a frame, likewise; they do not depend on the input size."""

ACTIONS = {"gate": 2, "topk": 1}


@dataclass(frozen=True)
class Flops:
    """Giga-multiply-adds of embedding one video, and of what stands beside it.

    Attributes:
        frames: N, candidates.
        kept: K, frames that pass the image tower; a mean need not be whole.
        backbone, extractor, temporal, policy_head: GMACs a frame; those of the image tower for each
            kept frame, the others for each candidate.
        encoded: Frames that pass the image tower: K, or N where the policy looks at its features.
        retrieval_head: GMACs for one text and one video.
        text: GMACs for one caption.
    """

    frames: int
    kept: float
    accounting: Accounting
    backbone: float
    extractor: float
    temporal: float
    policy_head: float
    encoded: float
    retrieval_head: float
    text: float

    @property
    def per_video(self) -> float:
        """GMACs of embedding one video."""
        policy = self.extractor + self.temporal + self.policy_head
        return self.encoded * self.backbone + self.frames * policy

    def parts(self) -> dict[str, float]:
        """GMACs a frame of each part of the total."""
        names = ("backbone", "extractor", "temporal", "policy_head")
        return {name: getattr(self, name) for name in names}

    def to_json(self, method: str, backbone: str) -> dict[str, Any]:
        """As the command line prints it."""
        return {
            "method": method,
            "backbone": backbone,
            "frames": self.frames,
            "kept": self.kept,
            "accounting": self.accounting,
            "parts": {name: _both(gmacs, "frame") for name, gmacs in self.parts().items()},
            **_both(self.per_video, "video"),
            "beside": {
                "retrieval_head": _both(self.retrieval_head, "pair"),
                "text": _both(self.text, "text"),
            },
        }


def flops(
    config: RetrieverConfig, *, kept: float | None = None, accounting: Accounting = "counted"
) -> Flops:
    """Counts what a retriever needs for a video.

    Args:
        config: Its settings; weights are not looked at.
        kept: K, above 0 and at most N; None: N.
        accounting: `counted`: every matrix product and convolution as it is computed, without
            fused kernels, which hide some. `published`: the constants of mmSampler and AdaCLIP for
            backbone and extractor, and for a temporal transformer and head N d W + 12 N W^2 +
            2 N^2 W and N (W H + H A) multiply-adds (d features, width W, hidden H, A actions); the
            retrieval head and the text tower, of which there are no constants, are counted.

    Raises:
        UsageError: K is out of range, or there is no published constant.
    """
    frames = config.frames
    kept = float(frames) if kept is None else kept
    if not 0 < kept <= frames:
        raise UsageError(
            f"kept frames must be above 0 and at most the {frames} candidates, not {kept:g}",
            hint="give fewer kept frames (--kept), or more candidates (--frames)",
        )
    counted = _counted_backbone(config)
    policy = config.sampler.policy
    extractor = temporal = policy_head = 0.0
    if config.sampler.learned:
        actions = ACTIONS[config.sampler.name]
        if accounting == "published":
            extractor = _constant("extractor", policy.extractor.name, PUBLISHED_EXTRACTORS)
            temporal, policy_head = published_policy(policy, frames, counted.width, actions)
        else:
            extractor = count_extractor(policy)
            temporal, policy_head = count_policy(policy, frames, counted.width, actions)
    backbone = counted.frame
    if accounting == "published":
        name = config.backbone.name.removesuffix("-quickgelu")
        backbone = _constant("backbone", name, PUBLISHED_BACKBONES)
    sees_all = config.sampler.learned and policy.extractor.name == "clip"
    return Flops(
        frames=frames,
        kept=kept,
        accounting=accounting,
        backbone=backbone,
        extractor=extractor,
        temporal=temporal / frames,
        policy_head=policy_head / frames,
        encoded=float(frames) if sees_all else kept,
        retrieval_head=count_head(config, kept, counted.width),
        text=counted.text,
    )


# -------------------------------------------------------------------- counting


def count(call: Callable[[], object]) -> float:
    """GMACs of a call, on whatever device its tensors are."""
    with unfused(), torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    # The counter takes a multiply-add for two.
    return float(counter.get_total_flops()) / 2e9


@contextmanager
def unfused() -> Iterator[None]:
    """Without fused kernels: under eval and no_grad they hide up to a third of a ViT's work."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
            # About TF32 on graphics cards of another make.
            warnings.simplefilter("ignore", UserWarning)
            # oneDNN's LSTM is one operation, which is not counted.
            with torch.backends.mkldnn.flags(enabled=False):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def meta_backbone(config: RetrieverConfig) -> Backbone:
    """The backbone without weights: nothing is fetched but a config, where that lies on a hub."""
    with torch.device("meta"):
        return load_backbone(replace(config.backbone, pretrained="none", precision="fp32"))


@dataclass(frozen=True)
class _Backbone:
    frame: float
    text: float
    width: int


def _counted_backbone(config: RetrieverConfig) -> _Backbone:
    backbone = meta_backbone(config)
    pixels = backbone.pixel_input
    image = torch.empty(1, 3, pixels.height, pixels.width, device="meta")
    frame = count(lambda: backbone.encode_frames(image))
    if not backbone.has_texts:
        return _Backbone(frame, 0.0, backbone.width)
    tokens = torch.ones(1, backbone.context, dtype=torch.long, device=_text_device(backbone))
    return _Backbone(frame, count(lambda: backbone.encode_texts(tokens)), backbone.width)


def _text_device(backbone: Backbone) -> torch.device:
    """Where the texts of a backbone on the meta device can be counted.

    A text model of Hugging Face asks whether its mask hides anything, which needs numbers: it is
    moved to the CPU as zeros, which take no memory.
    """
    from open_clip.hf_model import HFTextEncoder

    tower: Any = getattr(backbone.clip, "text", None)
    if not isinstance(tower, HFTextEncoder):
        return torch.device("meta")
    tower._apply(lambda tensor: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape))
    return torch.device("cpu")


def count_extractor(policy: PolicyConfig) -> float:
    """GMACs a frame; 0 for `raw`, and for `clip`, which looks at what is there."""
    settings = policy.extractor
    if settings.name in ("raw", "clip"):
        return 0.0
    with torch.device("meta"):
        network = build_network(replace(settings, pretrained=None)).eval()
    size = settings.input_size
    return count(lambda: network(torch.empty(1, 3, size, size, device="meta")))


def count_policy(
    policy: PolicyConfig, frames: int, clip_width: int, actions: int
) -> tuple[float, float]:
    """GMACs a video of the temporal model and of the policy head."""
    width = EXTRACTORS[policy.extractor.name].width or clip_width
    # On the CPU: which frames are real decides what is computed, and the network is small.
    with torch.random.fork_rng(devices=[]):
        network = PolicyNetwork(replace(policy, frames=frames), width, actions).eval()
    features = torch.zeros(1, frames, width)
    valid = torch.ones(1, frames, dtype=torch.bool)
    both = count(lambda: network(features, valid))
    first = network.head if isinstance(network.head, nn.Linear) else _first_linear(network.head)
    head = count(lambda: network.head(torch.zeros(1, frames, first.in_features)))
    return both - head, head


def count_head(config: RetrieverConfig, kept: float, width: int) -> float:
    """GMACs of the retrieval head for one text and one video."""
    # `gate` leaves kept frames at their places, with N slots; the others fill K.
    slots = config.frames if config.sampler.name == "gate" else max(1, round(kept))
    with torch.device("meta"):
        kind: Any = registry.load("heads", config.head.name)
        head = kind(config.head.settings, width=width, frames=slots).eval()
        text: Tensor = torch.empty(1, width)
        video, keep = torch.empty(1, slots, width), torch.ones(1, slots)
    if isinstance(head, PairHead):
        # The formula as it stands: what inference saves, it saves over many pairs.
        return count(lambda: head.pair_scores(text, head.encode(video, keep), keep))
    return count(lambda: head.similarity(text, video, keep))


def _first_linear(layers: nn.Module) -> nn.Linear:
    return next(each for each in layers.modules() if isinstance(each, nn.Linear))


# -------------------------------------------------------------------- the papers' accounting


def published_policy(
    policy: PolicyConfig, frames: int, clip_width: int, actions: int
) -> tuple[float, float]:
    """GMACs a video of the temporal model and of the policy head, by formula."""
    features = policy.width_given(EXTRACTORS[policy.extractor.name].width or clip_width)
    width = policy.width
    temporal = {
        "transformer": frames * features * width + 12 * frames * width**2 + 2 * frames**2 * width,
        "lstm": frames * 4 * width * (features + width),
        "bilstm": 2 * frames * 4 * width * (features + width),
        "none": 0,
    }[policy.temporal]
    into = features if policy.temporal == "none" else width
    head = frames * (
        into * actions if policy.head == "fc" else into * policy.hidden + policy.hidden * actions
    )
    return temporal / 1e9, head / 1e9


def _constant(what: str, name: str, constants: dict[str, float]) -> float:
    if name not in constants:
        raise UsageError(
            f"there are no published operations of the {what} {name}, only of "
            f"{', '.join(constants)}",
            hint="take --accounting counted",
        )
    return constants[name]


def _both(gmacs: float, each: str) -> dict[str, float]:
    return {f"gmacs_per_{each}": gmacs, f"gflops_per_{each}": 2 * gmacs}
