"""Keep freed memory instead of giving it back to the kernel after every step."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# glibc, malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to reuse large blocks; True where that was possible.

    By default each weight-sized temporary (75 MB for Table 1's largest matrix) is mapped anew at every step and its
    pages are zeroed one fault at a time: measured, a third of a step on two cores (``benchmarks/training.py``).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")
        return bool(
            libc.mallopt(_M_MMAP_MAX, 0)
            and libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
            and libc.mallopt(_M_TOP_PAD, 256 * 2**20)
        )
    except (OSError, AttributeError):  # another C library, such as musl
        return False
