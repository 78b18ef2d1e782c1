"""The state of an output folder over several runs."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest

from vidsampler.errors import InputError, UsageError
from vidsampler.files import write_file
from vidsampler.shards.folder import OutputFolder
from vidsampler.shards.job import Item, Outcome, ShardJob, Unit
from vidsampler.shards.manifest import Failure
from vidsampler.shards.writer import Member

HEADER = {"format": 1, "layout": "shards", "recipe": {"frames": 4}, "per_shard": 2}


def job(folder: Path, *, overwrite: bool = False, header: dict[str, object] = HEADER) -> ShardJob:
    return ShardJob(OutputFolder(folder, header, overwrite), {"frames": 4}, 2)


def good(item: Item) -> Outcome:
    return Outcome(item, (Member("json", 2, b"{}"),), 4)


def bad(item: Item) -> Outcome:
    return Outcome(item, failure=Failure(item.key, item.source, "open", "empty", "it is empty"))


def sources(units: list[Unit]) -> list[tuple[str, list[str]]]:
    return [(unit.name, [item.source for item in unit.items]) for unit in units]


def test_a_first_run_plans_shards_in_order(tmp_path: Path) -> None:
    with job(tmp_path / "out") as first:
        units = first.assign(["a.mp4", "b.mp4", "x/a.mp4"])
    assert sources(units) == [("000000", ["a.mp4", "b.mp4"]), ("000001", ["x/a.mp4"])]
    assert units[0].items[0].key == "a"
    assert units[1].items[0].key.startswith("x_a-")


def test_what_was_not_committed_keeps_its_shard(tmp_path: Path) -> None:
    with job(tmp_path) as first:
        units = first.assign(["a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4"])
        first.commit(units[1], [good(item) for item in units[1].items])
    with job(tmp_path) as second:
        assert second.done == {"c.mp4": 0, "d.mp4": 0}
        # A new file that sorts first does not change what was planned.
        left = second.assign(["a.mp4", "aa.mp4", "b.mp4", "e.mp4"])
        assert sources(left) == [
            ("000000", ["a.mp4", "b.mp4"]),
            ("000002", ["e.mp4"]),
            ("000003", ["aa.mp4"]),
        ]
    with job(tmp_path) as third:
        assert sources(third.assign(["aa.mp4"])) == sources(left)


def test_failures_are_known_and_can_be_tried_again_in_a_new_shard(tmp_path: Path) -> None:
    with job(tmp_path) as first:
        (unit,) = first.assign(["a.mp4", "b.mp4"])
        first.commit(unit, [good(unit.items[0]), bad(unit.items[1])])
    with job(tmp_path) as second:
        assert list(second.failed) == ["b.mp4"]
        assert second.failed["b.mp4"].kind == "empty"
        assert second.assign([]) == []
        (again,) = second.assign(["b.mp4"])
        assert again == Unit("000001", (Item("b", "b.mp4"),))
        second.commit(again, [good(again.items[0])])
        assert second.failed == {}
    with job(tmp_path) as third:
        assert third.failed == {}
        assert third.done.keys() == {"a.mp4", "b.mp4"}


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with job(tmp_path), pytest.raises(UsageError, match="another run is writing"), job(tmp_path):
        pass
    with job(tmp_path):
        pass


def test_other_settings_are_named(tmp_path: Path) -> None:
    with job(tmp_path) as first:
        first.assign(["a.mp4"])
    other = {**HEADER, "recipe": {"fps": 3.0}}
    with pytest.raises(UsageError) as caught, job(tmp_path, header=other):
        pass
    assert "frames 4 (now unset), fps unset (now 3.0)" in caught.value.message
    assert "--overwrite" in (caught.value.hint or "")
    assert os.listdir(tmp_path) == ["plan.jsonl"]


def test_overwrite_deletes_only_what_is_ours(tmp_path: Path) -> None:
    with job(tmp_path) as first:
        (unit,) = first.assign(["a.mp4"])
        first.commit(unit, [good(unit.items[0])])
    (tmp_path / "notes.txt").write_text("mine")
    with job(tmp_path, overwrite=True, header={**HEADER, "per_shard": 3}) as second:
        assert second.done == {}
        assert sorted(path.name for path in tmp_path.glob("[!.]*")) == ["notes.txt"]


@pytest.mark.parametrize("name", ["photo.jpg", "000000.tar", "errors.jsonl"])
def test_a_folder_with_other_things_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(UsageError, match=f"holds other things, such as {name}"), job(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(UsageError, match="is not a folder"), job(tmp_path / "out"):
        pass


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    with job(tmp_path) as first:
        first.assign(["a.mp4"])
    (tmp_path / ".tmp-dead").mkdir()
    (tmp_path / ".tmp-dead" / "0-0").write_text("half")
    with job(tmp_path) as second:
        assert sorted(os.listdir(tmp_path)) == sorted(
            [".lock", second.temporary.name, "plan.jsonl"]
        )
    assert os.listdir(tmp_path) == ["plan.jsonl"]


@pytest.mark.parametrize("text", ["", "{", "[1]\n", '{"format": 9}\n'])
def test_a_damaged_plan_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.jsonl").write_text(text)
    with pytest.raises(InputError, match=r"plan\.jsonl"), job(tmp_path):
        pass


def test_the_plan_is_on_the_disk_before_the_first_shard(tmp_path: Path) -> None:
    with job(tmp_path) as first:
        first.assign(["a.mp4"])
        lines = [json.loads(line) for line in (tmp_path / "plan.jsonl").read_text().splitlines()]
    assert lines == [HEADER, {"unit": "000000", "items": [["a", "a.mp4"]]}]


@pytest.mark.parametrize(
    "line",
    [
        5,
        {"unit": "000000"},
        {"unit": "000000", "items": []},
        {"unit": "000000", "items": [["a", "a.mp4", 1]]},
        {"unit": "000000", "items": [["../a", "a.mp4"]]},
        {"unit": "000000", "items": [["a", 3]]},
        {"unit": "../000000", "items": [["a", "a.mp4"]]},
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_line_that_is_no_line_of_a_plan(tmp_path: Path, line: object, overwrite: bool) -> None:
    text = f"{json.dumps(HEADER)}\n{json.dumps(line)}\n"
    (tmp_path / "plan.jsonl").write_text(text)
    with pytest.raises(InputError, match=r"plan\.jsonl"), job(tmp_path, overwrite=overwrite):
        pass
    assert (tmp_path / "plan.jsonl").read_text() == text


def test_an_old_copy_of_the_plan_costs_no_shard(tmp_path: Path) -> None:
    with job(tmp_path) as first:
        for unit in first.assign(["a.mp4", "b.mp4", "c.mp4"]):
            first.commit(unit, [good(item) for item in unit.items])
    plan = (tmp_path / "plan.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "plan.jsonl").write_text(plan[0] + plan[1])
    with job(tmp_path) as second:
        (new,) = second.assign(["c.avi"])
    assert new.name == "000002"
    assert new.items[0].key.startswith("c-")  # the key c is in shard 000001


def test_a_committed_shard_that_is_gone_or_cut_is_an_error(tmp_path: Path) -> None:
    with job(tmp_path) as first:
        (unit,) = first.assign(["a.mp4"])
        first.commit(unit, [good(unit.items[0])])
    os.truncate(tmp_path / "000000.tar", 700)
    with pytest.raises(InputError, match=r"000000\.tar: 700 bytes long"), job(tmp_path):
        pass
    (tmp_path / "000000.tar").unlink()
    with pytest.raises(InputError, match=r"000000\.tar: the shard is missing"), job(tmp_path):
        pass
    (tmp_path / "000000.json").unlink()  # as the hint says
    with job(tmp_path) as again:
        assert sources(again.assign(["a.mp4"])) == [("000000", ["a.mp4"])]


def test_the_lock_file_of_a_run_that_ends_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended_before(handle: int, operation: int) -> None:
        monkeypatch.undo()
        (tmp_path / ".lock").unlink()
        fcntl.flock(handle, operation)

    monkeypatch.setattr("vidsampler.shards.folder.fcntl.flock", ended_before)
    with job(tmp_path), pytest.raises(UsageError, match="another run is writing"), job(tmp_path):
        pass


def test_files_that_a_killed_run_was_writing_are_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("vidsampler.files.os.replace", killed)
        patch.setattr("vidsampler.files.os.unlink", killed)
        with pytest.raises(Killed):
            write_file(tmp_path / "plan.jsonl", b"half")
    assert len(os.listdir(tmp_path)) == 1
    with job(tmp_path) as first:
        first.assign(["a.mp4"])
    assert os.listdir(tmp_path) == ["plan.jsonl"]


def test_overwrite_leaves_nothing_that_bars_the_next_run(tmp_path: Path) -> None:
    with job(tmp_path) as first:
        first.assign(["a.mp4"])
    (tmp_path / "config.yaml").write_text("frames: 4")
    with job(tmp_path, overwrite=True):
        pass  # it ends before it has planned anything
    with job(tmp_path):
        pass


def test_overwrite_of_folders_spares_files_that_look_like_shards(tmp_path: Path) -> None:
    header = {**HEADER, "layout": "folders"}
    line = {"unit": "a", "items": [["a", "a.mp4"]]}
    (tmp_path / "plan.jsonl").write_text(f"{json.dumps(header)}\n{json.dumps(line)}\n")
    (tmp_path / "123456.json").write_text("mine")
    output = OutputFolder(tmp_path, header, overwrite=True)
    output.open()
    output.close()
    assert os.listdir(tmp_path) == ["123456.json"]
