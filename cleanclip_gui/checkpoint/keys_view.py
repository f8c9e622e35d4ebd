"""How the tensors of a file differ from those of its architecture; filtered, and copied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QAction, QGuiApplication, QKeySequence
from PySide6.QtWidgets import QHeaderView, QLineEdit, QTableView, QWidget

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.tensor_columns import shape_text
from cleanclip_gui.widgets.action_button import push_button
from cleanclip_gui.widgets.label import Label, named
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.table_rows import show_rows, title_data
from cleanclip_gui.widgets.text import count_text, plain, plural, tip
from ml_core.exports import defused

_Index = QModelIndex | QPersistentModelIndex
_NO_PARENT = QModelIndex()
_COLUMNS = ("Tensor", "State", "In the file", "Expected")
_MISSING, _SHAPE, _UNEXPECTED = "missing", "another shape", "unexpected"
Row = tuple[str, str, str, str]


class Wrong(Protocol):
    """A tensor of another shape than the architecture's."""

    @property
    def name(self) -> str:
        """Of the tensor."""

    @property
    def found(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def expected(self) -> tuple[int, ...]:
        """The architecture's."""


class Keys(Protocol):
    """What ``ml_core.reading.key_mismatch.KeyLists`` holds."""

    @property
    def missing(self) -> tuple[str, ...]:
        """What the file lacks."""

    @property
    def unexpected(self) -> tuple[str, ...]:
        """What the architecture lacks."""

    @property
    def wrong_shape(self) -> Sequence[Wrong]:
        """What both have, with different shapes."""


class KeysModel(QAbstractTableModel):
    """Missing first, then wrong shapes, then what is left out."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[Row] = []
        self._words: list[str] = []
        self._view: list[int] = []

    def set_keys(self, keys: Keys | None) -> None:
        """Show other lists."""
        self.beginResetModel()
        self._rows = [] if keys is None else _rows(keys)
        self._words = [" ".join(row).lower() for row in self._rows]
        self._view = list(range(len(self._rows)))
        self.endResetModel()

    def set_filter(self, text: str) -> None:
        """Show only rows that hold every word of ``text``."""
        self.beginResetModel()
        self._view = list(range(len(self._rows)))
        for word in text.lower().split():
            self._view = [i for i in self._view if word in self._words[i]]
        self.endResetModel()

    def row(self, number: int) -> Row:
        """Cells of a row as it is shown now."""
        return self._rows[self._view[number]]

    def rowCount(self, parent: _Index = _NO_PARENT) -> int:  # noqa: N802
        """Rows that the filter lets through."""
        return 0 if parent.isValid() else len(self._view)

    def columnCount(self, parent: _Index = _NO_PARENT) -> int:  # noqa: N802
        """Name, state, two shapes."""
        return 0 if parent.isValid() else len(_COLUMNS)

    def headerData(  # noqa: N802
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> object:
        """Column titles."""
        return title_data(_COLUMNS, section, orientation, role)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Text of a cell; what keeps the model from being built stands out."""
        cells = self.row(index.row())
        if role == Qt.ItemDataRole.DisplayRole:
            return cells[index.column()]
        if role == Qt.ItemDataRole.ToolTipRole and index.column() == 0:
            return tip(cells[0])
        if role == Qt.ItemDataRole.ForegroundRole and index.column() == 1:
            return theme.colour("warning" if cells[1] == _UNEXPECTED else "danger")
        return None


def _rows(keys: Keys) -> list[Row]:
    rows = [(plain(name, 300), _MISSING, "", "") for name in keys.missing]
    rows += [
        (plain(one.name, 300), _SHAPE, shape_text(one.found), shape_text(one.expected))
        for one in keys.wrong_shape
    ]
    rows += [(plain(name, 300), _UNEXPECTED, "", "") for name in keys.unexpected]
    return rows


class KeysView(QWidget):
    """Words, a filter, the list, and a button that copies what is shown."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = KeysModel()
        self.words = Label("", "subtle", wrap=True)
        self.filter = named(QLineEdit(), "Filter the differences")
        self.filter.setPlaceholderText("Filter by name, state or shape")
        self.filter.setClearButtonEnabled(True)
        self.filter.textChanged.connect(self._on_filter_changed)
        self.button = push_button("Copy the list", self.copy, icon="copy")
        self.count = Label("", "subtle")
        self.view = named(QTableView(), "Tensors that differ from the architecture's")
        self.view.setModel(self.model)
        show_rows(self.view)
        self.view.setTextElideMode(Qt.TextElideMode.ElideLeft)
        self.view.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        header = self.view.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for number, width in ((1, 130), (2, 150), (3, 150)):
            self.view.setColumnWidth(number, width)
        copy = QAction(theme.icon("copy"), "Copy the chosen rows", self.view)
        copy.setShortcut(QKeySequence(QKeySequence.StandardKey.Copy))
        copy.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
        copy.triggered.connect(self.copy_chosen)
        self.view.addAction(copy)
        column(
            self.words, row((self.filter, 1), self.count, self.button, spacing=theme.SPACE_M),
            (self.view, 1), of=self, margins=(0, theme.SPACE_M, 0, 0), spacing=theme.SPACE_S,
        )  # fmt: skip

    def set_keys(self, keys: Keys | None) -> None:
        """Show other lists; None or empty ones show nothing."""
        self.filter.clear()
        self.model.set_keys(keys)
        if keys is not None:
            self.words.setText(_sentence(keys))
        self._tell_count()

    def copy(self) -> None:
        """Put what the filter lets through on the clipboard."""
        self._copy(range(self.model.rowCount()))

    def copy_chosen(self) -> None:
        """Put the chosen rows on the clipboard."""
        chosen = self.view.selectionModel().selection()
        parts = [chosen.at(number) for number in range(chosen.count())]
        self._copy([row for part in parts for row in range(part.top(), part.bottom() + 1)])

    def _copy(self, rows: Sequence[int]) -> None:
        lines = ["\t".join(_COLUMNS)]
        for number in rows:
            name, *rest = self.model.row(number)
            lines.append("\t".join((str(defused(name)), *rest)))
        if rows:
            QGuiApplication.clipboard().setText("\n".join(lines))

    def _on_filter_changed(self, text: str) -> None:
        self.model.set_filter(text)
        self._tell_count()

    def _tell_count(self) -> None:
        self.count.setText(plural(self.model.rowCount(), "tensor"))
        self.button.setEnabled(self.model.rowCount() > 0)


def _sentence(keys: Keys) -> str:
    """How many of each kind, and what that means."""
    parts = (
        f"{count_text(len(keys.missing))} missing",
        f"{count_text(len(keys.wrong_shape))} of another shape",
        f"{count_text(len(keys.unexpected))} unexpected",
    )
    if keys.missing or keys.wrong_shape:
        end = (
            "No model can be built from a file with missing tensors or tensors of the wrong shape."
        )
    else:
        end = "Unexpected tensors are left out of the model."
    return f"Compared with the tensors of its architecture: {', '.join(parts)}. {end}"
