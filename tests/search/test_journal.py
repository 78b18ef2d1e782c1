"""What a killed run leaves is what it had written down whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.search.making import entry, equal
from vidsampler.search.entry import Stamp
from vidsampler.search.journal import NAME, Journal, Outcome
from vidsampler.search.manifest import Failed
from vidsampler.shards.manifest import Failure

FAILED = Failed(Stamp(3, 4, "ab"), Failure("k", "b.mp4", "open", "empty", "b.mp4: is empty"))


def written(folder: Path, identity: str = "this") -> bytes:
    journal = Journal(folder, identity)
    journal.add("a.mp4", Outcome(entry("a.mp4")))
    journal.add("b.mp4", Outcome(failed=FAILED))
    journal.add("c\udcff\n.mp4", Outcome(entry("c\udcff\n.mp4")))
    journal.close(delete=False)
    return (folder / NAME).read_bytes()


def test_records_come_back(tmp_path: Path) -> None:
    written(tmp_path)
    journal = Journal(tmp_path, "this")
    assert list(journal.found) == ["a.mp4", "b.mp4", "c\udcff\n.mp4"]
    first, third = journal.found["a.mp4"].entry, journal.found["c\udcff\n.mp4"].entry
    assert first is not None
    assert third is not None
    assert equal(first, entry("a.mp4"))
    assert equal(third, entry("c\udcff\n.mp4"))
    assert journal.found["b.mp4"] == Outcome(failed=FAILED)
    journal.close(delete=True)
    assert not (tmp_path / NAME).exists()


def test_a_cut_anywhere_leaves_whole_records_and_a_journal_to_go_on_with(tmp_path: Path) -> None:
    data = written(tmp_path)
    seen = set()
    for length in range(0, len(data), 29):
        (tmp_path / NAME).write_bytes(data[:length])
        journal = Journal(tmp_path, "this")
        found = list(journal.found)
        assert found == ["a.mp4", "b.mp4", "c\udcff\n.mp4"][: len(found)]
        seen.add(len(found))
        journal.add("d.mp4", Outcome(entry("d.mp4")))
        journal.close(delete=False)
        again = Journal(tmp_path, "this")
        assert list(again.found) == [*found, "d.mp4"]
        again.close(delete=False)
    assert seen == {0, 1, 2}


@pytest.mark.parametrize("place", [3, 30, 60, -1])
def test_a_changed_byte_ends_it(tmp_path: Path, place: int) -> None:
    data = bytearray(written(tmp_path))
    data[place] ^= 0x40
    (tmp_path / NAME).write_bytes(data)
    assert len(Journal(tmp_path, "this").found) < 3


def test_of_other_settings_nothing_is_taken(tmp_path: Path) -> None:
    written(tmp_path, "that")
    assert Journal(tmp_path, "this").found == {}
    assert Journal(tmp_path, "that").found == {}


def test_clear_forgets(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "this")
    journal.add("a.mp4", Outcome(entry("a.mp4")))
    journal.clear()
    journal.add("b.mp4", Outcome(failed=FAILED))
    journal.close(delete=False)
    assert list(Journal(tmp_path, "this").found) == ["b.mp4"]
