"""How this program starts itself again for a part of its work, and keeps memory and imports cheap.

From source a child is ``python -m MODULE``. A frozen program has no interpreter to start, so it
starts its own executable with a word in the first place, and both programs ask `dispatch` for it.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

_WORDS = {
    "ml_core.reading.worker": "--reader",
    "ml_core.reading.tokenizer_worker": "--tokenizer",
    "ml_core.reports.verify.worker": "--verifier",
    "ml_core.jobs.worker": "--worker",
    "ml_core.evaluation.tsne_worker": "--tsne",
    "torch.distributed.run": "--torchrun",
}


def child_command(module: str) -> list[str]:
    """The beginning of the command line that runs one of the modules above."""
    word = _WORDS[module]
    if getattr(sys, "frozen", False):
        return [sys.executable, word]
    return [sys.executable, "-P", "-m", module]


def own_stdout() -> BinaryIO:
    """Keep standard output for the child's answers; what is printed goes to standard error."""
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return own


def dispatch() -> None:
    """Run as the child that the command line names, then exit; return if it names no child."""
    if not getattr(sys, "frozen", False):
        return
    import multiprocessing
    import runpy

    multiprocessing.freeze_support()  # of the processes that read pictures
    _restore_library_path()
    modules = {word: module for module, word in _WORDS.items()}
    module = modules.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if module is not None:
        del sys.argv[1]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        sys.exit(0)


def _restore_library_path() -> None:
    """Restore the library path, so that system programs do not load the bundle's libraries."""
    name = "LD_LIBRARY_PATH"
    if name in os.environ:
        before = os.environ.pop(f"{name}_ORIG", None)
        if before:
            os.environ[name] = before
        else:
            del os.environ[name]


_LOG = logging.getLogger(__name__)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_UNDER = 1 << 30
_OLD_LIMIT = 32 << 20  # older versions refuse a higher threshold


def keep_freed_memory() -> bool:
    """Ask the C library to keep up to 1 GB of freed blocks for the next batch; return if it will.

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
    accepted = any(mallopt(_M_MMAP_THRESHOLD, size) for size in (_KEPT_UNDER, _OLD_LIMIT))
    done = bool(accepted and mallopt(_M_TRIM_THRESHOLD, _KEPT_UNDER))
    if not done:
        _LOG.info("freed memory goes back to the kernel: mallopt refused")
    return done


@contextmanager
def collector_off(*, for_good: bool = True) -> Iterator[None]:
    """Switch the garbage collector off while modules are imported, or very many objects are made.

    It would walk over all the new objects again and again, and stop every thread meanwhile.

    Parameters
    ----------
    for_good
        Whether it does not look at what is there afterwards either, as modules stay.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if for_good:
            gc.freeze()
        if was_on:
            gc.enable()
