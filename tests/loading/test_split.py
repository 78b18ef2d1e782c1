"""The captions of a split."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.loading.stored import Stored, write_samples, write_split
from vidsampler.errors import InputError
from vidsampler.loading.split import Split


def test_numbers_of_captions_and_wordings(tmp_path: Path) -> None:
    write_split(
        tmp_path,
        {
            "a": Stored([1], ["one", "two"]),
            "b": Stored([2], ["two"]),
            "c": Stored([3], []),
            "d": Stored([4], ["three", "one"]),
        },
    )
    split = Split(tmp_path)
    assert len(split) == 4
    assert split.keys == ["a", "b", "c", "d"]
    assert split.captions == ["one", "two", "two", "three", "one"]
    assert split.starts.tolist() == [0, 2, 3, 3, 5]
    assert split.owners.tolist() == [0, 0, 1, 3, 3]
    assert split.texts == ["one", "two", "three"]
    assert split.wordings.tolist() == [0, 1, 1, 2, 0]
    with pytest.raises(InputError, match="1 of 4 videos have no caption, such as c"):
        split.need_captions()


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    contents = [
        {"a": Stored([1], ["x"]), "b": Stored([1], ["y"])},
        {"a": Stored([1], ["x"]), "b": Stored([1], ["z"])},
        {"a": Stored([1], ["x", "y"]), "b": Stored([1], [])},
        {"a": Stored([1], ["x"]), "c": Stored([1], ["y"])},
    ]
    prints = []
    for number, content in enumerate([*contents, contents[0]]):
        folder = tmp_path / str(number)
        write_split(folder, content)
        prints.append(Split(folder).fingerprint)
    assert prints[0] == prints[4]
    assert len(set(prints)) == 4


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (b"{", r"000000\.tar: b\.json cannot be read"),
        (b"[]", r"000000\.tar: b\.json cannot be read"),
        (b'{"captions": "one"}', "its captions are no list of texts"),
        (b'{"captions": [1]}', "its captions are no list of texts"),
    ],
)
def test_damaged_facts(tmp_path: Path, facts: bytes, words: str) -> None:
    write_samples(tmp_path, {"a": {"json": json.dumps({}).encode()}, "b": {"json": facts}})
    with pytest.raises(InputError, match=words) as caught:
        Split(tmp_path)
    assert caught.value.code == "damaged"


def test_no_facts_at_all(tmp_path: Path) -> None:
    write_samples(tmp_path, {"a": {"000.jpg": b"x"}})
    with pytest.raises(InputError, match=r"000000\.tar: a has no \.json"):
        Split(tmp_path)


def test_no_video(tmp_path: Path) -> None:
    from vidsampler.shards.writer import ShardWriter

    with ShardWriter(tmp_path, "000000", {}, tmp_path) as writer:
        writer.commit()
    with pytest.raises(InputError, match="no video in these shards"):
        Split(tmp_path)
