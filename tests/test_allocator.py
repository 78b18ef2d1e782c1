"""The C library keeps what is freed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes
import resource
from vidsampler.allocator import keep_freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20

if {wanted}:
    print(keep_freed_memory())
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
blocks = [libc.malloc(ctypes.c_size_t(20 << 20)) for _ in range(10)]
for block in blocks:
    ctypes.memset(ctypes.c_void_p(block), 1, 20 << 20)
full = resident()
for block in blocks:
    libc.free(block)
print(full - resident())
"""


def _run(wanted: bool, **variables: str) -> list[str]:
    others = ("MALLOC_", "LD_PRELOAD", "GLIBC_TUNABLES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(wanted=wanted)],
        env=kept | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def _glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (ValueError, AttributeError):
        return False


@pytest.mark.skipif(not _glibc(), reason="of glibc alone")
def test_what_is_freed_stays() -> None:
    (given_back,) = _run(False)
    assert float(given_back) > 190
    told, given_back = _run(True)
    assert told == "True"
    assert float(given_back) < 1


def test_what_the_user_has_set_stays() -> None:
    assert _run(True, MALLOC_TRIM_THRESHOLD_="131072")[0] == "False"
    assert _run(True, MALLOC_ARENA_MAX="2")[0] == "False"
    assert _run(True, GLIBC_TUNABLES="glibc.malloc.trim_threshold=131072")[0] == "False"
    assert _run(True, LD_PRELOAD="libm.so.6")[0] == "False"
