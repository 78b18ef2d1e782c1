"""The benchmark of the allocator runs both ways."""

from __future__ import annotations

import os

import pytest

from benchmarks import allocator


@pytest.mark.slow
def test_both_ways_run(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, AttributeError):
        pytest.skip("of glibc alone")
    allocator.main(["--repeats", "1", "--steps", "1", "--batch-size", "4"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" s a step")[0].rsplit(None, 1)[0].strip() for line in lines[:2]] == [
        "given back",
        "kept",
    ]
    assert float(lines[2].split()[-1]) > 0
