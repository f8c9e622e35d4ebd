"""The threads of the window, those with child processes among them; one call ends them all.

Each enters itself when it starts. Nobody else has to remember it: a running ``QThread`` that is
collected, or outlives the interpreter, would abort the process.
"""

from __future__ import annotations

import atexit
import logging
import time
from typing import Protocol

_LOG = logging.getLogger(__name__)

READING_MS = 300
"""When the window closes, what only reads gets this long: it holds nothing that could be lost."""

CLOSING_MS = 1500
"""What writes, or has a child, gets all the time that there is: one that is asked, terminated and
killed is gone within 0.8 s, and what is written has another name until it is whole."""

_AT_EXIT_MS = 2000


class Thread(Protocol):
    """A thread as this module sees it; ``closing_ms`` is the longest that closing waits for it."""

    @property
    def closing_ms(self) -> int:
        """The longest that closing waits for it, in milliseconds."""

    def isRunning(self) -> bool:  # noqa: N802
        """Whether it has not ended."""

    def end(self) -> object:
        """Ask it to end, without waiting."""

    def close(self, timeout_ms: int) -> bool:
        """End it; return whether it ended within the time."""


_STARTED: list[Thread] = []


def enter(thread: Thread) -> None:
    """Keep a thread alive that is about to start."""
    if thread not in _STARTED:
        _STARTED.append(thread)


def leave(thread: Thread) -> None:
    """Let go of a thread that has ended."""
    if thread in _STARTED:
        _STARTED.remove(thread)


def running() -> list[Thread]:
    """The threads that have not ended."""
    return [thread for thread in _STARTED if thread.isRunning()]


def still_running() -> bool:
    """Whether some thread has not ended; one that outlives the interpreter would abort it."""
    return bool(running())


def close_all(timeout_ms: int = CLOSING_MS) -> bool:
    """End all of them: ask each first, then wait, so that they end at the same time.

    Parameters
    ----------
    timeout_ms
        For all together; each has its own limit besides.

    Returns
    -------
    bool
        Whether all ended. Those that did not are left to end by themselves.
    """
    begun = time.monotonic()
    # One that has just ended may still hold its device until it is told so.
    threads = sorted(_STARTED, key=lambda thread: thread.closing_ms)
    for thread in threads:
        thread.end()
    ended = True
    for thread in threads:
        gone = round(1000 * (time.monotonic() - begun))
        if thread.close(max(0, min(thread.closing_ms, timeout_ms) - gone)):
            leave(thread)
        else:
            _LOG.warning("%s did not end in time", thread)
            ended = False
    return ended


@atexit.register
def _close_at_exit() -> None:
    close_all(_AT_EXIT_MS)
