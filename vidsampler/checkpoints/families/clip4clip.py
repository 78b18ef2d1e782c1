"""CLIP4Clip: `clip.*`, and of the sequential types a transformer or an LSTM over the frames.

| file | here |
|---|---|
| `clip.*` | `backbone.clip.*` |
| `frame_position_embeddings.weight` [L, D] | `head.encoder.frame_position_embeddings.weight` |
| `transformerClip.resblocks.*` | `head.encoder.resblocks.*` |
| `lstm_visual.*` | `head.lstm_visual.*` |
| `cross.*`, `similarity_dense.*` | left out: the tight type's scores |
"""

from __future__ import annotations

from vidsampler.checkpoints.heads import SEQUENCE, TABLE, describe_sequence
from vidsampler.checkpoints.table import Described, Source, moved

METHOD = "clip4clip"
PREFIX = "clip."
OWN_FRAMES = 12


def describe(source: Source, joint: int) -> Described:
    """What a CLIP4Clip file says.

    Args:
        source: The file.
        joint: D.

    Raises:
        UsageError: A tensor is missing.
    """
    found = Described(settings={"frames": OWN_FRAMES})
    describe_frames_head(source, found)
    if source.under("cross.", "similarity_dense."):
        why = "the tight type's cross-encoder, which vidsampler does not have"
        found.ignored |= {"cross.": why, "similarity_dense.": why}
        found.notes.append(
            "the file is of CLIP4Clip's tight type, whose scores come from a cross-encoder; here "
            "they are cosines, which is another function"
        )
    found.assumed["frames"] = "as in CLIP4Clip's own recipe; the file does not say"
    return found


def describe_frames_head(source: Source, found: Described) -> None:
    """The head over frames, which AdaCLIP's files without a scoring head have too."""
    head = "mean"
    settings: dict[str, int] = {}
    if source.under("lstm_visual."):
        head = "seqlstm"
        found.names.append(("head.lstm_visual.", moved("lstm_visual.")))
        found.ignored[TABLE] = "positions, which the LSTM does not use"
    elif source.under(SEQUENCE, "frame_position_embeddings."):
        head = "seq"
        positions, layers = describe_sequence(source, found, settings="head")
        settings = {"positions": positions, "layers": layers}
        found.settings["frames"] = min(found.settings["frames"], positions)
    found.settings["head"] = {"name": head, **settings}
    found.fixed["head.name"] = (head, PREFIX + "*")
