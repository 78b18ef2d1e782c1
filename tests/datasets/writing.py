"""Writes small annotation files, in the forms that the field passes round."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidsampler.config import set_layer
from vidsampler.datasets import Annotations, read, settings_of


def write(folder: Path, files: Mapping[str, Any]) -> Path:
    """Writes each file: text and bytes as they are, everything else as JSON."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            path.write_text(text, encoding="utf-8", newline="")
    return folder


def read_with(name: str, folder: Path, *assignments: str) -> Annotations:
    """Reads with settings as `--set` gives them."""
    return read(name, folder, settings_of(name, [set_layer(each) for each in assignments]))


def sizes(annotations: Annotations) -> dict[str, tuple[int, int]]:
    """Split -> (videos, captions)."""
    return {
        name: (len(records), sum(len(record.captions) for record in records))
        for name, records in annotations.splits.items()
    }


def captions(annotations: Annotations) -> dict[str, dict[str, tuple[str, ...]]]:
    """Split -> id -> captions."""
    return {
        name: {record.video: record.captions for record in records}
        for name, records in annotations.splits.items()
    }


def msrvtt(train: int = 4, test: int = 2, each: int = 2) -> dict[str, Any]:
    """MSR-VTT with videos video0 ...: the json, the 9k list and the test list."""
    ids = [f"video{number}" for number in range(train + test)]
    videos = [
        {"video_id": video, "split": "train" if number < train else "test", "start time": 1.0}
        for number, video in enumerate(ids)
    ]
    sentences = [
        {"video_id": video, "caption": f"{video} caption {number}"}
        for video in ids
        for number in range(each)
    ]
    tested = [f"ret{n},msr{n},{video},{video} query" for n, video in enumerate(ids[train:])]
    return {
        "MSRVTT_data.json": {"videos": videos, "sentences": sentences},
        "MSRVTT_train.9k.csv": "\n".join(["video_id", *ids[:train], ""]),
        "MSRVTT_JSFUSION_test.csv": "\n".join(["key,vid_key,video_id,sentence", *tested, ""]),
    }
