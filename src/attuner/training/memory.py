"""Let the process reuse the memory that it frees."""

from __future__ import annotations

import ctypes
import sys

# Of mallopt(3); glibc's own numbers.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_MEBIBYTE = 1 << 20


def reuse_freed_memory() -> None:
    """Tell glibc to keep freed memory for the next update instead of giving it back.

    An update frees and asks for hundreds of megabytes, always of the same sizes. By default glibc
    returns each large block to the system, which hands it out again page by page, zeroed: 30,000
    page faults an update of a 75 M parameter model, a tenth of its time. Other C libraries and
    allocators are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # no glibc
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_TOP_PAD, 64 * _MEBIBYTE)
