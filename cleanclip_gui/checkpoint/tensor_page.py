"""The tensors of a checkpoint: a table that fills in statistics, and a histogram of one of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.histogram import HistogramCard
from cleanclip_gui.checkpoint.tensor_columns import TensorColumns
from cleanclip_gui.checkpoint.tensor_table import TensorTable
from cleanclip_gui.jobs import tasks
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.layout import column
from ml_core.reading import InputError, Inspection, TensorInfo
from ml_core.reading.garbage_collection import set_aside


class TensorPage(QWidget):
    """Reads the values beside the window.

    ``complete`` turns true when every tensor has its numbers.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.table = TensorTable()
        self.histogram = HistogramCard()
        self._found: Inspection | None = None
        self._reading: dict[str, Ticket] = {}
        self.complete = False
        self.table.selected.connect(self._on_tensor_selected)
        column(self.table, self.histogram, of=self, spacing=theme.SPACE_M)

    def clear(self) -> None:
        """Show nothing, and read no further: another file is being examined."""
        for ticket in self._reading.values():
            ticket.cancel()
        self._found, self.complete = None, False
        self.histogram.hide()
        self.table.set_tensors(())

    def set_file(self, found: Inspection) -> None:
        """Take the file whose tensors are to be shown; histograms can be asked for."""
        self._found = found

    def set_columns(self, columns: TensorColumns) -> None:
        """Show the tensors of the file, as they were prepared in a thread."""
        self.table.set_columns(columns)

    def read_values(self, found: Inspection) -> None:
        """Fill in min, max, mean and the like, tensor by tensor."""
        if found.weights_path is None:
            return
        self._found, self.complete = found, False
        set_aside(len(found.tensors))

        def work(control: tasks.Control) -> Iterator[list[Any]]:
            from ml_core.checkpoints.tensor_stats import tensor_stats

            yield from tasks.batches(tensor_stats(found, None, control.cancelled))

        self._reading["statistics"] = tasks.run(
            work, self.table.model.add_stats, self._on_values_failed,
            on_done=self._on_values_read, slot="statistics",
        )  # fmt: skip

    def _on_values_failed(self, error: InputError) -> None:
        """The tensors stay listed, with the numbers that were read."""
        self._on_values_read()

    def _on_values_read(self) -> None:
        self.table.model.sort_by_statistics_again()
        self.complete = True

    def _on_tensor_selected(self, info: TensorInfo) -> None:
        """Count the values of the chosen tensor."""
        found = self._found
        if found is None or found.weights_path is None:
            return
        self.histogram.begin(info.name)
        QTimer.singleShot(0, self.table, self.table.show_selected)  # once there is less room

        def work(control: tasks.Control) -> Iterator[Any]:
            from ml_core.checkpoints.tensor_histogram import tensor_histogram

            yield from tensor_histogram(found, info, cancelled=control.cancelled)

        self._reading["histogram"] = tasks.run(
            work, self.histogram.show_counts, self._on_counting_failed, slot="histogram"
        )

    def _on_counting_failed(self, error: InputError) -> None:
        self.histogram.show_problem(error.sentence)
