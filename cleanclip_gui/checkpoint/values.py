"""Reads the tensors' values beside the window: statistics for the table, one histogram."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from PySide6.QtCore import QDeadlineTimer, QObject, QTimer, Signal, Slot

from cleanclip_gui.checkpoint.histogram import HistogramCard
from cleanclip_gui.checkpoint.tensor_table import TensorTable
from cleanclip_gui.jobs.background import Background
from ml_core.reading import InputError, Inspection, TensorInfo
from ml_core.reading.garbage_collection import set_aside

_SECONDS = 0.1
_MAX_BATCH = 2000  # rows that the window takes in at once


class Values(QObject):
    """``complete`` turns true, and ``completed`` is emitted, when every tensor has its numbers."""

    completed = Signal()

    def __init__(self, table: TensorTable, histogram: HistogramCard, parent: QObject) -> None:
        super().__init__(parent)
        self._table, self._histogram = table, histogram
        self._found: Inspection | None = None
        self._statistics: Background | None = None
        self._counting: Background | None = None
        self.complete = False
        table.selected.connect(self._on_tensor_selected)

    def forget(self) -> None:
        """Another file is being read."""
        for thread in (self._statistics, self._counting):
            if thread is not None:
                thread.abandon()
        self._found = self._statistics = self._counting = None
        self.complete = False
        self._histogram.hide()

    def show(self, found: Inspection) -> None:
        """The file whose tensors are in the table; its histograms can be asked for."""
        self._found = found

    def begin(self, found: Inspection) -> None:
        """Fill in min, max, mean and the like, tensor by tensor."""
        if found.weights_path is None:
            return
        if self._statistics is not None:
            self._statistics.abandon()
        self._found, self.complete = found, False
        set_aside(len(found.tensors))

        def work(cancelled: Callable[[], bool]) -> Iterator[list[Any]]:
            from ml_core.checkpoints.tensor_stats import tensor_stats

            batch: list[Any] = []
            told = time.monotonic()
            for stats in tensor_stats(found, None, cancelled):
                batch.append(stats)
                if time.monotonic() - told > _SECONDS or len(batch) >= _MAX_BATCH:
                    yield batch
                    batch, told = [], time.monotonic()
            yield batch

        self._statistics = Background(work)
        self._statistics.yielded.connect(self._on_statistics)
        self._statistics.finished.connect(self._on_statistics_finished)
        self._statistics.begin()

    def stop(self, timeout_ms: int) -> bool:
        """End when the window closes; whether it ended in time."""
        deadline = QDeadlineTimer(timeout_ms)
        threads = (self._statistics, self._counting)
        self._statistics = self._counting = None
        for thread in threads:
            if thread is not None:
                thread.abandon()
        ended = [t.stop(deadline.remainingTime()) for t in threads if t is not None]
        return all(ended)

    @Slot(object)
    def _on_statistics(self, batch: list[Any]) -> None:
        if self.sender() is self._statistics:
            self._table.model.add_stats(batch)

    @Slot()
    def _on_statistics_finished(self) -> None:
        if self.sender() is self._statistics:
            self._table.model.sort_by_statistics_again()
            self.complete = True
            self.completed.emit()

    @Slot(object)
    def _on_tensor_selected(self, info: TensorInfo) -> None:
        """Count the values of the chosen tensor."""
        found = self._found
        if found is None or found.weights_path is None:
            return
        if self._counting is not None:
            self._counting.abandon()
        self._histogram.begin(info.name)
        QTimer.singleShot(0, self._table, self._table.show_selected)  # once there is less room

        def work(cancelled: Callable[[], bool]) -> Iterator[Any]:
            from ml_core.checkpoints.tensor_histogram import tensor_histogram

            yield from tensor_histogram(found, info, cancelled=cancelled)

        self._counting = Background(work)
        self._counting.yielded.connect(self._on_counted)
        self._counting.failed.connect(self._on_counting_failed)
        self._counting.begin()

    @Slot(object)
    def _on_counted(self, counted: Any) -> None:
        if self.sender() is self._counting:
            self._histogram.show_counts(counted)

    @Slot(object)
    def _on_counting_failed(self, error: InputError) -> None:
        if self.sender() is self._counting:
            self._histogram.show_problem(error.sentence)
