"""Files read beside the window, each for whoever asked last."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator

from PySide6.QtCore import QDeadlineTimer, QObject, Signal

from cleanclip_gui.jobs.background import Background
from ml_core.reading.errors import InputError


class Reads(QObject):
    """``done(key, found)`` tells what :meth:`begin` has read, ``failed`` carries an InputError."""

    done = Signal(object, object)
    failed = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._count = 0
        self._newest: dict[Hashable, int] = {}
        self._threads: list[Background] = []

    @property
    def is_busy(self) -> bool:
        """Whether something is being read."""
        return bool(self._threads)

    def begin(self, key: Hashable, read: Callable[[], object]) -> None:
        """Read for ``key``; what was asked for it before is not delivered any more."""
        self._count += 1
        number = self._newest[key] = self._count

        def work(_: Callable[[], bool]) -> Iterator[object]:
            try:
                yield key, number, read()
            except InputError as error:
                yield key, number, error

        thread = Background(work)
        thread.yielded.connect(self._on_yielded)
        thread.failed.connect(self.failed)
        thread.finished.connect(self._on_finished)
        self._threads.append(thread)
        thread.begin()

    def forget(self, key: Hashable) -> None:
        """Deliver nothing for ``key`` of what is being read."""
        self._newest.pop(key, None)

    def stop(self, timeout_ms: int) -> bool:
        """End all when the window closes; whether they ended within the limit."""
        deadline = QDeadlineTimer(timeout_ms)
        for thread in self._threads:
            thread.abandon()
        ended = [thread.stop(deadline.remainingTime()) for thread in self._threads]
        return all(ended)

    def _on_yielded(self, told: tuple[Hashable, int, object]) -> None:
        key, number, found = told
        if self._newest.get(key) == number:
            del self._newest[key]
            if isinstance(found, InputError):
                self.failed.emit(found)
            else:
                self.done.emit(key, found)

    def _on_finished(self) -> None:
        self._threads = [thread for thread in self._threads if not thread.isFinished()]
