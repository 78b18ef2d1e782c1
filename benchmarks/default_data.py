"""The real clips that the shipped sampler is trained on: their licences allow it.

    VIDSAMPLER_TEST_DATA=DATA python -m benchmarks.default_data FOLDER

FOLDER gets a link to each clip of DATA/clips whose row in captions.csv has the licence MIT, BSD,
Apache or Creative Commons, and groups.csv: clips of one repository are one group. All other clips,
and none of those repositories, are what `default_sampler` tests on.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from pathlib import Path

LICENCES = ("MIT", "BSD", "Apache", "CC0", "Creative Commons")


def sides(clips: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Clip -> repository, of those to train on and of those to test on."""
    with (clips / "captions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    repositories = {row["video"]: row["source"].partition(":")[0] for row in rows}
    allowed = {row["video"] for row in rows if any(name in row["licence"] for name in LICENCES)}
    seen = {repositories[name] for name in allowed}
    train = {name: repositories[name] for name in sorted(allowed)}
    test = {name: each for name, each in sorted(repositories.items()) if each not in seen}
    return train, test


def link(clips: Path, folder: Path) -> int:
    """Fills the folder; how many clips there are."""
    train, _ = sides(clips)
    folder.mkdir(parents=True, exist_ok=True)
    for name in train:
        if not (folder / name).exists():
            (folder / name).symlink_to((clips / name).resolve())
    lines = ["video,group", *(f"{name},{repository}" for name, repository in train.items())]
    (folder / "groups.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(train)


def main() -> None:
    """Links, and says what comes next."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    data = os.environ.get("VIDSAMPLER_TEST_DATA")
    if not data:
        sys.exit("set VIDSAMPLER_TEST_DATA to the folder that holds clips/captions.csv")
    count = link(Path(data) / "clips", folder)
    print(f"{folder}: {count} clips. Train with:")
    print(
        f"vidsampler train --dataset folder --videos {folder} --method default "
        f"--set dataset.groups={folder}/groups.csv"
    )


if __name__ == "__main__":
    main()
