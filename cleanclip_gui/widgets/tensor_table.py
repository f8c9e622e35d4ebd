"""The tensors of a checkpoint in a table that sorts, filters and fills in statistics."""

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
    Slot,
)
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.text import bytes_text, count_text, plain, tip
from cleanclip_gui.widgets.label import Label
from ml_core.reading import TensorInfo

_Index = QModelIndex | QPersistentModelIndex
_NO_PARENT = QModelIndex()


class Stats(Protocol):
    """Numbers of one tensor, as ``ml_core.checkpoints.tensor_stats`` yields them."""

    name: str
    min: float
    max: float
    mean: float
    std: float
    nan: int
    inf: int
    zeros: int


_COLUMNS = (
    *("Name", "Shape", "Type", "Min", "Max", "Mean", "Std", "NaN/Inf", "Zeros"),
    *("Shared", "Bytes"),
)
_WIDTHS = (244, 112, 56, 77, 77, 77, 76, 82, 70, 86, 88)
_BAD, _SHARED, _BYTES = 7, 9, 10
_STATS = range(3, 9)
_LISTED = 10


class TensorModel(QAbstractTableModel):
    """Tensors of an inspected file; statistics arrive later, tensor by tensor."""

    def __init__(self) -> None:
        super().__init__()
        self._tensors: list[TensorInfo] = []
        self._names: list[str] = []
        self._words: list[str] = []
        self._sharing: dict[str, list[int]] = {}
        self._stats: dict[str, Stats] = {}
        self._view: list[int] = []
        self._row_of: dict[str, int] = {}
        self._filter = ""
        self._sort: tuple[int, Qt.SortOrder] = (-1, Qt.SortOrder.AscendingOrder)

    def set_tensors(self, tensors: Sequence[TensorInfo]) -> None:
        """Show other tensors, in the order of the file; statistics start empty."""
        self._tensors = list(tensors)
        self._names = [plain(t.name, 300) for t in self._tensors]
        self._words = [
            f"{name} {_shape(t.shape)} {t.dtype}".lower()
            for name, t in zip(self._names, self._tensors, strict=True)
        ]
        self._sharing = {}
        for number, tensor in enumerate(self._tensors):
            if tensor.storage:
                self._sharing.setdefault(tensor.storage, []).append(number)
        self._sharing = {key: who for key, who in self._sharing.items() if len(who) > 1}
        self._stats = {}
        self._rebuild()

    def add_stats(self, stats: Sequence[Stats]) -> None:
        """Fill in statistics of some tensors."""
        rows = []
        for one in stats:
            self._stats[one.name] = one
            if one.name in self._row_of:
                rows.append(self._row_of[one.name])
        if rows:
            self.dataChanged.emit(
                self.index(min(rows), _STATS.start), self.index(max(rows), _STATS.stop - 1)
            )

    def tensor_at(self, row: int) -> TensorInfo:
        """The tensor of a row as it is shown now."""
        return self._tensors[self._view[row]]

    def row_of(self, name: str) -> int:
        """The row of a tensor; -1 if the filter holds it back."""
        return self._row_of.get(name, -1)

    def set_filter(self, text: str) -> None:
        """Show only tensors whose name, shape or type contains every word of ``text``."""
        self._filter = text.lower()
        self._rebuild()

    @property
    def shown_bytes(self) -> int:
        """Bytes of the tensors that the filter lets through."""
        return sum(self._tensors[i].nbytes for i in self._view)

    def rowCount(self, parent: _Index = _NO_PARENT) -> int:  # noqa: N802
        """Tensors that the filter lets through."""
        return 0 if parent.isValid() else len(self._view)

    def columnCount(self, parent: _Index = _NO_PARENT) -> int:  # noqa: N802
        """Header facts, then statistics."""
        return 0 if parent.isValid() else len(_COLUMNS)

    def headerData(  # noqa: N802
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> object:
        """Column titles."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return _COLUMNS[section]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(section)
        return None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Text of a cell; damaged values (NaN, Inf) stand out."""
        column = index.column()
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(column)
        number = self._view[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(number, column)
        if role == Qt.ItemDataRole.ToolTipRole and column == 0:
            return tip(self._names[number])
        if role == Qt.ItemDataRole.ToolTipRole and column == _SHARED:
            return self._sharing_tip(number)
        if role == Qt.ItemDataRole.ForegroundRole and column == _BAD:
            value = self._value(number, column)
            return theme.colour("danger") if isinstance(value, float) and value > 0 else None
        return None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Order by a column; -1 is the order of the file."""
        self._sort = (column, order)
        self._rebuild()

    def _rebuild(self) -> None:
        """Filter and sort anew."""
        self.beginResetModel()
        self._view = list(range(len(self._tensors)))
        for word in self._filter.split():
            self._view = [i for i in self._view if word in self._words[i]]
        column, order = self._sort
        if column >= 0:
            reverse = order == Qt.SortOrder.DescendingOrder
            self._view.sort(key=lambda i: self._value(i, column), reverse=reverse)
        self._row_of = {self._tensors[i].name: row for row, i in enumerate(self._view)}
        self.endResetModel()

    def _value(self, number: int, column: int) -> tuple[float | str, ...] | float | str:
        """Return what a cell sorts by; missing statistics come first."""
        tensor = self._tensors[number]
        if column == 0:
            return self._names[number].lower()
        if column == 1:
            return math.prod(tensor.shape), _shape(tensor.shape)
        if column == 2:
            return tensor.dtype
        if column == _BYTES:
            return float(tensor.nbytes)
        if column == _SHARED:
            shared = tensor.storage in self._sharing
            return (float(len(self._sharing[tensor.storage])), tensor.storage) if shared else (0.0,)
        stats = self._stats.get(tensor.name)
        value = float(_stat(stats, column)) if stats is not None else -math.inf
        return -math.inf if math.isnan(value) else value

    def _text(self, number: int, column: int) -> str:
        tensor = self._tensors[number]
        if column == 0:
            return self._names[number]
        if column == 1:
            return _shape(tensor.shape)
        if column == 2:
            return tensor.dtype
        if column == _BYTES:
            return count_text(tensor.nbytes)
        if column == _SHARED:
            who = self._sharing.get(tensor.storage)
            return f"{count_text(len(who))} share {plain(tensor.storage, 20)}" if who else ""
        stats = self._stats.get(tensor.name)
        if stats is None:
            return ""
        value = _stat(stats, column)
        if column == _BAD and value:
            return f"{count_text(stats.nan)} / {count_text(stats.inf)}"
        if column >= _BAD:
            return count_text(int(value))
        return "–" if math.isnan(value) else _number(value)

    def _sharing_tip(self, number: int) -> str | None:
        """Who shares the bytes of a tensor."""
        who = self._sharing.get(self._tensors[number].storage)
        if who is None:
            return None
        more = f"\nand {count_text(len(who) - _LISTED)} more" if len(who) > _LISTED else ""
        listed = "\n".join(self._names[i] for i in who[:_LISTED])
        return tip(f"Kept in the same block of numbers:\n{listed}{more}")


def _stat(stats: Stats, column: int) -> float:
    """Return the statistic of a column."""
    bad = stats.nan + stats.inf
    return (stats.min, stats.max, stats.mean, stats.std, bad, stats.zeros)[column - _STATS.start]


def _number(value: float) -> str:
    """At most seven characters, e.g. ``-0.0123``, ``6720`` or ``-1.2e-4``."""
    size = abs(value)
    if size == 0 or 0.01 <= size < 1000:
        return f"{value:.3g}"
    if 1000 <= size < 1e5:
        return f"{value:.0f}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) if shape else "scalar"


def _alignment(column: int) -> Qt.AlignmentFlag:
    left = column < _STATS.start
    side = Qt.AlignmentFlag.AlignLeft if left else Qt.AlignmentFlag.AlignRight
    return side | Qt.AlignmentFlag.AlignVCenter


class TensorTable(QWidget):
    """The table with a filter and a count; ``selected(TensorInfo)`` follows the row."""

    selected = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = TensorModel()
        self.filter = QLineEdit()
        self.filter.setPlaceholderText("Filter by name, shape or type")
        self.filter.setAccessibleName("Filter tensors")
        self.filter.setClearButtonEnabled(True)
        self.filter.textChanged.connect(self._on_filter_changed)
        self._count = Label("", "subtle")
        self.view = QTableView()
        self.view.setModel(self.model)
        self.view.setAccessibleName("Tensors")
        self.view.setSortingEnabled(True)
        self.view.setAlternatingRowColors(True)
        self.view.setShowGrid(False)
        self.view.setWordWrap(False)
        self.view.setTextElideMode(Qt.TextElideMode.ElideLeft)  # names begin alike
        self.view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.view.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.view.setTabKeyNavigation(False)
        self.view.verticalHeader().hide()
        self.view.verticalHeader().setDefaultSectionSize(26)
        header = self.view.horizontalHeader()
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        for column, width in enumerate(_WIDTHS):
            self.view.setColumnWidth(column, width)
        header.setStretchLastSection(True)
        self.view.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.view.selectionModel().currentRowChanged.connect(self._on_current_changed)
        self._selected = ""
        self.model.modelReset.connect(self._on_rebuilt)

        head = QHBoxLayout()
        head.addWidget(self.filter, 1)
        head.addWidget(self._count)
        head.setSpacing(theme.SPACE_M)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, theme.SPACE_M, 0, 0)
        layout.setSpacing(theme.SPACE_S)
        layout.addLayout(head)
        layout.addWidget(self.view, 1)

    def set_tensors(self, tensors: Sequence[TensorInfo]) -> None:
        """Show other tensors; none is selected."""
        self._selected = ""
        self.model.set_tensors(tensors)
        self._tell_count()

    def _on_filter_changed(self, text: str) -> None:
        self.model.set_filter(text)
        self._tell_count()

    @Slot(QModelIndex, QModelIndex)
    def _on_current_changed(self, current: QModelIndex, previous: QModelIndex) -> None:
        tensor = self.model.tensor_at(current.row()) if current.isValid() else None
        if tensor is not None and tensor.name != self._selected:
            self._selected = tensor.name
            self.selected.emit(tensor)

    @Slot()
    def show_selected(self) -> None:
        """Scroll to the selected tensor, as the table may have become lower."""
        self.view.scrollTo(self.view.currentIndex())

    @Slot()
    def _on_rebuilt(self) -> None:
        """Keep the selected tensor selected, where it is now."""
        row = self.model.row_of(self._selected) if self._selected else -1
        if row >= 0:
            self.view.selectRow(row)
            self.view.scrollTo(self.model.index(row, 0))

    def _tell_count(self) -> None:
        rows = self.model.rowCount()
        noun = "tensor" if rows == 1 else "tensors"
        self._count.setText(f"{count_text(rows)} {noun}, {bytes_text(self.model.shown_bytes)}")
