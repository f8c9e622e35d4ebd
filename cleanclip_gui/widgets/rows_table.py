"""Tables by rows, and one of thousands of rates, sorted by the numbers behind the texts."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QPersistentModelIndex,
    QSignalBlocker,
    Qt,
    Signal,
)
from PySide6.QtGui import QAction, QKeySequence, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from cleanclip_gui import theme
from cleanclip_gui.widgets.pictures import paint_empty
from cleanclip_gui.widgets.text import percent, tip


def show_rows(view: QTableView, height: int = 26, copy: Callable[[], object] | None = None) -> None:
    """Set up a table whose rows are ``height`` pixels high at 100 %; Tab leaves it.

    Parameters
    ----------
    copy
        Copies the chosen rows: offered on the right button and by the usual key.
    """
    view.setAlternatingRowColors(True)
    view.setShowGrid(False)
    view.setWordWrap(False)
    view.setTabKeyNavigation(False)
    view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    rows = view.verticalHeader()
    rows.hide()
    rows.setDefaultSectionSize(theme.px(height))
    rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
    view.horizontalHeader().setHighlightSections(False)
    if copy is not None:
        action = QAction(theme.icon("copy"), "Copy the chosen rows", view)
        action.setShortcut(QKeySequence(QKeySequence.StandardKey.Copy))
        action.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
        action.triggered.connect(copy)
        view.addAction(action)
        view.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)


class FilledTable(QTableView):
    """A table in which one column, the first unless another is named, takes what others leave.

    ``empty_text`` is what stands there while there is no row.
    """

    filling, narrowest = 0, 130
    empty_text = ""

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Paint the rows, or say why there are none."""
        super().paintEvent(event)
        paint_empty(self, self.empty_text)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Fill the new width."""
        super().resizeEvent(event)
        self.fit()

    def fit(self) -> None:
        """Give the column what the others leave."""
        others = set(range(self.model().columnCount())) - {self.filling}
        left = self.viewport().width() - sum(map(self.columnWidth, others))
        self.setColumnWidth(self.filling, max(theme.px(self.narrowest), left))

    def follow_columns(self) -> None:
        """Fit the column whenever the user widens a different column."""
        header = self.horizontalHeader()
        header.setSectionResizeMode(self.filling, QHeaderView.ResizeMode.Fixed)
        header.sectionResized.connect(self._on_section_resized)

    def _on_section_resized(self, section: int, *_: object) -> None:
        if section != self.filling:
            self.fit()


def alignment(column: int, numbers: Container[int] = ()) -> Qt.AlignmentFlag:
    """Numbers stand right, and so do their titles; everything else stands left."""
    side = Qt.AlignmentFlag.AlignRight if column in numbers else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter


def title_data(
    titles: Sequence[str],
    section: int,
    orientation: Qt.Orientation,
    role: int,
    numbers: Container[int] = (),
    tips: Sequence[str] = (),
) -> object:
    """What a model's ``headerData`` says of its column titles; ``numbers`` are columns of them."""
    if orientation != Qt.Orientation.Horizontal:
        return None
    if role == Qt.ItemDataRole.DisplayRole:
        return titles[section]
    if role == Qt.ItemDataRole.ToolTipRole and tips:
        return tips[section]
    return alignment(section, numbers) if role == Qt.ItemDataRole.TextAlignmentRole else None


Index = QModelIndex | QPersistentModelIndex
_NO_PARENT = QModelIndex()


@dataclass(frozen=True, slots=True)
class Cell:
    """A text, and what it sorts by, alike in a column; None comes last in either order.

    ``icon`` names a picture of the theme that stands before the text; ``tip`` is the tool tip, by
    default the text. A delegate gets the key as the user's role.
    """

    text: str
    key: float | str | tuple[float, ...] | None = None
    icon: str = ""
    tip: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Cells, and a number that stays the row's own whatever the order."""

    id: int
    cells: tuple[Cell, ...]


class RowsModel(QAbstractTableModel):
    """Rows in the order that was chosen, else as they were given."""

    def __init__(
        self, titles: Sequence[str], tips: Sequence[str], numbers: Container[int] | None = None
    ) -> None:
        super().__init__()
        self.titles, self.tips = tuple(titles), tuple(tips)
        self._numbers = range(1, len(self.titles)) if numbers is None else numbers
        self.rows: list[Row] = []
        self._given: list[Row] = []
        self._sort: tuple[int, Qt.SortOrder] = (-1, Qt.SortOrder.AscendingOrder)

    def set_rows(self, rows: Sequence[Row]) -> None:
        """Show other rows, in the order chosen before."""
        self._given = list(rows)
        ordered = self.ordered(self._given)
        if [row.id for row in ordered] == [row.id for row in self.rows]:
            self.rows = ordered  # the selection stands
            self.refresh()
        else:
            self.beginResetModel()
            self.rows = ordered
            self.endResetModel()

    def refresh(self) -> None:
        """Draw every row anew."""
        if self.rows:
            last = self.index(len(self.rows) - 1, len(self.titles) - 1)
            self.dataChanged.emit(self.index(0, 0), last)

    def add_rows(self, rows: Sequence[Row]) -> None:
        """Show more rows; they come last until the next sort."""
        if rows:
            start = len(self.rows)
            self.beginInsertRows(_NO_PARENT, start, start + len(rows) - 1)
            self._given += rows
            self.rows += rows
            self.endInsertRows()

    def rowCount(self, parent: Index = _NO_PARENT) -> int:  # noqa: N802
        """Rows on show."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: Index = _NO_PARENT) -> int:  # noqa: N802
        """Titles given."""
        return 0 if parent.isValid() else len(self.titles)

    def headerData(  # noqa: N802
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> object:
        """Titles, with what they mean as tool tips."""
        return title_data(self.titles, section, orientation, role, self._numbers, self.tips)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Text of a cell."""
        column = index.column()
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return alignment(column, self._numbers)
        cell = self.rows[index.row()].cells[column]
        if role == Qt.ItemDataRole.DecorationRole:
            return theme.icon(cell.icon) if cell.icon else None
        if role == Qt.ItemDataRole.ForegroundRole and cell.icon in ("danger", "warning"):
            return theme.colour(cell.icon)
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip(cell.tip or (cell.text if column not in self._numbers else ""))
        if role == Qt.ItemDataRole.UserRole:
            return cell.key
        return cell.text if role == Qt.ItemDataRole.DisplayRole else None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Order by a column; -1 is the order given. What was selected stays so."""
        self._sort = (column, order)
        self.layoutAboutToBeChanged.emit()
        before, self.rows = self.rows, self.ordered(self._given)
        places = {row.id: place for place, row in enumerate(self.rows)}
        old = self.persistentIndexList()
        new = [self.index(places[before[index.row()].id], index.column()) for index in old]
        self.changePersistentIndexList(old, new)
        self.layoutChanged.emit()

    def ordered(self, rows: Sequence[Row]) -> list[Row]:
        """Return rows in the order chosen; those without a key come last."""
        column, order = self._sort
        if column < 0:
            return list(rows)
        known = [row for row in rows if row.cells[column].key is not None]
        others = [row for row in rows if row.cells[column].key is None]
        known.sort(
            key=lambda row: row.cells[column].key,  # type: ignore[arg-type, return-value]
            reverse=order == Qt.SortOrder.DescendingOrder,
        )
        return known + others


class RowsTable(FilledTable):
    """A table of rows; ``row_chosen(id)`` carries the selected row, -1 for none.

    Columns are titles with what they mean; ``numbers`` are those that stand right, else all but
    the first.
    """

    row_chosen = Signal(int)

    def __init__(
        self,
        name: str,
        columns: Sequence[tuple[str, str]],
        *,
        numbers: Container[int] | None = None,
        make_model: type[RowsModel] = RowsModel,
    ) -> None:
        super().__init__()
        titles, tips = zip(*columns, strict=True)
        self.rows = make_model(titles, tips, numbers)
        self.setModel(self.rows)
        self.setAccessibleName(name)
        self.setSortingEnabled(True)
        show_rows(self)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        header = self.horizontalHeader()
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setMinimumSectionSize(40)
        self.follow_columns()
        self._selected = -1  # also while the rows lack it
        self.selectionModel().currentRowChanged.connect(self._on_current_changed)

    def set_widths(self, widths: Sequence[int]) -> None:
        """Fix the width of the columns after the first one, in pixels at 100 %."""
        header = self.horizontalHeader()
        for column, width in enumerate(widths, start=1):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Interactive)
            self.setColumnWidth(column, theme.px(width))

    @property
    def chosen(self) -> int:
        """The selected row's own number; -1 without one."""
        index = self.currentIndex()
        return self.rows.rows[index.row()].id if index.isValid() else -1

    def set_rows(self, rows: Sequence[Row]) -> None:
        """Show other rows; the one that was selected stays so, or is again when it comes back."""
        at = self.verticalScrollBar().value()
        with QSignalBlocker(self.selectionModel()):
            self.rows.set_rows(rows)
            for number, row in enumerate(self.rows.rows):
                if row.id == self._selected and number != self.currentIndex().row():
                    self.selectRow(number)
        self.verticalScrollBar().setValue(at)

    def _on_current_changed(self, *_: object) -> None:
        self._selected = self.chosen
        self.row_chosen.emit(self._selected)


def rate(value: float | None) -> Cell:
    """A rate as a cell, in per cent."""
    return Cell(percent(value), value)
