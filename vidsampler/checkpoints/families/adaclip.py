"""AdaCLIP: `clip.*`, `sampler.*` with extractor and policy network, and one of several heads.

| file | here |
|---|---|
| `clip.*` | `backbone.clip.*` |
| `sampler.cnn_model.*` (torchvision, with `classifier.0`) | `sampler.extractor.network.*` (timm) |
| `sampler.{projection,frame_position_embeddings,transformer,rnn,linear}` | `sampler.policy.*` |
| `frame_agg_mlp.{0,2,4}` | `head.mlp.{0,2,4}` |
| `frame_agg_transformer.resblocks.0.*`, `frame_agg_proj` | `head.block.*`, `head.score` |
| `frame_position_embeddings.weight`, `transformerClip.resblocks.*` | `head.encoder.*` (`seq`) |
| the same [K, D], `transformer.resblocks.0.*` | `head.encoder.*` without residual |
| `word_agg_mlp.*` | left out: no counterpart |
"""

from __future__ import annotations

from typing import Any

from vidsampler.checkpoints.families.clip4clip import describe_frames_head
from vidsampler.checkpoints.heads import TABLE, describe_sequence
from vidsampler.checkpoints.policy import describe_policy
from vidsampler.checkpoints.table import Described, Source, moved

METHOD = "adaclip"
PREFIX = "clip."
_ASK_FOR_K = (
    "the file does not say how many frames AdaCLIP keeps (published: 12 of 16 on MSRVTT, 16 of 32 "
    "on DiDeMo, 32 of 64 on ActivityNet)"
)
_BLOCK = "transformer.resblocks."


def describe(source: Source, joint: int) -> Described:
    """What an AdaCLIP file says.

    Args:
        source: The file.
        joint: D.

    Raises:
        UsageError: A tensor is missing.
    """
    found = Described(settings={"sampler": {"name": "uniform"}, "frames": 16})
    if source.under("sampler."):
        found.settings["sampler"] = {"name": "topk", "k": _configured_k(source)}
        describe_policy(source, found, "sampler.", actions=1, joint=joint)
        if found.settings["sampler"]["k"] is None:
            found.asks["sampler.k"] = _ASK_FOR_K
        else:
            found.assumed["sampler.k"] = "top_k in the file's own config"
    else:
        found.settings["sampler"]["k"] = None
        found.assumed["frames"] = "there is no policy in the file that would show it"
    name = str(found.settings["sampler"]["name"])
    found.fixed["sampler.name"] = (name, "sampler.*")
    _describe_head(source, found)
    if name == "topk":
        found.notes.append(
            "kept frames are in time order; AdaCLIP's release has them in the order of their scores"
        )
    if source.under("word_agg_mlp."):
        found.ignored["word_agg_mlp."] = "weights of words, which have no counterpart"
        found.notes.append(
            "AdaCLIP's weights of words (word_agg_mlp) are left out: here a text is one vector"
        )
    return found


def _describe_head(source: Source, found: Described) -> None:
    if source.under("frame_agg_mlp."):
        found.settings["head"] = {"name": "mlp"}
        found.names.append(("head.mlp.", moved("frame_agg_mlp.")))
    elif source.under("frame_agg_transformer.", "frame_agg_proj."):
        found.settings["head"] = {"name": "transformer"}
        found.names += [
            ("head.block.", moved("frame_agg_transformer.resblocks.0.")),
            ("head.score.", moved("frame_agg_proj.")),
        ]
    elif source.under(_BLOCK):
        positions, layers = describe_sequence(source, found, settings="head", blocks=_BLOCK)
        found.settings["head"] = {
            "name": "seq",
            "positions": positions,
            "layers": layers,
            "residual": False,
            "eps": 1e-5,
        }
        if found.settings["sampler"]["name"] == "topk":
            found.settings["sampler"]["k"] = positions
            found.fixed["sampler.k"] = (positions, TABLE)
            found.assumed.pop("sampler.k", None)
            found.asks.pop("sampler.k", None)
        else:
            found.settings["frames"] = positions
            found.fixed["frames"] = (positions, TABLE)
    else:
        describe_frames_head(source, found)
        if found.settings["head"]["name"] == "mean":
            # Query-scored frames have no weights either.
            del found.fixed["head.name"]
            found.assumed["head.name"] = (
                "the file has no weights for frames; qscore has none either"
            )
    if "head.name" not in found.assumed:
        found.fixed["head.name"] = (found.settings["head"]["name"], "frame_agg_* or transformer*")


def _configured_k(source: Source) -> int | None:
    """`top_k` in the settings that stand beside the weights."""
    nested: list[Any] = [source.config, *source.config.values()]
    for table in nested:
        value = table.get("top_k") if isinstance(table, dict) else None
        if type(value) is int and value >= 1:
            return value
    return None
