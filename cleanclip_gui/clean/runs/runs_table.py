"""The table of current, queued and earlier runs; those that are ticked are compared."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QModelIndex, QPoint, Qt, Signal
from PySide6.QtGui import QContextMenuEvent, QKeyEvent
from PySide6.QtWidgets import QHeaderView

from cleanclip_gui import theme
from cleanclip_gui.clean.charts.parts import letter, mark_icon
from cleanclip_gui.clean.history import PastRun
from cleanclip_gui.clean.recipe_form import budget_text
from cleanclip_gui.jobs.run_names import run_number
from cleanclip_gui.widgets.rows_table import Cell, Index, Row, RowsModel, RowsTable
from cleanclip_gui.widgets.text import percent, plain
from ml_core.cleaning.presets import run_title

_COLUMNS = (
    ("", "Tick a run to compare it in the charts."),
    ("Run", "Number, name if you gave it one (F2), method, preset, and what differs from it."),
    ("Started", "When the run was created."),
    ("Status", "Status of the run."),
    ("ASR", "Attack success rate on test images, before and after."),
    ("Accuracy", "Clean accuracy on test images, before and after."),
    ("File", "The checkpoint that is cleaned."),
)
SHOWN, RUN, STARTED, STATUS, ATTACK, ACCURACY, CHECKPOINT = range(len(_COLUMNS))
_WIDTHS = (74, 184, 104, 94, 116, 116, 64)
_ROW, _FEWEST = 28, 5  # pixels of a row; rows that are seen in the smallest window
_AHEAD = ("running", "waiting")


class RunsModel(RowsModel):
    """Runs as rows. The user ticked a run: ``ticked(folder, on)``."""

    ticked = Signal(object, bool)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.marks: Mapping[Path, int] = {}  # of those that are compared
        self._ids: dict[Path, int] = {}
        self._past: dict[int, PastRun] = {}

    @property
    def runs(self) -> list[PastRun]:
        """The runs in the order on the screen."""
        return [self.run_of(row) for row in self.rows]

    def run_of(self, row: Row) -> PastRun:
        """The run of a row."""
        return self._past[row.id]

    def rows_of(self, runs: Sequence[PastRun]) -> list[Row]:
        """Rows for runs; the row of a folder has the same number each time."""
        numbers = [self._ids.setdefault(run.folder, len(self._ids)) for run in runs]
        self._past |= zip(numbers, runs, strict=True)
        return [Row(number, _cells(self._past[number])) for number in numbers]

    def ordered(self, rows: Sequence[Row]) -> list[Row]:
        """The run at work and those that wait stay ahead, in their order."""
        ahead = [row for row in rows if self.run_of(row).status in _AHEAD]
        return ahead + super().ordered([row for row in rows if row not in ahead])

    def headerData(  # noqa: N802
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> object:
        """Titles, with what they mean as tool tips."""
        if section == SHOWN and role == Qt.ItemDataRole.AccessibleTextRole:
            return "Shown in the charts"
        return super().headerData(section, orientation, role)

    def flags(self, index: Index) -> Qt.ItemFlag:
        """The first column is ticked."""
        flags = super().flags(index)
        return flags | Qt.ItemFlag.ItemIsUserCheckable if index.column() == SHOWN else flags

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Text, tick and mark of a cell."""
        if index.column() != SHOWN:
            return super().data(index, role)
        mark = self.marks.get(self.run_of(self.rows[index.row()]).folder)
        if role == Qt.ItemDataRole.CheckStateRole:
            return Qt.CheckState.Unchecked if mark is None else Qt.CheckState.Checked
        if role == Qt.ItemDataRole.DecorationRole:
            return None if mark is None else mark_icon(mark)
        if role == Qt.ItemDataRole.DisplayRole:
            return "" if mark is None else letter(mark)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return "not compared" if mark is None else f"compared as {letter(mark)}"
        return None

    def setData(self, index: Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:  # noqa: N802
        """Tick or untick a run; the listener decides whether that is accepted."""
        if role != Qt.ItemDataRole.CheckStateRole or index.column() != SHOWN:
            return False
        on = Qt.CheckState(value) == Qt.CheckState.Checked
        self.ticked.emit(self.runs[index.row()].folder, on)
        return True


class RunsTable(theme.Themed, RowsTable):
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
    filling, narrowest = RUN, 210
    empty_text = "Runs stand here once they begin: press Clean it or Start cleaning."
    rows: RunsModel

    def __init__(self) -> None:
        super().__init__("Runs", _COLUMNS, numbers=(ACCURACY, ATTACK), make_model=RunsModel)
        self.verticalHeader().setDefaultSectionSize(theme.px(_ROW))
        header = self.horizontalHeader()
        for column, width in enumerate(map(theme.px, _WIDTHS)):
            if column != self.filling:
                header.setSectionResizeMode(column, QHeaderView.ResizeMode.Interactive)
            self.setColumnWidth(column, width)
        scroll_bar = self.horizontalScrollBar().sizeHint().height()
        self.setMinimumHeight(
            header.sizeHint().height() + _FEWEST * theme.px(_ROW) + scroll_bar + 2
        )
        header.moveSection(STARTED, CHECKPOINT)  # the rates come before the dates
        header.setSortIndicatorClearable(True)
        self.row_chosen.connect(lambda _: self.run_chosen.emit(self.run))
        self.doubleClicked.connect(self._on_double_clicked)

    def set_runs(self, runs: Sequence[PastRun], marks: Mapping[Path, int]) -> None:
        """Show other runs, and which of them are compared; the one that was selected stays so."""
        before, self.rows.marks = self.run, dict(marks)
        self.set_rows(self.rows.rows_of(runs))
        if before is not None and self.run is None:
            self.run_chosen.emit(None)
        self.setColumnHidden(CHECKPOINT, len({run.spec.checkpoint for run in runs}) < 2)
        self.fit()

    @property
    def run(self) -> PastRun | None:
        """The selected run."""
        index = self.currentIndex()
        return self.rows.run_of(self.rows.rows[index.row()]) if index.isValid() else None

    def choose(self, folder: Path) -> None:
        """Select a run."""
        for number, run in enumerate(self.rows.runs):
            if run.folder == folder:
                self.selectRow(number)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Space ticks, Return opens."""
        run = self.run
        if run is not None and event.key() == Qt.Key.Key_Space:
            self.rows.ticked.emit(run.folder, run.folder not in self.rows.marks)
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

    def dress(self) -> None:
        """Draw the marks in the colours of another theme."""
        self.rows.refresh()

    def _on_double_clicked(self, index: QModelIndex) -> None:
        if index.column() != SHOWN:
            self.opened.emit(self.run)


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


def _cells(run: PastRun) -> tuple[Cell, ...]:
    """What the columns show, sort by and tell."""
    recipe, file = run.spec.recipe, plain(Path(run.spec.checkpoint).stem, 80)
    name = plain(run.title, 200)
    if run.name:
        name = f"{name} · {plain(run_title(recipe.model_dump()), 80)}"
    about = (
        f"{name}: {budget_text(recipe)}, peak rate {recipe.lr:g}, seed {recipe.seed}. Folder "
        f"{plain(run.folder.name, 120)}."
    )
    begun = time.strftime("%d %B %Y, %H:%M:%S", time.localtime(run.begun))
    return (
        Cell("", run.folder.name),
        Cell(name, f"{run_number(run.folder):06}{name.casefold()}", tip=about),
        Cell(started_text(run.begun), run.begun, tip=begun),
        Cell(run.status.capitalize(), run.status, tip=plain(run.error, 600)),
        _change(run, "asr_excl"),
        _change(run, "ca"),
        Cell(file, file.casefold(), tip=plain(run.spec.checkpoint, 400)),
    )


def _change(run: PastRun, key: str) -> Cell:
    """A rate before and after."""
    before, after = ((run.result.get(side) or {}).get(key) for side in ("before", "after"))
    if after is None:
        return Cell("–")
    text = f"{percent(before, unit='')} → {percent(after, unit='')} %"
    return Cell(text, after, tip=text)
