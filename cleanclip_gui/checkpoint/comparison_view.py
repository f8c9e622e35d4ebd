"""Two checkpoints compared: a heat strip for each encoder, and every tensor in a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QPersistentModelIndex,
    Qt,
    Signal,
)
from PySide6.QtWidgets import (
    QFrame,
    QHeaderView,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.heat_strip import HeatStrip
from cleanclip_gui.widgets.busy_row import BusyRow
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.table_rows import alignment, show_rows, title_data
from cleanclip_gui.widgets.text import change_text, count_text, plain, plural, tip

_Index = QModelIndex | QPersistentModelIndex
_NO_PARENT = QModelIndex()
_COLUMNS = ("Tensor", "State", "Relative change")
_NUMBERS = (2,)
_STATES = {
    "equal": "equal",
    "changed": "changed",
    "other shape": "another shape",
    "only first": "only in this file",
    "only second": "only in the other",
}
_HINT = "Point at a cell, or use the arrow keys, to read a layer."


class Change(Protocol):
    """What ``ml_core.checkpoints.compare.compare_checkpoints`` yields."""

    @property
    def name(self) -> str:
        """Of the tensor."""

    @property
    def state(self) -> str:
        """How the two stand to each other."""

    @property
    def relative(self) -> float:
        """Relative L2 change; NaN where it means nothing."""

    @property
    def not_finite(self) -> int:
        """Numbers that became NaN or infinite, or ceased to be."""


class ChangeModel(QAbstractTableModel):
    """Rows that arrive while the files are being read; sorted on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[Change] = []
        self._view: list[int] = []
        self._sort: tuple[int, Qt.SortOrder] = (-1, Qt.SortOrder.AscendingOrder)

    def clear(self) -> None:
        """Show nothing."""
        self.beginResetModel()
        self.changes, self._view = [], []
        self.endResetModel()

    def add(self, changes: Sequence[Change]) -> None:
        """Take in more; they come last until :meth:`sort`."""
        start = len(self._view)
        if not changes:
            return
        self.beginInsertRows(QModelIndex(), start, start + len(changes) - 1)
        self._view += range(len(self.changes), len(self.changes) + len(changes))
        self.changes += changes
        self.endInsertRows()

    def rowCount(self, parent: _Index = _NO_PARENT) -> int:  # noqa: N802
        """Tensors compared so far."""
        return 0 if parent.isValid() else len(self._view)

    def columnCount(self, parent: _Index = _NO_PARENT) -> int:  # noqa: N802
        """Name, state, change."""
        return 0 if parent.isValid() else len(_COLUMNS)

    def headerData(  # noqa: N802
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> object:
        """Column titles."""
        return title_data(_COLUMNS, section, orientation, role, _NUMBERS)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Text of a cell."""
        column = index.column()
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return alignment(column, _NUMBERS)
        change = self.changes[self._view[index.row()]]
        if role == Qt.ItemDataRole.ToolTipRole and column == 0:
            return tip(plain(change.name, 300))
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        if column == 0:
            return plain(change.name, 300)
        if column == 1:
            return _STATES[change.state]
        means_nothing = math.isnan(change.relative) and not change.not_finite
        return "" if means_nothing else change_text(change.relative)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Order by a column; -1 is the order of the files."""
        self._sort = (column, order)
        self.beginResetModel()
        self._view = list(range(len(self.changes)))
        if column >= 0:
            reverse = order == Qt.SortOrder.DescendingOrder
            self._view.sort(key=lambda i: self._value(i, column), reverse=reverse)
        self.endResetModel()

    def sort_again(self) -> None:
        """Put what arrived since where it belongs."""
        if self._sort[0] >= 0:
            self.sort(*self._sort)

    def _value(self, number: int, column: int) -> tuple[float, str]:
        """Return what a cell sorts by: first what has no change, last what became NaN."""
        change = self.changes[number]
        if column == 0:
            return 0.0, change.name.lower()
        if column == 1:
            return 0.0, change.state
        if change.not_finite:
            return math.inf, "NaN"
        return (-1.0 if math.isnan(change.relative) else change.relative), ""


class ComparisonView(QWidget):
    """Words, strips and table; ``cancel_clicked`` while the files are being read."""

    cancel_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = ChangeModel()
        self.title = Label("", "heading", wrap=True)
        self.words = Label("", "subtle", wrap=True)
        self.busy = BusyRow("Progress of the comparison")
        self.busy.cancel_clicked.connect(self.cancel_clicked)
        self.image = HeatStrip("Image encoder")
        self.text = HeatStrip("Text encoder and the rest")
        self.read_out = Label(_HINT, "caption")
        self.strips = self._strips_card()
        self.view = QTableView()
        self.view.setModel(self.model)
        self.view.setAccessibleName("Tensors of both checkpoints")
        self.view.setSortingEnabled(True)
        show_rows(self.view)
        self.view.setTextElideMode(Qt.TextElideMode.ElideLeft)
        header = self.view.horizontalHeader()
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.view.setColumnWidth(1, 150)
        self.view.setColumnWidth(2, 150)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, theme.SPACE_M, 0, 0)
        layout.setSpacing(theme.SPACE_S)
        for widget in (self.title, self.words, self.busy, self.strips):
            layout.addWidget(widget)
        layout.addWidget(self.view, 1)
        for strip in (self.image, self.text):
            strip.pointed.connect(self.read_out.setText)

    def _strips_card(self) -> QFrame:
        """Both strips with their titles and the read-out."""
        card = QFrame()
        card.setProperty("card", True)
        layout = QVBoxLayout(card)
        layout.setContentsMargins(theme.SPACE_L, theme.SPACE_M, theme.SPACE_L, theme.SPACE_M)
        layout.setSpacing(theme.SPACE_XS)
        self._image_title = Label("Image encoder", "caption")
        for widget in (
            *(self._image_title, self.image, Label("Text encoder and the rest", "caption")),
            *(self.text, self.read_out),
        ):
            layout.addWidget(widget)
        return card

    def begin(self, other: str, total: int) -> None:
        """Compare with a file of ``total`` tensors at least."""
        self.model.clear()
        self.title.setText(plain(f"Compared with {other}", 200))
        self.words.setText("Reading both files…")
        self.busy.bar.setRange(0, max(1, total))
        self.busy.bar.setValue(0)
        self.busy.show()
        self.strips.hide()

    def add(self, changes: Sequence[Change]) -> None:
        """Show what was compared since."""
        self.model.add(changes)
        self.busy.bar.setValue(min(self.busy.bar.maximum(), len(self.model.changes)))
        self._count()

    def end(self) -> None:
        """Everything was compared: show where."""
        from ml_core.checkpoints.compare import by_layer

        self.busy.hide()
        if self.view.horizontalHeader().sortIndicatorSection() in range(len(_COLUMNS)):
            self.model.sort_again()
        else:
            self.view.sortByColumn(_COLUMNS.index("Relative change"), Qt.SortOrder.DescendingOrder)
        self._count()
        layers = by_layer(self.model.changes)  # type: ignore[arg-type]
        top = max((one.relative for one in layers if math.isfinite(one.relative)), default=0.0)
        image = [one for one in layers if one.name.startswith("visual")]
        self.image.set_layers(image, top)
        self.text.set_layers([one for one in layers if one not in image], top)
        for widget in (self.image, self._image_title):
            widget.setVisible(bool(image))
        self.read_out.setText(f"{_HINT} The warmest is {change_text(top)}." if top else _HINT)
        self.strips.setVisible(bool(layers))

    def stop(self, words: str) -> None:
        """It ended early."""
        self.busy.hide()
        self.words.setText(words)

    def _count(self) -> None:
        states = [change.state for change in self.model.changes]
        counts = {state: states.count(state) for state in _STATES}
        parts = [f"{count_text(counts['equal'])} equal", f"{count_text(counts['changed'])} changed"]
        parts += [
            f"{count_text(counts[state])} {_STATES[state]}"
            for state in ("other shape", "only first", "only second")
            if counts[state]
        ]
        self.words.setText(f"{plural(len(states), 'tensor')}: {', '.join(parts)}.")
