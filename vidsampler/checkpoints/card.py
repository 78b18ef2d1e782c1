"""The model card of an imported checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vidsampler.checkpoints.importing import Imported

_SYSTEMS = {
    "clip4clip": "CLIP4Clip (Luo et al., 2021)",
    "mmsampler": "mmSampler",
    "adaclip": "AdaCLIP (Hu et al., 2023)",
    "xpool": "X-Pool (Gorti et al., CVPR 2022)",
    "tmass": "T-MASS (Wang et al., CVPR 2024)",
    "emcl": "EMCL-Net (Jin et al., NeurIPS 2022)",
}


def model_card(done: Imported) -> str:
    """The card in Markdown."""
    config = done.config
    kept = f", K = {config.sampler.k}" if config.sampler.k is not None else ""
    lines = [
        f"# {_SYSTEMS[done.family]}, imported",
        "",
        f"- file: `{_plain(done.source)}`, sha256 `{done.sha256}`",
        f"- backbone {config.backbone.name}, sampler {config.sampler.name}{kept}, head "
        f"{config.head.name}, N = {config.frames} candidate frames",
        f"- {done.tensors} tensors, {done.parameters:,} parameters, all float32"
        + (f"; {done.widened} were of half precision" if done.widened else "")
        + ("; a leading `module.` is gone from their names" if done.unwrapped else ""),
        "",
        "## What is not equal to the published system",
        "",
        *(f"- {note}" for note in done.notes),
    ]
    if done.assumed:
        lines += ["", "## What the file does not say", ""]
        lines += [f"- `{key}` = {value}: {why}" for key, (value, why) in done.assumed.items()]
    if done.left_out:
        lines += ["", "## What was left out", ""]
        lines += [f"- `{_plain(key)}`: {why}" for key, why in done.left_out.items()]
    lines += ["", "Settings are in `config.yaml`; `vidsampler eval` takes this folder.", ""]
    return "\n".join(lines)


def _plain(name: str) -> str:
    """A name from the file, which must not become anything but text in the card."""
    return "".join(char if char.isprintable() and char != "`" else "?" for char in name)
