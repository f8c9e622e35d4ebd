"""What was asked of another thread, and who gets what becomes of it."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import shiboken6
from PySide6.QtCore import QObject

Callback = Callable[[Any], object]
TELL_EVERY = 0.1
"""Seconds between two reports of the same work, so that the window takes in few."""


@dataclass(frozen=True)
class TicketProgress:
    """How far a long task is; ``total`` 0 means that its length is unknown.

    ``methods`` of an attribution are those that the model allows, the usual one first.
    """

    done: int
    total: int
    what: str = ""
    methods: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """The share that is done, from 0 to 1."""
        return self.done / max(1, self.total)


class Throttle:
    """Lets through one report of progress in `TELL_EVERY`, and always that all is done."""

    def __init__(self) -> None:
        self._last = -math.inf

    def lets_through(self, progress: TicketProgress) -> bool:
        """Whether to report this progress; called from one thread."""
        now = time.monotonic()
        if now - self._last < TELL_EVERY and not 0 < progress.total <= progress.done:
            return False
        self._last = now
        return True


class Ticket:
    """The asker keeps it to cancel its question; the thread that works on the answer reads it.

    Only the newest question in a ``slot`` is answered. Questions with None do not replace each
    other. A method of a QObject that was deleted meanwhile is not called.
    """

    def __init__(
        self,
        slot: Hashable = None,
        on_result: Callback | None = None,
        on_failed: Callback | None = None,
        on_progress: Callback | None = None,
    ) -> None:
        self.slot = slot
        self._on_result, self._on_failed, self._on_progress = on_result, on_failed, on_progress
        self._cancelled = self._closed = False

    @classmethod
    def closed(cls) -> Ticket:
        """A ticket of nothing: no answer comes, and to cancel it changes nothing."""
        ticket = Ticket()
        ticket.close()
        return ticket

    @property
    def is_open(self) -> bool:
        """Whether an answer may still come."""
        return not (self._cancelled or self._closed)

    @property
    def is_cancelled(self) -> bool:
        """Whether the asker wants no answer any more."""
        return self._cancelled

    @property
    def takes_failures(self) -> bool:
        """Whether the asker handles a failure itself."""
        return self._on_failed is not None

    def cancel(self) -> bool:
        """Let no answer arrive from now on; False if it is too late for that."""
        self._cancelled = True
        self.forget()
        return True

    def close(self) -> None:
        """Note that the last answer was given, or that there will be none."""
        self._closed = True

    def forget(self) -> None:
        """Drop the reference to the asker, who may hold this ticket; no answer is given then."""
        self._on_result = self._on_failed = self._on_progress = None

    def give_result(self, result: object) -> None:
        """Hand a result to the asker, in the asker's thread."""
        if not self._cancelled:
            call(self._on_result, result)

    def give_progress(self, progress: TicketProgress) -> None:
        """Tell the asker how far it is, in the asker's thread."""
        if not self._cancelled:
            call(self._on_progress, progress)

    def give_failure(self, failure: object) -> None:
        """Hand the one failure to the asker, in the asker's thread; nothing comes after it."""
        if not self._cancelled:
            self.close()
            call(self._on_failed, failure)


def call(callback: Callable[..., object] | None, *given: object) -> None:
    """Call back, unless the object whose method it is was deleted by Qt."""
    owner = receiver(callback)
    if callback is not None and (not isinstance(owner, QObject) or shiboken6.isValid(owner)):
        callback(*given)


def receiver(callback: Callable[..., object] | None) -> object:
    """The object whose method a callback is or stands in; None for a plain function."""
    while isinstance(callback, functools.partial):
        callback = callback.func
    code = getattr(callback, "__code__", None)
    if code is not None and "self" in code.co_freevars:  # a function inside a method
        return callback.__closure__[code.co_freevars.index("self")].cell_contents  # type: ignore
    return getattr(callback, "__self__", None)
