"""Many checkpoints in one table: a row for each, the worst first, which opens it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Literal

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QHeaderView, QWidget

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.verdict_card import LOOKS
from cleanclip_gui.jobs import tasks
from cleanclip_gui.threads import CLOSING_MS
from cleanclip_gui.ticket import Ticket, TicketProgress
from cleanclip_gui.widgets.controls import BusyRow, Label, Note, push_button, search_field
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import card, column, row
from cleanclip_gui.widgets.name_filters import NUMBERS
from cleanclip_gui.widgets.number_box import NumberBox
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.rows_table import Cell, Row, RowsTable
from cleanclip_gui.widgets.text import bytes_text, count_text, plain, plural
from ml_core.checkpoints.inspection_record import VERDICTS
from ml_core.detection.scan.records import answer
from ml_core.exports import save_export, to_csv
from ml_core.jobs.examination import Examination, Verdict, worst_of
from ml_core.reading import examine
from ml_core.reading.errors import InputError
from ml_core.reading.walk import Tally
from ml_core.reports import many
from ml_core.reports.many import Options, Ranking, inspect_many, save_json_lines

_COLUMNS = (
    ("File safety", "Sorted from worst to best; a file with a found trigger is among the worst"),
    ("File", "Path below the folder that was chosen"),
    ("What it is", "The architecture; if it is unknown, the format, or why the file was not read"),
    ("Size", ""),
    ("Examination", "The answer of Examine; a kept answer is shown for files with the same bytes"),
)
_VERDICT, _FILE, _WHAT, _SIZE, _EXAMINATION = range(5)
Work = Literal["", "read", "examine", "export"]
_RANKS = (VERDICTS[0], "found", "suspicious", *VERDICTS[1:])
_ANSWERS: tuple[Verdict, ...] = (
    "dangerous", "found", "suspicious", "unknown", "damaged", "unsupported", "nothing",
)  # fmt: skip
_ICONS: dict[Verdict, str] = {"found": "danger", "suspicious": "warning"}
_CSV = ("path", "verdict", "what", "bytes", "sha256", "reason", "examination", "headline")
_LEAD = (
    "Nothing in these files was run. A readable file may still hide a backdoor in its weights: "
    "examine it."
)
_NOT_READ = "warning", "caution"
_WAITING, _EXAMINING = "Waiting", "Examining…"
_CUT: dict[Work, str] = {
    "read": "Reading was cancelled: the table is not complete.",
    "export": "Cancelled; nothing was written.",
}
_SHOW_EVERY_MS = 300  # while files are read


@dataclass(frozen=True)
class Batch:
    """Rows that were read, what was met so far, and kept examinations of the rows, by path."""

    rows: Sequence[many.Row]
    tally: Tally
    kept: dict[str, Examination] = field(default_factory=dict)


def read_many(paths: Sequence[Path], control: tasks.TaskControl) -> Iterator[Batch]:
    """Inspect files and folders, with the worst of the examinations that hold for each."""
    from ml_core.jobs.examination.kept import kept_records, worst_kept

    tally, records = Tally(), kept_records()
    examined = {record.sha256 for record in records if record.sha256}
    look = cache(lambda path: examine(path, control.cancelled))
    for batch in tasks.batches(_rows(paths, control, many.QUICK, tally)):
        kept: dict[str, Examination] = {}
        for each in batch:
            if each.sha256 in examined:
                with suppress(InputError):  # gone meanwhile
                    record = worst_kept(records, look(str(each.path)), look)
                    kept |= {} if record is None else {str(each.path): record}
        yield Batch(batch, replace(tally), kept)


def _rows(
    paths: Sequence[Path], control: tasks.TaskControl, options: Options, tally: Tally
) -> Iterator[many.Row]:
    """The rows, with word of each."""
    found = inspect_many(paths, options, tally=tally, cancelled=control.cancelled)
    with closing(found):
        for each in found:
            control.tell(TicketProgress(tally.files, 0, each.path.name))
            yield each


class _Table(RowsTable):
    """Names, models and answers share the width."""

    def __init__(self) -> None:
        super().__init__("Checkpoints", _COLUMNS, numbers=(_SIZE,))
        header = self.horizontalHeader()
        for section in range(len(_COLUMNS)):
            header.setSectionResizeMode(section, QHeaderView.ResizeMode.Stretch)
        for section, width in ((_VERDICT, 190), (_SIZE, 84)):
            header.setSectionResizeMode(section, QHeaderView.ResizeMode.Interactive)
            self.setColumnWidth(section, theme.px(width))
        self.sortByColumn(_VERDICT, Qt.SortOrder.AscendingOrder)

    def fit(self) -> None:
        """Nothing is left over."""


class ManyView(QWidget):
    """The page; it fills while the files are read.

    ``open_clicked(str)`` carries the path of the one to open, ``examine_clicked(list)`` the paths
    of those to examine, and ``cancel_clicked`` asks to end that; ``close_clicked`` asks to leave
    the table. ``failed(InputError)``: it could not be exported.
    """

    open_clicked = Signal(str)
    examine_clicked = Signal(object)
    cancel_clicked = Signal()
    close_clicked = Signal()
    failed = Signal(object)

    def __init__(self, prompts: Prompts) -> None:
        super().__init__()
        self.setObjectName("checkpoint.many")
        self._prompts = prompts
        self.paths: tuple[Path, ...] = ()
        self._ticket = Ticket.closed()
        self._work: Work = ""
        self.title = Label("", "heading")
        self.summary = Label("", "subtle", wrap=True)
        self.doing = Note("subtle")
        self.busy = BusyRow("Progress of the table", self.cancel)
        self.examine = push_button(
            "Examine all", lambda: self.examine_clicked.emit(self._to_examine()), icon="scan",
            look="primary",
            tip="Examine those that open, one after the other",
        )  # fmt: skip
        self.minutes = NumberBox(
            "int", 0, 10_000, "minutes", title="Most minutes for each examination",
            tip="A scan that would take longer searches less",
        )  # fmt: skip
        self.minutes.setSpecialValueText("No limit")
        each = Label("Time for each:", buddy=self.minutes)
        self.export = push_button(
            "Export…", self._on_export_clicked, icon="save",
            tip="Write the rows as CSV, or a whole record of every file as JSON",
        )  # fmt: skip
        self.leave = push_button("Close the table", self.close_clicked, icon="cancel")
        self.filter = search_field("Filter files", "Filter by name, verdict, model or answer")
        self.filter.textChanged.connect(self._show)
        self.table = _Table()
        self.table.activated.connect(self._open_chosen)
        self.table.row_chosen.connect(self._show_detail)
        self.detail = Label(wrap=True, selectable=True)
        self.detail.setMinimumHeight(3 * self.detail.fontMetrics().lineSpacing())
        self.detail.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.open = push_button("Open", self._open_chosen, icon="open")
        for label in (self.title, self.summary, self.doing):
            label.setMinimumWidth(1)
        buttons = FoldingRow((self.examine, each, self.minutes), self.export, self.leave)
        head = card(self.title, self.summary, self.doing, self.busy, buttons, spacing=theme.SPACE_S)
        foot = card(
            row((self.detail, 1), (self.open, Qt.AlignmentFlag.AlignTop), spacing=theme.SPACE_M)
        )
        foot.setAccessibleName("The chosen file")
        column(head, self.filter, (self.table, 1), foot, of=self, spacing=theme.SPACE_M)
        self._soon = QTimer(self, singleShot=True, interval=_SHOW_EVERY_MS)
        self._soon.timeout.connect(self._show)
        self.forget()

    def forget(self) -> None:
        """Show nothing, and stop reading."""
        self._ticket.cancel()
        self.paths = ()
        self._base = Path()
        self._tally, self._ranking = Tally(), Ranking()
        self._examinations: dict[str, Examination] = {}  # by path; of files by SHA-256, too
        self._states: dict[Path, str] = {}
        self._numbers: dict[Path, int] = {}
        self._rows: dict[int, many.Row] = {}
        self._fixed: dict[Path, tuple[Cell, Cell, Cell, Cell]] = {}
        self.filter.clear()
        self._set_work("")
        self._show()

    def read(self, paths: Sequence[Path]) -> None:
        """Read files, and what lies in folders, and fill the table."""
        self.forget()
        self.paths = tuple(dict.fromkeys(paths))
        self._base = _base(self.paths)
        self.title.setText(
            plain(self.paths[0].name or self.paths[0], 80) if len(self.paths) == 1
            else f"{count_text(len(self.paths))} files or folders"
        )  # fmt: skip
        self._set_work("read", "Reading…")
        self._ticket = tasks.run(
            partial(read_many, self.paths), self._on_read, self._on_failed,
            on_progress=self._on_progress, on_done=self._on_done,
        )  # fmt: skip

    def cancel(self) -> None:
        """Stop what goes on; the rows stay."""
        if self._work == "examine":
            self.cancel_clicked.emit()
        else:
            self._ticket.cancel()
            self._set_work("", _CUT[self._work])

    # The examinations

    def show_waiting(self, paths: Sequence[Path]) -> None:
        """Show which files are to be examined."""
        self._states = dict.fromkeys(paths, _WAITING)
        self._set_work("examine", "Waiting for the examination that is going on…")

    def show_examining(self, path: Path) -> None:
        """Show which file is examined now."""
        self._states[path] = _EXAMINING
        self._show()

    def show_progress(self, done: int, total: int, fraction: float, words: str) -> None:
        """Show how many are examined, and how far the present one is."""
        if self._work != "examine":  # another table is read meanwhile
            return
        self.busy.show_share((done + fraction) / total)
        self.doing.setText(f"{count_text(done + 1)} of {count_text(total)}: {plain(words, 200)}")

    def show_examined(self, path: Path, record: Examination | None, error: str = "") -> None:
        """Show what an examination came to; without a record, why there is none."""
        self._states.pop(path, None)
        if record is None:
            self._states[path] = error
        else:
            before = self._examinations.get(str(path))
            if before is not None and before.sha256 == record.sha256:
                record = worst_of((record, before))
            self._examinations[str(path)] = record
            if record.sha256 and not path.is_dir():  # a folder's config decides, too
                self._examinations[record.sha256] = record
        self._show()

    def show_examinations_ended(self, words: str) -> None:
        """Show that no file waits any more."""
        if self._work != "examine":
            return
        self._states = {
            path: state for path, state in self._states.items()
            if state not in (_WAITING, _EXAMINING)
        }  # fmt: skip
        self._set_work("", words)

    def _examination(self, of: many.Row) -> Examination | None:
        own = self._examinations.get(str(of.path))
        return own or (None if of.folder else self._examinations.get(of.sha256 or "-"))

    def _to_examine(self) -> list[Path]:
        """Those that open and are not examined, once for the same bytes; all, if none is left."""
        opens = [each for each in self._ranking.rows if each.verdict in ("caution", "loads")]
        first: dict[str, Path] = {}
        for each in [each for each in opens if self._examination(each) is None] or opens:
            key = each.sha256 if each.sha256 and not each.folder else str(each.path)
            first.setdefault(key, each.path)
        return list(first.values())

    # What is shown

    def _set_work(self, work: Work, words: str = "") -> None:
        """Begin or end something; ``words`` say what, or how it ended."""
        had_focus = self.busy.cancel.hasFocus()
        self._work = work
        self.busy.setVisible(bool(work))
        self.busy.show_share(None)
        self.doing.setText(words)
        self._show()
        if had_focus and not work:
            self.table.setFocus()

    def _show(self, *_: object) -> None:
        """Show the rows that pass the filter, and what can be done with them."""
        wanted = self.filter.text().lower().split()
        self._rows, rows = {}, []
        for each in sorted(self._ranking.rows, key=lambda each: (self._rank(each), str(each.path))):
            number = self._numbers.setdefault(each.path, len(self._numbers))
            cells = self._cells(each)
            words = " ".join(cell.text for cell in cells).lower()
            if all(word in words for word in wanted):
                self._rows[number] = each
                rows.append(Row(number, cells))
        self.table.set_rows(rows)
        self.summary.setText(self._summary())
        todo = [] if self._work else self._to_examine()
        self.examine.setEnabled(bool(todo))
        self.minutes.setEnabled(bool(todo))
        self.export.setEnabled(not self._work and bool(self._numbers))
        self._show_detail()

    def _summary(self) -> str:
        """What was looked at, and that a trigger was found or not looked for."""
        if not self._numbers:
            return _LEAD
        examined = sum(self._examination(each) is not None for each in self._ranking.rows)
        counts = self._ranking.summary(self._tally, "cleanclip inspect --hash", "the JSON export")
        return f"{counts} {count_text(examined)} examined. {_LEAD}"

    def _rank(self, of: many.Row) -> int:
        """How bad a file is, with what its examination found."""
        examined = self._examination(of)
        worst = _RANKS.index(of.verdict)
        if examined is not None and examined.verdict in _RANKS[1:3]:
            return min(worst, _RANKS.index(examined.verdict))
        return worst

    def _cells(self, of: many.Row) -> tuple[Cell, ...]:
        if of.path not in self._fixed:
            name = self._name(of.path)
            file = Cell(plain(name, 300), name.lower(), tip=plain(of.path))
            self._fixed[of.path] = file, *row_cells(of)
        file, verdict, what, size = self._fixed[of.path]
        examined, state = self._examination(of), self._states.get(of.path, "")
        answer = Cell(plain(state, 300), -1.0 if state else None)
        if examined is not None and not state:
            icon, key = _ICONS.get(examined.verdict, ""), _ANSWERS.index(examined.verdict)
            answer = Cell(_short(examined), float(key), icon, plain(examined.headline))
        return replace(verdict, key=float(self._rank(of))), file, what, size, answer

    def _name(self, path: Path) -> str:
        """Where a file lies below what was chosen."""
        with suppress(ValueError):
            below = path.relative_to(self._base)
            if below.parts:
                return str(below)
        return path.name or str(path)

    def _show_detail(self, *_: object) -> None:
        """Say the whole of the chosen row."""
        chosen = self._rows.get(self.table.chosen)
        self.open.setEnabled(chosen is not None)
        if chosen is None:
            words = "Choose a file to see why, and press Enter to open it."
            self.detail.setText(words if self._rows else "")
            return
        examined, state = self._examination(chosen), self._states.get(chosen.path, "")
        same = "" if chosen.same_as is None else f"The same bytes as {self._name(chosen.same_as)}."
        sentences = (
            f"{self._name(chosen.path)}: {chosen.words}.", *chosen.reasons[:2], same,
            "" if examined is None else examined.headline, state,
        )  # fmt: skip
        self.detail.setText(plain(" ".join(filter(None, sentences)), 700))

    # What the reading tells

    def _on_read(self, batch: Batch) -> None:
        self._examinations |= batch.kept
        self._tally = batch.tally
        for each in batch.rows:
            self._ranking.add(each)
        if not self._soon.isActive():
            self._soon.start()

    def _on_progress(self, progress: TicketProgress) -> None:
        self.doing.setText(f"{plural(progress.done, 'file')} looked at: {plain(progress.what, 80)}")

    def _on_failed(self, error: InputError) -> None:
        failed = error.titled(f"Could not {self._work} the table")
        self._set_work("")
        self.failed.emit(failed)

    def _on_done(self) -> None:
        self._set_work("", "" if self._ranking.rows else "No checkpoint lies in this folder.")
        if not self.table.selectionModel().hasSelection():
            self.table.selectRow(0)

    # What the user does

    def _open_chosen(self) -> None:
        self.open_clicked.emit(str(self._rows[self.table.chosen].path))

    def _on_export_clicked(self) -> None:
        """Ask where to, and write the rows as CSV, or read every file again for its record."""
        proposed = str(self._base / "checkpoints.csv")
        chosen = self._prompts.save_file(self, "Export the table", proposed, NUMBERS)
        if not chosen:
            return
        target = Path(chosen)
        if target.suffix.lower() == ".json":
            work = partial(_save_records, self.paths, target)
        else:
            rows = [self._line(each) for each in self._rows.values()]
            work = partial(_save_table, rows, target)
        self._set_work("export", f"Writing {plain(target.name, 80)}…")
        self._ticket = tasks.run(
            work, self._on_exported, self._on_failed, on_progress=self._on_progress,
            closing_ms=CLOSING_MS,
        )  # fmt: skip

    def _on_exported(self, target: Path) -> None:
        self._set_work("", f"Saved {plain(target.name, 80)}.")

    def _line(self, of: many.Row) -> tuple[object, ...]:
        """A row of the CSV."""
        examined = self._examination(of)
        answer = ("", "") if examined is None else (examined.verdict, examined.headline)
        reason = next(iter(of.reasons), "")
        return (str(of.path), of.verdict, of.what, of.size, of.sha256, reason, *answer)


def _save_table(rows: Sequence[Sequence[object]], path: Path, _: tasks.TaskControl) -> Path:
    save_export(path, to_csv([_CSV, *rows]).encode(errors="backslashreplace"))
    return path


def _save_records(paths: Sequence[Path], target: Path, control: tasks.TaskControl) -> Path:
    """Read the files again, and write what ``cleanclip inspect --json`` prints."""
    save_json_lines(_rows(paths, control, Options(records=True), Tally()), target)
    return target


def row_cells(of: many.Row) -> tuple[Cell, Cell, Cell]:
    """Verdict, what it is, and size."""
    what = of.what or next(iter(of.reasons), "")
    icon = LOOKS.get(of.verdict, _NOT_READ)[0]
    return (
        Cell(
            of.words,
            float(_RANKS.index(of.verdict)),
            icon,
            plain("\n".join(of.reasons), lines=True),
        ),
        Cell(plain(what, 300), what.lower()),
        Cell(bytes_text(of.size) if of.size else "", float(of.size)),
    )


def _base(paths: Sequence[Path]) -> Path:
    """The folder that names are shown below: the only one that was chosen, or what all share."""
    if len(paths) == 1:
        return paths[0]
    with suppress(ValueError):  # on several disks
        return Path(os.path.commonpath([path.parent for path in paths]))
    return Path()


def _short(record: Examination) -> str:
    """The answer of an examination in few words."""
    if record.verdict in ("found", "suspicious", "nothing"):
        return plain(answer(record.verdict, record.target), 300)
    return plain(record.headline, 300)
