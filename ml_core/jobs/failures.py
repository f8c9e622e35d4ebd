"""What went wrong in a job, as one plain sentence with the details beside it."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Generator

from ml_core.events import Done, Event
from ml_core.reading.errors import CancelledError, InputError, TooLittleMemoryError, UnfitModelError

# A quota, or a limit on the size of a file, is a full disk to whom it stops.
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)
_CODES = {TooLittleMemoryError: "memory", UnfitModelError: "unfit"}
_UNMAPPED = ("failed to map segment", "annot allocate memory")
_OTHER_ENDED = ("Connection closed by peer", "Connection reset by peer", "NCCL")


def guarded(events: Generator[Event, None, None]) -> Generator[Event, None, None]:
    """The events of a job, where an exception becomes its last one, a Done."""
    try:
        yield from events
    except Exception as error:
        yield failure(error)


def failure(error: BaseException) -> Done:
    """The last event of a job that ended with an exception.

    Returns
    -------
    Done
        Cancelled after a `CancelledError`; else failed, with the ``error_code`` of an InputError,
        or ``unfit``, ``memory``, ``disk`` or ``internal``.
    """
    if isinstance(error, CancelledError):
        return Done("cancelled")
    details = "".join(traceback.format_exception(error))

    def failed(code: str, sentence: str) -> Done:
        return Done("failed", error=sentence, error_code=code, details=details)

    if _full(error) or (isinstance(error, InputError) and _full(error.__cause__)):
        words = "The disk is full: free some space and resume. What was saved before is intact."
        return failed("disk", words)
    if isinstance(error, InputError):
        code, details = _CODES.get(type(error), error.code), error.details
        return failed(code, error.sentence)
    if _out_of_memory(error):
        return failed(
            "memory",
            "There is too little memory on the device: close other programs, halve the batch size "
            "of a run, or choose another device. What was saved is intact.",
        )
    if _libraries_do_not_fit(error):
        return failed(
            "memory",
            "There is too little memory to load the program's libraries: close other programs, or "
            "raise the limit of its memory (ulimit -v).",
        )
    if isinstance(error, RuntimeError) and any(sign in str(error) for sign in _OTHER_ENDED):
        words = "Another process of this run ended: its own message says why. Resume from the last "
        return failed("internal", f"{words}save.")
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        place = f" ({error.filename})" if error.filename else ""
        words = f"A file could not be read or written{place}: {reason}; choose another file or "
        return failed("disk", f"{words}folder.")
    words = f"Something failed inside the program: {type(error).__name__}: {_first_line(error)}"
    return failed("internal", words)


def _full(error: BaseException | None) -> bool:
    """Whether a file could not grow."""
    return isinstance(error, OSError) and (error.errno in _FULL or "No space" in str(error))


def _out_of_memory(error: BaseException) -> bool:
    """Whether it is torch's or Python's out of memory."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))


def _libraries_do_not_fit(error: BaseException) -> bool:
    """Whether an import ran out of memory; under a limit Python forgets to say so."""
    if isinstance(error, ImportError) and any(sign in str(error) for sign in _UNMAPPED):
        return True
    if isinstance(error, ModuleNotFoundError):
        return False
    return isinstance(error, (ImportError, SystemError)) and _address_space_is_limited()


def _address_space_is_limited() -> bool:
    try:
        import resource
    except ImportError:  # Windows
        return False
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def _first_line(error: BaseException) -> str:
    """The first line of a message, ended by a full stop."""
    lines = str(error).strip().splitlines()
    text = lines[0][:200] if lines else "no message"
    return text if text.endswith(".") else f"{text}."
