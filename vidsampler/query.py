"""Questions about a video: an image-text model, and which frames it finds for them.

Importing this costs nothing: torch comes with the model.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vidsampler.backbones.config import BackboneConfig
from vidsampler.errors import UsageError, VidsamplerError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from vidsampler.backbones.model import Backbone
    from vidsampler.feature_cache import FeatureCache
    from vidsampler.preprocess import PixelInput
    from vidsampler.samplers.scores import QuerySampler
    from vidsampler.video import Video

_QUOTED = 60
"""Letters of a question in a note."""
_DECODED = 256
"""Frames that are held at once."""
_ENCODED = {"cpu": 4, "cuda": 64}
"""Frames of one pass through the image tower. On a CPU, the large layers of more frames than these
cost more in fresh memory than in arithmetic."""


def check_one_sampler(sampler: str | None, checkpoint: str | None, *, question: bool) -> None:
    """A checkpoint brings its own sampler, which asks nothing.

    Raises:
        UsageError: There is another one, or a question.
    """
    if checkpoint is not None and sampler is not None:
        raise UsageError(
            f"the sampler is that of the checkpoint (--checkpoint), not {sampler} (--sampler)",
            hint="leave one of them out",
        )
    if checkpoint is not None and question:
        raise UsageError(
            "the sampler of a checkpoint (--checkpoint) does not look at a question (--query)",
            hint="leave one of them out",
        )


def check_questions(
    questions: Sequence[str],
    k: int,
    min_gap: float = 0.0,
    backbone: str | None = None,
    pretrained: str = "auto",
    precision: str = "fp32",
    *,
    model: bool = False,
) -> None:
    """Refuses questions that cannot be asked, and settings that do nothing without one.

    Args:
        questions: None or more.
        k: Frames to keep.
        min_gap: Seconds.
        backbone: Name of a model.
        pretrained: Its weights.
        precision: What it computes in.
        model: There is one already.

    Raises:
        UsageError: In one sentence.
    """
    if any(not question.strip() for question in questions):
        raise UsageError(
            "the question (--query) is empty", hint='ask something: --query "a dog on a beach"'
        )
    for question in questions:
        if any("\ud800" <= letter <= "\udfff" for letter in question):
            raise UsageError(
                f"the question (--query) {question!r} is not text", hint="write it in UTF-8"
            )
    if not 0 <= min_gap < float("inf"):
        raise UsageError(f"min_gap (--min-gap) must be from 0 seconds on, not {min_gap:g}")
    if not questions:
        for flag, given in (
            ("--min-gap", min_gap > 0),
            ("--backbone", backbone is not None),
            ("--pretrained", pretrained != "auto"),
            ("--precision", precision != "fp32"),
        ):
            if given:
                raise UsageError(
                    f"{flag} does nothing without a question", hint="ask one with --query TEXT"
                )
        return
    if backbone is None and not model:
        raise UsageError(
            "a question (--query) needs an image-text model that scores frames, and none is named",
            hint="add --backbone with an open_clip model such as ViT-B-32-quickgelu (its weights "
            "are fetched), or the path of a model",
        )
    if len(questions) > k:
        raise UsageError(
            f"{len(questions)} questions share the kept frames, so at least {len(questions)} must "
            f"be kept, not {k}",
            hint=f"try -k {2 * len(questions)}",
        )


def shortened(question: str) -> str:
    """A question as notes quote it."""
    return question if len(question) <= _QUOTED else f"{question[: _QUOTED - 3]}..."


class ImageText:
    """An image-text model that scores frames by questions; loaded when it is first needed.

    Args:
        backbone: An open_clip model, a registered backbone, the path of a model, or
            `hf-hub:ORG/NAME`.
        pretrained: Its weights; see `BackboneConfig`.
        precision: `fp32`, `bf16` or `auto`, as of `BackboneConfig`.
        device: Such as "cuda:0"; None: a graphics card where there is one.

    Raises:
        ConfigError: The precision is none of the two.

    Example:
        >>> import vidsampler
        >>> model = ImageText("ViT-B-32-quickgelu")                                # doctest: +SKIP
        >>> vidsampler.select("clip.mp4", query="a dog", model=model)              # doctest: +SKIP
        >>> vidsampler.select("clip.mp4", query="a cat", model=model)              # doctest: +SKIP
    """

    def __init__(
        self,
        backbone: str,
        pretrained: str = "auto",
        precision: str = "fp32",
        device: str | None = None,
    ) -> None:
        # Questions are cut at the model's own context length; any L below it loads the model.
        self.config = BackboneConfig(backbone, pretrained, precision, words=2)  # type: ignore[arg-type]
        self._device = device

    @cached_property
    def _loaded(self) -> tuple[Backbone, PixelInput]:
        import torch

        from vidsampler.backbones.model import load_backbone
        from vidsampler.retriever_files import pixels_of

        device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        backbone = load_backbone(self.config).to(device)
        pixels = pixels_of(backbone.pixel_input, self.config.name)
        backbone.cast_for_inference()
        return backbone, pixels

    def load(self) -> None:
        """Loads the model now.

        Raises:
            UsageError: There is no such model, or its weights do not fit.
            VidsamplerError: It cannot be fetched, or a package is missing.
        """
        _ = self._loaded, self.key

    @property
    def precision(self) -> str:
        """What it computes in, there."""
        return self._loaded[0].precision

    @property
    def device(self) -> str:
        """Where it computes."""
        return str(self._loaded[0].logit_scale.device)

    @property
    def frame_size(self) -> int:
        """Pixels of the shorter side of the frames that it wants."""
        return self._loaded[1].size

    @cached_property
    def key(self) -> str:
        """Depends on all that features depend on: weights, architecture, pixels, precision."""
        backbone, pixels = self._loaded
        parts = (backbone.fingerprint(), repr(pixels), backbone.precision)
        kind = self.device.partition(":")[0]
        return hashlib.sha256("\n".join((*parts, kind)).encode()).hexdigest()[:32]

    @cached_property
    def gmacs_frame(self) -> float:
        """GMACs of one frame, counted on the model."""
        import torch

        from vidsampler.flops import count

        backbone, pixels = self._loaded
        one = torch.zeros(1, 3, pixels.size, pixels.size, device=self.device)
        return count(lambda: backbone.encode_frames(one))

    @cached_property
    def gmacs_text(self) -> float:
        """GMACs of one question."""
        import torch

        from vidsampler.flops import count

        backbone = self._loaded[0]
        one = torch.zeros(1, backbone.context, dtype=torch.long, device=self.device)
        return count(lambda: backbone.encode_texts(one))

    def frames(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """(N, D) features of length 1.

        Args:
            pictures: N arrays (H, W, 3) uint8; best with a shorter side of `frame_size`.

        Raises:
            VidsamplerError: The model computes numbers that are not finite.
        """
        import numpy as np
        import torch

        backbone, pixels = self._loaded
        batch = _ENCODED.get(self.device.partition(":")[0], 16)
        found = []
        with torch.inference_mode():
            for start in range(0, len(pictures), batch):
                squares = [
                    pixels(torch.from_numpy(each).to(self.device).permute(2, 0, 1)[None])
                    for each in pictures[start : start + batch]
                ]
                found.append(self._unit(backbone.encode_frames(torch.cat(squares)), "frames"))
        return np.concatenate(found)

    def texts(self, questions: Sequence[str]) -> tuple[npt.NDArray[np.float32], list[str]]:
        """(Q, D) features of length 1, and the questions that were too long and were cut.

        Raises:
            VidsamplerError: The model computes numbers that are not finite.
        """
        import numpy as np
        import torch

        backbone = self._loaded[0]
        found, cut = [], []
        with torch.inference_mode():
            # One by one, so that no score depends on what else is asked.
            for question in questions:
                tokens = backbone.tokenize([question], backbone.context)
                cut += [question] if tokens.cut else []
                encoded = backbone.encode_texts(tokens.ids_TL.to(self.device))
                found.append(self._unit(encoded, "questions"))
        return np.concatenate(found), cut

    def _unit(self, features: Any, what: str) -> npt.NDArray[np.float32]:
        import torch

        if not bool(torch.isfinite(features).all()):
            raise VidsamplerError(
                f"{self.config.name} computes features of {what} that are not finite",
                hint="its weights may be damaged, or another --precision may do",
            )
        unit: npt.NDArray[np.float32] = torch.nn.functional.normalize(features).cpu().numpy()
        return unit


@dataclass(frozen=True, eq=False)
class Seen:
    """The candidates of a video, as a model sees them.

    Attributes:
        numbers_N: Their frame numbers, ascending.
        features_ND: Of length 1.
        cached: They were there already: nothing was decoded or encoded.
        decoding, encoding: Seconds.
        note: What a user should know, or nothing.
    """

    numbers_N: npt.NDArray[np.int64]
    features_ND: npt.NDArray[np.float32]
    cached: bool
    decoding: float = 0.0
    encoding: float = 0.0
    note: str = ""


def see(
    source: Video,
    numbers_N: npt.NDArray[np.int64],
    model: ImageText,
    cache: FeatureCache | None,
) -> Seen:
    """Features of some frames, from the cache if they are there.

    Args:
        source: The video.
        numbers_N: Frame numbers, ascending, each once.
        model: Encodes them.
        cache: Where features are kept, or None.

    Returns:
        Their features; with ``source.salvage`` without those that cannot be decoded.

    Raises:
        InputError: A frame cannot be decoded.
        VidsamplerError: As `ImageText.frames`.
    """
    import numpy as np

    key = None
    if cache is not None:
        key = cache.key(source, model.key, model.precision, numbers_N)
        found = cache.load(key, numbers_N)
        if found is not None:
            return Seen(*found, cached=True)
    seen, parts = [], []
    decoding = encoding = 0.0
    for start in range(0, len(numbers_N), _DECODED):
        clock = time.perf_counter()
        some = source.frames(numbers_N[start : start + _DECODED], model.frame_size)
        decoding += time.perf_counter() - clock
        if some:
            clock = time.perf_counter()
            parts.append(model.frames([frame.rgb for frame in some]))
            seen += [frame.number for frame in some]
            encoding += time.perf_counter() - clock
    if not parts:
        return Seen(numbers_N[:0], np.zeros((0, 1), np.float32), cached=False)
    features_ND = np.concatenate(parts)
    numbers = np.array(seen, np.int64)
    note = ""
    if cache is not None and key is not None:
        try:
            cache.store(key, numbers, features_ND)
        except VidsamplerError as error:
            note = f"features are not kept for the next question: {error.message}"
    return Seen(numbers, features_ND, False, decoding, encoding, note)


def choose_by_questions(
    sampler: QuerySampler,
    scores_QN: npt.NDArray[Any],
    features_ND: npt.NDArray[Any],
    times_N: npt.NDArray[Any],
    k: int,
    min_gap: float = 0.0,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Shares the budget among questions: each gets its frames in turn, out of those left.

    Args:
        sampler: Chooses for one question.
        scores_QN: Of Q questions and N candidates.
        features_ND: Of the candidates.
        times_N: Seconds, ascending.
        k: How many frames to keep, at least Q; the first questions get one more where it does not
            divide evenly.
        min_gap: Seconds between two kept frames, at least; see `keep_apart`.

    Returns:
        (K,) kept candidates, ascending, and (K,) for which question each is kept.
    """
    import numpy as np

    from vidsampler.samplers.gaps import keep_apart
    from vidsampler.samplers.scores import unit_scale

    questions, count = scores_QN.shape
    owner_N = np.full(count, -1)
    for number in range(questions):
        share = k // questions + (number < k % questions)
        free = np.flatnonzero(owner_N < 0)
        if len(free):
            choice = sampler.choose(
                scores_QN[number, free], features_ND[free], times_N[free], share
            )
            owner_N[free[choice.indices]] = number
    unit_QN = np.stack([unit_scale(scores_N) for scores_N in scores_QN])
    kept = keep_apart(times_N, np.flatnonzero(owner_N >= 0), unit_QN.max(0), k, min_gap)
    owners = np.where(owner_N[kept] >= 0, owner_N[kept], unit_QN[:, kept].argmax(0))
    return kept, owners
