"""`captions` and `folder`: one's own videos."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.datasets.writing import captions, read_with, sizes, write
from vidsampler.datasets import Record, read
from vidsampler.errors import ConfigError, InputError

ROWS = (
    ("a.mp4", "One,  two", "train", "0:01", "3.5"),
    ("b/c.mkv", "Three", "validation", "", ""),
    ("a.mp4", "Four", "train", "1", "3.5"),
    ("d", "Five", "test", "2", ""),
)
RECORDS = {
    "train": (Record("a.mp4", ("One, two", "Four"), 1.0, 3.5),),
    "val": (Record("b/c.mkv", ("Three",)),),
    "test": (Record("d", ("Five",), 2.0),),
}
HEADER = ("video", "caption", "split", "start", "end")


def csv_of(rows: tuple[tuple[str, ...], ...]) -> str:
    return "".join(",".join(f'"{each}"' for each in row) + "\n" for row in rows)


def tsv_of(rows: tuple[tuple[str, ...], ...]) -> str:
    return "".join("\t".join(row) + "\r\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("captions.csv", csv_of((HEADER, *ROWS))),
        ("captions.csv", "\ufeff" + csv_of((HEADER, *ROWS)).replace("\n", "\r\n")),
        ("captions.tsv", tsv_of((HEADER, *ROWS))),
        (
            "captions.jsonl",
            '{"video": "a.mp4", "caption": ["One, two", "Four"], "split": "train", '
            '"start": 1, "end": "0:03.5"}\n\n'
            '{"video": "b/c.mkv", "caption": "Three", "split": "dev", "start": null}\n'
            '{"video": "d", "caption": "Five", "split": "test", "start": 2.0}\n',
        ),
    ],
    ids=["csv", "csv-windows", "tsv", "jsonl"],
)
def test_tables(tmp_path: Path, name: str, content: str) -> None:
    folder = write(tmp_path, {name: content})
    assert read("captions", folder).splits == RECORDS
    assert read("captions", folder / name).splits == RECORDS


def test_quotes_of_a_tab_separated_file(tmp_path: Path) -> None:
    table = 'video\tcaption\na\t"He says ""no"""\nb\t"No," he says\nc\t5" of snow\n'
    found = read_with("captions", write(tmp_path, {"captions.tsv": table}), "val=0", "test=0")
    assert [record.captions for record in found.splits["train"]] == [
        ('He says "no"',),
        ('"No," he says',),
        ('5" of snow',),
    ]


def test_other_names_of_columns_and_file(tmp_path: Path) -> None:
    folder = write(tmp_path, {"mine.csv": "clip,text,part\nx,y,odd\n"})
    found = read_with(
        "captions", folder, "file=mine.csv", "video=clip", "caption=text", "split=part"
    )
    assert captions(found) == {"odd": {"x": ("y",)}}
    with pytest.raises(InputError, match=r"expected the column 'prt' \(dataset\.split\), found"):
        read_with("captions", folder, "file=mine.csv", "video=clip", "caption=text", "split=prt")


def test_a_name_keeps_its_spaces_a_caption_does_not(tmp_path: Path) -> None:
    table = "video,caption\r\nmy  clip.mp4 , two  words \r\n"
    found = read_with("captions", write(tmp_path, {"captions.csv": table}), "val=0", "test=0")
    assert captions(found) == {"train": {"my  clip.mp4": ("two words",)}}


def numbered(count: int) -> str:
    return "video,caption,source\n" + "".join(f"v{n},c{n},s{n // 4}\n" for n in range(count))


def test_shares_are_exact_and_depend_on_the_seed_alone(tmp_path: Path) -> None:
    folder = write(tmp_path, {"captions.csv": numbered(40)})
    first = read("captions", folder)
    assert sizes(first) == {"train": (32, 32), "val": (4, 4), "test": (4, 4)}
    lines = numbered(40).splitlines()
    write(tmp_path, {"captions.csv": "\n".join([lines[0], *reversed(lines[1:])])})
    again = read("captions", folder)
    assert captions(again) == captions(first)
    assert captions(read_with("captions", folder, "seed=1")) != captions(first)
    # Another share of val leaves test as it is.
    other = read_with("captions", folder, "val=0.5")
    assert sizes(other) == {"train": (16, 16), "val": (20, 20), "test": (4, 4)}
    assert captions(other)["test"] == captions(first)["test"]


def test_groups_stay_together(tmp_path: Path) -> None:
    folder = write(tmp_path, {"captions.csv": numbered(40)})
    found = read_with("captions", folder, "group=source", "val=0.2", "test=0.1")
    assert sizes(found) == {"train": (28, 28), "val": (8, 8), "test": (4, 4)}
    owner = {
        int(record.video[1:]) // 4: name
        for name, records in found.splits.items()
        for record in records
    }
    for name, records in found.splits.items():
        assert {owner[int(record.video[1:]) // 4] for record in records} == {name}


def test_a_share_that_is_no_video_is_said(tmp_path: Path) -> None:
    found = read("captions", write(tmp_path, {"captions.csv": numbered(3)}))
    assert sizes(found) == {"train": (3, 3)}
    with pytest.raises(InputError, match=r"its share of 3 videos, 0\.1, is none"):
        found.split("val")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("val=-0.1", "val must be at least 0, not -0.1"),
        ("val=0.95", "val and test are 1.05 together, more than 1"),
        ("vla=0", "unknown key 'vla'; did you mean 'val'?"),
        ("seed=-1", "seed must be at least 0, not -1"),
    ],
)
def test_settings_out_of_range(tmp_path: Path, assignment: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_with("captions", tmp_path, assignment)
    assert message in caught.value.message


def test_texts_beside_videos(tmp_path: Path) -> None:
    files = {
        "a.mp4": "",
        "a.txt": "One\r\n\r\n Two \r\n",
        "b/c.d.webm": "",
        "b/c.d.txt": "Three",
        "e.avi": "",
        "notes.txt": "about nothing",
    }
    found = read_with("captions", write(tmp_path, files), "val=0", "test=0")
    assert captions(found) == {"train": {"a.mp4": ("One", "Two"), "b/c.d.webm": ("Three",)}}
    assert found.notes == {"texts_without_a_video": 1, "videos_without_captions_dropped": 1}
    write(tmp_path, {"a.mkv": ""})
    with pytest.raises(InputError, match=r"a\.txt: it stands beside a\.mkv and a\.mp4"):
        read("captions", tmp_path)


def test_two_tables_are_one_too_many(tmp_path: Path) -> None:
    folder = write(tmp_path, {"captions.csv": numbered(9), "captions.tsv": "video\tcaption\na\tb"})
    with pytest.raises(InputError, match=r"both captions\.csv and captions\.tsv"):
        read("captions", folder)
    assert len(read_with("captions", folder, "file=captions.csv", "val=0").splits["train"]) == 8


def test_folder(tmp_path: Path) -> None:
    names = [f"{n % 3}/v{n}.mp4" for n in range(20)]
    folder = write(tmp_path, {**dict.fromkeys(names, ""), "x.jpg": "", ".hidden.mp4": ""})
    found = read("folder", folder)
    assert {name: len(each) for name, each in found.splits.items()} == {"train": 18, "val": 2}
    assert {record.video for each in found.splits.values() for record in each} == set(names)
    assert all(record.captions == () for record in found.splits["train"])
    with pytest.raises(InputError, match="the folder has no videos in it"):
        read("folder", write(tmp_path / "none", {"x.jpg": ""}))


def test_names_of_splits_are_the_same_in_any_case(tmp_path: Path) -> None:
    rows = ["video,caption,split", "a,one,Train", "b,two,TEST", "c,three,Validation", "d,four,Mine"]
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    assert list(read("captions", tmp_path).splits) == ["train", "val", "test", "Mine"]
