"""The policy network: its values beside NumPy, and what it must not see."""

from __future__ import annotations

import math
import warnings
from itertools import product
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.samplers.learning import WIDTH, lengths, tiny_policy, videos
from vidsampler.config import Layer, resolve
from vidsampler.errors import ConfigError
from vidsampler.samplers.policy import PolicyConfig, PolicyNetwork, process_features
from vidsampler.samplers.policy_config import REACH, Feature, Head, Temporal

FEATURES, TEMPORAL, HEADS = get_args(Feature), get_args(Temporal), get_args(Head)
VALID = lengths(7, 7, 5, 2, 7)


def network(actions: int = 2, **settings: Any) -> PolicyNetwork:
    torch.manual_seed(0)
    return PolicyNetwork(tiny_policy(**settings), WIDTH, actions).double()


def test_features_by_hand() -> None:
    frames = torch.tensor([[[1.0, 2.0], [4.0, 1.0], [4.0, 3.0]]])
    assert process_features(frames, "frame").tolist() == frames.tolist()
    diff = [[[1.0, 2.0], [3.0, -1.0], [0.0, 2.0]]]
    assert process_features(frames, "diff").tolist() == diff
    assert process_features(frames, "concat").tolist() == [
        [[1.0, 2.0, 1.0, 2.0], [4.0, 1.0, 3.0, -1.0], [4.0, 3.0, 0.0, 2.0]]
    ]
    assert process_features(frames, "change").tolist() == [
        [[1.0, 2.0, 1.0, 2.0], [4.0, 1.0, 3.0, 1.0], [4.0, 3.0, 0.0, 2.0]]
    ]


def test_relations_by_hand() -> None:
    # Four frames on a line at 0, 0, 3 and 9, and one of padding.
    places = torch.tensor([0.0, 0.0, 3.0, 9.0, 50.0])
    frames = torch.stack([places, -places], -1)[None]
    valid = torch.tensor([[True] * 4 + [False]])
    rows = process_features(frames, "relations", valid)[0]
    assert rows.shape == (5, 2 * REACH + 4)
    # Distances 0, 3, 9, 3, 9 and 6 have the mean 5.
    of_third = {REACH - 2: 0.6, REACH - 1: 0.6, REACH: 1.2, 2 * REACH: 0.6, 2 * REACH + 1: 1.2}
    expected = torch.zeros(2 * REACH + 2)
    for column, value in of_third.items():
        expected[column] = value
    torch.testing.assert_close(rows[2, : 2 * REACH + 2], expected)
    # Nothing is before the first frame and after the last one.
    assert [rows[0, 2 * REACH].item(), rows[3, 2 * REACH + 1].item()] == [3, 3]
    # The mean of every frame is 0; the spreads 0, 0, 3, 9 have the mean 3 and deviate by 13.5^.5.
    assert rows[:4, -2].tolist() == [0, 0, 0, 0]
    off = torch.tensor([-3.0, -3.0, 0.0, 6.0]) / 13.5**0.5
    torch.testing.assert_close(rows[:4, -1], off)
    assert not rows[4].any()


@pytest.mark.parametrize("features", get_args(Feature))
def test_the_width_that_is_given_is_known_without_a_network(features: Any) -> None:
    config = tiny_policy(features=features, channel_groups=WIDTH // 2)
    rows = process_features(videos(), features, VALID, WIDTH // 2)
    assert rows.shape[2] == config.width_given(WIDTH)


def test_relations_tell_groups_of_channels_apart() -> None:
    # The first two channels stand still, the others spread more and more around their mean, 4.
    spread = torch.tensor([0.0, 1.0, 5.0])
    frames = torch.stack([torch.zeros(3), torch.ones(3), 4 - spread, 4 + spread], -1)[None]
    rows = process_features(frames, "relations", groups=2)[0, :, 2 * REACH + 2 :]
    # The spreads have the mean 2 and the variance 14 / 3.
    expected = torch.zeros(3, 4)
    expected[:, 3] = (spread - 2) / (14 / 3) ** 0.5
    torch.testing.assert_close(rows, expected)
    whole = process_features(frames, "relations")[0]
    assert whole.shape == (3, 2 * REACH + 4)
    torch.testing.assert_close(whole[:, -2], torch.zeros(3))


def test_groups_that_do_not_divide_the_channels_are_named() -> None:
    with pytest.raises(ConfigError, match="channel_groups, 3, do not divide the 1280 channels"):
        PolicyConfig(features="relations", channel_groups=3)
    of_backbone = tiny_policy(features="relations", channel_groups=WIDTH + 1)
    with pytest.raises(ConfigError, match=f"do not divide the {WIDTH} channels"):
        PolicyNetwork(of_backbone, WIDTH, 1)


def test_relations_do_not_see_what_frames_show() -> None:
    features = videos()
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, dtype=torch.float64))[0]
    ours = process_features(features, "relations", VALID)
    theirs = process_features(features @ turn * 7, "relations", VALID)
    torch.testing.assert_close(ours[..., :-2], theirs[..., :-2], atol=1e-6, rtol=1e-6)


def test_relations_of_one_frame_and_of_equal_frames_are_numbers() -> None:
    for frames in (torch.ones(1, 1, 3), torch.ones(1, 20, 3)):
        assert process_features(frames, "relations").isfinite().all()


def test_normalised_features_have_no_size() -> None:
    net = network(normalise=True, features="concat")
    features = videos()
    torch.testing.assert_close(net(features * 1000, VALID), net(features, VALID), atol=1e-4, rtol=0)
    plain = network(features="concat")
    assert not torch.allclose(plain(features * 1000, VALID), plain(features, VALID), atol=1)
    # Of what the temporal model is given, by hand.
    both = process_features(features, "concat")
    centred = both - both.mean(-1, keepdim=True)
    normal = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    none = network(normalise=True, features="concat", temporal="none", head="fc")
    weights = dict(none.named_parameters())
    expected = normal @ weights["head.weight"].T + weights["head.bias"]
    torch.testing.assert_close(none(features, VALID)[VALID], expected[VALID])


def test_positions_begin_as_small_as_asked() -> None:
    small, large = (
        dict(network(frames=500, position_std=std).named_parameters())["temporal.positions_NW"]
        for std in (0.02, 1.0)
    )
    torch.testing.assert_close(small * 50, large)
    assert large.std().item() == pytest.approx(1, abs=0.05)


def layer_norm(x: Any, weight: Any, bias: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias


def test_transformer_and_mlp_beside_numpy() -> None:
    net = network()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    w = {name: value.detach().numpy() for name, value in net.named_parameters()}
    block = "temporal.block."

    def linear(x: Any, name: str) -> Any:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    features = videos()
    logits = net(features, VALID).detach().numpy()
    for video, count in enumerate((7, 7, 5, 2, 7)):
        x = linear(features[video, :count].numpy(), "temporal.projection")
        x = x + w["temporal.positions_NW"][:count]
        y = layer_norm(x, w[f"{block}norm1.weight"], w[f"{block}norm1.bias"])
        qkv = y @ w[f"{block}attention.in_proj_weight"].T + w[f"{block}attention.in_proj_bias"]
        seen = []
        for q, k, v in zip(*(np.split(part, 2, 1) for part in np.split(qkv, 3, 1)), strict=True):
            scores = np.exp(q @ k.T / math.sqrt(4))
            seen.append(scores / scores.sum(1, keepdims=True) @ v)
        x = x + linear(np.concatenate(seen, 1), f"{block}attention.out_proj")
        y = layer_norm(x, w[f"{block}norm2.weight"], w[f"{block}norm2.bias"])
        y = linear(y, f"{block}mlp.0")
        x = x + linear(y / (1 + np.exp(-1.702 * y)), f"{block}mlp.2")
        expected = linear(np.maximum(linear(x, "head.0"), 0), "head.2")
        np.testing.assert_allclose(logits[video, :count], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("temporal", ["lstm", "bilstm"])
def test_lstm_beside_numpy(temporal: Temporal) -> None:
    net = network(temporal=temporal, head="fc", actions=1)
    w = {name: value.detach().numpy() for name, value in net.named_parameters()}

    def run(x: Any, suffix: str) -> Any:
        h, c, rows = np.zeros(8), np.zeros(8), []
        for frame in x:
            gates = w[f"temporal.lstm.weight_ih_l0{suffix}"] @ frame
            gates = gates + w[f"temporal.lstm.bias_ih_l0{suffix}"]
            gates = gates + w[f"temporal.lstm.weight_hh_l0{suffix}"] @ h
            gates = gates + w[f"temporal.lstm.bias_hh_l0{suffix}"]
            i, f, g, o = np.split(gates, 4)
            c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            h = np.tanh(c) / (1 + np.exp(-o))
            rows.append(h)
        return np.array(rows)

    features = videos()
    logits = net(features, VALID).detach().numpy()
    for video, count in enumerate((7, 7, 5, 2, 7)):
        x = features[video, :count].numpy()
        h = run(x, "")
        if temporal == "bilstm":
            h = (h + run(x[::-1], "_reverse")[::-1]) / 2
        expected = h @ w["head.weight"].T + w["head.bias"]
        np.testing.assert_allclose(logits[video, :count], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("temporal", TEMPORAL)
@pytest.mark.parametrize("features", FEATURES)
def test_padding_and_batch_mates_change_nothing(temporal: Temporal, features: Feature) -> None:
    net = network(temporal=temporal, features=features).eval()
    frames = videos()
    logits = net(frames, VALID)
    filled = frames.masked_fill(~VALID[..., None], torch.nan)
    assert torch.equal(net(filled, VALID)[VALID], logits[VALID])
    order = [3, 0, 4, 2, 1]
    torch.testing.assert_close(
        net(frames[order], VALID[order])[VALID[order]], logits[order][VALID[order]]
    )
    for video, count in enumerate((7, 7, 5, 2, 7)):
        # Cut to its own length: with the number of candidates told, the positions stay.
        with torch.no_grad():
            alone = net(
                frames[video : video + 1, :count],
                torch.ones(1, count, dtype=torch.bool),
                candidates=7,
            )
        torch.testing.assert_close(alone[0], logits[video, :count].detach())


@pytest.mark.parametrize(
    ("temporal", "seen"),
    [
        ("transformer", [1] * 7),
        ("lstm", [0, 0, 0, 1, 1, 1, 1]),
        ("bilstm", [1] * 7),
        ("none", [0, 0, 0, 1, 0, 0, 0]),
    ],
)
def test_who_sees_a_frame(temporal: Temporal, seen: list[int]) -> None:
    net = network(temporal=temporal)
    frames = videos()
    changed = frames.clone()
    changed[1, 3] += 1
    moved = (net(changed, VALID) != net(frames, VALID)).any(-1)
    assert moved.int().tolist() == [[0] * 7, seen, [0] * 7, [0] * 7, [0] * 7]


@pytest.mark.parametrize(("features", "temporal", "head"), [*product(FEATURES, TEMPORAL, HEADS)])
def test_every_form_runs_forward_and_backward(
    features: Feature, temporal: Temporal, head: Head
) -> None:
    for actions in (1, 2):
        net = network(actions, features=features, temporal=temporal, head=head)
        logits = net(videos(), VALID)
        assert logits.shape == (5, 7, actions)
        logits[VALID].square().sum().backward()
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all()
            assert parameter.grad.any() or "in_proj_bias" in name


def positions(net: PolicyNetwork) -> Tensor:
    return dict(net.named_parameters())["temporal.positions_NW"]


def test_positions_of_another_number_of_candidates() -> None:
    net = network(frames=2)
    with torch.no_grad():
        positions(net).copy_(torch.tensor([[1.0], [5.0]]))
    frames, valid = videos(1, 4), lengths(4, frames=4)
    with pytest.warns(UserWarning, match="positions of 2 candidate frames; .* for 4"):
        logits = net(frames, valid)
    # The middles of four segments lie at -1/4, 1/4, 3/4, 5/4 of the way from one to the other.
    wide = network(frames=4)
    with torch.no_grad():
        positions(wide).copy_(torch.tensor([[1.0], [2.0], [4.0], [5.0]]))
    shared = {k: v for k, v in net.state_dict().items() if "positions" not in k}
    wide.load_state_dict(shared, strict=False)
    torch.testing.assert_close(logits, wide(frames, valid))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net(frames, valid)  # once is enough
    with pytest.raises(ValueError, match="4 frames a video has more than 3"):
        net(frames, valid, candidates=3)


def test_initial_weights_and_their_number() -> None:
    torch.manual_seed(0)
    net = PolicyNetwork(tiny_policy(width=512, heads=None, hidden=1024, frames=16), 1280, 2)
    count = sum(parameter.numel() for parameter in net.parameters())
    projection, positions, head = 1280 * 512 + 512, 16 * 512, 512 * 1024 + 1024 + 1024 * 2 + 2
    block = 12 * 512**2 + (4 + 4 + 1 + 4) * 512  # attention, MLP's two biases, two LayerNorms
    assert count == projection + positions + block + head
    weights = dict(net.named_parameters())
    for name, inputs in (("temporal.projection", 1280), ("head.0", 512), ("head.2", 1024)):
        deviation = weights[f"{name}.weight"].std().item()
        assert deviation == pytest.approx(math.sqrt(2 / inputs), rel=0.05)
        assert not weights[f"{name}.bias"].any()
    assert weights["temporal.positions_NW"].std().item() == pytest.approx(1, rel=0.05)
    assert net.config.attention_heads == 8


def test_autocast_changes_nothing() -> None:
    net = network().float()
    frames = videos().float()
    with torch.autocast("cpu", torch.bfloat16):
        cast: Tensor = net(frames.bfloat16().float(), VALID)
    assert torch.equal(cast, net(frames.bfloat16().float(), VALID))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temporal": "transfomer"}, "did you mean 'transformer'"),
        ({"head": "mpl"}, "did you mean 'mlp'"),
        ({"features": "frames"}, "did you mean 'frame'"),
        ({"extractor": {"name": "mobilenet_v4"}}, "unknown extractor .* did you mean 'mobilenet_v"),
        ({"extractor": {"nam": "raw"}}, "did you mean 'extractor.name'"),
        ({"extractor": {"size": 16}}, "at least 32, not 16"),
        ({"extractor": {"name": "raw", "size": 64}}, "raw has no input size to set"),
        ({"extractor": {"name": "small"}}, "no published weights of the extractor small"),
        ({"frames": 0}, "frames must be at least 1, not 0"),
        ({"position_std": -0.1}, "position_std must be from 0 on, not -0.1"),
        ({"width": 512, "heads": 7}, "width 512 cannot be split over 7 attention heads"),
    ],
)
def test_a_wrong_setting_is_an_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(PolicyConfig, [Layer("policy.yaml: {key}", values)])


def test_a_config_by_hand_is_checked_too() -> None:
    with pytest.raises(ConfigError, match="unknown temporal model 'gru'"):
        PolicyConfig(temporal="gru")  # type: ignore[arg-type]
