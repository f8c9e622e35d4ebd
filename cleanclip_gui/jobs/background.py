"""A thread for one short piece of work beside the window, such as hashing a file."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Iterable

from PySide6.QtCore import QThread, Signal

from cleanclip_gui import threads
from ml_core.reading.errors import CancelledError, InputError

_LOG = logging.getLogger(__name__)


class Background(QThread):
    """Runs ``work(cancelled)`` and emits each thing it yields.

    Connect ``yielded`` and ``failed`` to methods of a QObject in the GUI thread only. The
    thread keeps itself alive until it has ended; call :meth:`stop` before its listener dies.
    """

    closing_ms = threads.CLOSING_MS
    yielded = Signal(object)
    failed = Signal(object)

    def __init__(self, work: Callable[[Callable[[], bool]], Iterable[object]]) -> None:
        super().__init__()
        self._work = work
        self._cancelled = threading.Event()
        self.finished.connect(self._on_finished)

    def begin(self) -> None:
        """Start; held alive by the module meanwhile."""
        threads.enter(self)
        self.start(QThread.Priority.LowPriority)

    def run(self) -> None:
        """Do the work in this thread."""
        try:
            for item in self._work(self._cancelled.is_set):
                if self._cancelled.is_set():
                    return
                self.yielded.emit(item)
        except CancelledError:
            return
        except InputError as error:
            self.failed.emit(error)
        except Exception as error:
            _LOG.exception("background work failed")
            self.failed.emit(
                InputError(f"This failed unexpectedly: {error}", "damaged", traceback.format_exc())
            )

    def abandon(self) -> None:
        """Ask it to end, and let it go without waiting: nothing of it is delivered any more."""
        self._cancelled.set()

    end = abandon

    def stop(self, timeout_ms: int = 5000) -> bool:
        """Ask it to end and wait for that within a limit."""
        self._cancelled.set()
        ended = self.wait(timeout_ms)
        if ended:
            threads.leave(self)
        return ended

    close = stop

    def _on_finished(self) -> None:
        threads.leave(self)
