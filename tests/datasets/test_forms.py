"""Small files of every form, read to the values that they were written from."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import pytest

from tests.datasets.writing import captions, msrvtt, read_with, write
from vidsampler.datasets import differences, read, settings_of


def test_msrvtt(tmp_path: Path) -> None:
    found = read_with("msrvtt", write(tmp_path, msrvtt()), "val=0")
    assert captions(found) == {
        "train": {f"video{n}": (f"video{n} caption 0", f"video{n} caption 1") for n in range(4)},
        "test": {"video4": ("video4 query",), "video5": ("video5 query",)},
    }
    assert found.notes == {}
    assert [path.name for path in found.files] == [
        "MSRVTT_data.json",
        "MSRVTT_train.9k.csv",
        "MSRVTT_JSFUSION_test.csv",
    ]
    # The times in the json are those of the uncut source.
    assert found.splits["train"][0].start is None


def test_msrvtt_holds_out_the_ids_of_smallest_hash(tmp_path: Path) -> None:
    folder = write(tmp_path, msrvtt(train=6))
    held = captions(read_with("msrvtt", folder, "val=2"))
    # What `sha256sum` gives for the six ids.
    ranked = sorted(
        (f"video{n}" for n in range(6)), key=lambda each: hashlib.sha256(each.encode()).hexdigest()
    )
    assert set(held["val"]) == set(ranked[:2])
    assert set(held["train"]) == set(ranked[2:])
    assert list(held["train"]) == sorted(held["train"])


def test_a_small_train_list_is_halved_and_it_is_noted(tmp_path: Path) -> None:
    found = read("msrvtt", write(tmp_path, msrvtt(train=5)))
    assert [len(found.splits[name]) for name in ("train", "val")] == [3, 2]
    assert found.notes == {"val_fewer_than_asked": 498}
    assert differences(found, settings_of("msrvtt")) == (
        "train: 3 videos, published: 8,500",
        "val: 2 videos, published: 500",
        "test: 2 videos, published: 1,000",
    )


def test_msrvtt_without_a_list_says_which(tmp_path: Path) -> None:
    files = msrvtt()
    del files["MSRVTT_train.9k.csv"]
    found = read("msrvtt", write(tmp_path, files))
    assert set(found.splits) == {"test"}
    with pytest.raises(Exception, match=r"no split 'train': .*there is no MSRVTT_train\.9k\.csv"):
        found.split("train")
    with pytest.raises(Exception, match=r"unknown split 'tset'; did you mean 'test'\?"):
        found.split("tset")


def test_msrvtt_full(tmp_path: Path) -> None:
    found = read("msrvtt-full", write(tmp_path, msrvtt(train=1, test=1)))
    assert captions(found) == {
        "train": {"video0": ("video0 caption 0", "video0 caption 1")},
        "test": {"video1": ("video1 caption 0", "video1 caption 1")},
    }


def test_msrvtt_test_set_alone_needs_only_its_own_file(tmp_path: Path) -> None:
    files = msrvtt()
    whole = files.pop("MSRVTT_data.json")
    tested = {"video4", "video5"}
    files["test_videodatainfo.json"] = {
        key: [each for each in whole[key] if each["video_id"] in tested] for key in whole
    }
    found = read("msrvtt", write(tmp_path, files))
    assert set(found.splits) == {"test"}
    assert "there is no train_val_videodatainfo.json" in found.absent["train"]


def test_a_normalised_train_file_gives_some_to_val(tmp_path: Path) -> None:
    train = {f"v{n}": NORMALISED for n in range(6)}
    folder = write(tmp_path, {"train.json": train, "test.json": {"t": NORMALISED}})
    for name in ("msrvtt", "activitynet"):
        found = read_with(name, folder, "val=2")
        assert {split: len(each) for split, each in found.splits.items()} == {
            "train": 4,
            "val": 2,
            "test": 1,
        }


LISTS = {"train_list.txt": "a_1_2\nb_1_2\n", "val_list.txt": "c_1_2\n", "test_list.txt": "d_1_2"}
WORDS = {f"{each}_1_2": [[each, "runs"], [each, "is", "running"]] for each in "abcd"}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_msvd_pickle(tmp_path: Path, protocol: int) -> None:
    found = read(
        "msvd",
        write(tmp_path, {**LISTS, "raw-captions.pkl": pickle.dumps(WORDS, protocol)}),
    )
    assert captions(found) == {
        "train": {"a_1_2": ("a runs", "a is running"), "b_1_2": ("b runs", "b is running")},
        "val": {"c_1_2": ("c runs", "c is running")},
        "test": {"d_1_2": ("d runs", "d is running")},
    }


def test_msvd_json(tmp_path: Path) -> None:
    texts = {video: [" ".join(words) for words in each] for video, each in WORDS.items()}
    by_json = read("msvd", write(tmp_path / "json", {**LISTS, "captions_msvd.json": texts}))
    by_pickle = read(
        "msvd", write(tmp_path / "pickle", {**LISTS, "raw-captions.pkl": pickle.dumps(WORDS)})
    )
    assert by_json.splits == by_pickle.splits


def described(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {"video": video, "description": text, "times": [[0, 0]], "annotation_id": number}
        for number, (video, text) in enumerate(pairs)
    ]


def test_didemo_original_joins_descriptions_in_their_order(tmp_path: Path) -> None:
    files = {
        "train_data.json": described(("1@N_a.avi", " one "), ("2@N_b", "x"), ("1@N_a.avi", "two")),
        "val_data.json": described(("3@N_c.3g2", "y")),
        "test_data.json": described(("4@N_d.MOV", "z"), ("5@N_e.mov", "never listed")),
    }
    found = read("didemo", write(tmp_path, files))
    assert captions(found) == {
        "train": {"1@N_a": ("one two",), "2@N_b": ("x",)},
        "val": {"3@N_c": ("y",)},
        "test": {"4@N_d": ("z",), "5@N_e": ("never listed",)},
    }
    listed = read("didemo", write(tmp_path, {"test_list.txt": "4@N_d.mov\n"}))
    assert captions(listed)["test"] == {"4@N_d": ("z",)}
    assert listed.notes == {"unlisted_videos_dropped": 1}


def test_didemo_uploads_under_two_names(tmp_path: Path) -> None:
    pairs = (("a.mov", "one"), ("a.mp4", "two"), ("b.mov", "three"), ("a.mov", "four"))
    folder = write(tmp_path, {"test_data.json": described(*pairs)})
    found = read("didemo", folder)
    assert captions(found) == {"test": {"a.mov": ("one four",), "a.mp4": ("two",), "b": ("three",)}}
    assert found.notes == {"videos_under_two_names": 1}
    listed = read("didemo", write(tmp_path, {"test_list.txt": "a.mp4\nb\n"}))
    assert captions(listed) == {"test": {"a": ("two",), "b": ("three",)}}
    assert listed.notes == {"unlisted_videos_dropped": 1}


def test_didemo_labels(tmp_path: Path) -> None:
    table = (
        "success,video_path,starts,ends,text\r\n"
        'True,/any/where/1@N_a.avi,tensor([[0]]),tensor([[31]]),"one,\r\ntwo"\r\n'
        "False,C:\\videos\\2@N_b.mov,tensor([[0]]),tensor([[31]]),lost\r\n"
        "True,C:\\videos\\3@N_c.mov,tensor([[0]]),tensor([[31]]),kept\r\n"
    )
    found = read("didemo", write(tmp_path, {"didemo_test_label.csv": table}))
    assert captions(found) == {"test": {"1@N_a": ("one, two",), "3@N_c": ("kept",)}}
    assert found.notes == {"unsuccessful_dropped": 1}


NORMALISED = {"extension": "mp4", "sentences": ["  First. ", "Then."]}


def test_activitynet_in_both_forms(tmp_path: Path) -> None:
    original = {"duration": 9.5, "timestamps": [[0, 1], [1, 9.5]], "sentences": ["First.", "Then."]}
    first = read(
        "activitynet",
        write(tmp_path / "a", {"train.json": {"v_a": original}, "val_1.json": {"v_b": original}}),
    )
    second = read(
        "activitynet",
        write(tmp_path / "b", {"train.json": {"v_a": NORMALISED}, "val.json": {"v_b": NORMALISED}}),
    )
    assert captions(first) == {
        "train": {"v_a": ("First. Then.",)},
        "test": {"v_b": ("First. Then.",)},
    }
    assert first.splits == second.splits
    held = read_with("activitynet", tmp_path / "a", "val=1")
    # One of one is not held out: half of them at most.
    assert {name: len(each) for name, each in held.splits.items()} == {
        "train": 1,
        "test": 1,
        "val": 0,
    }


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("activitynet", ("First. Then.",)),
        ("didemo", ("First. Then.",)),
        ("captions", ("First.", "Then.")),
        ("charades", ("First.", "Then.")),
        ("lsmdc", ("First.", "Then.")),
        ("msrvtt", ("First.", "Then.")),
        ("msvd", ("First.", "Then.")),
        ("vatex", ("First.", "Then.")),
    ],
)
def test_every_dataset_may_come_normalised(
    tmp_path: Path, name: str, texts: tuple[str, ...]
) -> None:
    files = {
        "train.json": {"a.avi": NORMALISED},
        "val.json": {"b": NORMALISED},
        "test.json": {"c.mp4": NORMALISED},
    }
    found = read(name, write(tmp_path, files))
    assert captions(found) == {"train": {"a": texts}, "val": {"b": texts}, "test": {"c": texts}}


def clip(movie: str, second: int) -> str:
    return f"{movie}_00.00.{second:02}.000-00.00.{second + 3:02}.500"


def test_lsmdc(tmp_path: Path) -> None:
    def line(name: str, text: str) -> str:
        return "\t".join((name, "00.00.01.000", "00.00.04.500", "1", "2", text))

    files = {
        "LSMDC16_annos_training.csv": "\r\n".join(
            (
                line(clip("0001_American_Beauty", 1), 'SOMEONE says "no'),
                line(clip("0001_American_Beauty", 5), "SOMEONE leaves."),
                line(clip("0001_American_Beauty", 1), "SOMEONE nods."),
            )
        ),
        "LSMDC16_annos_val.csv": line(clip("1004_Juno", 2) + ".avi", "A van."),
        "LSMDC16_challenge_1000_publictect.csv": line(clip("3001_21_JUMP_STREET", 3), "He jumps."),
    }
    found = read("lsmdc", write(tmp_path, files))
    assert captions(found) == {
        "train": {
            f"0001_American_Beauty/{clip('0001_American_Beauty', 1)}": (
                'SOMEONE says "no',
                "SOMEONE nods.",
            ),
            f"0001_American_Beauty/{clip('0001_American_Beauty', 5)}": ("SOMEONE leaves.",),
        },
        "val": {f"1004_Juno/{clip('1004_Juno', 2)}": ("A van.",)},
        "test": {f"3001_21_JUMP_STREET/{clip('3001_21_JUMP_STREET', 3)}": ("He jumps.",)},
    }
    assert found.notes == {"repeated_ids_merged": 1}


def vatex(*ids: str) -> list[dict[str, Any]]:
    return [{"videoID": each, "enCap": [f"{each} one", f"{each} two"]} for each in ids]


def test_vatex_with_lists_and_without(tmp_path: Path) -> None:
    files = {
        "vatex_training_v1.0.json": vatex("a_000000_000010", "b_000000_000010"),
        "vatex_validation_v1.0.json": vatex("c_000000_000010", "d_000000_000010"),
    }
    plain = read("vatex", write(tmp_path, files))
    assert {name: len(each) for name, each in plain.splits.items()} == {"train": 2, "val": 2}
    lists = {
        "train_list.txt": "b_000000_000010\na_000000_000010\n",
        "val_list.txt": "c_000000_000010\n",
        "test_list.txt": "d_000000_000010\n",
    }
    found = captions(read("vatex", write(tmp_path, lists)))
    assert list(found["train"]) == ["b_000000_000010", "a_000000_000010"]
    assert found["test"] == {"d_000000_000010": ("d_000000_000010 one", "d_000000_000010 two")}
    # Testing needs no training file.
    (tmp_path / "vatex_training_v1.0.json").unlink()
    tested = read("vatex", tmp_path)
    assert set(tested.splits) == {"val", "test"}
    assert "there is no vatex_training_v1.0.json or" in tested.absent["train"]


@pytest.mark.parametrize(
    ("name", "header"),
    [("Charades_v1_{}.csv", "id,subject,descriptions"), ("{}.csv", "video,x,caption")],
)
def test_charades(tmp_path: Path, name: str, header: str) -> None:
    files = {
        name.format(
            "train"
        ): f'{header}\n46GP8,S1,"A person, cooking. ;Another says so."\nN11GT,,Sits.\n',
        name.format("test"): f"{header}\nYSKX3,S2,Sleeps.\n",
    }
    found = read("charades", write(tmp_path, files))
    assert captions(found) == {
        "train": {"46GP8": ("A person, cooking.",), "N11GT": ("Sits.",)},
        "test": {"YSKX3": ("Sleeps.",)},
    }
    assert found.notes == {"further_descriptions_dropped": 1}
    held = read_with("charades", tmp_path, "val=1")
    assert {split: len(each) for split, each in held.splits.items()} == {
        "train": 1,
        "val": 1,
        "test": 1,
    }
