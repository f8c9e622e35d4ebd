"""How the tensors of a file differ from those of its architecture; filtered, and copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import QFontDatabase, QGuiApplication
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableView,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.tensor_model import shape_text
from cleanclip_gui.widgets.controls import Label, named, push_button, search_field
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.rows_table import Cell, Index, Row, RowsModel, show_rows
from cleanclip_gui.widgets.text import count_text, plain, plural
from ml_core.exports import defused

if TYPE_CHECKING:
    from ml_core.reading.key_mismatch import KeyLists

_COLUMNS = ("Tensor", "State", "In the file", "Expected")
_MISSING, _SHAPE, _UNEXPECTED = "missing", "another shape", "unexpected"


class KeysModel(RowsModel):
    """Missing first, then wrong shapes, then what is left out."""

    def __init__(self) -> None:
        super().__init__(_COLUMNS, (), ())
        self._all: list[Row] = []

    def set_keys(self, keys: KeyLists | None) -> None:
        """Show other lists."""
        texts = [] if keys is None else _texts(keys)
        self._all = [Row(number, tuple(map(Cell, row))) for number, row in enumerate(texts)]
        self.set_rows(self._all)

    def set_filter(self, text: str) -> None:
        """Show only rows that hold every word of ``text``."""
        words = text.lower().split()
        held = [" ".join(cell.text for cell in row.cells).lower() for row in self._all]
        shown = (all(word in text for word in words) for text in held)
        self.set_rows([row for row, passes in zip(self._all, shown, strict=True) if passes])

    def row(self, number: int) -> tuple[str, ...]:
        """Texts of a row in the order shown."""
        return tuple(cell.text for cell in self.rows[number].cells)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Text of a cell; what keeps the model from being built stands out."""
        if role == Qt.ItemDataRole.ForegroundRole and index.column() == 1:
            state = self.row(index.row())[1]
            return theme.colour("warning" if state == _UNEXPECTED else "danger")
        if role == Qt.ItemDataRole.ToolTipRole and index.column():
            return None
        return super().data(index, role)


def _texts(keys: KeyLists) -> list[tuple[str, str, str, str]]:
    rows = [(plain(name, 300), _MISSING, "", "") for name in keys.missing]
    rows += [
        (plain(wrong.name, 300), _SHAPE, shape_text(wrong.found), shape_text(wrong.expected))
        for wrong in keys.wrong_shape
    ]
    return rows + [(plain(name, 300), _UNEXPECTED, "", "") for name in keys.unexpected]


class KeysView(QWidget):
    """Words, a filter, the list, and a button that copies what is shown."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = KeysModel()
        self.words = Label("", "subtle", wrap=True)
        self.filter = search_field("Filter the differences", "Filter by name, state or shape")
        self.filter.textChanged.connect(self._on_filter_changed)
        self.button = push_button("Copy the list", self.copy, icon="copy")
        self.count = Label("", "subtle")
        self.view = named(QTableView(), "Tensors that differ from the architecture's")
        self.view.setModel(self.model)
        show_rows(self.view, copy=self.copy_chosen)
        self.view.setTextElideMode(Qt.TextElideMode.ElideLeft)
        header = self.view.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for number, width in ((1, 130), (2, 150), (3, 150)):
            self.view.setColumnWidth(number, width)
        column(
            self.words, row((self.filter, 1), self.count, self.button, spacing=theme.SPACE_M),
            (self.view, 1), of=self, margins=(0, theme.SPACE_M, 0, 0), spacing=theme.SPACE_S,
        )  # fmt: skip

    def set_keys(self, keys: KeyLists | None) -> None:
        """Show other lists; None or empty ones show nothing."""
        self.filter.clear()
        self.model.set_keys(keys)
        if keys is not None:
            self.words.setText(_sentence(keys))
            for number in (2, 3):  # only of tensors of another shape
                self.view.setColumnHidden(number, not keys.wrong_shape)
        self._show_count()

    def copy(self) -> None:
        """Put what the filter lets through on the clipboard."""
        self._copy(range(self.model.rowCount()))

    def copy_chosen(self) -> None:
        """Put the chosen rows on the clipboard."""
        self._copy(sorted(index.row() for index in self.view.selectionModel().selectedRows()))

    def _copy(self, rows: Sequence[int]) -> None:
        lines = ["\t".join(_COLUMNS)]
        for number in rows:
            name, *rest = self.model.row(number)
            lines.append("\t".join((str(defused(name)), *rest)))
        if rows:
            QGuiApplication.clipboard().setText("\n".join(lines))

    def _on_filter_changed(self, text: str) -> None:
        self.model.set_filter(text)
        self._show_count()

    def _show_count(self) -> None:
        self.count.setText(plural(self.model.rowCount(), "tensor"))
        self.button.setEnabled(self.model.rowCount() > 0)


def _sentence(keys: KeyLists) -> str:
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


_GROUPS = (
    ("unknown", "danger", "Foreign code", "an ordinary loader would import it and may run it"),
    ("code", "warning", "Program objects", "kept here as plain records, never created"),
    ("data", "text", "Plain data", "values and containers"),
    ("tensors", "text", "Builds tensors", "done by this program's own code"),
)
_SHOWN = 2000


class NamesView(theme.Themed, QWidget):
    """A tree of two levels: groups, and the names in them."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.tree = named(QTreeWidget(), "Names in the file's pickles")
        self.tree.setHeaderHidden(True)
        self.tree.setUniformRowHeights(True)
        self.tree.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.tree.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.words = Label(
            "Names in the file's pickles. This app only checks these names against a list. Other "
            "programs would import them.",
            "subtle",
            wrap=True,
        )
        column(
            self.words, (self.tree, 1),
            of=self, margins=(0, theme.SPACE_M, 0, 0), spacing=theme.SPACE_S,
        )  # fmt: skip

    def set_names(self, groups: Mapping[str, Sequence[str]]) -> None:
        """Show other names; what is unknown comes first."""
        self.tree.clear()
        mono = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
        mono.setPointSizeF(self.font().pointSizeF())
        bold = theme.figure_font(theme.FONT_POINTS, bold=True)
        for group, tone, title, meaning in _GROUPS:
            names = groups.get(group, ())
            if not names:
                continue
            head = QTreeWidgetItem([f"{title}: {plural(len(names), 'name')} ({meaning})"])
            head.setFont(0, bold)
            head.setData(0, Qt.ItemDataRole.UserRole, tone)
            for name in names[:_SHOWN]:
                item = QTreeWidgetItem([plain(name, 300)])
                item.setFont(0, mono)
                head.addChild(item)
            if len(names) > _SHOWN:
                left = count_text(len(names) - _SHOWN)
                head.addChild(QTreeWidgetItem([f"and {left} more, which are not listed"]))
            self.tree.addTopLevelItem(head)
            head.setExpanded(True)
        self.dress()

    def dress(self) -> None:
        """Colour the headings by how much they should worry."""
        for number in range(self.tree.topLevelItemCount()):
            head = self.tree.topLevelItem(number)
            assert head is not None
            head.setForeground(0, theme.colour(head.data(0, Qt.ItemDataRole.UserRole)))
