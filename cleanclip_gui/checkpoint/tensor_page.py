"""The tensors of a checkpoint: a table that fills in statistics, and a histogram of one of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import (
    QItemSelectionModel,
    QModelIndex,
    QObject,
    QPointF,
    QRectF,
    Qt,
    QTimer,
    Signal,
)
from PySide6.QtGui import QGuiApplication, QPainter, QPaintEvent, QPalette, QPen
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QFrame,
    QHeaderView,
    QSizePolicy,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.tensor_model import COLUMNS, TensorColumns, TensorModel, columns_of
from cleanclip_gui.jobs import tasks
from cleanclip_gui.theme import look
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.controls import Label, named, search_field
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.painted import Painted
from cleanclip_gui.widgets.rows_table import FilledTable, Index, show_rows
from cleanclip_gui.widgets.text import bytes_text, count_text, plain, plural
from ml_core.reading import Inspection, TensorInfo
from ml_core.reading.errors import CancelledError
from ml_core.reading.examine import set_aside

if TYPE_CHECKING:
    from ml_core.checkpoints.tensor_stats import Histogram

_AXIS = 20


class _Bars(Painted):
    """The bars over an axis from the smallest to the largest value."""

    def __init__(self) -> None:
        super().__init__("Histogram", (600, 110), tall=True)
        self.shown: Histogram | None = None
        self.logarithmic = False
        self.setMinimumHeight(theme.px(84))

    def heights(self) -> list[float]:
        """Height of each bar, from 0 to 1."""
        counts = self.shown.counts if self.shown is not None else ()
        scaled = [math.log1p(n) if self.logarithmic else float(n) for n in counts]
        top = max(scaled, default=0.0)
        return [value / top if top else 0.0 for value in scaled]

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw bars, axis, its ends, and zero where it lies between them."""
        painter = QPainter(self)
        area = QRectF(self.rect()).adjusted(0, 2, 0, -theme.px(_AXIS))
        painter.setPen(QPen(theme.colour("border_strong")))
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        shown = self.shown
        if shown is None or math.isnan(shown.low):
            return
        self.paint_bars(painter, area, self.heights())
        write = partial(self.write, painter, size=0.9, muted=True)
        words = QRectF(area.left(), area.bottom() + 3, area.width(), theme.px(_AXIS) - 3)
        if shown.low == shown.high:
            write(words, f"every value is {shown.low:.4g}", Qt.AlignmentFlag.AlignCenter)
            return
        write(words, f"{shown.low:.4g}", Qt.AlignmentFlag.AlignLeft)
        write(words, f"{shown.high:.4g}", Qt.AlignmentFlag.AlignRight)
        half = shown.high / 2 - shown.low / 2  # of a range that may exceed float64
        share = -shown.low / 2 / half if half > 0 else 0.0
        if 0.12 < share < 0.88:
            zero = area.left() + share * area.width()
            box = QRectF(zero - 20, words.top(), 40, words.height())
            write(box, "0", Qt.AlignmentFlag.AlignHCenter)
            painter.setPen(look.text_colour(self, muted=True))
            painter.drawLine(QPointF(zero, area.bottom()), QPointF(zero, area.bottom() + 3))


class HistogramCard(QFrame):
    """Name, counts and bars of the chosen tensor; hidden until one is chosen."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.setAccessibleName("Histogram of the chosen tensor")
        self.setFixedHeight(theme.px(176))
        self.name = Label("", "heading")
        self.name.setMinimumWidth(1)
        self.name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.facts = Label("", "subtle")
        self.log = QCheckBox("Log counts")
        self.log.setToolTip("Show rare values too: each bar's height is the logarithm of its count")
        self.log.toggled.connect(self._on_log_toggled)
        self.bars = _Bars()
        column(
            row((self.name, 1), self.facts, self.log, spacing=theme.SPACE_M), (self.bars, 1),
            of=self, margins=(theme.SPACE_L, theme.SPACE_M, theme.SPACE_L, theme.SPACE_S),
            spacing=theme.SPACE_S,
        )  # fmt: skip
        self.hide()

    def begin(self, name: str) -> None:
        """Show which tensor is being counted."""
        self.name.setText(plain(name, 120))
        self.name.setToolTip("")
        self._show(None, "Counting…")
        self.show()

    def show_counts(self, counted: Histogram) -> None:
        """Show what was counted so far."""
        words = plural(counted.total, "value")
        if counted.seen < counted.total:
            words = f"{count_text(counted.seen)} of {words}"
        if counted.nan or counted.inf:
            words += f", not counted: {count_text(counted.nan)} NaN, {count_text(counted.inf)} Inf"
        self._show(counted, words)

    def show_problem(self, sentence: str) -> None:
        """Say why there is nothing to see."""
        self._show(None, plain(sentence, 160))

    def _show(self, counted: Histogram | None, words: str) -> None:
        self.bars.shown = counted
        self.facts.setText(words)
        bad = counted is not None and bool(counted.nan or counted.inf)
        theme.set_property(self.facts, "role", "error" if bad else "subtle")
        ends = "" if counted is None else f", from {counted.low:.4g} to {counted.high:.4g}"
        for part in (self, self.bars):
            part.setAccessibleDescription(f"{self.name.text()}: {words}{ends}")
        self.bars.update()

    def _on_log_toggled(self, on: bool) -> None:
        self.bars.logarithmic = on
        self.bars.update()


_WIDTHS = (244, 150, 56, 77, 77, 77, 76, 94, 70, 86, 88)


class _CellDelegate(QStyledItemDelegate):
    """Asks the model once a cell, not once a role: each question waits for a reading thread."""

    def __init__(self, model: TensorModel, parent: QObject) -> None:
        super().__init__(parent)
        self._model = model

    def initStyleOption(self, option: QStyleOptionViewItem, index: Index) -> None:  # noqa: N802
        """Fill in what a cell of this table has."""
        text, alignment, bad = self._model.cell(index)
        option.index = index  # type: ignore[assignment]
        option.features |= QStyleOptionViewItem.ViewItemFeature.HasDisplay
        option.text = text
        option.displayAlignment = alignment
        if bad:
            option.palette.setColor(QPalette.ColorRole.Text, theme.colour("danger"))


class _View(FilledTable):
    narrowest = _WIDTHS[0]


class TensorTable(QWidget):
    """The table with a filter and a count; ``selected(TensorInfo)`` follows the row."""

    selected = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = TensorModel()
        self.filter = search_field("Filter tensors", "Filter by name, shape or type")
        self.filter.textChanged.connect(self._on_filter_changed)
        self.count = Label("", "subtle")
        self.view = named(_View(), "Tensors")
        self.view.setModel(self.model)
        self.view.setItemDelegate(_CellDelegate(self.model, self))
        self.view.setSortingEnabled(True)
        show_rows(self.view, copy=self.copy)
        self.view.setTextElideMode(Qt.TextElideMode.ElideLeft)  # names begin alike
        self.view.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        header = self.view.horizontalHeader()
        # Its own, always empty: else it asks every row whether a column is chosen.
        header.setSelectionModel(QItemSelectionModel(self.model, header))
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        for number, width in enumerate(map(theme.px, _WIDTHS)):
            self.view.setColumnWidth(number, width)
        self.view.follow_columns()
        self.none = Label("", "subtle", wrap=True)
        self.none.setAlignment(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop)
        self.none.hide()
        self.view.selectionModel().currentRowChanged.connect(self._on_current_changed)
        self._selected = ""
        self._copying = Ticket.closed()
        self.model.modelReset.connect(self._on_rebuilt)

        column(
            row((self.filter, 1), self.count, spacing=theme.SPACE_M), (self.view, 1),
            (self.none, 1), of=self, margins=(0, theme.SPACE_M, 0, 0), spacing=theme.SPACE_S,
        )  # fmt: skip

    def set_columns(self, columns: TensorColumns) -> None:
        """Show other tensors whose columns were prepared in a thread; none is selected."""
        self._copying.cancel()
        self._selected = ""
        self.model.set_columns(columns)
        self._show_count()

    def copy(self) -> None:
        """Put the chosen rows on the clipboard, as a spreadsheet takes them; made in a thread."""
        self._copying.cancel()
        selection = self.view.selectionModel().selection()
        parts = [selection.at(number) for number in range(selection.count())]
        spans = sorted((part.top(), part.bottom()) for part in parts)
        if not spans:
            return
        rows = self.model.rows(spans)

        def work(control: tasks.TaskControl) -> str:
            lines = ["\t".join(COLUMNS)]
            for cells in rows:
                if control.cancelled():
                    raise CancelledError
                lines.append("\t".join(cells))
            return "\n".join(lines)

        self._copying = tasks.run(
            work, self._on_copied, lambda error: self.count.setText(error.sentence)
        )

    def _on_copied(self, text: str) -> None:
        QGuiApplication.clipboard().setText(text)
        self.count.setText(f"{plural(text.count(chr(10)), 'row')} copied")

    def _on_filter_changed(self, text: str) -> None:
        self.model.set_filter(text)
        self._show_count()

    def _on_current_changed(self, current: QModelIndex, previous: QModelIndex) -> None:
        tensor = self.model.tensor_at(current.row()) if current.isValid() else None
        if tensor is not None and tensor.name != self._selected:
            self._selected = tensor.name
            self.selected.emit(tensor)

    def show_selected(self) -> None:
        """Scroll to the selected tensor, as the table may have become lower."""
        self.view.scrollTo(self.view.currentIndex())

    def _on_rebuilt(self) -> None:
        """Keep the selected tensor selected, where it is now."""
        number = self.model.row_of(self._selected) if self._selected else -1
        if number >= 0:
            self.view.selectRow(number)
            self.view.scrollTo(self.model.index(number, 0))

    def _show_count(self) -> None:
        rows = self.model.rowCount()
        text = plain(self.filter.text(), 80)
        self.none.setText(f"No tensor matches “{text}”. Clear the filter to see all of them.")
        self.none.setVisible(bool(text) and not rows)
        self.view.setVisible(self.none.isHidden())
        of = f"{count_text(rows)} of " if text else ""
        whole = plural(self.model.total, "tensor")
        self.count.setText(f"{of}{whole}, {bytes_text(self.model.shown_bytes)}")


class TensorPage(QWidget):
    """Reads the values in the background.

    ``complete`` turns true when every tensor has its numbers.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.table = TensorTable()
        self.histogram = HistogramCard()
        self._inspection: Inspection | None = None
        self._reading: dict[str, Ticket] = {}
        self.complete = False
        self.table.selected.connect(self._on_tensor_selected)
        column(self.table, self.histogram, of=self, spacing=theme.SPACE_M)

    def clear(self) -> None:
        """Show nothing, and read no further: another file is being examined."""
        for ticket in self._reading.values():
            ticket.cancel()
        self._inspection, self.complete = None, False
        self.histogram.hide()
        self.table.set_columns(columns_of(()))

    def set_file(self, inspection: Inspection) -> None:
        """Take the file whose tensors are to be shown; histograms can be asked for."""
        self._inspection = inspection

    def read_values(self, inspection: Inspection) -> None:
        """Fill in min, max, mean and the like, tensor by tensor."""
        if inspection.weights_path is None:
            return
        self._inspection, self.complete = inspection, False
        set_aside(len(inspection.tensors))

        def work(control: tasks.TaskControl) -> Iterator[list[Any]]:
            from ml_core.checkpoints.tensor_stats import tensor_stats

            yield from tasks.batches(tensor_stats(inspection, None, control.cancelled))

        self._reading["statistics"] = tasks.run(
            work, self.table.model.add_stats, self._on_values_read,
            on_done=self._on_values_read, slot="statistics",
        )  # fmt: skip

    def _on_values_read(self, *_: object) -> None:
        """All is read, or no more can be: the tensors stay listed with the numbers that were."""
        self.table.model.sort_by_statistics_again()
        self.complete = True

    def _on_tensor_selected(self, info: TensorInfo) -> None:
        """Count the values of the chosen tensor."""
        inspection = self._inspection
        if inspection is None or inspection.weights_path is None:
            return
        self.histogram.begin(info.name)
        QTimer.singleShot(0, self.table, self.table.show_selected)  # once there is less room

        def work(control: tasks.TaskControl) -> Iterator[Any]:
            from ml_core.checkpoints.tensor_stats import tensor_histogram

            yield from tensor_histogram(inspection, info, cancelled=control.cancelled)

        self._reading["histogram"] = tasks.run(
            work, self.histogram.show_counts,
            lambda error: self.histogram.show_problem(error.sentence), slot="histogram",
        )  # fmt: skip
