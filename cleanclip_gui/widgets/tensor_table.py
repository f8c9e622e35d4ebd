"""The tensors of a checkpoint in a table that sorts, filters and fills in statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt
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


_COLUMNS = ("Name", "Shape", "Type", "Bytes", "Min", "Max", "Mean", "Std", "NaN", "Inf", "Zeros")
_FIRST_STAT = 4


class TensorModel(QAbstractTableModel):
    """Rows of a safetensors header; statistics arrive later, tensor by tensor."""

    def __init__(self) -> None:
        super().__init__()
        self._tensors: list[TensorInfo] = []
        self._names: list[str] = []
        self._stats: dict[str, Stats] = {}
        self._view: list[int] = []
        self._row_of: dict[str, int] = {}
        self._filter = ""
        self._sort: tuple[int, Qt.SortOrder] = (-1, Qt.SortOrder.AscendingOrder)

    def set_tensors(self, tensors: Sequence[TensorInfo]) -> None:
        """Show other tensors, in the order of the file; statistics start empty."""
        self._tensors = list(tensors)
        self._names = [plain(t.name, 300) for t in self._tensors]
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
                self.index(min(rows), _FIRST_STAT), self.index(max(rows), len(_COLUMNS) - 1)
            )

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
        if role == Qt.ItemDataRole.ForegroundRole and column in (8, 9):
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
        words = self._filter.split()
        self._view = [
            i
            for i, tensor in enumerate(self._tensors)
            if all(
                word in f"{self._names[i]} {_shape(tensor.shape)} {tensor.dtype}".lower()
                for word in words
            )
        ]
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
        if column == 3:
            return float(tensor.nbytes)
        stats = self._stats.get(tensor.name)
        value = float(_stat(stats, column)) if stats is not None else -math.inf
        return -math.inf if math.isnan(value) else value

    def _text(self, number: int, column: int) -> str:
        tensor = self._tensors[number]
        if column < _FIRST_STAT:
            return (
                self._names[number],
                _shape(tensor.shape),
                tensor.dtype,
                count_text(tensor.nbytes),
            )[column]
        stats = self._stats.get(tensor.name)
        if stats is None:
            return ""
        value = _stat(stats, column)
        if column >= 8:
            return count_text(int(value))
        return "–" if math.isnan(value) else f"{value:.3g}"


def _stat(stats: Stats, column: int) -> float:
    """Return the statistic of a column."""
    return (stats.min, stats.max, stats.mean, stats.std, stats.nan, stats.inf, stats.zeros)[
        column - _FIRST_STAT
    ]


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) if shape else "scalar"


def _alignment(column: int) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignLeft if column < 3 else Qt.AlignmentFlag.AlignRight
    return side | Qt.AlignmentFlag.AlignVCenter


class TensorTable(QWidget):
    """The table with a filter and a count."""

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
        for column, width in enumerate((296, 108, 54, 88, 86, 86, 92, 90, 56, 56, 76)):
            self.view.setColumnWidth(column, width)
        header.setStretchLastSection(True)

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
        """Show other tensors."""
        self.model.set_tensors(tensors)
        self._tell_count()

    def _on_filter_changed(self, text: str) -> None:
        self.model.set_filter(text)
        self._tell_count()

    def _tell_count(self) -> None:
        rows = self.model.rowCount()
        noun = "tensor" if rows == 1 else "tensors"
        self._count.setText(f"{count_text(rows)} {noun}, {bytes_text(self.model.shown_bytes)}")
