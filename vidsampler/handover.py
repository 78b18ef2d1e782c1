"""Kept frames as the message content that vision-language models take.

Formats as documented in 2026: Qwen3-VL and Qwen2.5-VL through transformers' chat templates (and
qwen-vl-utils), OpenAI's Chat Completions, Anthropic's Messages, Gemini's generateContent. Each
result is the part of a request that holds the conversation; model, limits and keys are the user's.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidsampler.errors import UsageError, unknown
from vidsampler.timecode import format_time

_TOLERANCE = 0.02
"""Seconds by which frame number / fps may miss a frame's time: Qwen3-VL shows tenths."""
_TICKS = 1000


@dataclass(frozen=True)
class Shot:
    """A kept frame.

    Attributes:
        number: Of the frame in the source.
        time: Seconds from the container's start.
        jpeg: The picture.
        path: The file that holds it; None: it is handed over as base64.
    """

    number: int
    time: float
    jpeg: bytes
    path: Path | None = None


@dataclass(frozen=True)
class Source:
    """The video that frames were taken from.

    Attributes:
        fps: Mean frames a second, 0 where it cannot be told.
        duration: Seconds.
        frames: How many it has.
    """

    fps: float
    duration: float
    frames: int


def check_format(name: str) -> None:
    """Raises UsageError where there is no such format."""
    if name not in _MAKERS:
        raise UsageError(unknown("model to hand frames to (--for)", name, FORMATS))


def message(name: str, shots: Sequence[Shot], source: Source, question: str = "") -> dict[str, Any]:
    """Frames, their times and a question as one user's turn.

    Args:
        name: One of `FORMATS`.
        shots: Frames in time order, at least one.
        source: Where they are from.
        question: Stands after the frames; none if it is empty.

    Returns:
        For `qwen3-vl`: `messages` and `videos_kwargs`, both arguments of
        `processor.apply_chat_template`; for `gemini`: `contents`; else: `messages`.

    Raises:
        UsageError: There is no such format.
        ValueError: There is no frame.
    """
    check_format(name)
    if not shots:
        raise ValueError("there is no frame to hand over")
    return _MAKERS[name](shots, source, question)


def _qwen3(shots: Sequence[Shot], source: Source, question: str) -> dict[str, Any]:
    """Pre-sampled frames have no times of their own: the model computes index / fps from these."""
    rate, indices, total = _clock(shots, source)
    metadata = {
        "fps": rate,
        "frames_indices": indices,
        "total_num_frames": total,
        "duration": round(source.duration, 6),
    }
    video = {"type": "video", "video": [_reference(shot) for shot in shots]}
    return {
        **_turn([video, *_text(question)]),
        "videos_kwargs": {"video_metadata": [metadata], "do_sample_frames": False},
    }


def _clock(shots: Sequence[Shot], source: Source) -> tuple[float, list[int], int]:
    """A frame rate, indices and a number of frames with index / rate = the frames' times.

    The source's own where its rate is constant and it starts at 0; else thousandths of a second.
    """
    if source.fps > 0 and all(
        abs(shot.number / source.fps - shot.time) <= _TOLERANCE for shot in shots
    ):
        return round(source.fps, 6), [shot.number for shot in shots], source.frames
    ticks = [max(0, round(shot.time * _TICKS)) for shot in shots]
    return float(_TICKS), ticks, max(round(source.duration * _TICKS), ticks[-1] + 1)


def _qwen25(shots: Sequence[Shot], source: Source, question: str) -> dict[str, Any]:
    """Qwen2.5-VL knows one rate for all frames; the times themselves stand in the text."""
    span = shots[-1].time - shots[0].time
    rate = round((len(shots) - 1) / span, 6) if span > 0 else 1.0
    times = ", ".join(format_time(shot.time) for shot in shots)
    video = {
        "type": "video",
        "video": [_reference(shot) for shot in shots],
        # Older versions of qwen-vl-utils read the first, newer ones the second.
        "fps": rate,
        "sample_fps": rate,
    }
    said = f"The frames of this video of {format_time(source.duration)} were taken at {times}."
    return _turn([video, *_text(said), *_text(question)])


def _openai(shots: Sequence[Shot], source: Source, question: str) -> dict[str, Any]:
    return _turn(
        _labelled(
            shots,
            question,
            lambda shot: {"type": "image_url", "image_url": {"url": _data_url(shot)}},
        )
    )


def _anthropic(shots: Sequence[Shot], source: Source, question: str) -> dict[str, Any]:
    def picture(shot: Shot) -> dict[str, Any]:
        data = {"type": "base64", "media_type": "image/jpeg", "data": _base64(shot)}
        return {"type": "image", "source": data}

    return _turn(_labelled(shots, question, picture))


def _gemini(shots: Sequence[Shot], source: Source, question: str) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    for number, shot in enumerate(shots, 1):
        parts.append({"text": _label(number, shot)})
        parts.append({"inline_data": {"mime_type": "image/jpeg", "data": _base64(shot)}})
    if question:
        parts.append({"text": question})
    return {"contents": [{"role": "user", "parts": parts}]}


def _labelled(
    shots: Sequence[Shot], question: str, picture: Callable[[Shot], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Each picture after a line with its number and time, the question last."""
    content: list[dict[str, Any]] = []
    for number, shot in enumerate(shots, 1):
        content += [*_text(_label(number, shot)), picture(shot)]
    return [*content, *_text(question)]


def _label(number: int, shot: Shot) -> str:
    return f"Frame {number}, at {format_time(shot.time)}:"


def _turn(content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def _text(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}] if text else []


def _reference(shot: Shot) -> str:
    # A plain path: transformers opens no file:// address, qwen-vl-utils opens both.
    return _data_url(shot) if shot.path is None else str(shot.path.absolute())


def _data_url(shot: Shot) -> str:
    return f"data:image/jpeg;base64,{_base64(shot)}"


def _base64(shot: Shot) -> str:
    return base64.b64encode(shot.jpeg).decode("ascii")


_MAKERS: dict[str, Callable[[Sequence[Shot], Source, str], dict[str, Any]]] = {
    "qwen3-vl": _qwen3,
    "qwen2.5-vl": _qwen25,
    "openai": _openai,
    "anthropic": _anthropic,
    "gemini": _gemini,
}
FORMATS: tuple[str, ...] = tuple(_MAKERS)
