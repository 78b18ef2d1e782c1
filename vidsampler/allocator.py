"""The C library's memory allocator. No torch in here."""

from __future__ import annotations

import ctypes
import os
import sys

# Of mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> bool:
    """Has the process keep what it frees, for what it takes next.

    A step of training on a CPU takes and frees the same large tensors over and over. glibc gives
    them back to the system each time, which then has to clear the pages of the next ones: 1.4 times
    the time of a step of small towers (`benchmarks/allocator.py`). The peak of memory stays the
    same; what is between the peaks does not go back. It is of the whole process, and so for
    commands to call, not for a library.

    Returns:
        Whether that is so now: with glibc, unless the user has set it up by its environment
        variables, or has anything in LD_PRELOAD, such as another allocator.
    """
    told = any(name.startswith("MALLOC_") for name in os.environ)
    told = told or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if not sys.platform.startswith("linux") or told or os.environ.get("LD_PRELOAD"):
        return False
    try:
        os.confstr("CS_GNU_LIBC_VERSION")
        mallopt = ctypes.CDLL(None).mallopt
    except (ValueError, OSError, AttributeError):
        return False
    # 32 MiB is the most that glibc takes; larger blocks are mapped anew each time.
    wanted = ((_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 64 << 20))
    taken = [mallopt(ctypes.c_int(option), ctypes.c_int(value)) for option, value in wanted]
    return all(taken)
