"""The models of one file: a verdict on each, the worst first, and one click to open any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PySide6.QtCore import QModelIndex, Qt, Signal
from PySide6.QtWidgets import QDialog, QHeaderView, QWidget

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.verdict_card import LOOKS
from cleanclip_gui.jobs import tasks
from cleanclip_gui.ticket import Ticket, TicketProgress
from cleanclip_gui.widgets.controls import BusyRow, Label
from cleanclip_gui.widgets.dialog_frame import frame, primary_button, resize_within
from cleanclip_gui.widgets.rows_table import Cell, Row, RowsTable
from cleanclip_gui.widgets.text import bytes_text, plain, plural
from ml_core.reading import InputError, Inspection, examine
from ml_core.reading.inspection import REFUSED, code_of, known_part, verdict_words
from ml_core.reading.parts import beside_words

_LEAD = (
    "Models are checked first. No code in them is ever run. One that can be read may still hide a "
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
_WORST_FIRST = ("dangerous", "damaged", "unsupported", "caution", "loads")


@dataclass(frozen=True)
class PartVerdict:
    """What is known of one model: ``verdict`` as `Assessment.verdict`, ``words`` what is shown."""

    path: Path
    verdict: str
    words: str
    model: str = ""
    size: int = 0
    reason: str = ""


def judge(
    paths: Sequence[Path], whole: Inspection, control: tasks.TaskControl
) -> Iterator[PartVerdict]:
    """Examine parts one after another; one that cannot be read does not keep the others.

    What ``whole`` holds of them already is not read again.
    """
    for number, path in enumerate(paths):
        control.tell(TicketProgress(number, len(paths)))
        try:
            inspection = known_part(whole, path)
            yield _judged(path, inspection or examine(path, control.cancelled, hashed=False))
        except InputError as error:
            verdict = code_of(error)
            yield PartVerdict(path, verdict, verdict_words(verdict), reason=error.sentence)
    control.tell(TicketProgress(len(paths), len(paths)))


def _judged(path: Path, inspection: Inspection) -> PartVerdict:
    from ml_core.checkpoints.inspection_record import assess

    assessed = assess(inspection)
    architecture = assessed.architecture
    return PartVerdict(
        path,
        assessed.verdict,
        assessed.words,
        "" if architecture is None else architecture["name"],
        sum(tensor.nbytes for tensor in inspection.tensors) if inspection.part else inspection.size,
        assessed.reasons[0] if assessed.reasons and assessed.verdict != "loads" else "",
    )


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


class PartsDialog(QDialog):
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
        super().__init__(parent)
        self.setWindowTitle("Choose a model")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.judged: list[PartVerdict] = []
        self._paths = tuple(dict.fromkeys(paths))
        self._whole = whole
        self.table = _Verdicts()
        self.table.activated.connect(self._on_activated)
        self.table.row_chosen.connect(self._offer)
        self.busy = BusyRow("Progress of the check")
        self.busy.bar.setRange(0, len(self._paths))
        self.busy.cancel_clicked.connect(self.cancel)
        self.state = Label("", "subtle", wrap=True)
        self.ok = primary_button("Open")
        self.ok.setEnabled(False)
        self.ok.clicked.connect(self._on_open_clicked)
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

    def _on_judged(self, judgement: PartVerdict) -> None:
        self.judged.append(judgement)
        name = str(judgement.path).removeprefix(f"{self._whole.path}#")
        row = _row(len(self.judged) - 1, judgement, name)
        self.table.rows.add_rows([row])
        self._show_state()

    def _on_progress(self, progress: TicketProgress) -> None:
        self.busy.bar.setValue(progress.done)

    def _on_done(self) -> None:
        self.busy.hide()
        if self.table.horizontalHeader().sortIndicatorSection() < 0:
            self.table.sortByColumn(_VERDICT, Qt.SortOrder.AscendingOrder)
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

    def _on_open_clicked(self) -> None:
        if self.table.chosen >= 0:
            self.opened.emit(str(self.judged[self.table.chosen].path))

    def _on_activated(self, index: QModelIndex) -> None:
        self.opened.emit(str(self.judged[self.table.rows.rows[index.row()].id].path))


def _row(number: int, judgement: PartVerdict, name: str) -> Row:
    verdict = judgement.verdict
    return Row(
        number,
        (
            Cell(plain(name, 200), name.lower()),
            Cell(judgement.words, float(_WORST_FIRST.index(verdict)), LOOKS[verdict][0]),
            Cell(plain(judgement.model, 80), judgement.model.lower()),
            Cell(bytes_text(judgement.size) if judgement.size else "", float(judgement.size)),
            Cell(_why(judgement), judgement.reason.lower()),
        ),
    )


def _why(judgement: PartVerdict) -> str:
    """The reason without the name, which stands before it."""
    words = plain(judgement.reason.removeprefix(f"{judgement.path.name} "), 1500)
    return words[:1].upper() + words[1:]
