"""Questions to a real file, with the tiny model: what is asked, kept, and remembered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vidsampler
from tests.data.make_clip import read_stamp
from vidsampler import registry
from vidsampler.errors import UsageError, VidsamplerError
from vidsampler.query import ImageText, choose_by_questions
from vidsampler.selection import Selection
from vidsampler.video import Video

CLIP = Path(__file__).parent / "data" / "clip.mp4"


@pytest.fixture(scope="module")
def model() -> ImageText:
    return ImageText("tiny")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def ask(model: ImageText, question: Any = "a red ball", **settings: Any) -> Selection:
    return vidsampler.select(CLIP, query=question, model=model, candidates=16, **settings)


def test_scores_are_cosines_of_frames_and_question(model: ImageText) -> None:
    selection = ask(model, k=3, sampler="topscore")
    assert (selection.sampler, selection.candidates) == ("topscore", 16)
    with Video(CLIP) as video:
        numbers = [frame.index for frame in selection.looked_at]
        frames = model.frames([frame.rgb for frame in video.frames(numbers, 96)])
    texts, cut = model.texts(["a red ball"])
    assert cut == []
    assert np.linalg.norm(frames, axis=1) == pytest.approx(np.ones(16), abs=1e-5)
    scores = (frames @ texts.T)[:, 0]
    best = np.sort(np.argsort(-scores, kind="stable")[:3])
    assert [frame.index for frame in selection.kept] == [numbers[i] for i in best]
    assert [f.score for f in selection.kept] == pytest.approx(scores[best], abs=1e-5)
    assert [f.score for f in selection.looked_at] == pytest.approx(scores, abs=1e-5)
    # Frame n of 16 is the middle of the n-th part of 550.
    assert numbers == [(2 * i + 1) * 550 // 32 for i in range(16)]


@pytest.mark.parametrize("sampler", registry.asking_samplers())
def test_every_sampler_on_a_file(model: ImageText, sampler: str) -> None:
    selection = ask(model, k=5, sampler=sampler)
    assert len(selection.kept) == 5
    assert [read_stamp(p) for p in selection.frames()] == [f.index for f in selection.kept]
    assert {frame.query for frame in selection.kept} == {"a red ball"}
    again = ask(model, k=5, sampler=sampler)
    assert again.kept == selection.kept
    assert again.cached


def test_the_default_sampler_with_a_question(model: ImageText) -> None:
    assert ask(model, k=2).sampler == registry.default_sampler(question=True)
    assert vidsampler.select(CLIP, k=2).sampler == registry.default_sampler() == "coverage"


def test_the_second_question_decodes_and_encodes_nothing(
    model: ImageText, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ask(model, k=4)
    assert not first.cached
    assert first.seconds["decode"] > 0
    assert first.gmacs == pytest.approx(16 * model.gmacs_frame + model.gmacs_text, abs=1e-3)

    def never(*_: object) -> None:
        raise AssertionError("nothing is to be decoded or encoded")

    monkeypatch.setattr(Video, "frames", never)
    monkeypatch.setattr(ImageText, "frames", never)
    second = ask(model, "a town at night", k=4)
    assert second.cached
    assert second.seconds["decode"] == 0
    assert second.gmacs == pytest.approx(model.gmacs_text, abs=1e-3)
    # The same question again gives the very same scores.
    assert ask(model, k=4).kept == first.kept
    # Another budget looks at the same candidates.
    assert ask(model, k=7).cached
    for others in ({"start": 1.0}, {"salvage": True}):
        with pytest.raises(AssertionError, match="nothing is to be decoded"):
            ask(model, k=4, **others)


def test_another_model_and_another_precision_are_other_features(model: ImageText) -> None:
    ask(model, k=2)
    assert ImageText("tiny").key == model.key
    assert ImageText("tiny", precision="bf16").key != model.key
    assert not ask(ImageText("tiny", precision="bf16"), k=2).cached
    assert not ask(ImageText("shapes"), k=2).cached
    assert ask(model, k=2).cached


def test_without_the_cache_nothing_is_written(model: ImageText, cache: Path) -> None:
    for _ in range(2):
        assert not ask(model, k=2, cache=False).cached
    assert not cache.exists()


def test_a_damaged_cache_is_made_again(model: ImageText, cache: Path) -> None:
    first = ask(model, k=4)
    (file,) = cache.rglob("*.npz")
    file.write_bytes(file.read_bytes()[:100])
    again = ask(model, k=4)
    assert not again.cached
    assert again.kept == first.kept
    assert ask(model, k=4).cached


def test_a_cache_that_cannot_be_written_is_a_note(model: ImageText, cache: Path) -> None:
    cache.write_text("a file in its place")
    selection = ask(model, k=4)
    assert len(selection.kept) == 4
    assert "features are not kept for the next question" in selection.notes[0]


def test_several_questions_share_the_budget(model: ImageText) -> None:
    questions = ("a red ball", "a town at night")
    selection = ask(model, questions, k=5, sampler="topscore")
    owners = [frame.query for frame in selection.kept]
    assert (owners.count(questions[0]), owners.count(questions[1])) == (3, 2)
    alone = ask(model, questions[0], k=3, sampler="topscore")
    assert {f.index for f in alone.kept} == {
        f.index for f in selection.kept if f.query == questions[0]
    }
    data = json.loads(json.dumps(selection.to_json()))
    assert data["queries"] == list(questions)
    assert (data["model"], data["cached"]) == ("tiny", False)
    assert data["kept"][0]["query"] in questions
    assert sorted(data["seconds"]) == ["decode", "encode", "sample"]


def test_min_gap(model: ImageText) -> None:
    selection = ask(model, k=4, sampler="topscore", min_gap=4.0)
    times = [frame.time for frame in selection.kept]
    assert len(times) == 4
    assert min(np.diff(times)) >= 4.0
    # From 0.68 to 21.28 s there is no room for more.
    assert len(ask(model, k=8, min_gap=9.0).kept) == 3


def test_the_budget_of_questions_by_hand() -> None:
    sampler = registry.load("samplers", "topscore")
    scores = np.array([[9, 8, 7, 0, 0, 0], [9, 0, 0, 1, 2, 3.0]])
    features, times = np.ones((6, 2)), np.arange(6.0)
    kept, owners = choose_by_questions(sampler, scores, features, times, 3)
    # The first question takes 0 and 1; 0 would be the second's best too, and is taken.
    assert (kept.tolist(), owners.tolist()) == ([0, 1, 5], [0, 0, 1])
    kept, owners = choose_by_questions(sampler, scores, features, times, 99)
    assert kept.tolist() == list(range(6))
    # With a gap, what takes another's place is kept for the question that it fits best.
    kept, owners = choose_by_questions(sampler, scores, features, times, 3, 2.0)
    assert (kept.tolist(), owners.tolist()) == ([0, 2, 5], [0, 0, 1])


def test_a_question_that_is_too_long_is_said_to_be_cut(model: ImageText) -> None:
    long = "a red ball " * 60
    (note,) = ask(model, long, k=2).notes
    quoted = "a red ball " * 5 + "a ..."
    assert note == f"too long for the model, its end is not read: {quoted}"


def test_a_score_does_not_depend_on_what_else_is_asked(model: ImageText) -> None:
    alone = model.texts(["a red ball"])[0]
    among = model.texts(["a cat", "a red ball " * 60, "a red ball"])[0]
    assert np.array_equal(alone[0], among[2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"query": "a dog"}, "needs an image-text model"),
        ({"query": "  ", "backbone": "tiny"}, "the question (--query) is empty"),
        ({"query": ["a", ""], "backbone": "tiny"}, "the question (--query) is empty"),
        ({"query": "a\udcff", "backbone": "tiny"}, "(--query) 'a\\udcff' is not text"),
        ({"query": "a", "backbone": "tniy"}, "unknown backbone 'tniy'; did you mean 'tiny'?"),
        ({"query": "a", "backbone": "no/such.json"}, "no backbone config no/such.json"),
        ({"query": ["a", "b"], "backbone": "tiny", "k": 1}, "at least 2 must be kept, not 1"),
        ({"query": "a", "backbone": "tiny", "sampler": "coverage"}, "does not look at a question"),
        ({"query": "a", "backbone": "tiny", "sampler": "topk"}, "topk is a learned sampler"),
        ({"query": "a", "backbone": "tiny", "min_gap": -1.0}, "min_gap (--min-gap) must be from 0"),
        (
            {"query": "a", "backbone": "tiny", "precision": "fp8"},
            "precision must be fp32, bf16 or auto",
        ),
        ({"sampler": "aks"}, "aks chooses frames by a question, and there is none"),
        ({"backbone": "tiny"}, "--backbone does nothing without a question"),
        ({"min_gap": 1.0}, "--min-gap does nothing without a question"),
    ],
)
def test_mistakes_are_one_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        vidsampler.select(CLIP, **settings)
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 2


def test_numbers_that_are_not_finite_are_an_error(model: ImageText) -> None:
    import torch

    broken = ImageText("tiny")
    broken.load()
    backbone, _ = broken._loaded
    with torch.no_grad():
        backbone.get_parameter("clip.visual.conv1.weight").fill_(float("inf"))
    with pytest.raises(VidsamplerError, match="features of frames that are not finite"):
        ask(broken, k=1, cache=False)


def test_a_named_backbone_is_loaded_by_select_itself() -> None:
    found = vidsampler.select(CLIP, 2, query="a ball", backbone="tiny", candidates=4, cache=False)
    assert found.model == "tiny"
    assert len(found.kept) == 2


def test_a_message_has_the_question_and_the_real_times(model: ImageText, tmp_path: Path) -> None:
    selection = ask(model, k=3)
    files = selection.write_frames(tmp_path / "kept", max_width=80)
    made = selection.message("qwen3-vl", files=files)
    (turn,) = made["messages"]
    assert turn["content"][0]["video"] == [str(file) for file in files]
    assert turn["content"][1] == {"type": "text", "text": "a red ball"}
    (facts,) = made["videos_kwargs"]["video_metadata"]
    assert facts["total_num_frames"] == 550
    times = [index / facts["fps"] for index in facts["frames_indices"]]
    assert times == pytest.approx([frame.time for frame in selection.kept])


def test_messages_need_no_question(tmp_path: Path) -> None:
    import base64
    import io

    from PIL import Image

    selection = vidsampler.select(CLIP, k=2, sampler="uniform")
    content = selection.message("anthropic", max_width=200)["messages"][0]["content"]
    assert [part["type"] for part in content] == ["text", "image"] * 2
    assert content[0]["text"] == "Frame 1, at 0:00:05.480:"
    picture = Image.open(io.BytesIO(base64.b64decode(content[1]["source"]["data"])))
    assert (picture.format, picture.size) == ("JPEG", (200, 112))
    # Without a width the frames stay as they are, and carry their numbers.
    data = selection.message("gemini")["contents"][0]["parts"][1]["inline_data"]["data"]
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert read_stamp(np.asarray(picture)) == 137
    files = selection.write_frames(tmp_path / "kept")
    from_files = selection.message("openai", files=files)["messages"][0]["content"]
    url = from_files[1]["image_url"]["url"]
    assert base64.b64decode(url.partition(",")[2]) == files[0].read_bytes()
