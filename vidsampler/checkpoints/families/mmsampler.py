"""mmSampler: `clip.clip.*`, an extractor, and a policy network at the top.

| file | here |
|---|---|
| `clip.clip.*` | `backbone.clip.*` |
| `cnn_model.*` (torchvision or efficientnet_pytorch) | `sampler.extractor.network.*` (timm) |
| `projection.0`, `transformer.resblocks.0.*` | `sampler.policy.temporal.*` |
| `frame_position_embeddings.weight` [N, H] | `sampler.policy.temporal.positions_NW` |
| `rnn.*` | `sampler.policy.temporal.lstm.*` |
| `linear.0`, `linear.2`: row 0 keeps, row 1 skips | `sampler.policy.head.*` |
"""

from __future__ import annotations

from vidsampler.checkpoints.policy import PARTS, describe_policy
from vidsampler.checkpoints.table import Described, Source

METHOD = "mmsampler"
PREFIX = "clip.clip."


def describe(source: Source, joint: int) -> Described:
    """What an mmSampler file says.

    Args:
        source: The file.
        joint: D.

    Raises:
        UsageError: A tensor is missing.
    """
    found = Described(settings={"head": {"name": "mean"}})
    found.fixed["head.name"] = ("mean", PREFIX + "*")
    if not source.under("cnn_model.", *PARTS):
        found.settings["sampler"] = {"name": "uniform"}
        found.fixed["sampler.name"] = ("uniform", PREFIX + "*")
        found.assumed["frames"] = "there is no policy in the file that would show it"
        return found
    found.settings["sampler"] = {"name": "gate"}
    found.fixed["sampler.name"] = ("gate", "linear.0.weight")
    if describe_policy(source, found, "", actions=2, joint=joint) == "transformer":
        found.notes.append(
            "mmSampler's weights were trained with attention across the videos of a batch; here it "
            "goes over the frames of each video, which is another function: choices and scores are "
            "not those of the paper"
        )
    found.notes.append(
        "frames are kept where p(keep) > 1/2, the same in every run; mmSampler's release draws them"
    )
    return found
