"""Compares the checkpoint on show with another one, beside the window."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal, Slot

from cleanclip_gui.checkpoint.comparison_view import ComparisonView
from cleanclip_gui.jobs.background import Background
from ml_core.reading import InputError, Inspection, examine

_SECONDS = 0.1


class Comparing(QObject):
    """Examines the other file first, as any other; ``failed`` carries an InputError."""

    failed = Signal(object)

    def __init__(self, view: ComparisonView, parent: QObject) -> None:
        super().__init__(parent)
        self._view = view
        self._work: Background | None = None
        view.cancel_clicked.connect(self.cancel)

    def begin(self, found: Inspection, path: Path) -> None:
        """Compare an inspected file with the one at ``path``."""
        self.abandon()
        self._view.begin(path.name, len(found.tensors))

        def work(cancelled: Callable[[], bool]) -> Iterator[Any]:
            from ml_core.checkpoints.compare import compare_checkpoints

            other = examine(path, cancelled)
            if other.refused:
                raise other.refusal()
            batch: list[Any] = []
            told = time.monotonic()
            for change in compare_checkpoints(found, other, cancelled):
                batch.append(change)
                if time.monotonic() - told > _SECONDS:
                    yield batch
                    batch, told = [], time.monotonic()
            yield batch
            yield None  # whole

        self._work = Background(work)
        self._work.yielded.connect(self._on_compared)
        self._work.failed.connect(self._on_failed)
        self._work.begin()

    @Slot()
    def cancel(self) -> None:
        """Stop reading; what was compared stays on show."""
        self.abandon()
        self._view.stop("Cancelled; the tensors below were compared.")

    def abandon(self) -> None:
        """Forget it, as another file is opened."""
        if self._work is not None:
            self._work.abandon()
            self._work = None

    def stop(self, timeout_ms: int) -> bool:
        """End when the window closes; whether it ended in time."""
        work, self._work = self._work, None
        return work is None or work.stop(timeout_ms)

    @Slot(object)
    def _on_compared(self, batch: list[Any] | None) -> None:
        if self.sender() is not self._work:
            return
        if batch is None:
            self._work = None
            self._view.end()
        else:
            self._view.add(batch)

    @Slot(object)
    def _on_failed(self, error: InputError) -> None:
        if self.sender() is self._work:
            self._work = None
            self._view.stop("The comparison ended early.")
            self.failed.emit(error)
