"""Round trips: a published file, imported and run, gives what its tensors give in plain torch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.checkpoints import plain
from tests.checkpoints.published import (
    SMALL,
    WIDE,
    Draw,
    Sizes,
    State,
    halved,
    huggingface_clip,
    openai_clip,
    policy,
    pooling,
    sequence,
    written,
)
from vidsampler.checkpoints.importing import Imported, import_checkpoint
from vidsampler.config import set_layer
from vidsampler.heads.block import attention_heads
from vidsampler.preprocess import GreyInput, PixelInput
from vidsampler.retriever import Retriever
from vidsampler.video_features import VideoFeatures

VIDEOS, TEXTS = 3, 4
Namer = Callable[[Draw, Sizes, str], State]
NAMERS = {"openai": openai_clip, "huggingface": huggingface_clip}


class Trip:
    """A file, what came of it, and what its tensors give."""

    def __init__(
        self,
        folder: Path,
        state: State,
        sizes: Sizes,
        prefix: str = "clip.",
        *,
        family: str | None = None,
        words: tuple[str, ...] = (),
        container: Callable[[State], Any] = lambda state: state,
    ) -> None:
        self.prefix = prefix
        self.sizes = sizes
        file = written(folder / "file.pt", container(state))
        self.done: Imported = import_checkpoint(
            file, folder / "run", family=family, layers=[set_layer(each) for each in words]
        )
        self.retriever = Retriever.from_pretrained(folder / "run")
        self.state = plain.doubled(state)
        frames = self.done.config.frames
        draw = torch.Generator().manual_seed(7)
        shape = (VIDEOS, frames, 3, sizes.image, sizes.image)
        self.frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw)
        self.ids = torch.randint(1, sizes.words - 1, (TEXTS, sizes.context), generator=draw)
        for row, ids in enumerate(self.ids):
            ids[3 + row :] = 0
            ids[3 + row] = sizes.words - 1
        self.images = torch.stack(
            [
                torch.stack([plain.image(self.state, prefix, sizes, each) for each in video])
                for video in self.frames
            ]
        )
        self.texts = torch.stack([plain.text(self.state, prefix, sizes, each) for each in self.ids])

    def run(self) -> tuple[VideoFeatures, Tensor]:
        """Kept frames and similarities; features of both towers are compared on the way."""
        clip = self.retriever
        pixels = clip.pixels(self.frames.flatten(0, 1))
        images = clip.backbone.encode_frames(pixels).unflatten(0, (VIDEOS, -1))
        close(images, self.images)
        texts = clip.embed_texts(self.ids)
        close(texts, self.texts)
        videos = clip.embed_videos(self.frames)
        return videos, clip.similarity(texts, videos)

    def policy(self, features_BND: Tensor, prefix: str) -> Tensor:
        """(B, N, A) plain logits."""
        rows = [plain.policy(self.state, prefix, each) for each in features_BND.double()]
        return torch.stack(rows)

    def cosines(self, pooled_VD: list[Tensor]) -> Tensor:
        """(T, V)"""
        return plain.unit(self.texts) @ plain.unit(torch.stack(pooled_VD)).T


def close(found: Tensor, wanted: Tensor) -> None:
    most = 1e-5 * max(1.0, float(wanted.abs().max()))
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=most)


def mean(frames_FD: Tensor) -> Tensor:
    return plain.unit(frames_FD).mean(0)


def kept_by_gate(logits_BN2: Tensor) -> list[list[int]]:
    return [
        [i for i, (keep, skip) in enumerate(video.tolist()) if i == 0 or keep > skip]
        for video in logits_BN2
    ]


def kept_by_topk(logits_BN1: Tensor, k: int) -> list[list[int]]:
    return [sorted(video[:, 0].topk(k).indices.tolist()) for video in logits_BN1]


# -------------------------------------------------------------------- CLIP4Clip, EMCL-Net


@pytest.mark.parametrize("naming", NAMERS)
@pytest.mark.parametrize("sizes", [SMALL, WIDE], ids=["small", "wide"])
def test_clip4clip_mean(naming: str, sizes: Sizes, tmp_path: Path) -> None:
    state = halved(NAMERS[naming](Draw(1), sizes, "clip."))
    trip = Trip(tmp_path, state, sizes, words=("frames=4",))
    videos, scores = trip.run()
    assert videos.kept() == [[0, 1, 2, 3]] * VIDEOS
    close(scores, trip.cosines([mean(each) for each in trip.images]))
    assert trip.done.widened == sum(each.dtype == torch.float16 for each in state.values()) > 10
    assert trip.done.family == "clip4clip"
    assert trip.retriever.backbone.logit_scale.item() == pytest.approx(4.6)


@pytest.mark.parametrize(("sizes", "layers", "positions"), [(SMALL, 4, 77), (WIDE, 2, 6)])
def test_clip4clip_sequence(sizes: Sizes, layers: int, positions: int, tmp_path: Path) -> None:
    draw = Draw(2)
    state = openai_clip(draw, sizes) | sequence(draw, sizes.joint, positions, layers)
    trip = Trip(tmp_path, state, sizes, family="clip4clip")
    assert trip.done.config.frames == min(12, positions)
    _, scores = trip.run()
    heads = attention_heads(sizes.joint)
    seen = [plain.encoded(trip.state, each, layers, heads) for each in trip.images]
    close(scores, trip.cosines([mean(each) for each in seen]))


def test_clip4clip_lstm(tmp_path: Path) -> None:
    draw = Draw(3)
    state = openai_clip(draw, SMALL) | draw.lstm("lstm_visual", SMALL.joint, SMALL.joint)
    state["frame_position_embeddings.weight"] = draw(77, SMALL.joint)
    trip = Trip(tmp_path, state, SMALL, family="clip4clip", words=("frames=5",))
    _, scores = trip.run()
    seen = [each + plain.lstm(trip.state, "lstm_visual", each) for each in trip.images]
    close(scores, trip.cosines([mean(each) for each in seen]))
    assert list(trip.done.left_out) == ["frame_position_embeddings.weight"]


def test_the_tight_type_is_left_out_and_said(tmp_path: Path) -> None:
    state = openai_clip(Draw(4), SMALL) | {"cross.pooler.weight": torch.ones(3)}
    trip = Trip(tmp_path, state, SMALL, words=("frames=2",))
    assert trip.done.left_out == {
        "cross.*": "the tight type's cross-encoder, which vidsampler does not have"
    }
    assert "tight type" in trip.done.notes[0]


@pytest.mark.parametrize("naming", NAMERS)
def test_emcl(naming: str, tmp_path: Path) -> None:
    draw = Draw(5)
    state = NAMERS[naming](draw, SMALL, "clip.") | sequence(draw, SMALL.joint, 77, 4)
    trip = Trip(tmp_path, state, SMALL, family="emcl", words=("frames=6", "seed=3"))
    bases = trip.retriever.head.get_buffer("bases")
    assert bases.shape == (32,)
    assert len(bases.unique()) == 32
    again = import_checkpoint(
        tmp_path / "file.pt", tmp_path / "other", family="emcl", layers=[set_layer("seed=4")]
    )
    other = Retriever.from_pretrained(again.folder).head.get_buffer("bases")
    assert not torch.equal(other, bases)
    _, scores = trip.run()
    seen = [plain.encoded(trip.state, each, 4, 1) for each in trip.images]
    wanted = [plain.em_scores(t, seen, bases.double(), 3.0) for t in trip.texts]
    close(scores, torch.stack(wanted))
    assert "hold no EM bases" in trip.done.notes[0]
    assert Retriever.from_pretrained(trip.done.folder).config.notes == trip.done.notes


# -------------------------------------------------------------------- mmSampler


@pytest.mark.parametrize(
    ("temporal", "head", "sizes", "frames", "width"),
    [
        ("transformer", "mlp", SMALL, 5, 32),
        ("transformer", "fc", WIDE, 8, 128),
        ("lstm", "mlp", SMALL, 6, 24),
        ("bilstm", "fc", SMALL, 6, 24),
        ("none", "mlp", SMALL, 4, 0),
        ("none", "fc", SMALL, 4, 0),
    ],
)
def test_mmsampler_on_the_backbones_own_features(
    temporal: str, head: str, sizes: Sizes, frames: int, width: int, tmp_path: Path
) -> None:
    draw = Draw(6)
    state = openai_clip(draw, sizes, "clip.clip.") | policy(
        draw, "", actions=2, into=sizes.joint, temporal=temporal, head=head,
        frames=frames, width=width,
    )  # fmt: skip
    trip = Trip(tmp_path, state, sizes, "clip.clip.", words=(f"frames={frames}",))
    assert trip.done.config.sampler.policy.extractor.name == "clip"
    videos, scores = trip.run()
    kept = kept_by_gate(trip.policy(trip.images, ""))
    assert videos.kept() == kept
    assert sum(map(len, kept)) < frames * VIDEOS or head == "fc"
    wanted = [mean(video[each]) for video, each in zip(trip.images, kept, strict=True)]
    close(scores, trip.cosines(wanted))
    said = any("attention across the videos of a batch" in note for note in trip.done.notes)
    assert said == (temporal == "transformer")


def test_mmsampler_on_grey_pictures_and_their_differences(tmp_path: Path) -> None:
    draw = Draw(8)
    state = openai_clip(draw, SMALL, "clip.clip.")
    state |= policy(draw, "", actions=2, into=2 * 3136, frames=5, width=64)
    trip = Trip(tmp_path, state, SMALL, "clip.clip.")
    policy_config = trip.done.config.sampler.policy
    assert (policy_config.extractor.name, policy_config.features) == ("raw", "concat")
    videos, _ = trip.run()
    grey = GreyInput()(trip.frames).double()
    both = torch.stack([plain.with_differences(each) for each in grey])
    assert videos.kept() == kept_by_gate(trip.policy(both, ""))


def test_differences_are_for_the_user_to_say(tmp_path: Path) -> None:
    draw = Draw(9)
    state = openai_clip(draw, SMALL, "clip.clip.")
    state |= policy(draw, "", actions=2, into=SMALL.joint)
    words = ("sampler.policy.features=diff",)
    trip = Trip(tmp_path, state, SMALL, "clip.clip.", words=words)
    assert set(trip.done.assumed) == {"sampler.policy.heads"}
    videos, _ = trip.run()
    diff = [plain.with_differences(each)[:, SMALL.joint :] for each in trip.images]
    assert videos.kept() == kept_by_gate(trip.policy(torch.stack(diff), ""))


def test_mmsampler_without_a_policy(tmp_path: Path) -> None:
    trip = Trip(tmp_path, openai_clip(Draw(), SMALL, "clip.clip."), SMALL, "clip.clip.")
    assert (trip.done.family, trip.done.config.sampler.name) == ("mmsampler", "uniform")
    assert trip.done.assumed["frames"][0] == 16


# -------------------------------------------------------------------- light networks


@torch.no_grad()
def randomly(network: nn.Module, seed: int = 0) -> nn.Module:
    """Norms that are those of no fresh network, but keep numbers near 1; in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, generator=generator)
    for norm in norms:
        norm.momentum = 1.0
    network.train()(torch.randn(4, 3, 96, 96, generator=generator))
    for norm in norms:
        for tensor in (norm.running_var, norm.weight):
            assert tensor is not None
            tensor.mul_(0.9 + 0.2 * torch.rand(tensor.shape, generator=generator))
        norm.bias.add_(0.1 * torch.randn(norm.bias.shape, generator=generator))
    return network.eval()


def with_network(
    folder: Path,
    network: nn.Module,
    prefix: str,
    into: int,
    words: tuple[str, ...] = ("sampler.policy.extractor.size=64",),
) -> tuple[Trip, Tensor, Tensor]:
    """A trip whose policy looks with a network; its features of the candidates, and ours."""
    draw = Draw(10)
    mm = not prefix.startswith("sampler.")
    clip = "clip.clip." if mm else "clip."
    state = openai_clip(draw, SMALL, clip)
    state |= {f"{prefix}{key}": value.clone() for key, value in network.state_dict().items()}
    state |= policy(
        draw, prefix.removesuffix("cnn_model."), actions=2 if mm else 1, into=into, frames=3
    )
    trip = Trip(folder, state, SMALL, clip, words=(*words, *(() if mm else ("sampler.k=2",))))
    sampler = trip.retriever.sampler
    assert sampler is not None
    assert sampler.extractor is not None
    assert isinstance(sampler.extractor.pixels, PixelInput)
    with torch.no_grad():
        pixels = sampler.extractor.pixels(trip.frames).flatten(0, 1).double()
        # Through so many layers, rounding in float32 alone is about 1e-5.
        found = copy.deepcopy(sampler.extractor.network).double()(pixels)
        wanted = network.double()(pixels)
    return trip, wanted.unflatten(0, (VIDEOS, -1)), found.unflatten(0, (VIDEOS, -1))


def test_torchvisions_mobilenet_v2(tmp_path: Path) -> None:
    from torchvision.models import mobilenet_v2

    network = mobilenet_v2()
    network.classifier = nn.Identity()
    trip, wanted, found = with_network(tmp_path, randomly(network), "cnn_model.", 1280)
    close(found, wanted)
    videos, _ = trip.run()
    assert videos.kept() == kept_by_gate(trip.policy(wanted, ""))
    assert trip.done.config.sampler.policy.extractor.pretrained is None
    assert any("nothing of it is ImageNet's" in note for note in trip.done.notes)


def test_torchvisions_mobilenet_v3_with_its_own_epsilon(tmp_path: Path) -> None:
    from torchvision.models import mobilenet_v3_large

    network = mobilenet_v3_large()
    network.classifier = nn.Sequential(*list(network.classifier)[:2])
    trip, wanted, found = with_network(tmp_path, randomly(network), "sampler.cnn_model.", 1280)
    close(found, wanted)
    videos, _ = trip.run()
    assert videos.kept() == kept_by_topk(trip.policy(wanted, "sampler."), 2)
    notes = " ".join(trip.done.notes)
    assert "mobilenet_v3_large) is the file's own, with whatever was random" in notes


def test_a_network_that_is_not_here(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    from vidsampler.errors import UsageError

    with pytest.raises(UsageError, match="does not have: a ResNet; there are MobileNetV2"):
        with_network(tmp_path, resnet18(), "cnn_model.", 512)


# -------------------------------------------------------------------- AdaCLIP


def adaclip(draw: Draw, sizes: Sizes, frames: int, width: int = 32) -> State:
    state = openai_clip(draw, sizes)
    return state | policy(draw, "sampler.", actions=1, into=sizes.joint, frames=frames, width=width)


def mlp_score(draw: Draw, name: str, joint: int) -> State:
    return {
        **draw.linear(f"{name}.0", 2 * joint, joint),
        **draw.linear(f"{name}.2", joint, 2 * joint),
        **draw.linear(f"{name}.4", 1, joint),
    }


@pytest.mark.parametrize(
    ("sizes", "frames", "k", "width"), [(SMALL, 5, 2, 32), (SMALL, 7, 7, 64), (WIDE, 9, 4, 128)]
)
def test_adaclip(sizes: Sizes, frames: int, k: int, width: int, tmp_path: Path) -> None:
    draw = Draw(11)
    state = adaclip(draw, sizes, frames, width) | mlp_score(draw, "frame_agg_mlp", sizes.joint)
    state |= mlp_score(draw, "word_agg_mlp", sizes.joint)

    def container(tensors: State) -> Any:
        # As its training writes them: the settings beside.
        return {
            "arch": "AdaCLIP",
            "epoch": 7,
            "state_dict": halved(tensors),
            "config": {"top_k": k, "word_agg": "mlp"},
            "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []},
        }

    trip = Trip(tmp_path, halved(state), sizes, container=container)
    assert trip.done.assumed["sampler.k"] == (k, "top_k in the file's own config")
    assert set(trip.done.left_out) == {"arch", "epoch", "optimizer", "word_agg_mlp.*"}
    videos, scores = trip.run()
    kept = kept_by_topk(trip.policy(trip.images, "sampler."), k)
    assert videos.kept() == kept
    pooled = [
        plain.mlp_pooled(trip.state, video[each])
        for video, each in zip(trip.images, kept, strict=True)
    ]
    close(scores, trip.cosines(pooled))


def test_adaclip_with_a_transformer_score(tmp_path: Path) -> None:
    draw = Draw(12)
    state = adaclip(draw, WIDE, 5) | draw.blocks("frame_agg_transformer.resblocks", WIDE.joint, 1)
    state |= draw.linear("frame_agg_proj", 1, WIDE.joint)
    trip = Trip(tmp_path, state, WIDE, words=("sampler.k=3",))
    _, scores = trip.run()
    pooled = []
    for video, each in zip(
        trip.images, kept_by_topk(trip.policy(trip.images, "sampler."), 3), strict=True
    ):
        x = video[each]
        seen = plain.block(trip.state, "frame_agg_transformer.resblocks.0", x)
        pooled.append(plain.linear(trip.state, "frame_agg_proj", seen)[:, 0].softmax(0) @ x)
    close(scores, trip.cosines(pooled))


@pytest.mark.parametrize("k", [2, 4])
def test_adaclip_with_its_own_transformer_over_k_frames(k: int, tmp_path: Path) -> None:
    draw = Draw(13)
    state = adaclip(draw, SMALL, 6) | draw.blocks("transformer.resblocks", SMALL.joint, 1)
    state["frame_position_embeddings.weight"] = draw(k, SMALL.joint, scale=0.3)
    # K is the length of the table: nobody has to say it.
    trip = Trip(tmp_path, state, SMALL)
    assert trip.done.config.sampler.k == k
    _, scores = trip.run()
    pooled = []
    for video, each in zip(
        trip.images, kept_by_topk(trip.policy(trip.images, "sampler."), k), strict=True
    ):
        x = video[each] + trip.state["frame_position_embeddings.weight"]
        pooled.append(mean(plain.block(trip.state, "transformer.resblocks.0", x)))
    close(scores, trip.cosines(pooled))


def test_adaclip_with_clip4clips_transformer(tmp_path: Path) -> None:
    draw = Draw(14)
    state = adaclip(draw, SMALL, 6) | sequence(draw, SMALL.joint, 20, 2)
    trip = Trip(tmp_path, state, SMALL, words=("sampler.k=3",))
    _, scores = trip.run()
    kept = kept_by_topk(trip.policy(trip.images, "sampler."), 3)
    pooled = [
        mean(plain.encoded(trip.state, video[each], 2, 1))
        for video, each in zip(trip.images, kept, strict=True)
    ]
    close(scores, trip.cosines(pooled))


# -------------------------------------------------------------------- X-Pool, T-MASS


@pytest.mark.parametrize("naming", NAMERS)
@pytest.mark.parametrize(("sizes", "heads", "frames"), [(SMALL, 1, 3), (SMALL, 4, 5), (WIDE, 4, 4)])
def test_xpool(naming: str, sizes: Sizes, heads: int, frames: int, tmp_path: Path) -> None:
    draw = Draw(15)
    state = NAMERS[naming](draw, sizes, "clip.") | pooling(draw, sizes.joint)
    words = (f"frames={frames}", *((f"head.heads={heads}",) if heads > 1 else ()))
    trip = Trip(tmp_path, state, sizes, words=words)
    assert ("head.heads" in trip.done.assumed) == (heads == 1)
    _, scores = trip.run()
    wanted = [
        [
            plain.unit(t) @ plain.unit(plain.text_pooled(trip.state, t, video, heads))
            for video in trip.images
        ]
        for t in trip.texts
    ]
    close(scores, torch.tensor(wanted, dtype=torch.float64))


@pytest.mark.parametrize(("heads", "frames"), [(1, 7), (4, 3)])
def test_tmass(heads: int, frames: int, tmp_path: Path) -> None:
    draw = Draw(16)
    state = huggingface_clip(draw, SMALL) | pooling(draw, SMALL.joint)
    state |= draw.linear("stochastic.std_branch.linear_proj", SMALL.joint, frames)
    state["stochastic.std_branch.learnable_scalar"] = torch.full((1,), 1e30)
    words = ("head.trials=5", f"head.pooling.heads={heads}")
    trip = Trip(tmp_path, state, SMALL, words=words)
    assert trip.done.config.frames == frames
    _, scores = trip.run()
    head: Any = trip.retriever.head
    noise = head.points(range(TEXTS), trip.texts).double()
    wanted = [
        [plain.best_of_ball(trip.state, t, video, heads, eps) for video in trip.images]
        for t, eps in zip(trip.texts, noise, strict=True)
    ]
    close(scores, torch.tensor(wanted, dtype=torch.float64))
    assert "stochastic.std_branch.learnable_scalar" in trip.done.left_out
    assert "without the pairing of the test set" in trip.done.notes[0]
