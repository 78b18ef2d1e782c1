"""Folders that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from vidsampler.errors import InputError, VidsamplerError
from vidsampler.run_folder import weights_folder
from vidsampler.training.checkpoint import read_state, restore, save_folder, save_progress


def put(text: str, folder: Path) -> None:
    """Writes one file."""
    (folder / "file").write_text(text)


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    last = tmp_path / "run" / "last"
    for text in ("one", "two"):
        save_folder(last, lambda folder, text=text: put(text, folder))  # type: ignore[misc]
        assert (last / "file").read_text() == text
    assert [path.name for path in last.parent.iterdir()] == ["last"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        SafetensorError("I/O error: No space left on device"),
    ],
)
def test_what_was_there_stays_when_there_is_no_room(tmp_path: Path, error: Exception) -> None:
    last = tmp_path / "last"
    save_folder(last, lambda folder: put("one", folder))

    def fail(folder: Path) -> None:
        put("half", folder)
        raise error

    with pytest.raises(VidsamplerError, match=r"last: cannot be written: .*No space left"):
        save_folder(last, fail)
    assert (last / "file").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    last = tmp_path / "last"
    save_folder(last, lambda folder: put("one", folder))
    (last / ".tmp-x1y2.json").touch()
    os.replace(last, tmp_path / ".last-old")
    (tmp_path / ".last-x1y2").mkdir()
    put("half", tmp_path / ".last-x1y2")
    restore(tmp_path)
    assert (last / "file").read_text() == "one"
    assert [path.name for path in last.iterdir()] == ["file"]
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_states_are_read_without_running_anything(tmp_path: Path) -> None:
    (tmp_path / "last").mkdir()
    path = tmp_path / "last" / "state.pt"
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_state(tmp_path)
    whole = {"step": 3, "optimizer": {"state": {0: torch.ones(2)}}, "loader": {}}
    torch.save(whole, path)
    with pytest.raises(InputError, match=r"progress\.json: cannot be read: No such file"):
        read_state(tmp_path)
    progress = tmp_path / "last" / "progress.json"
    progress.write_text("[")
    with pytest.raises(InputError, match=r"progress\.json: .*a damaged one"):
        read_state(tmp_path)
    progress.write_text("[3, 9]")
    with pytest.raises(InputError, match=r"progress\.json: not a state of training$"):
        read_state(tmp_path)
    save_progress(tmp_path, {"step": 3, "of": 9, "owes_validation": True, "best": None})
    state = read_state(tmp_path)
    assert (state["step"], state["of"], state["owes_validation"]) == (3, 9, True)
    assert torch.equal(state["optimizer"]["state"][0], torch.ones(2))
    torch.save({"step": 3}, path)
    with pytest.raises(InputError, match=r"state\.pt: not a state of training$"):
        read_state(tmp_path)
    torch.save({"step": Path("/"), "optimizer": print}, path)
    with pytest.raises(InputError, match="not a state of training, or a damaged one"):
        read_state(tmp_path)


def test_a_run_folder_will_do_for_a_checkpoint(tmp_path: Path) -> None:
    assert weights_folder(tmp_path) == tmp_path
    (tmp_path / "best").mkdir()
    assert weights_folder(tmp_path) == tmp_path / "best"
    assert weights_folder(tmp_path, "last") == tmp_path
