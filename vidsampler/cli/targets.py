"""Where the frames and the contact sheet of each video go, checked before anything is decoded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidsampler.errors import UsageError
from vidsampler.files import check_writable


@dataclass(frozen=True)
class Target:
    """What is written for one video.

    Attributes:
        frames: The folder of its kept frames.
        sheet: The file of its contact sheet.
    """

    frames: Path | None
    sheet: Path | None


def plan_targets(
    stems: Sequence[str], frames_dir: Path | None, sheet: Path | None, *, many: bool
) -> list[Target]:
    """One target for each video; with many of them, a folder and a sheet each, named by its stem.

    Equal stems get numbers ("clip", "clip-2"), in the order of the videos.
    """
    if not many:
        return [Target(frames_dir, sheet) for _ in stems]
    return [
        Target(
            frames_dir / stem if frames_dir else None,
            sheet.with_name(f"{sheet.stem}-{stem}{sheet.suffix}") if sheet else None,
        )
        for stem in _unique(stems)
    ]


def check_targets(frames_dir: Path | None, sheet: Path | None) -> None:
    """Makes sure that both can be written, without leaving anything behind.

    Raises:
        UsageError: One cannot, or the sheet's name is not that of an image.
    """
    if frames_dir is not None:
        check_writable(frames_dir, f"--frames-dir {frames_dir}")
        _check_nothing_else(frames_dir)
    if frames_dir is not None and sheet is not None:
        inside = frames_dir.absolute()
        if inside in sheet.absolute().parents:
            raise UsageError(
                f"--sheet {sheet} is inside --frames-dir, which holds nothing but frames",
                hint="write the sheet beside that folder",
            )
    if sheet is not None:
        from vidsampler.video.images import image_format

        image_format(sheet)
        check_file(sheet, "--sheet")


def check_file(path: Path, option: str) -> None:
    """Makes sure that a file can be written, without leaving anything behind.

    Raises:
        UsageError: It cannot.
    """
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder", code="unwritable")
    check_writable(path.parent, f"{option} {path}")


def check_inputs_are_kept(names: Sequence[str], targets: Sequence[Target]) -> None:
    """No contact sheet may be written over a video.

    Raises:
        UsageError: One would be.
    """
    sheets = {target.sheet for target in targets if target.sheet and target.sheet.exists()}
    for sheet in sheets:
        for name in names:
            if os.path.exists(name) and os.path.samefile(name, sheet):
                raise UsageError(f"--sheet would overwrite the video {sheet}")


def _check_nothing_else(folder: Path) -> None:
    """Whoever reads the folder afterwards takes every file in it for a kept frame."""
    if not folder.is_dir():
        return
    from vidsampler.selection import FRAME_NAME

    for path in sorted(folder.rglob("*")):
        if path.is_file() and not FRAME_NAME.fullmatch(path.name):
            raise UsageError(
                f"--frames-dir {folder} would mix frames with {path.relative_to(folder)}",
                hint="choose an empty or a new folder",
            )


def _unique(stems: Sequence[str]) -> list[str]:
    # Compared without case: some file systems take Clip and clip for one name.
    reserved = {stem.casefold() for stem in stems}
    used: set[str] = set()
    names = []
    for stem in stems:
        name, number = stem, 1
        while name.casefold() in used or (number > 1 and name.casefold() in reserved):
            number += 1
            name = f"{stem}-{number}"
        used.add(name.casefold())
        names.append(name)
    return names
