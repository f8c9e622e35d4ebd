"""The models of one file: a verdict on each, the worst first, and one click to open any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHeaderView, QWidget

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.many_view import row_cells
from cleanclip_gui.jobs import tasks
from cleanclip_gui.ticket import Ticket, TicketProgress
from cleanclip_gui.widgets.controls import BusyRow, Label
from cleanclip_gui.widgets.dialog_frame import ClosingDialog, frame, primary_button, resize_within
from cleanclip_gui.widgets.rows_table import Cell, Row, RowsTable
from cleanclip_gui.widgets.text import plain, plural
from ml_core.checkpoints.inspection_record import assess
from ml_core.reading import InputError, Inspection, examine
from ml_core.reading.inspection import REFUSED, code_of, known_part
from ml_core.reading.parts import beside_words
from ml_core.reports import many

_LEAD = (
    "Models are checked first. No code in them is ever run. A readable model may still hide a "
    "backdoor in its weights: open it, and examine it."
)
_COLUMNS = (
    ("Model", ""),
    ("Verdict", "Sorted from the worst to the best"),
    ("What it is", "What the tensors are"),
    ("Size", ""),
    ("Why", "The first reason"),
)
_SIZE = 3
_VERDICT = 1


def judge(
    paths: Sequence[Path], whole: Inspection, control: tasks.TaskControl
) -> Iterator[many.Row]:
    """Examine parts one after another; one that cannot be read does not keep the others.

    What ``whole`` holds of them already is not read again.
    """
    for number, path in enumerate(paths):
        control.tell(TicketProgress(number, len(paths)))
        try:
            part = known_part(whole, path) or examine(path, control.cancelled, hashed=False)
        except InputError as error:
            yield many.Row(path, code_of(error), reasons=(error.sentence,))
            continue
        assessed = assess(part)
        what = (assessed.architecture or {}).get("name", "")
        size = sum(tensor.nbytes for tensor in part.tensors) if part.part else part.size
        reasons = () if assessed.verdict == "loads" else assessed.reasons
        yield many.Row(path, assessed.verdict, what, size, reasons=reasons)
    control.tell(TicketProgress(len(paths), len(paths)))


class _Verdicts(RowsTable):
    """The table; reasons show their last word, which names what a file would run."""

    filling, narrowest = len(_COLUMNS) - 1, 200

    def __init__(self) -> None:
        super().__init__("Verdicts", _COLUMNS, numbers=(_SIZE,))
        self.setWordWrap(True)
        header, heights = self.horizontalHeader(), self.verticalHeader()
        heights.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        for column, width in enumerate((170, 170, 250, 80)):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Interactive)
            self.setColumnWidth(column, theme.px(width))
        header.sectionResized.connect(self.resizeRowsToContents)
        self.sortByColumn(_VERDICT, Qt.SortOrder.AscendingOrder)


class PartsDialog(ClosingDialog):
    """Judges models in the background; ``opened(str)`` carries the path of the one to open.

    Closing it ends the reading.

    Parameters
    ----------
    paths
        Addresses of the models.
    whole
        The inspection of the file that they are in.
    """

    opened = Signal(str)

    def __init__(
        self, paths: Sequence[Path], whole: Inspection, parent: QWidget | None = None
    ) -> None:
        super().__init__("Choose a model", parent)
        self.judged: list[many.Row] = []
        self._paths = tuple(dict.fromkeys(paths))
        self._whole = whole
        self.table = _Verdicts()
        self.table.activated.connect(self._open_chosen)
        self.table.row_chosen.connect(self._offer)
        self.busy = BusyRow("Progress of the check", self.cancel)
        self.state = Label("", "subtle", wrap=True)
        self.ok = primary_button("Open", self._open_chosen)
        self.ok.setEnabled(False)
        beside = beside_words(whole.beside)
        lead = _LEAD + (f" Beside them, and not looked at: {beside}." if beside else "")
        parts = (Label(lead, "subtle", wrap=True), self.busy, self.table, self.state)
        title = f"{plural(len(self._paths), 'model')} in {plain(whole.name, 60)}"
        frame(self, title, parts, self.ok, "Close")
        resize_within(self, 1040, 560)
        self._show_state()
        self._ticket: Ticket = tasks.run(
            partial(judge, self._paths, whole),
            self._on_judged, self._on_failed,
            on_progress=self._on_progress, on_done=self._on_done,
        )  # fmt: skip

    def done(self, result: int) -> None:
        """Read no further once the dialog is closed."""
        self._ticket.cancel()
        super().done(result)

    def cancel(self) -> None:
        """Stop reading; what was judged stays listed."""
        self._ticket.cancel()
        self.busy.hide()
        self._show_state("Cancelled. ")

    def _on_judged(self, judgement: many.Row) -> None:
        self.judged.append(judgement)
        self.table.set_rows([Row(n, self._cells(each)) for n, each in enumerate(self.judged)])
        self._show_state()

    def _cells(self, of: many.Row) -> tuple[Cell, ...]:
        name = str(of.path).removeprefix(f"{self._whole.path}#")
        why = next(iter(of.reasons), "").removeprefix(f"{of.path.name} ")
        why = plain(why[:1].upper() + why[1:], 1500)
        verdict, what, size = row_cells(of)
        return (Cell(plain(name, 200), name.lower()), verdict, what, size, Cell(why, why.lower()))

    def _on_progress(self, progress: TicketProgress) -> None:
        self.busy.show_share(progress.share)

    def _on_done(self) -> None:
        self.busy.hide()
        if not self.table.selectionModel().hasSelection():
            self.table.selectRow(0)

    def _on_failed(self, error: InputError) -> None:
        self.busy.hide()
        self._show_state(f"{error.sentence} ")

    def _show_state(self, first: str = "") -> None:
        refused = sum(judgement.verdict in REFUSED for judgement in self.judged)
        done = f"{len(self.judged)} of {plural(len(self._paths), 'model')} checked"
        self.state.setText(plain(f"{first}{done}, {refused} refused.", 600))

    def _offer(self, *_: object) -> None:
        self.ok.setEnabled(self.table.chosen >= 0)

    def _open_chosen(self) -> None:
        if self.table.chosen >= 0:
            self.opened.emit(str(self.judged[self.table.chosen].path))
