"""The tests that prove a result: their buttons, their jobs, and their records on the screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QHeaderView,
    QPushButton,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.clean.charts.charts import Chart
from cleanclip_gui.clean.charts.parts import SYMBOLS, SeriesStyle
from cleanclip_gui.clean.training_data import TrainingData
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.jobs.runner import NewRunner, new_runner
from cleanclip_gui.session import Session
from cleanclip_gui.session.records import JobState, RunProgress
from cleanclip_gui.widgets.controls import BusyRow, Label, Note, push_button
from cleanclip_gui.widgets.dialog_frame import FittedDialog, field_form, frame, primary_button
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import column
from cleanclip_gui.widgets.number_box import NumberBox, number_text
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.rows_table import Cell, Index, Row, RowsTable, rate
from cleanclip_gui.widgets.text import (
    UNBROKEN,
    count_text,
    left_text,
    percent,
    percent_range,
    plain,
    plural,
    unbroken,
)
from ml_core.cleaning.pretraining import UNKNOWN
from ml_core.data.specs import PairSpec
from ml_core.events import Done, Event, Metric, Progress
from ml_core.jobs.auto.words import about_holdouts
from ml_core.jobs.proofs import (
    HOLDOUTS_FILE,
    REBOUND_FILE,
    ReboundSpec,
    are_holdouts,
    holdouts_of,
    is_rebound,
    read_proof,
    rebound_of,
    usual_pairs,
)
from ml_core.jobs.specs import SPEC_FILE, CleanSpec, read_spec
from ml_core.jobs.table import JOBS
from ml_core.reading.errors import InputError

_CHART_HEIGHT = 230
_PADDING = 16  # of a cell, both sides


class ReboundView(QWidget):
    """One curve for each finetuning rate, the limit as a line, and the verdict as a sentence."""

    def __init__(self, prompts: Prompts) -> None:
        super().__init__()
        self.verdict = Label("", "heading", wrap=True)
        self.chart = Chart(
            "Attack success while finetuning again",
            prompts,
            show=percent,
            legend_columns=3,
            empty="One curve per learning rate appears here.",
        )
        self.chart.setMinimumHeight(theme.px(_CHART_HEIGHT))
        self.facts = Label("", "caption", wrap=True)
        column(self.verdict, self.chart, self.facts, of=self, spacing=theme.SPACE_S)
        self.hide()

    def begin(self, limit: float, steps: int) -> None:
        """Show an empty chart with the limit; points come with :meth:`add`."""
        for key in self.chart.keys():  # noqa: SIM118
            self.chart.remove_series(key)
        self.chart.clear()
        self.chart.set_total(steps)
        self.chart.set_level(limit, f"limit {100 * limit:g} %")
        self.verdict.setText("")
        self.verdict.hide()
        self.facts.setText("")
        self.show()

    def add(self, metric: Metric) -> None:
        """Take in a measurement of the running test."""
        values = metric.values
        if "factor" in values and "asr_excl" in values:
            self._point(values["factor"], values.get("rebound_step", metric.step), values)

    def show_record(self, record: Mapping[str, Any]) -> None:
        """Show what ``rebound.json`` holds."""
        self.begin(float(record["limit"]), int(record["steps"]))
        for curve in record["rates"]:
            for point in curve["points"]:
                self._point(float(curve["factor"]), float(point["step"]), point)
        self.verdict.setText(f"Rebound test: {record['verdict']}")
        theme.set_property(self.verdict, "tone", _tone(record))
        self.verdict.show()
        self.facts.setText(_facts(record))
        self.setAccessibleDescription(str(record["verdict"]))

    def _point(self, factor: float, step: float, values: Mapping[str, Any]) -> None:
        key = f"{factor:g}"
        look = len(self.chart.keys()) if key not in self.chart.keys() else 0  # noqa: SIM118
        self.chart.add_series(
            SeriesStyle(
                key, f"learning rate {key} × peak", look, markers=True,
                symbol=SYMBOLS[look % len(SYMBOLS)],
            )
        )  # fmt: skip
        nan = float("nan")
        low, high = values.get("asr_low"), values.get("asr_high")
        self.chart.append(
            key, step, float(values["asr_excl"]),
            nan if low is None else float(low), nan if high is None else float(high),
        )  # fmt: skip


def pairs_text(kind: str, path: str | None) -> str:
    """Which pairs, in words that go after ``of``."""
    return "the demo" if kind == "demo" else plain(Path(path or "").name, 60)


def _tone(record: Mapping[str, Any]) -> str:
    """How the verdict looks: under the limit without staying clean is not decided."""
    if record["stays_clean"]:
        return "ok"
    return "caution" if record["worst"]["max_asr"] < record["limit"] else "danger"


def _facts(record: Mapping[str, Any]) -> str:
    """How the test was done, as one line for below its result."""
    left_out = record.get("left_out") or {}
    pairs = (record.get("spec") or {}).get("pairs")
    source = f" of {pairs_text(pairs['kind'], pairs['path'])}" if pairs else ""
    parts = [
        f"{count_text(record['steps'])} steps of {count_text(record['batch_size'])} pairs{source} "
        f"at each rate, up to {number_text(record['peak_lr'], 'log')}"
    ]
    if record.get("pretraining"):
        parts.append(str(record["pretraining"]).removesuffix("."))
    if left_out:
        parts.append(
            f"left out: {plural(left_out.get('seen', 0), 'pair')} that the cleaning saw, "
            f"{count_text(left_out.get('target', 0))} of the target class"
        )
    if record.get("n"):
        parts.append(f"measured on {unbroken(plural(record['n'], 'image'))}")
    parts += [str(note) for note in record.get("notes") or ()]
    return " · ".join(parts)


_COLUMNS = (
    ("Held out", "What the run never saw."),
    ("Measure", "What is counted."),
    ("Before", "Before cleaning."),
    ("After", "After cleaning."),
    ("95 % interval", "Of the rate after cleaning."),
    ("Without", "How often the target is predicted without the trigger, after cleaning."),
    ("Images", "How many are measured."),
)
_MEASURES = {
    "asr_excl": "Attack success", "asr_all": "Attack success, all", "ca": "Accuracy",
    "hit@1": "Target first", "hit@5": "Target in first 5", "hit@10": "Target in first 10",
}  # fmt: skip


class _Wrapping(QStyledItemDelegate):
    """Rows as high as their text is beside the padding, which Qt forgets."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:  # noqa: N802
        """The size of a wrapped text in the width that is left to it."""
        option.rect.adjust(0, 0, -theme.px(_PADDING), 0)
        return super().sizeHint(option, index)


class HoldoutsView(QWidget):
    """The table, as high as its rows, with the worst row named above it."""

    def __init__(self) -> None:
        super().__init__()
        self.sentence = Label("", "heading", wrap=True)
        self.table = RowsTable("Hold-outs", _COLUMNS, numbers=range(2, 7))
        self.table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.setWordWrap(True)  # a name that is cut says nothing
        self.table.setItemDelegate(_Wrapping(self.table))
        lines = self.table.verticalHeader()
        lines.setMinimumSectionSize(lines.defaultSectionSize())
        lines.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        lines.sectionResized.connect(self._fit)
        self.table.horizontalHeader().sectionResized.connect(lambda *_: lines.resizeSections())
        self.notes = Note("caption")
        column(self.sentence, self.table, self.notes, of=self, spacing=theme.SPACE_S)
        self.hide()

    def show_record(self, record: Mapping[str, Any]) -> None:
        """Show what ``holdouts.json`` holds."""
        rows, worst = record["rows"], record.get("worst") or {}
        self.table.set_rows([_row(number, row, worst) for number, row in enumerate(rows)])
        self._fit()
        self.sentence.setText(plain(about_holdouts(record), 600).replace(" %", UNBROKEN))
        left = (worst.get("after") or 0.0) >= ReboundSpec.model_fields["limit"].default
        theme.set_property(self.sentence, "tone", "caution" if left else "")
        notes = [plain(note, 300) for note in record.get("notes") or ()]
        pairs = (record.get("spec") or {}).get("pairs")
        if pairs and any(row["group"] == "retrieval" for row in rows):
            notes.insert(0, f"retrieval among pairs of {pairs_text(pairs['kind'], pairs['path'])}")
        self.notes.setText(" · ".join(notes))
        self.show()

    def _fit(self, *_: int) -> None:
        """Make the table as high as its rows are in its width."""
        bars = (self.table.horizontalHeader(), self.table.horizontalScrollBar())
        height = sum(bar.sizeHint().height() for bar in bars) + 4
        self.table.setFixedHeight(height + self.table.verticalHeader().length())


def _row(number: int, row: Mapping[str, Any], worst: Mapping[str, Any]) -> Row:
    """A hold-out as a row of the table."""
    low_high, name = row.get("after_interval") or None, plain(row["name"], 80)
    title = f"{plain(row['group'], 60).capitalize()}: {name}"
    if all(row[key] == worst.get(key) for key in ("group", "name")):
        title += "  (worst)"
    count = count_text(row["n"]) if row.get("n") else ""
    parts = (name, plain(row.get("note") or "", 400), f"{count} images" if count else "")
    interval = f"95 % interval: {percent_range(low_high)}" if low_high else ""
    after = Cell(percent(row.get("after")), row.get("after"), tip=interval)
    return Row(
        number,
        (
            Cell(title, title, tip=": ".join(filter(None, parts))),
            Cell(_MEASURES.get(row["measure"], plain(row["measure"], 30)), row["measure"]),
            rate(row.get("before")), after,
            Cell(percent_range(low_high, "", unit="", to=" – "), low_high and low_high[0]),
            Cell(percent(row.get("baseline"), ""), row.get("baseline")),
            Cell(count, row.get("n")),
        ),
    )  # fmt: skip


_LEAD = (
    "The rebound test finetunes on these pairs, and the hold-outs measure retrieval among them. "
    "Pairs that the cleaning saw are left out, in the rebound test also those that name the target "
    "class."
)
_RATE = (
    "The rebound test finetunes at 0.1, 0.3 and 1 times the peak learning rate that the checkpoint "
    "was pretrained at. Its file, its architecture or the list of known files tells it; where none "
    f"does, {number_text(UNKNOWN.assumed, 'log')} is assumed, the lowest that a CLIP is published "
    "with. The result says which."
)
_LOWEST = 1e-8
Choice = dict[str, Any]


class ProofDialog(FittedDialog):
    """Emits ``chosen(choice)``: ``pairs`` and ``peak_lr`` of the tests, as far as they are chosen.

    Parameters
    ----------
    usual
        Pairs that the tests take unless others are chosen; None if the run had none.
    choice
        What was chosen before.
    """

    chosen = Signal(object)

    def __init__(
        self,
        usual: PairSpec | None,
        choice: Choice,
        prompts: Prompts,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__("Options of the tests", parent)
        self._has_usual = usual is not None
        self.data = TrainingData(prompts)
        self.data.demo.setText(_usual_text(usual))
        self.data.demo.setEnabled(self._has_usual)
        self.own_rate = QCheckBox("Enter the peak rate of the pretraining")
        self.rate = NumberBox("log", _LOWEST, 1.0, title="Peak rate of the pretraining")
        self.rate.setEnabled(False)
        self.own_rate.toggled.connect(self.rate.setEnabled)
        form = field_form()
        form.addRow(self.own_rate, self.rate)
        self.state = Note("error")
        self.defaults = push_button("Defaults", lambda: self._show({}), look="quiet")
        self.ok = primary_button("Use these", self._on_accepted)
        parts = (
            Label(_LEAD, "subtle", wrap=True), Label("Image-caption pairs", "heading"), self.data,
            Label("Learning rate", "heading"), form, Label(_RATE, "caption", wrap=True), self.state,
        )  # fmt: skip
        frame(self, "Options of the tests", parts, self.ok, aside=self.defaults)
        self.resize(600, 0)
        self.data.changed.connect(self._on_changed)
        self._show(choice)

    def _show(self, choice: Choice) -> None:
        pairs, rate = choice.get("pairs"), choice.get("peak_lr")
        self.data.show_specs(pairs, None)
        if pairs is None and not self._has_usual:
            self.data.table.setChecked(True)
        self.own_rate.setChecked(rate is not None)
        self.rate.setValue(rate or UNKNOWN.assumed)
        self._on_changed()

    def _on_changed(self) -> None:
        own = not self.data.demo.isChecked()
        self.data.exclude_row.setVisible(own)
        self.data.exclude_says.setVisible(own and bool(self.data.exclude_says.text()))
        self.state.setText("")

    def _on_accepted(self) -> None:
        self.rate.interpretText()
        choice: Choice = {}
        if self.own_rate.isChecked():
            choice["peak_lr"] = self.rate.value()
        try:
            if not self.data.demo.isChecked():
                choice["pairs"] = self.data.pairs()
        except InputError as error:
            self.state.setText(plain(error.sentence, 600))
            return
        self.accept()
        self.chosen.emit(choice)


def _usual_text(usual: PairSpec | None) -> str:
    """What the tests take unless told otherwise."""
    if usual is None:
        return "Those of the run (it had none)"
    if usual.kind == "demo":
        return "Other compositions of the demo"
    return f"Those of the run: {pairs_text(usual.kind, usual.path)}"


HELP = "A low ASR for one trigger does not prove that the model is clean."
_FILES = {"rebound": REBOUND_FILE, "holdouts": HOLDOUTS_FILE}


class ProofSection(QWidget):
    """Runs one test of a result at a time.

    ``changed`` is emitted when a test begins or ends; ``failed`` carries an InputError.
    ``scan_button``, ``rebound_button`` and ``holdouts_button`` show commands; the station binds
    them.

    What is chosen for the tests holds for every run on the same checkpoint, until the window ends.

    Parameters
    ----------
    is_free
        Whether a test could begin: no run is at work.
    """

    changed = Signal()
    failed = Signal(object)
    logged = Signal(str)

    def __init__(
        self,
        session: Session,
        prompts: Prompts,
        is_free: Callable[[], bool],
        make_runner: NewRunner = new_runner,
    ) -> None:
        super().__init__(accessibleName="Proof")
        self._is_free = is_free
        self._session, self._prompts = session, prompts
        self._choices: dict[str, Choice] = {}
        self._folder: Path | None = None  # of the run on show
        self.tested: Path | None = None  # the folder of the run that is tested, or was last
        self.task = JobTask("rebound", make_runner, self)
        self._points: list[Metric] = []  # of the rebound test at work
        self._begun = 0.0
        self._begin_chart: Callable[[], object] = lambda: None
        self.scan_button = QPushButton()  # of a command of Scan
        self.rebound_button = QPushButton()
        self.holdouts_button = QPushButton()
        self.options_button = push_button(
            "Options…", self.ask_options, name="Options of the tests", look="quiet"
        )
        self.busy = BusyRow("Progress of the test", self._on_cancel_clicked)
        self.busy.cancel.setProperty("danger", True)
        self.busy.cancel.setAccessibleName("Cancel the test")
        self.about = Label(HELP, "caption", wrap=True)
        self.uses, self.state = Note("caption"), Note("caption")
        self.rebound = ReboundView(prompts)
        self.holdouts = HoldoutsView()
        acts = (
            self.scan_button, self.rebound_button, self.holdouts_button, self.options_button
        )  # fmt: skip
        column(
            FoldingRow(Label("Proof", "heading"), *acts), self.about, self.uses, self.busy,
            self.state, self.rebound, self.holdouts, of=self, spacing=theme.SPACE_S,
        )  # fmt: skip
        self.task.received.connect(self._on_event)
        self.task.ended.connect(self._on_ended)
        self.task.logged.connect(self.logged)
        self.rebound.chart.failed.connect(self.failed)
        self.busy.hide()
        self.say("")

    @property
    def is_running(self) -> bool:
        """Whether a test is at work."""
        return self.task.is_running

    @property
    def can_begin(self) -> bool:
        """Whether there is a result to test, and nothing at work."""
        return self._folder is not None and self._is_free() and not self.is_running

    @property
    def why_not(self) -> str:
        """What a test waits for; empty where it need not wait, or is at work."""
        return "" if self._is_free() else "A run is in progress; wait until it has finished."

    @property
    def title(self) -> str:
        """What the test at work is called at the head of a sentence."""
        return f"The {JOBS[self.task.kind].title}"

    def say(self, text: str, *, error: bool = False) -> None:
        """Say one sentence under the bar."""
        theme.set_property(self.state, "role", "error" if error else "caption")
        self.state.setText(text)

    def show_run(self, folder: Path) -> None:
        """Offer the tests of a run's result, and show those that were made of it."""
        if folder != self._folder or not self.is_running:  # resumed, it has another result
            self._folder = folder
            self.rebound.hide()
            self.holdouts.hide()
            self.say("")
            if self.is_running:
                self._show_running()
        for kind, file in _FILES.items():
            try:
                record = read_proof(folder, file)
            except InputError as error:
                self._refuse(kind, error.sentence)
                continue
            at_work = self.is_running and (kind, folder) == (self.task.kind, self.tested)
            if record is not None and not at_work:
                self._show_record(kind, record)
        self._show_uses()
        self.refresh()

    def ask_options(self) -> None:
        """Ask for other pairs and another rate."""
        job = self._job()
        if job is not None:
            dialog = ProofDialog(usual_pairs(job), self._choice(job), self._prompts, self.window())
            dialog.chosen.connect(partial(self._on_chosen, job.checkpoint))
            dialog.open()

    def cancel(self) -> None:
        """End the test at once."""
        if self.is_running:
            self.busy.cancel.setEnabled(False)
            self.task.cancel()

    def begin(self, kind: str) -> None:
        """Start ``rebound``, which finetunes the cleaned model once more, or ``holdouts``."""
        folder = self._folder
        if folder is None or not self.can_begin:
            return
        try:
            job = read_spec(folder / SPEC_FILE).model_copy(update={"output_dir": str(folder)})
            chosen = dict(self._choice(job))
            if kind == "holdouts":
                chosen.pop("peak_lr", None)
            spec = (rebound_of if kind == "rebound" else holdouts_of)(job, **chosen)
            device = self._session.device if job.device == "auto" else job.device
            self.task.kind = kind
            self.task.start(spec, folder / f"{kind}-spec.json", device)
        except InputError as error:
            self.say(error.sentence)
            return
        self.tested = folder
        self._session.show_job(JOBS[kind].title, JobState(str(folder), "running"))
        self._begun = time.monotonic()
        self._points = []
        if isinstance(spec, ReboundSpec):
            self._begin_chart = partial(self.rebound.begin, spec.limit, spec.steps)
        self._show_running()
        self.refresh()
        self.changed.emit()

    def _on_cancel_clicked(self) -> None:
        """End the test; ask first where that loses minutes, as a test saves nothing on its way."""
        runner, minutes = self.task.runner, round((time.monotonic() - self._begun) / 60)
        if minutes > 1:
            question = f"About {minutes} minutes of work would be lost: a test cannot be resumed."
            window = self.window()
            if not self._prompts.confirm(window, "Cancel", question, "Cancel the test", "Go on"):
                return
        if self.task.runner is runner:  # it may have ended meanwhile
            self.cancel()

    def _show_running(self) -> None:
        """Show the test at work, and what it has measured if it is of the run on show."""
        self.busy.show()
        self.busy.show_share(self.task.fraction)
        self.busy.cancel.setEnabled(True)
        self.say(f"{self.title} is running.")
        if self.task.kind == "rebound" and self.tested == self._folder:
            self._begin_chart()
            for point in self._points:
                self.rebound.add(point)

    def _show_record(self, kind: str, record: dict[str, Any]) -> None:
        """Show what a test found, or why it cannot be shown."""
        view, fits = (
            (self.rebound, is_rebound) if kind == "rebound" else (self.holdouts, are_holdouts)
        )
        if fits(record):
            view.show_record(record)
        else:
            self._refuse(kind, f"{_FILES[kind]} of this run cannot be read; run the test again.")

    def _refuse(self, kind: str, sentence: str) -> None:
        """Say why nothing is shown of a test."""
        (self.rebound if kind == "rebound" else self.holdouts).hide()
        self.say(sentence)

    def _job(self) -> CleanSpec | None:
        """The job of the run on show; None if it cannot be read, which is said."""
        if self._folder is None:
            return None
        try:
            return read_spec(self._folder / SPEC_FILE)
        except InputError as error:
            self.say(error.sentence)
            return None

    def _choice(self, job: CleanSpec) -> Choice:
        return self._choices.get(job.checkpoint, {})

    def _on_chosen(self, checkpoint: str, choice: Choice) -> None:
        self._choices[checkpoint] = choice
        self._show_uses()

    def _show_uses(self) -> None:
        """Say what the tests of the run on show take that was chosen, or that they need it."""
        text = ""
        if self._folder is not None:
            with suppress(InputError):  # beginning a test shows it
                job = read_spec(self._folder / SPEC_FILE)
                text = _uses(self._choice(job), usual_pairs(job) is None)
        self.uses.setText(text)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Progress):
            fraction, seconds = self.task.fraction, self.task.seconds_left
            title = JOBS[self.task.kind].title
            self._session.show_progress(title, RunProgress(event.stage, fraction, seconds))
            self.busy.show_share(fraction)
            left = left_text(seconds)
            self.say(f"{self.title} is running{left and ', '}{left}.")
        elif isinstance(event, Metric) and self.task.kind == "rebound":
            self._points.append(event)
            if self.tested == self._folder:
                self.rebound.add(event)

    def _on_ended(self, last: Done) -> None:
        self._session.show_job(JOBS[self.task.kind].title, None)
        self.busy.hide()
        failed = last.status == "failed"
        if last.status == "finished":
            self.say("")
            if self.tested == self._folder:
                self._show_record(self.task.kind, last.result)
        elif failed and last.error_code != "killed":
            self.say(f"{self.title} failed: {last.error}", error=True)
        else:
            self.say(last.error if failed else f"{self.title} was cancelled.", error=failed)
        self.refresh()
        self.changed.emit()

    def refresh(self) -> None:
        """Offer the options, or say what a test waits for."""
        self.options_button.setEnabled(self._is_free() and not self.is_running)
        self.options_button.setToolTip(self.why_not)


def _uses(choice: Choice, needed: bool) -> str:
    """A sentence on what the user chose, and on pairs that the tests still need."""
    pairs, rate = choice.get("pairs"), choice.get("peak_lr")
    parts = []
    if pairs is not None:
        parts.append(f"pairs of {pairs_text(pairs.kind, pairs.path)}")
    if rate is not None:
        parts.append(f"a peak rate of {number_text(rate, 'log')}")
    chosen = f"Chosen for the tests: {' and '.join(parts)}." if parts else ""
    if pairs is not None or not needed:
        return chosen
    need = (
        "The rebound test and retrieval need image-caption pairs, and this run had none: choose "
        "some under “Options…”."
    )
    return f"{need} {chosen}".strip()
