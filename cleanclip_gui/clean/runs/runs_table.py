"""The table of current, queued and earlier runs; those that are ticked are compared."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QEvent,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QPoint,
    Qt,
    Signal,
)
from PySide6.QtGui import QContextMenuEvent, QKeyEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView

from cleanclip_gui import theme
from cleanclip_gui.clean.charts.parts import letter, mark_icon
from cleanclip_gui.clean.history import PastRun
from cleanclip_gui.clean.recipe_form import budget_text
from cleanclip_gui.widgets.rows_table import FilledTable, alignment, show_rows, title_data
from cleanclip_gui.widgets.text import percent, plain, tip
from ml_core.cleaning.catalogue import run_title

_Index = QModelIndex | QPersistentModelIndex
_NO_PARENT = QModelIndex()
TITLES = ("", "Run", "Started", "Status", "Accuracy", "Attack", "File")
SHOWN, RUN, STARTED, STATUS, ACCURACY, ATTACK, CHECKPOINT = range(len(TITLES))
_TIPS = (
    "Tick a run to compare it in the charts.",
    "Its name, if you gave it one (F2), and method and preset of the recipe.",
    "When the run was created.",
    "Status of the run.",
    "Clean accuracy on test images, before and after.",
    "Attack success rate on test images, before and after.",
    "The checkpoint that is cleaned.",
)
_WIDTHS = (74, 184, 104, 92, 122, 122, 64)
_NUMBERS = (ACCURACY, ATTACK)
_ROW, _FEWEST = 28, 5  # pixels of a row; rows that are seen in the smallest window
_AHEAD = ("running", "waiting")


class RunsModel(QAbstractTableModel):
    """Runs in the order given. The user ticked a run: ``ticked(folder, on)``."""

    ticked = Signal(object, bool)

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[PastRun] = []
        self.marks: dict[Path, int] = {}
        self._given: list[PastRun] = []
        self._order = (-1, Qt.SortOrder.AscendingOrder)

    def set_runs(self, runs: Sequence[PastRun], marks: Mapping[Path, int]) -> None:
        """Show other runs, and which of them are compared under which mark."""
        self._given = list(runs)
        runs = self._sorted()
        if [run.folder for run in runs] == [run.folder for run in self.runs]:
            self.runs, self.marks = list(runs), dict(marks)  # the selection stands
            self.refresh()
            return
        self.beginResetModel()
        self.runs, self.marks = list(runs), dict(marks)
        self.endResetModel()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort the earlier runs; the one at work and those that wait stay ahead, in their order."""
        self._order = column, order
        self.layoutAboutToBeChanged.emit()
        before, self.runs = self.runs, self._sorted()
        rows = {run.folder: row for row, run in enumerate(self.runs)}
        old = self.persistentIndexList()
        new = [self.index(rows[before[index.row()].folder], index.column()) for index in old]
        self.changePersistentIndexList(old, new)  # what was selected stays so
        self.layoutChanged.emit()

    def _sorted(self) -> list[PastRun]:
        column, order = self._order
        if column < 0:
            return list(self._given)
        ahead = [run for run in self._given if run.status in _AHEAD]
        rest = [run for run in self._given if run.status not in _AHEAD]
        known = [run for run in rest if _sort_key(run, column) is not None]
        unknown = [run for run in rest if _sort_key(run, column) is None]  # last, either way
        descending = order == Qt.SortOrder.DescendingOrder
        known.sort(key=lambda run: _sort_key(run, column), reverse=descending)  # type: ignore[arg-type, return-value]
        return [*ahead, *known, *unknown]

    def refresh(self) -> None:
        """Draw every row anew."""
        if self.runs:
            last = self.index(len(self.runs) - 1, len(TITLES) - 1)
            self.dataChanged.emit(self.index(0, 0), last)

    def rowCount(self, parent: _Index = _NO_PARENT) -> int:  # noqa: N802
        """One row a run."""
        return 0 if parent.isValid() else len(self.runs)

    def columnCount(self, parent: _Index = _NO_PARENT) -> int:  # noqa: N802
        """As many as titles."""
        return 0 if parent.isValid() else len(TITLES)

    def headerData(  # noqa: N802
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> object:
        """Titles, with what they mean as tool tips."""
        if section == SHOWN and role == Qt.ItemDataRole.AccessibleTextRole:
            return "Shown in the charts"
        return title_data(TITLES, section, orientation, role, _NUMBERS, _TIPS)

    def flags(self, index: _Index) -> Qt.ItemFlag:
        """The first column is ticked."""
        flags = super().flags(index)
        return flags | Qt.ItemFlag.ItemIsUserCheckable if index.column() == SHOWN else flags

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Text, tick and mark of a cell."""
        run, column = self.runs[index.row()], index.column()
        mark = self.marks.get(run.folder)
        if column == SHOWN:
            if role == Qt.ItemDataRole.CheckStateRole:
                return Qt.CheckState.Unchecked if mark is None else Qt.CheckState.Checked
            if role == Qt.ItemDataRole.DecorationRole:
                return None if mark is None else mark_icon(mark)
            if role == Qt.ItemDataRole.DisplayRole:
                return "" if mark is None else letter(mark)
            if role == Qt.ItemDataRole.AccessibleTextRole:
                return "not compared" if mark is None else f"compared as {letter(mark)}"
            return None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return alignment(column, _NUMBERS)
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip(_tip(run, column))
        return _text(run, column) if role == Qt.ItemDataRole.DisplayRole else None

    def setData(  # noqa: N802
        self, index: _Index, value: Any, role: int = Qt.ItemDataRole.EditRole
    ) -> bool:
        """Tick or untick a run; the listener decides whether that is accepted."""
        if role != Qt.ItemDataRole.CheckStateRole or index.column() != SHOWN:
            return False
        on = Qt.CheckState(value) == Qt.CheckState.Checked
        self.ticked.emit(self.runs[index.row()].folder, on)
        return True


class RunsTable(FilledTable):
    """The table of runs.

    ``run_chosen(run or None)`` carries the newly selected run. A double click or Return emits
    ``opened(run)``. Delete emits ``delete_wanted``, and F2 emits ``rename_wanted``. The right
    button or the menu key emits ``menu_wanted(QPoint)`` with the place on the screen. Space ticks
    the selected run, whichever column is current. A click on a title sorts.
    """

    run_chosen = Signal(object)
    opened = Signal(object)
    delete_wanted = Signal()
    rename_wanted = Signal()
    menu_wanted = Signal(QPoint)
    filling, narrowest = RUN, 140

    def __init__(self) -> None:
        super().__init__()
        self.runs = RunsModel()
        self._keeping = False
        self.setModel(self.runs)
        self.setAccessibleName("Runs")
        show_rows(self, _ROW)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        header = self.horizontalHeader()
        for column, width in enumerate(map(theme.px, _WIDTHS)):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Interactive)
            self.setColumnWidth(column, width)
        self.follow_columns()
        scroll_bar = self.horizontalScrollBar().sizeHint().height()
        self.setMinimumHeight(
            header.sizeHint().height() + _FEWEST * theme.px(_ROW) + scroll_bar + 2
        )
        header.setSortIndicatorClearable(True)
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.setSortingEnabled(True)
        self.selectionModel().currentRowChanged.connect(self._on_current_changed)
        self.doubleClicked.connect(self._on_double_clicked)

    def set_runs(self, runs: Sequence[PastRun], marks: Mapping[Path, int]) -> None:
        """Show other runs; the one that was selected stays so."""
        before, at = self.chosen, self.verticalScrollBar().value()
        self._keeping = True  # what is selected again was never left
        self.runs.set_runs(runs, marks)
        if before is not None and self.chosen is None:
            self.choose(before.folder)
        self._keeping = False
        if before is not None and self.chosen is None:
            self.run_chosen.emit(None)
        self.verticalScrollBar().setValue(at)
        self.setColumnHidden(CHECKPOINT, len({run.spec.checkpoint for run in runs}) < 2)
        self.fit()

    @property
    def chosen(self) -> PastRun | None:
        """The selected run."""
        index = self.currentIndex()
        return self.runs.runs[index.row()] if index.isValid() else None

    def choose(self, folder: Path) -> None:
        """Select a run."""
        for row, run in enumerate(self.runs.runs):
            if run.folder == folder:
                self.selectionModel().setCurrentIndex(
                    self.runs.index(row, RUN),
                    QItemSelectionModel.SelectionFlag.ClearAndSelect
                    | QItemSelectionModel.SelectionFlag.Rows,
                )

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Space ticks, Return opens."""
        run = self.chosen
        if run is not None and event.key() == Qt.Key.Key_Space:
            self.runs.ticked.emit(run.folder, run.folder not in self.runs.marks)
        elif run is not None and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.opened.emit(run)
        elif run is not None and event.key() == Qt.Key.Key_Delete:
            self.delete_wanted.emit()
        elif run is not None and event.key() == Qt.Key.Key_F2:
            self.rename_wanted.emit()
        else:
            super().keyPressEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:  # noqa: N802
        """Ask for the menu of the run under the mouse, or of the selected one."""
        place = event.globalPos()
        if event.reason() != QContextMenuEvent.Reason.Mouse and self.currentIndex().isValid():
            place = self.viewport().mapToGlobal(self.visualRect(self.currentIndex()).center())
        self.menu_wanted.emit(place)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Draw the marks in the colours of another theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.runs.refresh()

    def _on_current_changed(self, *_: object) -> None:
        if not self._keeping:
            self.run_chosen.emit(self.chosen)

    def _on_double_clicked(self, index: QModelIndex) -> None:
        if index.column() != SHOWN:
            self.opened.emit(self.runs.runs[index.row()])


def started_text(begun: float) -> str:
    """When a run was written: the time, with the date unless it was today, and the year if needed.

    Parameters
    ----------
    begun
        Seconds since 1970.
    """
    then, now = time.localtime(begun), time.localtime()
    if then[:3] == now[:3]:
        return time.strftime("Today %H:%M", then)
    return time.strftime("%d %b %H:%M" if then[0] == now[0] else "%d %b %Y", then)


def _sort_key(run: PastRun, column: int) -> float | str | None:
    """What a column sorts by; None where there is nothing to compare."""
    if column == STARTED:
        return run.begun
    if column in _NUMBERS:
        value = (run.result.get("after") or {}).get("ca" if column == ACCURACY else "asr_excl")
        return float(value) if isinstance(value, (int, float)) else None
    return _text(run, column).casefold() if column != SHOWN else str(run.folder.name)


def _text(run: PastRun, column: int) -> str:
    if column == RUN:
        unnamed = run_title(run.spec.recipe.method, run.spec.recipe.preset)
        return f"{plain(run.name, 200)} · {plain(unnamed, 80)}" if run.name else plain(unnamed, 80)
    if column == STARTED:
        return started_text(run.begun)
    if column == STATUS:
        return run.status.capitalize()
    if column == ACCURACY:
        return _change(run, "ca")
    if column == ATTACK:
        return _change(run, "asr_excl")
    return plain(Path(run.spec.checkpoint).stem, 80)


def _tip(run: PastRun, column: int) -> str:
    recipe = run.spec.recipe
    if column == RUN:
        return (
            f"{_text(run, RUN)}: {budget_text(recipe)}, peak rate {recipe.lr:g}, "
            f"seed {recipe.seed}. Folder {plain(run.folder.name, 120)}."
        )
    if column == STARTED:
        return time.strftime("%d %B %Y, %H:%M:%S", time.localtime(run.begun))
    if column == STATUS and run.error:
        return plain(run.error, 600)
    if column == CHECKPOINT:
        return plain(run.spec.checkpoint, 400)
    return _text(run, column)


def _change(run: PastRun, key: str) -> str:
    before, after = ((run.result.get(side) or {}).get(key) for side in ("before", "after"))
    if after is None:
        return "–"
    rates = (rate if isinstance(rate, (int, float)) else None for rate in (before, after))
    return " → ".join(percent(rate, unit="") for rate in rates) + " %"
