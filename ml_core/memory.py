"""Keep freed memory: batches of pictures come and go many times a second."""

from __future__ import annotations

import ctypes
import logging
import sys

_LOG = logging.getLogger(__name__)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_UNDER = 1 << 30
_OLD_LIMIT = 32 << 20  # older versions refuse a higher threshold


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed blocks for the next batch, up to 1 GB; tells if it will.

    By default glibc gives blocks over 32 MB back to the kernel at once, and each page of the next
    batch is a fault and is filled with zeros again. Does nothing elsewhere than on Linux with
    glibc. Safe to call twice; best called before the first large tensor.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    kept = any(mallopt(_M_MMAP_THRESHOLD, size) for size in (_KEPT_UNDER, _OLD_LIMIT))
    done = bool(kept and mallopt(_M_TRIM_THRESHOLD, _KEPT_UNDER))
    if not done:
        _LOG.info("freed memory goes back to the kernel: mallopt refused")
    return done
