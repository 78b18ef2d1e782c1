"""Everything that has a name: "module:attribute", imported only when it is asked for.

To add a sampler, write `vidsampler/samplers/NAME.py` and one line here. Listing names, checking
them and completing them in a shell costs no import.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from vidsampler.errors import UsageError, unknown


class Entry(NamedTuple):
    """Where a registered thing lives, and one line on what it does.

    Attributes:
        target: "module:attribute".
        summary: The line.
        learned: A sampler with weights, which works inside a trained retriever alone.
        asks: A sampler that chooses by a question, with scores of an image-text model.
        shipped: A sampler with weights that come with the package, for `select`.
    """

    target: str
    summary: str
    learned: bool = False
    asks: bool = False
    shipped: bool = False


_REGISTRY: dict[str, dict[str, Entry]] = {
    "samplers": {
        "aks": Entry(
            "vidsampler.samplers.aks:SAMPLER",
            "--query: best frames, or a share for each part (AKS)",
            asks=True,
        ),
        "bolt": Entry(
            "vidsampler.samplers.bolt:SAMPLER",
            "--query: drawn evenly along the sum of scores (BOLT)",
            asks=True,
        ),
        "coverage": Entry(
            "vidsampler.samplers.coverage:SAMPLER",
            "the default: varied, sharp, not black, nothing twice",
        ),
        "gate": Entry(
            "vidsampler.samplers.gate:GateSampler",
            "learned: keeps or skips each frame (mmSampler)",
            learned=True,
        ),
        "keyframe": Entry(
            "vidsampler.samplers.keyframe:SAMPLER",
            "keyframes, evenly spread: the cheapest to decode",
        ),
        "learned": Entry(
            "vidsampler.learned:LEARNED",
            "of select: a topk that is trained and shipped",
            shipped=True,
        ),
        "mdp3": Entry(
            "vidsampler.samplers.mdp3:SAMPLER",
            "--query: frames that fit and differ (MDP3, a DPP)",
            asks=True,
        ),
        "random": Entry(
            "vidsampler.samplers.random:SAMPLER",
            "drawn at random, the same frames for the same seed",
        ),
        "scene": Entry(
            "vidsampler.samplers.scene:SAMPLER",
            "frames from the shots that scene cuts separate",
        ),
        "topk": Entry(
            "vidsampler.samplers.topk:TopKSampler",
            "learned: the K frames of the highest scores (AdaCLIP)",
            learned=True,
        ),
        "topscore": Entry(
            "vidsampler.samplers.topscore:SAMPLER",
            "--query: the frames of the highest scores",
            asks=True,
        ),
        "uniform": Entry(
            "vidsampler.samplers.uniform:SAMPLER",
            "the middles of K equal segments of the video",
        ),
    },
    "heads": {
        "emcl": Entry(
            "vidsampler.heads.emcl:Emcl",
            "EM over the whole gallery (EMCL-Net); transductive",
        ),
        "emcl-features": Entry(
            "vidsampler.heads.emcl_features:EmclFeatures",
            "EM bases learned in training, fixed afterwards",
        ),
        "mean": Entry(
            "vidsampler.heads.mean:Mean",
            "the mean of the frames (CLIP4Clip)",
        ),
        "mlp": Entry(
            "vidsampler.heads.mlp:MLPScore",
            "frames weighted by an MLP's scores (AdaCLIP)",
        ),
        "qscore": Entry(
            "vidsampler.heads.qscore:QueryScore",
            "frames weighted by their fit to the query",
        ),
        "seq": Entry(
            "vidsampler.heads.seq:Sequence",
            "a transformer over the frames, then the mean",
        ),
        "seqlstm": Entry(
            "vidsampler.heads.seqlstm:SequenceLSTM",
            "an LSTM over the frames, then the mean",
        ),
        "tmass": Entry(
            "vidsampler.heads.tmass:TMass",
            "the text as a ball, on pooling by the text (T-MASS)",
        ),
        "transformer": Entry(
            "vidsampler.heads.transformer:TransformerScore",
            "frames scored after they saw each other",
        ),
        "xpool": Entry(
            "vidsampler.heads.xpool:XPool",
            "the text pools the frames (X-Pool)",
        ),
    },
    "backbones": {
        "grid": Entry(
            "vidsampler.backbones.config:GRID",
            "colours and edges of 8 x 8 cells; no texts",
        ),
        "shapes": Entry(
            "vidsampler.backbones.config:SHAPES",
            "a CLIP small enough to learn `shapes` on a laptop",
        ),
        "small": Entry(
            "vidsampler.backbones.config:SMALL",
            "our small CNN, untrained; no texts",
        ),
        "tiny": Entry(
            "vidsampler.backbones.config:TINY",
            "a small seeded CLIP, untrained: for tests and trials",
        ),
    },
    "methods": {
        "adaclip": Entry("vidsampler.methods:ADACLIP", "topk of K frames, mlp over them (AdaCLIP)"),
        "clip4clip": Entry(
            "vidsampler.methods:CLIP4CLIP", "no policy: all frames, their mean (CLIP4Clip)"
        ),
        "default": Entry(
            "vidsampler.methods:DEFAULT", "no captions: topk learns to show the whole (folder)"
        ),
        "emcl": Entry("vidsampler.methods:EMCL", "all frames, EM over the gallery (EMCL-Net)"),
        "mmsampler": Entry(
            "vidsampler.methods:MMSAMPLER", "gate held to half the frames, their mean (mmSampler)"
        ),
        "tmass": Entry("vidsampler.methods:TMASS", "all frames, texts as balls (T-MASS)"),
        "xpool": Entry("vidsampler.methods:XPOOL", "all frames, pooled by the text (X-Pool)"),
    },
    "datasets": {
        "activitynet": Entry(
            "vidsampler.datasets.activitynet:READER", "ActivityNet Captions, one paragraph a video"
        ),
        "captions": Entry(
            "vidsampler.datasets.captions:READER",
            "your own videos, with a table or files of captions",
        ),
        "charades": Entry(
            "vidsampler.datasets.charades:READER", "Charades, one description a video"
        ),
        "didemo": Entry("vidsampler.datasets.didemo:READER", "DiDeMo, one paragraph a video"),
        "folder": Entry("vidsampler.datasets.folder:READER", "a folder of videos without captions"),
        "lsmdc": Entry("vidsampler.datasets.lsmdc:READER", "LSMDC, one caption a movie clip"),
        "msrvtt": Entry(
            "vidsampler.datasets.msrvtt:READER", "MSR-VTT 1k-A, with the 9k or 7k list to train on"
        ),
        "msrvtt-full": Entry(
            "vidsampler.datasets.msrvtt_full:READER",
            "MSR-VTT with its official splits, 20 captions a video",
        ),
        "msvd": Entry("vidsampler.datasets.msvd:READER", "MSVD, about 40 captions a video"),
        "shapes": Entry(
            "vidsampler.datasets.shapes.reader:READER",
            "rendered here: the frames that matter are known",
        ),
        "vatex": Entry("vidsampler.datasets.vatex:READER", "VATEX, ten English captions a video"),
    },
}

KINDS: tuple[str, ...] = tuple(_REGISTRY)


def names(kind: str) -> tuple[str, ...]:
    """The names of one kind, sorted.

    Raises:
        UsageError: There is no such kind.
    """
    return tuple(sorted(_of_kind(kind)))


def entry(kind: str, name: str) -> Entry:
    """Where a name points to, without importing it.

    Raises:
        UsageError: No such kind or name; the message has the nearest name.
    """
    entries = _of_kind(kind)
    if name not in entries:
        raise UsageError(
            unknown(kind.removesuffix("s"), name, sorted(entries)),
            hint=f"see: vidsampler list {kind}",
        )
    return entries[name]


def load(kind: str, name: str) -> Any:
    """The registered object itself; its module is imported now.

    Raises:
        UsageError: No such kind or name.
    """
    module, _, attribute = entry(kind, name).target.partition(":")
    return getattr(import_module(module), attribute)


def check_ready(sampler: str, *, question: bool = False) -> None:
    """A sampler that chooses frames without a checkpoint of the user's.

    Args:
        sampler: Its name.
        question: Whether there is one to choose by.

    Raises:
        UsageError: No such sampler, it is a learned one, or it needs a question and there is none,
            or the other way round.
    """
    found = entry("samplers", sampler)
    if found.asks and not question:
        raise UsageError(
            f"{sampler} chooses frames by a question, and there is none",
            hint="ask with --query TEXT and name an image-text model with --backbone",
        )
    if question and not found.asks and not found.learned:
        raise UsageError(
            f"{sampler} does not look at a question (--query)",
            hint=f"those that do: {', '.join(asking_samplers())}",
        )
    if found.learned:
        raise UsageError(
            f"{sampler} is a learned sampler; it works inside a trained retriever",
            hint="give the run that trained it with select --checkpoint RUN; those that need no "
            f"training: {', '.join(training_free_samplers())}",
        )


def default_sampler(*, question: bool = False) -> str:
    """The sampler of `select` where none is named, with a question and without."""
    return "mdp3" if question else "coverage"


def training_free_samplers() -> tuple[str, ...]:
    """Names of the samplers that need neither weights nor a question, sorted."""
    found = ((name, entry("samplers", name)) for name in names("samplers"))
    return tuple(name for name, each in found if not (each.learned or each.asks or each.shipped))


def asking_samplers() -> tuple[str, ...]:
    """Names of the samplers that choose by a question, sorted."""
    return tuple(name for name in names("samplers") if entry("samplers", name).asks)


def _of_kind(kind: str) -> dict[str, Entry]:
    if kind not in _REGISTRY:
        raise UsageError(unknown("kind", kind, KINDS), hint="see: vidsampler list")
    return _REGISTRY[kind]
