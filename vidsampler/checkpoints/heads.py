"""Heads that several families have: transformers over frames, and pooling by the text."""

from __future__ import annotations

from vidsampler.checkpoints.table import Described, Source, moved

TABLE = "frame_position_embeddings.weight"
SEQUENCE = "transformerClip.resblocks."
POOLING = "pool_frames."


def describe_sequence(
    source: Source, described: Described, *, settings: str, blocks: str = SEQUENCE
) -> tuple[int, int]:
    """Adds a transformer over frames, our `SequenceEncoder`, to a description.

    Args:
        source: The file.
        described: Gets names, and positions and layers as fixed.
        settings: Where these two are set, such as "head".
        blocks: How the names of its blocks begin.

    Returns:
        Positions and layers.

    Raises:
        UsageError: Positions or blocks are missing.
    """
    layers = source.layers(blocks)
    positions = source.shape(TABLE, 2)[0]
    described.fixed[f"{settings}.positions"] = (positions, TABLE)
    described.fixed[f"{settings}.layers"] = (layers, blocks.rstrip("."))
    described.names += [
        ("head.encoder.frame_position_embeddings.", moved("frame_position_embeddings.")),
        ("head.encoder.resblocks.", moved(blocks)),
    ]
    return positions, layers


def describe_pooling(described: Described, settings: str) -> None:
    """Adds X-Pool's pooling by the text to a description.

    Args:
        described: Gets names.
        settings: Where the pooling is set, such as "head.pooling".
    """
    ours = POOLING
    described.assumed[f"{settings}.heads"] = "tensors look the same for any number of pooling heads"
    described.names += [
        (f"head.{ours}{name}_proj.", moved(f"{POOLING}cross_attn.{name}_proj."))
        for name in ("q", "k", "v", "out")
    ]
    described.names.append((f"head.{ours}", moved(POOLING)))
