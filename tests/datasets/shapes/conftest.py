"""One small rendered dataset that the tests share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from vidsampler.datasets.shapes import ShapesSettings, ShapesVideo, read, render


@dataclass(frozen=True)
class Rendered:
    """A dataset that is only looked at: a test that changes files makes its own."""

    settings: ShapesSettings
    folder: Path
    videos: list[ShapesVideo]

    def path(self, video: ShapesVideo) -> Path:
        return self.folder / "test" / f"{video.video}.mp4"


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Sixty test videos at the default settings."""
    settings = ShapesSettings(train=0, val=0, test=60)
    folder = render(settings, tmp_path_factory.mktemp("shapes"), workers=1)
    return Rendered(settings, folder, read(folder, "test"))
