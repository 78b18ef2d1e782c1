"""Captions to token ids, cut to L words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vidsampler.backbones.weights import need_transformers
from vidsampler.errors import UsageError
from vidsampler.hub import from_hub_or_folder


class Tokens(NamedTuple):
    """Token ids of captions.

    Attributes:
        ids_TL: (T, context length) int64.
        cut: the share of captions that were longer than L, 0 to 1.
    """

    ids_TL: Tensor
    cut: float


class Tokenizer:
    """Cuts captions to L ids: the first L - 1, and the last one, which ends a caption.

    Args:
        encode: from captions to ids, with start and end, not cut and not padded.
        context: the length that the text tower wants.
        padding: the id behind the end.
    """

    def __init__(
        self, encode: Callable[[Sequence[str]], list[list[int]]], context: int, padding: int
    ) -> None:
        self.encode = encode
        self.context = context
        self.padding = padding

    def __call__(self, captions: Sequence[str], words: int) -> Tokens:
        """Token ids of captions.

        Args:
            captions: T of them.
            words: L, 2 up to the context length.

        Raises:
            UsageError: words is out of range.
        """
        if not 2 <= words <= self.context:
            raise UsageError(
                f"words must be from 2 to {self.context}, which is the context length of this "
                f"text model, not {words}"
            )
        ids_TL = torch.full((len(captions), self.context), self.padding, dtype=torch.int64)
        cut = 0
        for row, ids in enumerate(self.encode(captions) if captions else []):
            if len(ids) > words:
                cut += 1
                ids = [*ids[: words - 1], ids[-1]]
            ids_TL[row, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
        return Tokens(ids_TL, cut / max(1, len(captions)))


def make_tokenizer(name: str, text: dict[str, Any], context: int) -> Tokenizer:
    """The tokenizer that a model config asks for: CLIP's own, or one of Hugging Face.

    Raises:
        UsageError: Its way of putting ids together is not known here, or its text tower is for
            another tokenizer.
        VidsamplerError: It cannot be fetched, or needs a package that is missing.
    """
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    options = dict(text.get("tokenizer_kwargs", {}))
    where = text.get("hf_tokenizer_name") or text.get("hf_model_name")
    if not where:
        # A reduction mask drops words at random; it is for training from scratch.
        options.pop("reduction_mask", None)
        return clip_tokenizer(SimpleTokenizer, context, text.get("vocab_size"), **options)
    if text.get("tokenizer_mode"):
        raise UsageError(
            f"the tokenizer mode {text['tokenizer_mode']!r} of {name} is not supported"
        )
    need_transformers(name)
    hub = from_hub_or_folder(
        f"the tokenizer of {name}", where, lambda: HFTokenizer(where, context, **options)
    )
    inner = hub.tokenizer

    def encode_hub(captions: Sequence[str]) -> list[list[int]]:
        cleaned = [hub.clean_fn(caption) for caption in captions]
        ids: list[list[int]] = inner(cleaned, padding=False, truncation=False, verbose=False)[
            "input_ids"
        ]
        if hub.strip_sep_token:
            ids = [[0 if i == inner.sep_token_id else i for i in row] for row in ids]
        return ids

    return Tokenizer(encode_hub, context, inner.pad_token_id or 0)


def clip_tokenizer(
    kind: Any, context: int, vocabulary: int | None = None, **options: Any
) -> Tokenizer:
    """CLIP's own tokenizer.

    Args:
        kind: open_clip's `SimpleTokenizer`.
        context: the length that the text tower wants.
        vocabulary: how many ids the text tower knows; None: as many as CLIP's.
        options: its settings.

    Raises:
        UsageError: The text tower knows fewer ids than the tokenizer gives.
    """
    clip = kind(context_length=context, **options)
    if vocabulary is not None and vocabulary < clip.vocab_size:
        raise UsageError(
            f"the text tower knows {vocabulary:,} words and CLIP's tokenizer has "
            f"{clip.vocab_size:,}, so that it cannot read captions",
            hint="its weights were trained with another tokenizer, which they do not tell of",
        )

    def encode(captions: Sequence[str]) -> list[list[int]]:
        return [[clip.sot_token_id, *clip.encode(c), clip.eot_token_id] for c in captions]

    return Tokenizer(encode, context, 0)
