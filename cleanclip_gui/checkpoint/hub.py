"""Fetches a repository of the Hugging Face Hub beside the window."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QWidget

from cleanclip_gui.checkpoint.hub_dialog import HubDialog
from cleanclip_gui.jobs.background import Background
from ml_core.reading import InputError

_SECONDS = 0.1


class Fetching(QObject):
    """One dialog, one download; ``fetched(str)`` carries the folder, which is then examined."""

    fetched = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._widget = parent
        self.dialog: HubDialog | None = None
        self._work: Background | None = None

    @Slot()
    def open(self) -> None:
        """Ask which repository."""
        if self.dialog is not None:
            self.dialog.raise_()
            return
        self.dialog = HubDialog(self._widget.window())
        self.dialog.fetch_clicked.connect(self.begin)
        self.dialog.cancel_clicked.connect(self.cancel)
        self.dialog.closed.connect(self._on_closed)
        self.dialog.open()

    @Slot(str)
    def begin(self, name: str) -> None:
        """Bring ``owner/name``, with ``@revision`` behind it or without, into the cache."""
        if self.dialog is None:
            return
        report = _Report()
        report.moved.connect(self._on_moved)

        def work(cancelled: Callable[[], bool]) -> Iterator[str]:
            from ml_core.checkpoints.hub import PREFIX, fetch

            yield str(fetch(f"{PREFIX}{name}", report.tell, cancelled).path)

        self._work = Background(work)
        self._work.setObjectName("hub")
        self._report = report
        self._work.yielded.connect(self._on_fetched)
        self._work.failed.connect(self._on_failed)
        self._work.begin()
        self.dialog.show_running()

    @Slot()
    def cancel(self) -> None:
        """Let it go; what has arrived stays in the cache and is not fetched again."""
        if self._work is not None:
            self._work.abandon()
            self._work = None
            if self.dialog is not None:
                self.dialog.show_ended("Cancelled; a later download goes on where it stopped.")

    def stop(self, timeout_ms: int) -> bool:
        """End when the window closes; whether it ended in time."""
        work, self._work = self._work, None
        if self.dialog is not None:
            self.dialog.reject()
        return work is None or work.stop(timeout_ms)

    @Slot()
    def _on_closed(self) -> None:
        self.cancel()
        self.dialog = None

    @Slot(object)
    def _on_moved(self, moved: tuple[int, int]) -> None:
        if self.dialog is not None and self.sender() is self._report:
            self.dialog.show_progress(*moved)

    @Slot(object)
    def _on_fetched(self, path: str) -> None:
        if self.sender() is not self._work:
            return
        self._work = None
        if self.dialog is not None:
            self.dialog.accept()
        self.fetched.emit(path)

    @Slot(object)
    def _on_failed(self, error: InputError) -> None:
        if self.sender() is self._work:
            self._work = None
            if self.dialog is not None:
                self.dialog.show_ended(error.sentence, error=True)


class _Report(QObject):
    """Carries how many bytes arrived into the window, ten times a second."""

    moved = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._told = 0.0

    def tell(self, done: int, total: int) -> None:
        """Called in the thread that downloads."""
        now = time.monotonic()
        if now - self._told > _SECONDS or (total and done >= total):
            self._told = now
            self.moved.emit((done, total))
