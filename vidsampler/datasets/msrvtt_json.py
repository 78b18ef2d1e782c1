"""The json of MSR-VTT: {videos: [{video_id, split, ...}], sentences: [{video_id, caption}]}.

"start time" and "end time" are places in the YouTube videos that the clips were cut from. The
clips are what is passed round, so they are no time window here.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from vidsampler.datasets.gather import CaptionsOf, tidy
from vidsampler.datasets.reading import damaged, expect, find, member, missing, read_json, shown

JOINED = "MSRVTT_data.json"
OFFICIAL = ("train_val_videodatainfo.json", "test_videodatainfo.json")


class MsrvttJson(NamedTuple):
    """What the json says.

    Attributes:
        captions: id -> captions.
        official: id -> "train", "validate" or "test", where it says so.
        files: What was read.
        names: The same for messages.
        lacks: Which of the two official files is not there; "" if nothing is missing.
    """

    captions: CaptionsOf
    official: dict[str, str]
    files: list[Path]
    names: str
    lacks: str


def read_msrvtt_json(dataset: str, folder: Path, counts: Counter[str]) -> MsrvttJson:
    """Reads the joined file, or else the two official ones or the one of them that is there.

    Raises:
        InputError: There is none, or it is damaged.
    """
    joined = find(folder, JOINED)
    files = [joined] if joined else [path for name in OFFICIAL if (path := find(folder, name))]
    if not files:
        raise missing(dataset, folder, (JOINED, *OFFICIAL))
    captions: dict[str, list[str]] = {}
    official: dict[str, str] = {}
    for path in files:
        whole = read_json(path)
        _read_videos(path, member(path, "", whole, "videos"), captions, official, counts)
        _read_sentences(path, member(path, "", whole, "sentences"), captions, counts)
    finished = {video: tuple(each) for video, each in captions.items()}
    found = [path.name for path in files]
    lacks = "" if joined else "".join(name for name in OFFICIAL if name not in found)
    return MsrvttJson(finished, official, files, " and ".join(found), lacks)


def _read_videos(
    path: Path,
    videos: object,
    captions: dict[str, list[str]],
    official: dict[str, str],
    counts: Counter[str],
) -> None:
    if not isinstance(videos, list):
        raise damaged(path, "videos", f"expected a list of videos, found {shown(videos)}")
    for number, each in enumerate(videos):
        where = f"videos[{number}]"
        video = member(path, where, each, "video_id")
        expect(path, f"{where}.video_id", video, str, "the id of a video")
        split = each.get("split")
        if video in captions:
            if official.get(video) != split:
                problem = f"the id {video!r} is there twice, in two splits; expected it once"
                raise damaged(path, where, problem)
            counts["repeated_ids_dropped"] += 1
        captions.setdefault(video, [])
        if split is not None:
            expect(path, f"{where}.split", split, str, "the name of a split")
            official[video] = split


def _read_sentences(
    path: Path, sentences: object, captions: dict[str, list[str]], counts: Counter[str]
) -> None:
    if not isinstance(sentences, list):
        raise damaged(path, "sentences", f"expected a list of captions, found {shown(sentences)}")
    for number, each in enumerate(sentences):
        # 200,000 of them: places are put into words only where something is wrong.
        try:
            text = tidy(each["caption"])
            own = captions[each["video_id"]]
        except (KeyError, TypeError, AttributeError):
            _explain(path, f"sentences[{number}]", each, captions)
            raise
        if text:
            own.append(text)
        else:
            counts["empty_captions_dropped"] += 1


def _explain(path: Path, where: str, sentence: object, captions: dict[str, list[str]]) -> None:
    """Raises the InputError for a sentence that cannot be used."""
    caption = member(path, where, sentence, "caption")
    expect(path, f"{where}.caption", caption, str, "a caption")
    video = member(path, where, sentence, "video_id")
    expect(path, f"{where}.video_id", video, str, "the id of a video")
    problem = f'expected one of the {len(captions):,} ids of "videos", found {video!r}'
    raise damaged(path, f"{where}.video_id", problem)
