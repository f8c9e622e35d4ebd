"""Importing torch in a thread without stopping the window's.

Two things hold the interpreter's lock for 0.1 to 0.7 s each while torch is imported: loading its
libraries (0.5 s of relocations and static initialisers), and the garbage collector, which walks
over all the new objects again and again. The first is done beforehand in a foreign call, in which
the lock is free; the second is off meanwhile, and what was imported is then out of its sight.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from ml_core.collector import collector_off

_LIBRARIES = {"linux": "libtorch.so", "darwin": "libtorch.dylib"}


@contextmanager
def imported_beside_the_window() -> Iterator[None]:
    """Import torch in here, in another thread than the window's."""
    library = torch_library()
    if library is not None:
        load_unlocked(library)
    with collector_off():
        yield


def torch_library() -> Path | None:
    """The library that needs all the others of torch; None where it is not known."""
    name, package = _LIBRARIES.get(sys.platform), find_spec("torch")
    if name is None or package is None or package.origin is None:
        return None
    path = Path(package.origin).parent / "lib" / name
    return path if path.is_file() else None


def load_unlocked(library: Path) -> bool:
    """Load a shared library while other threads run; whether it was loaded.

    ``ctypes.CDLL(library)`` would hold the lock. Python's own bindings cannot be loaded so, since
    their initialisers may need it.
    """
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.argtypes, dlopen.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    return dlopen(os.fsencode(library), os.RTLD_NOW) is not None
