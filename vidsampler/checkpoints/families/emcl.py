"""EMCL-Net: CLIP4Clip's tensors of the sequential type; its EM bases are in no file.

| file | here |
|---|---|
| `clip.*` | `backbone.clip.*` |
| `frame_position_embeddings.weight` [77, D] | `head.encoder.frame_position_embeddings.weight` |
| `transformerClip.resblocks.*` | `head.encoder.resblocks.*` |
| - | `head.bases`, drawn anew |
"""

from __future__ import annotations

import torch
from torch import Tensor

from vidsampler.checkpoints.heads import describe_sequence
from vidsampler.checkpoints.table import Described, Source
from vidsampler.retriever_config import RetrieverConfig

METHOD = "emcl"
PREFIX = "clip."


def describe(source: Source, joint: int) -> Described:
    """What an EMCL-Net file says.

    Args:
        source: The file.
        joint: D.

    Raises:
        UsageError: A tensor is missing, or frames go through an LSTM.
    """
    if source.under("lstm_visual."):
        raise source.misfits(
            "its frames go through an LSTM (lstm_visual), which the head emcl does not have"
        )
    found = Described(settings={"frames": 12})
    positions, layers = describe_sequence(source, found, settings="head.sequence")
    found.settings["head"] = {
        "name": "emcl",
        "sequence": {"positions": positions, "layers": layers},
    }
    found.settings["frames"] = min(12, positions)
    found.fixed["head.name"] = ("emcl", "transformerClip.*")
    found.assumed["frames"] = "as published; the file does not say"
    found.drawn["head.bases"] = _bases
    found.notes.append(
        "EMCL-Net's files hold no EM bases: they are drawn anew (seed), and EM runs over the whole "
        "gallery; scores are not those of the paper"
    )
    return found


def _bases(config: RetrieverConfig) -> Tensor:
    em = config.head.settings.em
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        bases_C: Tensor = em.first_bases(em.bases)
    return bases_C
