"""Message content as the documented formats have it, key by key."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidsampler.errors import UsageError
from vidsampler.handover import FORMATS, Shot, Source, message

SHOTS = [Shot(30, 1.2, b"one"), Shot(107, 4.28, b"two")]
SOURCE = Source(fps=25.0, duration=22.0, frames=550)
ONE, TWO = "b25l", "dHdv"  # base64 of "one" and "two"


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


FIRST, SECOND = "Frame 1, at 0:00:01.200:", "Frame 2, at 0:00:04.280:"


def test_openai() -> None:
    def picture(data: str) -> dict[str, object]:
        return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}}

    assert message("openai", SHOTS, SOURCE, "What is red?") == {
        "messages": [
            {
                "role": "user",
                "content": [
                    text(FIRST),
                    picture(ONE),
                    text(SECOND),
                    picture(TWO),
                    text("What is red?"),
                ],
            }
        ]
    }


def test_anthropic() -> None:
    def picture(data: str) -> dict[str, object]:
        source = {"type": "base64", "media_type": "image/jpeg", "data": data}
        return {"type": "image", "source": source}

    assert message("anthropic", SHOTS, SOURCE, "What is red?") == {
        "messages": [
            {
                "role": "user",
                "content": [
                    text(FIRST),
                    picture(ONE),
                    text(SECOND),
                    picture(TWO),
                    text("What is red?"),
                ],
            }
        ]
    }


def test_gemini() -> None:
    assert message("gemini", SHOTS, SOURCE, "What is red?") == {
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": FIRST},
                    {"inline_data": {"mime_type": "image/jpeg", "data": ONE}},
                    {"text": SECOND},
                    {"inline_data": {"mime_type": "image/jpeg", "data": TWO}},
                    {"text": "What is red?"},
                ],
            }
        ]
    }


def test_qwen3_vl() -> None:
    urls = [f"data:image/jpeg;base64,{data}" for data in (ONE, TWO)]
    assert message("qwen3-vl", SHOTS, SOURCE, "What is red?") == {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "video", "video": urls}, text("What is red?")],
            }
        ],
        "videos_kwargs": {
            "video_metadata": [
                {
                    "fps": 25.0,
                    "frames_indices": [30, 107],
                    "total_num_frames": 550,
                    "duration": 22.0,
                }
            ],
            "do_sample_frames": False,
        },
    }


def test_qwen25_vl() -> None:
    shots = [Shot(each.number, each.time, each.jpeg, Path("/kept/a.jpg")) for each in SHOTS]
    # One frame in 3.08 seconds.
    assert message("qwen2.5-vl", shots, SOURCE, "What is red?") == {
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "video",
                        "video": ["/kept/a.jpg", "/kept/a.jpg"],
                        "fps": 0.324675,
                        "sample_fps": 0.324675,
                    },
                    text(
                        "The frames of this video of 0:00:22.000 were taken at 0:00:01.200, "
                        "0:00:04.280."
                    ),
                    text("What is red?"),
                ],
            }
        ]
    }


@pytest.mark.parametrize("name", FORMATS)
def test_without_a_question_the_frames_come_last(name: str) -> None:
    plain, asked = (message(name, SHOTS, SOURCE, each) for each in ("", "Why?"))
    turns, key = ("contents", "parts") if name == "gemini" else ("messages", "content")
    (turn,), (asked_turn,) = plain[turns], asked[turns]
    assert turn[key] == asked_turn[key][:-1]
    assert turn["role"] == "user"


def metadata(shots: list[Shot], source: Source) -> tuple[float, list[int], int]:
    found = message("qwen3-vl", shots, source)["videos_kwargs"]["video_metadata"][0]
    return found["fps"], found["frames_indices"], found["total_num_frames"]


def test_times_of_a_variable_frame_rate_stay_real() -> None:
    # Frame 2 is shown at 5 s, not at 2 / 25 s.
    shots = [Shot(0, 0.0, b""), Shot(2, 5.0, b""), Shot(3, 9.9996, b"")]
    fps, indices, total = metadata(shots, Source(25.0, 12.0, 300))
    assert (fps, indices, total) == (1000.0, [0, 5000, 10000], 12000)
    # So they do where the first frame is not at 0, or no rate is known.
    assert metadata([Shot(0, 1.5, b"")], Source(25.0, 3.0, 30))[:2] == (1000.0, [1500])
    assert metadata([Shot(9, 1.5, b"")], Source(0.0, 1.0, 30)) == (1000.0, [1500], 1501)


def test_ntsc_rates_are_constant_ones() -> None:
    rate = 30000 / 1001
    shots = [Shot(n, n / rate, b"") for n in (0, 17, 5394)]
    assert metadata(shots, Source(rate, 180.0, 5395)) == (29.97003, [0, 17, 5394], 5395)


def test_one_frame_has_a_rate_too() -> None:
    video = message("qwen2.5-vl", SHOTS[:1], SOURCE)["messages"][0]["content"][0]
    assert (video["fps"], video["sample_fps"]) == (1.0, 1.0)


def test_an_unknown_model_is_an_error_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'qwen3-vl'\?"):
        message("qwen-3-vl", SHOTS, SOURCE)
    with pytest.raises(ValueError, match="no frame"):
        message("openai", [], SOURCE)


@pytest.mark.slow
def test_transformers_takes_the_frames_and_their_times(tmp_path: Path) -> None:
    processing = pytest.importorskip("transformers.models.qwen3_vl.processing_qwen3_vl")
    videos = pytest.importorskip("transformers.models.qwen3_vl.video_processing_qwen3_vl")
    shots = []
    for number, seconds in ((0, 0.0), (50, 2.0), (100, 4.0), (500, 20.0)):
        buffer = io.BytesIO()
        Image.fromarray(np.full((64, 64, 3), number % 256, np.uint8)).save(buffer, "JPEG")
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(buffer.getvalue())
        shots.append(Shot(number, seconds, buffer.getvalue(), path if number else None))
    made = message("qwen3-vl", shots, SOURCE)
    frames = made["messages"][0]["content"][0]["video"]
    assert frames[0].startswith("data:image/jpeg;base64,")
    assert frames[1] == str(tmp_path / "50.jpg")
    processor = videos.Qwen3VLVideoProcessor()
    # As a chat template hands them on: conversations, videos of each, frames of each.
    options = {"return_metadata": True, "return_tensors": "pt"}
    found = processor([[frames]], **made["videos_kwargs"], **options)
    # Two frames make one patch in time.
    assert found["video_grid_thw"][0, 0] == 2
    kept = found["video_metadata"][0]
    times = processing.Qwen3VLProcessor._calculate_timestamps(
        None, kept.frames_indices, kept.fps, processor.temporal_patch_size
    )
    assert times == pytest.approx([1.0, 12.0])
