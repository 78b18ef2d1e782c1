"""The policy network of mmSampler and AdaCLIP: its form by its tensors, and their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vidsampler.checkpoints.networks import network_of, network_recipe
from vidsampler.checkpoints.table import Described, Recipe, Source, moved
from vidsampler.samplers.policy_config import EXTRACTORS

PARTS = ("projection.", "frame_position_embeddings.", "transformer.", "rnn.", "linear.")
"""How the names of its tensors begin, beside those of the extractor."""

_GREY = EXTRACTORS["raw"].width
_OURS = "sampler.policy."


def describe_policy(
    source: Source, described: Described, prefix: str, *, actions: int, joint: int
) -> str:
    """Adds what a file says of its policy network to a description.

    Args:
        source: The file.
        described: Gets settings, names and notes.
        prefix: How the names of the policy begin.
        actions: A, outputs a frame.
        joint: D, the joint width, by which features of the backbone itself are known.

    Returns:
        The temporal model.

    Raises:
        UsageError: Tensors are missing or have shapes that no policy has.
    """
    cnn = f"{prefix}cnn_model."
    extractor = network_of(source, cnn)
    temporal, width, into = _temporal(source, prefix)
    first = f"{prefix}linear.0.weight"
    mlp = bool(source.under(f"{prefix}linear.2."))
    hidden, seen = source.shape(first, 2)
    if temporal == "none":
        into = seen
    if not mlp and hidden != actions:
        raise source.misfits(f"{first} gives {hidden} numbers a frame; expected {actions}")
    extractor, features = _features(source, extractor, into, joint)
    network: dict[str, Any] = {"name": extractor, "pretrained": None, "freeze": True}
    form: dict[str, Any] = {"temporal": temporal, "head": "mlp" if mlp else "fc"}
    form |= {"width": width} if width else {}
    form |= {"hidden": hidden} if mlp else {}
    described.fixed["sampler.policy.extractor.name"] = (extractor, first)
    described.fixed |= {f"sampler.policy.{key}": (form[key], first) for key in form}
    described.settings["sampler"]["policy"] = {
        "extractor": network,
        "features": features,
        **form,
    }
    if features == "frame":
        described.assumed["sampler.policy.features"] = (
            "tensors look the same for frame features and for their differences (diff)"
        )
    if temporal == "transformer":
        table = f"{prefix}frame_position_embeddings.weight"
        frames = source.shape(table, 2)[0]
        described.settings["frames"] = frames
        described.fixed["frames"] = (frames, table)
        described.assumed["sampler.policy.heads"] = "attention heads of 64 channels"
    else:
        described.assumed["frames"] = "without positions, nothing shows how many candidates it saw"
    if EXTRACTORS[extractor].architecture is not None:
        described.names.append(("sampler.extractor.network.", network_recipe(extractor, cnn)))
        described.notes.append(
            f"the policy's extractor ({extractor}) is the file's own, with whatever was random in "
            "it when it was trained; nothing of it is ImageNet's"
        )
    if extractor.startswith("efficientnet"):
        network["padding"] = "same"
        described.ignored[f"{cnn}_fc."] = "the classifier, which is not used"
        described.notes.append(
            "the extractor pads its convolutions for its own size of frames; the published package "
            "does so too, whatever size it is given, so that other sizes differ at the borders"
        )
    described.names += _names(prefix, temporal, mlp=mlp)
    return temporal


def _temporal(source: Source, prefix: str) -> tuple[str, int, int]:
    """The temporal model, its channels H, and the width of what it is given; 0 for none."""
    if source.under(f"{prefix}rnn."):
        both = bool([key for key in source.under(f"{prefix}rnn.") if key.endswith("_reverse")])
        width = source.shape(f"{prefix}rnn.weight_hh_l0", 2)[1]
        into = source.shape(f"{prefix}rnn.weight_ih_l0", 2)[1]
        return ("bilstm" if both else "lstm"), width, into
    if source.under(f"{prefix}projection.", f"{prefix}transformer."):
        width, into = source.shape(f"{prefix}projection.0.weight", 2)
        return "transformer", width, into
    return "none", 0, 0


def _features(source: Source, extractor: str | None, into: int, joint: int) -> tuple[str, str]:
    """The extractor's name, and whether its features come alone or with their differences."""
    if extractor is not None:
        known = {extractor: EXTRACTORS[extractor].width}
    else:
        known = {"clip": joint, "raw": _GREY}
    for name, width in known.items():
        if into in (width, 2 * width):
            return name, "frame" if into == width else "concat"
    listed = " or ".join(f"{width} ({name})" for name, width in known.items())
    raise source.misfits(f"its policy is given {into} numbers a frame; expected {listed}, or twice")


def _names(prefix: str, temporal: str, *, mlp: bool) -> list[tuple[str, Callable[[str], Recipe]]]:
    block = f"{prefix}transformer.resblocks.0."
    ours = f"{_OURS}temporal."
    names: list[tuple[str, Callable[[str], Recipe]]] = []
    if temporal == "transformer":
        table = f"{prefix}frame_position_embeddings.weight"
        names += [
            (f"{ours}projection.", moved(f"{prefix}projection.0.")),
            (f"{ours}positions_NW", lambda _: Recipe((table,))),
            (f"{ours}block.norm1.", moved(f"{block}ln_1.")),
            (f"{ours}block.norm2.", moved(f"{block}ln_2.")),
            (f"{ours}block.attention.", moved(f"{block}attn.")),
            (f"{ours}block.mlp.0.", moved(f"{block}mlp.c_fc.")),
            (f"{ours}block.mlp.2.", moved(f"{block}mlp.c_proj.")),
        ]
    elif temporal != "none":
        names.append((f"{ours}lstm.", moved(f"{prefix}rnn.")))
    names.append((f"{_OURS}head.", moved(f"{prefix}linear." if mlp else f"{prefix}linear.0.")))
    return names
