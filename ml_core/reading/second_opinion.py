"""What picklescan says of the same file, in its own words; it never relaxes a verdict.

picklescan compares names with a list of dangerous ones and knows nothing of what is not on it.
Call this in the reader's process only: it takes whole archives into memory.
"""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, NoReturn

from ml_core.reading.errors import first_names

_ENDINGS = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".zip", ".npy", ".npz")
_SHOWN = 5
SECONDS = 2.0
_AGAIN = 0.05
MEMORY = 250 << 20  # what its process may take above an idle one, see `worker`


class _LateError(BaseException):
    """Its time is over; picklescan goes on after an Exception."""


def load_picklescan() -> None:
    """Load picklescan, with what it loads at its first array."""
    import numpy.lib.format  # noqa: F401
    import picklescan.scanner  # noqa: F401

    _name()


@cache
def _name() -> str:
    from importlib.metadata import version

    return f"picklescan {version('picklescan')}"


def not_looked_at(path: Path) -> str:
    """That picklescan does not look into files named so; empty if it does."""
    if path.suffix.lower() in _ENDINGS:
        return ""
    return f"{_name()} does not look into files named *{path.suffix or ' without an ending'}."


def second_opinion(path: Path) -> str:
    """Scan a file with picklescan.

    Parameters
    ----------
    path
        A file that picklescan looks into, see `not_looked_at`.

    Returns
    -------
    str
        One sentence that begins with picklescan's name and version; that it gave up, if it took
        more than `SECONDS` of the processor or more memory than its process may have.
    """
    from picklescan import scanner

    who = _name()
    logging.getLogger("picklescan").disabled = True
    short = f"{who} gave up: it wanted more than {MEMORY >> 20} MiB of memory."
    try:
        with _limited(), _memory_errors() as breaks:
            report = scanner.scan_file_path(str(path))
    except _LateError:
        return f"{who} gave up after {SECONDS:.0f} seconds."
    except MemoryError:
        return short
    except Exception as error:
        return f"{who} could not read the file ({type(error).__name__})."
    named = sorted(  # picklescan gives a set
        f"{each.module}.{each.name} ({each.safety.value})"
        for each in report.globals
        if each.safety is not scanner.SafetyLevel.Innocuous
    )
    if named:
        return f"{who} found {first_names(named, _SHOWN, 1 << 20, counted=True)}."
    if breaks:
        return short
    if report.scan_err:
        return f"{who} could not read all of it."
    if not report.scanned_files:
        return f"{who} found no pickle in it."
    return f"{who} found no name that it knows as dangerous."


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """End what takes too much of the processor, where the system can (not on Windows)."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def late(number: int, frame: FrameType | None) -> NoReturn:
        raise _LateError

    before = signal.signal(signal.SIGPROF, late)
    # Again and again: what is raised in a callback of the garbage collector is lost.
    signal.setitimer(signal.ITIMER_PROF, SECONDS, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def _memory_errors() -> Iterator[list[str]]:
    """Note where a pickle was left half-read for lack of memory; picklescan hides that."""
    import pickletools

    from picklescan import scanner

    breaks: list[str] = []

    def opcodes(data: Any) -> Iterator[Any]:
        whole = False
        try:
            yield from pickletools.genops(data)
            whole = True
        except MemoryError:
            raise
        except Exception:
            whole = True  # the pickle is damaged, which is picklescan's to say
            raise
        finally:
            if not whole:
                breaks.append("memory")

    known = scanner.pickletools
    scanner.pickletools = SimpleNamespace(genops=opcodes)
    try:
        yield breaks
    finally:
        scanner.pickletools = known
