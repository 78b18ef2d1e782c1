"""Damaged annotation files: the error names file, place, what was expected and what was found."""

from __future__ import annotations

import json
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.datasets.writing import captions, msrvtt, read_with, write
from vidsampler import registry
from vidsampler.datasets import read
from vidsampler.datasets.safe_pickle import read_plain_pickle
from vidsampler.errors import InputError

ACTIVITYNET = {"v_a": {"sentences": ["One.", "Two."], "duration": 3}}


def refused(name: str, folder: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        read(name, folder)
    assert caught.value.exit_code == 2
    return caught.value


def cut(files: dict[str, Any]) -> None:
    files["MSRVTT_data.json"] = json.dumps(files["MSRVTT_data.json"])[:-40]


def break_json(files: dict[str, Any]) -> None:
    files["MSRVTT_data.json"] = '{"videos": [],\n "sentences": oops}'


def not_utf8(files: dict[str, Any]) -> None:
    files["MSRVTT_train.9k.csv"] = b"video_id\nvideo0\nvid\xe9o1\n"


def unknown_listed(files: dict[str, Any]) -> None:
    files["MSRVTT_train.9k.csv"] += "video77\nvideo78\n"


def unknown_tested(files: dict[str, Any]) -> None:
    files["MSRVTT_JSFUSION_test.csv"] += "ret9,msr9,video99,a cat\n"


def unknown_captioned(files: dict[str, Any]) -> None:
    files["MSRVTT_data.json"]["sentences"][3]["video_id"] = "video77"


def two_queries(files: dict[str, Any]) -> None:
    files["MSRVTT_JSFUSION_test.csv"] += "ret9,msr9,video4,another query\n"


def no_column(files: dict[str, Any]) -> None:
    files["MSRVTT_JSFUSION_test.csv"] = files["MSRVTT_JSFUSION_test.csv"].replace(
        ",sentence", ",sentense"
    )


def more_fields(files: dict[str, Any]) -> None:
    files["MSRVTT_JSFUSION_test.csv"] += "ret9,msr9,video1,a cat, a dog\n"


def open_quote(files: dict[str, Any]) -> None:
    files["MSRVTT_JSFUSION_test.csv"] += 'ret9,msr9,video1,"a cat\nret10,msr10,video2,a dog\n'


def no_caption_key(files: dict[str, Any]) -> None:
    del files["MSRVTT_data.json"]["sentences"][5]["caption"]


def caption_is_a_number(files: dict[str, Any]) -> None:
    files["MSRVTT_data.json"]["sentences"][5]["caption"] = 7


def in_two_splits(files: dict[str, Any]) -> None:
    files["MSRVTT_train.9k.csv"] += "video5\n"


def empty(files: dict[str, Any]) -> None:
    files["MSRVTT_train.9k.csv"] = "\ufeff\r\n"


def no_sentences(files: dict[str, Any]) -> None:
    del files["MSRVTT_data.json"]["sentences"]


def deep(files: dict[str, Any]) -> None:
    files["MSRVTT_data.json"] = "[" * 200_000


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "MSRVTT_data.json: line 1 column "),
        (cut, "the file ends in the middle (cut off?)"),
        (break_json, "MSRVTT_data.json: line 2 column 15: no JSON: Expecting value"),
        (not_utf8, "9k.csv: line 3: expected UTF-8 text, found the byte 0xe9"),
        (
            unknown_listed,
            "9k.csv: line 6: expected an id of MSRVTT_data.json; 'video77' is not in there "
            "(nor are 1 more)",
        ),
        (
            unknown_tested,
            "test.csv: line 4: expected an id of MSRVTT_data.json; 'video99' is not in there",
        ),
        (
            unknown_captioned,
            'MSRVTT_data.json: sentences[3].video_id: expected one of the 6 ids of "videos", '
            "found 'video77'",
        ),
        (two_queries, "test.csv: line 4: the id 'video4' is also on line 2, with another caption"),
        (
            no_column,
            "line 1: expected the column 'sentence', found key, vid_key, video_id, sentense",
        ),
        (more_fields, "test.csv: line 4: expected 4 fields, found 5: ['ret9', "),
        (open_quote, "test.csv: line 4: the row that starts here is no CSV"),
        (no_caption_key, "sentences[5]: expected the key 'caption', found 'video_id'"),
        (caption_is_a_number, "sentences[5].caption: expected a caption, found 7"),
        (in_two_splits, "JSFUSION_test.csv: expected each video in one split, found 'video5' in '"),
        (empty, "MSRVTT_train.9k.csv: the file is empty"),
        (no_sentences, "MSRVTT_data.json: expected the key 'sentences', found 'videos'"),
        (deep, "MSRVTT_data.json: no JSON of annotations: nested too deeply"),
    ],
)
def test_msrvtt(tmp_path: Path, damage: Callable[[dict[str, Any]], None], message: str) -> None:
    files = msrvtt()
    damage(files)
    assert message in refused("msrvtt", write(tmp_path, files)).message


def test_what_is_harmless_is_counted(tmp_path: Path) -> None:
    files = msrvtt()
    files["MSRVTT_data.json"]["sentences"] += [
        {"video_id": "video0", "caption": " \t"},
        {"video_id": "video0", "caption": "video0  caption 0"},
    ]
    files["MSRVTT_data.json"]["videos"].append(files["MSRVTT_data.json"]["videos"][0])
    files["MSRVTT_train.9k.csv"] += "video0\n\n"
    files["MSRVTT_JSFUSION_test.csv"] += "ret9,msr9,video4,video4 query\n"
    found = read_with("msrvtt", write(tmp_path, files), "val=0")
    assert found.notes == {
        "empty_captions_dropped": 1,
        "repeated_captions_kept": 1,
        "repeated_ids_dropped": 3,
    }
    assert captions(found)["train"]["video0"] == (
        "video0 caption 0",
        "video0 caption 1",
        "video0 caption 0",
    )


def test_marks_and_line_ends_of_windows_change_nothing(tmp_path: Path) -> None:
    plain = read_with("msrvtt", write(tmp_path / "plain", msrvtt()), "val=0")
    files = {
        name: "\ufeff" + (content if isinstance(content, str) else json.dumps(content, indent=1))
        for name, content in msrvtt().items()
    }
    files = {name: content.replace("\n", "\r\n") for name, content in files.items()}
    assert read_with("msrvtt", write(tmp_path / "dos", files), "val=0").splits == plain.splits


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"v_a": {"sentences": ["x"]}, "v_a": {"sentences": ["y"]}}',
            "train.json: key 'v_a': it is there twice, and with different content",
        ),
        (
            {"v_a.mp4": {"sentences": ["x"]}, "v_a": {"sentences": ["y"]}},
            "train.json: key 'v_a': expected another id than that of 'v_a.mp4'",
        ),
        (
            {"v_a": {"sentence": ["x"]}},
            "train.json: key 'v_a': expected the key 'sentences', found 'sentence'",
        ),
        (
            {"v_a": {"sentences": "x"}},
            "train.json: key 'v_a': sentences: expected a list of captions, found 'x'",
        ),
        (
            {"v_a": {"sentences": ["x", None]}},
            "train.json: key 'v_a': sentences[1]: expected a caption, found null",
        ),
        ([], "train.json: expected an object of the form {id: {sentences: [...]}}, found []"),
        (
            {"v_a": {"sentences": [" "]}},
            "expected captions, found none for any video of the split 'train'",
        ),
    ],
)
def test_maps_of_ids(tmp_path: Path, content: Any, message: str) -> None:
    files = {"train.json": content, "val_1.json": ACTIVITYNET}
    assert message in refused("activitynet", write(tmp_path, files)).message


def test_the_same_id_twice_with_the_same_content_is_counted(tmp_path: Path) -> None:
    twice = '{"v_b": {"sentences": ["x", ""]}, "v_b": {"sentences": ["x", ""]}}'
    found = read("activitynet", write(tmp_path, {"train.json": twice, "val_1.json": ACTIVITYNET}))
    assert found.notes == {"empty_captions_dropped": 1, "repeated_ids_dropped": 1}
    assert captions(found)["train"] == {"v_b": ("x",)}


LSMDC = "1004_Juno_00.00.32.167-00.00.32.551\t1\t2\t3\t4\tA van.\n"


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        (
            "lsmdc",
            {"LSMDC16_annos_val.csv": LSMDC + LSMDC.replace("A van", "A\tvan")},
            "LSMDC16_annos_val.csv: line 2: expected 6 fields with tabs between",
        ),
        (
            "lsmdc",
            {"LSMDC16_annos_val.csv": "\n1004\t1\t2\t3\t4\tA van.\n"},
            "line 2: expected a clip such as 1004_Juno_00.00.32.167-00.00.32.551, found '1004'",
        ),
        (
            "vatex",
            {"vatex_training_v1.0.json": [{"videoID": "a", "chCap": ["x"]}]},
            "vatex_training_v1.0.json: [0] (a): expected the key 'enCap', found 'videoID', 'chCap'",
        ),
        (
            "vatex",
            {"vatex_training_v1.0.json": [{"videoID": "a", "enCap": [c]} for c in "xy"]},
            "[1] (a): the id is there twice, with other captions",
        ),
        (
            "didemo",
            {"test_data.json": [{"video": "a.avi", "description": None}]},
            "test_data.json: [0].description: expected a description, found null",
        ),
        (
            "didemo",
            {"didemo_test_label.csv": "success,text\nTrue,x\n"},
            "didemo_test_label.csv: line 1: expected the column 'video_path', found success, text",
        ),
        (
            "charades",
            {"Charades_v1_test.csv": "id,script\nA,x\n"},
            "line 1: expected a column descriptions or description or caption or sentence or text,",
        ),
        (
            "msvd",
            {"captions.json": {"a": ["x"]}, "train_list.txt": "a\nb\n"},
            "train_list.txt: line 2: expected an id of captions.json; 'b' is not in there",
        ),
        (
            "msvd",
            {"captions.json": {"a": ["x"]}, "train_list.txt": "a", "test_list.txt": "a"},
            "test_list.txt: expected each video in one split, found 'a' in 'train' and in 'test'",
        ),
        (
            "captions",
            {"captions.csv": "video,text\na,b\n"},
            "captions.csv: line 1: expected the column 'caption'",
        ),
        (
            "captions",
            {"captions.csv": "video,caption,caption\na,b,c\n"},
            "captions.csv: line 1: the column 'caption' is there twice",
        ),
        (
            "captions",
            {"captions.csv": "video,caption,split\na,b,train\na,c,test\n"},
            "captions.csv: line 3: the split of 'a' is 'test' here and 'train' on line 2",
        ),
        (
            "captions",
            {"captions.csv": "video,caption,split\na,b,\n"},
            "captions.csv: line 2: expected train, val, test or another split, found ''",
        ),
        (
            "captions",
            {"captions.csv": "video,caption,start,end\na,b,5,4\n"},
            "captions.csv: line 2: expected an end after the start, found 5 to 4 seconds",
        ),
        (
            "captions",
            {"captions.csv": "video,caption,start\na,b,soon\n"},
            "captions.csv: line 2, start: 'soon' is not a time",
        ),
        (
            "captions",
            {"captions.csv": "video,caption\n,b\n"},
            "captions.csv: line 2: expected the name of a video, found nothing",
        ),
        (
            "captions",
            {"captions.csv": "video,caption\n"},
            "captions.csv: line 2: expected a row, found the end of the file",
        ),
        (
            "captions",
            {"captions.jsonl": '{"video": "a", "caption": "b"}\n{"video": "c"'},
            "captions.jsonl: line 2: no JSON: ",
        ),
        (
            "captions",
            {
                "captions.jsonl": '{"video": "a", "caption": "b", "split": "test"}\n'
                '{"video": "c", "caption": "d"}\n'
            },
            "captions.jsonl: line 2: expected train, val, test or another split, found ''",
        ),
        (
            "captions",
            {"captions.csv": "video,caption\na,b,c\n"},
            "captions.csv: line 2: expected 2 fields, found 3: ['a', 'b', 'c']",
        ),
        (
            "captions",
            {"captions.jsonl": '{"video": "a", "text": "b"}'},
            "captions.jsonl: line 1: expected the key 'caption', found video, text",
        ),
    ],
)
def test_others(tmp_path: Path, name: str, files: dict[str, Any], message: str) -> None:
    assert message in refused(name, write(tmp_path, files)).message


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_cannot_run_anything(tmp_path: Path, protocol: int) -> None:
    proof = tmp_path / "it ran"
    data = pickle.dumps({"a": [["x"]], "b": Hostile(proof)}, protocol)
    error = refused(
        "msvd", write(tmp_path / "in", {"raw-captions.pkl": data, "test_list.txt": "a"})
    )
    assert "raw-captions.pkl: the pickle cannot be read: it asks for " in error.message
    assert "mkdir; expected only lists, dicts, text and numbers" in error.message
    assert not proof.exists()
    # The same file does run where nothing is refused.
    pickle.loads(data)
    assert proof.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'exit 1'\ntR.",
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.",
        b"(ibuiltins\nlist\n.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02U\x01aQ.",
        pickle.dumps({"a": 1})[:-3],
        b"not a pickle",
        b"",
        b"\x80\x05]\x97.",
        # An object numbered 2 ** 31 - 1, and a bytearray and a text of 2 ** 62 bytes.
        b"\x80\x02]r\xff\xff\xff\x7f\x86R.",
        b"\x80\x05\x96" + (1 << 62).to_bytes(8, "little") + b"abc.",
        b"\x80\x04\x8d" + (1 << 62).to_bytes(8, "little") + b"abc.",
    ],
)
def test_other_pickles_that_are_refused(tmp_path: Path, data: bytes) -> None:
    path = write(tmp_path, {"x.pkl": data}) / "x.pkl"
    with pytest.raises(InputError, match=r"x\.pkl: the (pickle cannot be read|file is empty)"):
        read_plain_pickle(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1], "expected captions by id, found [1]"),
        ({1: [["x"]]}, "key 1: expected the id of a video, found 1"),
        ({"a": "x"}, "key 'a': expected a list of captions, found 'x'"),
        ({"a": [["x", 2]]}, "key 'a': expected a caption as a list of words, found 2"),
        ({"a": [2]}, "key 'a'[0]: expected a caption, found 2"),
    ],
)
def test_pickles_of_another_form(tmp_path: Path, data: Any, message: str) -> None:
    files = {"raw-captions.pkl": pickle.dumps(data), "test_list.txt": "a"}
    assert message in refused("msvd", write(tmp_path, files)).message


def whole_files() -> dict[str, dict[str, Any]]:
    """One damage-free file set for each way of reading."""
    words = {"a": [["a", "cat"]], "b": [["a", "dog"], ["dogs"]]}
    return {
        "msrvtt": msrvtt(train=2, test=1, each=1),
        "msvd": {"raw-captions.pkl": pickle.dumps(words), "test_list.txt": "a\nb\n"},
        "activitynet": {"train.json": ACTIVITYNET},
        "lsmdc": {"LSMDC16_annos_val.csv": LSMDC},
        "vatex": {"vatex_training_v1.0.json": [{"videoID": "a", "enCap": ["x"]}]},
        "didemo": {
            "test_data.json": [{"video": "a.avi", "description": "x"}],
            "test_list.txt": "a.avi\n",
        },
        "charades": {"test.csv": 'id,descriptions\nA,"x; y"\n'},
        "captions": {"captions.csv": 'video,caption,split,start\na,"b",test,1:00\n'},
    }


def refuses(name: str, folder: Path) -> bool:
    """Whether the files are refused, with the name of their folder; or else they are read."""
    try:
        read(name, folder)
    except InputError as error:
        return str(folder) in error.message or pytest.fail(error.message)
    return False


@pytest.mark.parametrize("name", sorted(whole_files()))
def test_whatever_is_done_to_a_file_the_error_is_one_for_the_user(
    tmp_path: Path, name: str
) -> None:
    files = whole_files()[name]
    folder = write(tmp_path, files)
    read(name, folder)
    rng = random.Random(0)
    refusals = 0
    for file in files:
        whole = (folder / file).read_bytes()
        damaged = [whole[:end] for end in range(0, len(whole), max(1, len(whole) // 60))]
        for _ in range(60):
            changed = bytearray(whole)
            changed[rng.randrange(len(whole))] = rng.choice(b'\x00\n\r\t",:;[]{}\\.x0\xff')
            damaged.append(bytes(changed))
        for data in damaged:
            (folder / file).write_bytes(data)
            refusals += refuses(name, folder)
        (folder / file).write_bytes(whole)
    assert refusals > 10


@pytest.mark.parametrize("name", [each for each in registry.names("datasets") if each != "shapes"])
def test_missing_files_are_named_with_their_source(tmp_path: Path, name: str) -> None:
    error = refused(name, tmp_path)
    assert str(tmp_path) in error.message
    assert error.code == "missing"
    assert error.hint is not None or name == "captions"
    if name not in ("captions", "folder"):
        assert "there is no " in error.message
        assert "https://" in (error.hint or "")
    assert "no such folder" in refused(name, tmp_path / "nowhere").message
