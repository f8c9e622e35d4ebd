"""Plays acts on the window one after another, each when what it waits for has come true."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PySide6.QtCore import QObject, QTimer, Signal

_LOOK_EVERY_MS = 20


@dataclass(frozen=True)
class Wait:
    """What to wait for, at most how long, and the sentence if it does not come."""

    until: Callable[[], bool]
    seconds: float
    otherwise: str


class Scenario(QObject):
    """Runs a generator of :class:`Wait` in the event loop; ``ended`` carries an error or None.

    The acts stand between the ``yield``s, so a script reads like what a person does.
    """

    ended = Signal(object)

    def __init__(self, script: Iterator[Wait], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._script = script
        self._wait: Wait | None = None
        self._since = 0.0
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_EVERY_MS)
        self._timer.timeout.connect(self._on_timeout)

    def start(self) -> None:
        """Play from the first act."""
        self._next()

    def stop(self) -> None:
        """Play no further act."""
        self._timer.stop()

    def _on_timeout(self) -> None:
        assert self._wait is not None
        try:
            come = self._wait.until()
        except Exception as error:
            self._timer.stop()
            self.ended.emit(error)
            return
        if come:
            self._timer.stop()
            self._next()
        elif time.monotonic() - self._since > self._wait.seconds:
            self._timer.stop()
            self.ended.emit(TimeoutError(self._wait.otherwise))

    def _next(self) -> None:
        try:
            self._wait = next(self._script)
        except StopIteration:
            self.ended.emit(None)
            return
        except Exception as error:
            self.ended.emit(error)
            return
        self._since = time.monotonic()
        self._timer.start()
