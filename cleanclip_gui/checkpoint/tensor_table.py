"""The tensors of a checkpoint in a table that sorts, filters, copies and fills in statistics."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import (
    QItemSelectionModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
    Signal,
)
from PySide6.QtGui import QAction, QGuiApplication, QKeySequence, QPalette
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLineEdit,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.tensor_columns import TensorColumns, columns_of
from cleanclip_gui.checkpoint.tensor_model import COLUMNS, TensorModel
from cleanclip_gui.jobs import tasks
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.label import Label, named
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.table_rows import FilledTable, show_rows
from cleanclip_gui.widgets.text import bytes_text, plain, plural
from ml_core.reading import InputError, TensorInfo
from ml_core.reading.errors import CancelledError

_WIDTHS = (244, 128, 56, 77, 77, 77, 76, 82, 70, 86, 88)


class _CellDelegate(QStyledItemDelegate):
    """Asks the model once a cell, not once a role: each question waits for a reading thread."""

    def __init__(self, model: TensorModel, parent: QObject) -> None:
        super().__init__(parent)
        self._model = model

    def initStyleOption(  # noqa: N802
        self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
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
        self.filter = named(QLineEdit(), "Filter tensors")
        self.filter.setPlaceholderText("Filter by name, shape or type")
        self.filter.setClearButtonEnabled(True)
        self.filter.textChanged.connect(self._on_filter_changed)
        self.count = Label("", "subtle")
        self.view = named(_View(), "Tensors")
        self.view.setModel(self.model)
        self.view.setItemDelegate(_CellDelegate(self.model, self))
        self.view.setSortingEnabled(True)
        show_rows(self.view)
        self.view.setTextElideMode(Qt.TextElideMode.ElideLeft)  # names begin alike
        self.view.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
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
        self._copying: Ticket | None = None
        self.model.modelReset.connect(self._on_rebuilt)
        copy = QAction(theme.icon("copy"), "Copy the chosen rows", self.view)
        copy.setShortcut(QKeySequence(QKeySequence.StandardKey.Copy))
        copy.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
        copy.triggered.connect(self.copy)
        self.view.addAction(copy)

        column(
            row((self.filter, 1), self.count, spacing=theme.SPACE_M), (self.view, 1),
            (self.none, 1), of=self, margins=(0, theme.SPACE_M, 0, 0), spacing=theme.SPACE_S,
        )  # fmt: skip

    def set_tensors(self, tensors: Sequence[TensorInfo]) -> None:
        """Show other tensors; none is selected."""
        self.set_columns(columns_of(tensors))

    def set_columns(self, columns: TensorColumns) -> None:
        """Show other tensors whose columns were prepared in a thread; none is selected."""
        self._forget_copying()
        self._selected = ""
        self.model.set_columns(columns)
        self._tell_count()

    def copy(self) -> None:
        """Put the chosen rows on the clipboard, as a spreadsheet takes them; made in a thread."""
        self._forget_copying()
        selection = self.view.selectionModel().selection()
        parts = [selection.at(number) for number in range(selection.count())]
        spans = sorted((part.top(), part.bottom()) for part in parts)
        if not spans:
            return
        rows = self.model.rows(spans)

        def work(control: tasks.Control) -> str:
            lines = ["\t".join(COLUMNS)]
            for cells in rows:
                if control.cancelled():
                    raise CancelledError
                lines.append("\t".join(cells))
            return "\n".join(lines)

        self._copying = tasks.run(work, self._on_copied, self._on_copying_failed)

    def _forget_copying(self) -> None:
        """Forget a copy whose rows are about to change."""
        if self._copying is not None:
            self._copying.cancel()

    def _on_copied(self, text: str) -> None:
        QGuiApplication.clipboard().setText(text)
        self.count.setText(f"{plural(text.count(chr(10)), 'row')} copied")

    def _on_copying_failed(self, error: InputError) -> None:
        self.count.setText(error.sentence)

    def _on_filter_changed(self, text: str) -> None:
        self.model.set_filter(text)
        self._tell_count()

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

    def _tell_count(self) -> None:
        rows = self.model.rowCount()
        text = plain(self.filter.text(), 80)
        self.none.setText(f"No tensor matches “{text}”. Clear the filter to see all of them.")
        self.none.setVisible(bool(text) and not rows)
        self.view.setVisible(self.none.isHidden())
        self.count.setText(f"{plural(rows, 'tensor')}, {bytes_text(self.model.shown_bytes)}")
