"""A question that was asked, and who gets its answers."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6.QtCore import QObject

from cleanclip_gui.inference.questions import Failed, Progress, Question

Callback = Callable[[Any], object]


class Ticket:
    """Kept by the asker to cancel its question; the inference thread reads it meanwhile.

    ``number`` counts the questions: of two, the greater one is newer. Of the questions in a
    ``slot`` only the newest is answered; None stands beside all others.
    """

    def __init__(
        self,
        question: Question,
        number: int = 0,
        slot: str | None = None,
        on_result: Callback | None = None,
        on_failed: Callback | None = None,
        on_progress: Callback | None = None,
    ) -> None:
        self.question = question
        self.number = number
        self.slot = slot
        self._on_result, self._on_failed, self._on_progress = on_result, on_failed, on_progress
        self._lock = threading.Lock()
        self._cancelled = self._replaced = self._committed = self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether an answer may still come."""
        return not (self._cancelled or self._closed)

    @property
    def is_cancelled(self) -> bool:
        """Whether the asker wants no answer any more."""
        return self._cancelled

    @property
    def is_replaced(self) -> bool:
        """Whether it was cancelled by a newer question of its slot."""
        return self._cancelled and self._replaced

    @property
    def takes_failures(self) -> bool:
        """Whether the asker tells the user of a failure."""
        return self._on_failed is not None

    def cancel(self) -> bool:
        """Let no answer arrive from now on.

        False if it is too late: the engine has changed, or is about to, and the answer comes.
        """
        with self._lock:
            if self._closed or not self._committed:
                self._cancelled = True
            return self._cancelled

    def replace(self) -> None:
        """Cancel it for a newer question."""
        if self.is_open:
            self._replaced = True
            self.cancel()

    def commit(self) -> bool:
        """Make the answer sure to come; False if it was cancelled before."""
        with self._lock:
            self._committed = not self._cancelled
            return self._committed

    def close(self) -> None:
        """Note that the last answer was given, or that there will be none."""
        self._closed = True

    def deliver(self, answer: object) -> None:
        """Hand an answer to the asker, in the asker's thread."""
        if self._cancelled:
            return
        if self.question.is_last(answer):
            self.close()
        _call(self._on_progress if isinstance(answer, Progress) else self._on_result, answer)

    def deliver_failure(self, failed: Failed) -> None:
        """Hand a failure to the asker, in the asker's thread."""
        if not self._cancelled:
            self.close()
            _call(self._on_failed, failed)


def _call(callback: Callback | None, answer: object) -> None:
    """Call back, unless the object whose method it is was deleted by Qt."""
    method = callback.func if isinstance(callback, functools.partial) else callback
    owner = getattr(method, "__self__", None)
    if isinstance(owner, QObject) and not shiboken6.isValid(owner):
        return
    if callback is not None:
        callback(answer)
