"""The tests that prove a result: their buttons, their jobs, and their records on the screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QHeaderView,
    QProgressBar,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.clean.charts.charts import Chart
from cleanclip_gui.clean.charts.parts import SYMBOLS, SeriesStyle
from cleanclip_gui.clean.training_data import TrainingData
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.jobs.runner import NewRunner, new_runner
from cleanclip_gui.session import Session
from cleanclip_gui.theme.look import sized
from cleanclip_gui.widgets import layout
from cleanclip_gui.widgets.controls import Label
from cleanclip_gui.widgets.dialog_frame import FittedDialog, field_form, frame, primary_button
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import column, rule
from cleanclip_gui.widgets.number_box import NumberBox, number_text
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.rows_table import show_rows
from cleanclip_gui.widgets.text import (
    count_text,
    left_text,
    percent,
    percent_range,
    plain,
    plural,
    tip,
)
from ml_core.cleaning.pretraining import UNKNOWN
from ml_core.data.specs import PairSpec
from ml_core.events import Done, Event, Metric, Progress
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
from ml_core.jobs.specs import ADAPTER_FILE, SPEC_FILE, CleanSpec, read_spec
from ml_core.reading.errors import InputError

_CHART_HEIGHT = 230


class ReboundView(QWidget):
    """One curve for each finetuning rate, the limit as a line, and the verdict as a sentence."""

    def __init__(self, prompts: Prompts) -> None:
        super().__init__()
        self.verdict = Label("", wrap=True)
        self.verdict.setFont(theme.figure_font(theme.FONT_POINTS + 2, bold=True))
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
        for rate in record["rates"]:
            for point in rate["points"]:
                self._point(float(rate["factor"]), float(point["step"]), point)
        self.verdict.setText(str(record["verdict"]))
        theme.set_property(self.verdict, "role", _role(record))
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


def _role(record: Mapping[str, Any]) -> str:
    """How the verdict looks: under the limit without staying clean is not decided."""
    if record["stays_clean"]:
        return "success"
    return "warning" if record["worst"]["max_asr"] < record["limit"] else "error"


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
        parts.append(f"measured on {plural(record['n'], 'image')}")
    parts += [str(note) for note in record.get("notes") or ()]
    return " · ".join(parts)


COLUMNS = ("Held out", "Measure", "Before", "After", "95 % interval", "Without", "Images")
_WHAT, _MEASURE, _BEFORE, _AFTER, _INTERVAL, _BASELINE, _N = range(len(COLUMNS))
_MEASURES = {"asr_excl": "Attack success", "ca": "Accuracy", "hit@1": "Target first"}
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_ROW = 26
_WIDE = 640  # pixels of the table with all its columns


class HoldoutsView(QWidget):
    """The table, as high as its rows, with the worst row named above it."""

    def __init__(self) -> None:
        super().__init__()
        self.sentence = Label("", "heading", wrap=True)
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(list(COLUMNS))
        self.table.setAccessibleName("Hold-outs")
        show_rows(self.table, _ROW)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(_WHAT, QHeaderView.ResizeMode.Stretch)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        for place in (_BEFORE, _AFTER, _INTERVAL, _BASELINE, _N):
            title = QTableWidgetItem(COLUMNS[place])
            title.setTextAlignment(_RIGHT)
            if place == _BASELINE:
                title.setToolTip(
                    "How often the target is predicted without the trigger, after cleaning."
                )
            self.table.setHorizontalHeaderItem(place, title)
        self.table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.notes = Label("", "caption", wrap=True)
        layout.column(self.sentence, self.table, self.notes, of=self, spacing=theme.SPACE_S)
        self.hide()

    def show_record(self, record: Mapping[str, Any]) -> None:
        """Show what ``holdouts.json`` holds."""
        rows, worst = record["rows"], record.get("worst") or {}
        self.table.setRowCount(0)
        group = None
        for row in rows:
            if row["group"] != group:
                group = row["group"]
                self._add_heading(str(group))
            self._add_row(row, row["group"] == worst.get("group")
                          and row["name"] == worst.get("name"))  # fmt: skip
        height = self.table.horizontalHeader().sizeHint().height() + 4
        self.table.setFixedHeight(height + theme.px(_ROW) * self.table.rowCount())
        self.sentence.setText(worst_sentence(worst))
        notes = [plain(note, 300) for note in record.get("notes") or ()]
        pairs = (record.get("spec") or {}).get("pairs")
        if pairs and any(row["group"] == "retrieval" for row in rows):
            notes.insert(0, f"retrieval among pairs of {pairs_text(pairs['kind'], pairs['path'])}")
        self.notes.setText(" · ".join(notes))
        self.notes.setVisible(bool(self.notes.text()))
        self.show()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Leave out what is small print where there is no room; tool tips tell the intervals."""
        super().resizeEvent(event)
        for place in (_MEASURE, _INTERVAL, _BASELINE, _N):
            self.table.setColumnHidden(place, self.width() < theme.px(_WIDE))

    def _add_heading(self, group: str) -> None:
        item = self._put([plain(group, 60).capitalize(), *[""] * (len(COLUMNS) - 1)])
        item.setFont(sized(item.font(), 1.0, bold=True))

    def _add_row(self, row: Mapping[str, Any], worst: bool) -> None:
        low_high = row.get("after_interval") or None
        name = plain(row["name"], 80)
        item = self._put(
            [
                f"    {name}{'  (worst)' if worst else ''}",
                _MEASURES.get(row["measure"], plain(row["measure"], 30)),
                percent(row.get("before")),
                percent(row.get("after")),
                percent_range(low_high, "", unit="", to=" – "),
                percent(row.get("baseline"), ""),
                count_text(row["n"]) if row.get("n") else "",
            ]
        )
        note = plain(row.get("note") or "", 400)
        item.setToolTip(tip(f"{name}: {note}" if note else name))
        after = self.table.item(self.table.rowCount() - 1, _AFTER)
        if low_high is not None and after is not None:
            after.setToolTip(f"95 % interval: {percent_range(low_high)}")

    def _put(self, texts: Sequence[str]) -> QTableWidgetItem:
        number = self.table.rowCount()
        self.table.insertRow(number)
        items = [QTableWidgetItem(text) for text in texts]
        for place, item in enumerate(items):
            item.setFont(theme.figure_font(theme.FONT_POINTS))
            if place > _MEASURE:
                item.setTextAlignment(_RIGHT)
            self.table.setItem(number, place, item)
        return items[0]


def worst_sentence(worst: Mapping[str, Any]) -> str:
    """What is left of the backdoor at worst."""
    if worst.get("after") is None:
        return "Hold-outs"
    where = f"{plain(worst['group'], 60)}, {plain(worst['name'], 80)}"
    return f"At worst {percent(worst['after'])} attack success is left ({where})."


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


@dataclass(frozen=True)
class ProofChoice:
    """What the user chose for the tests; None leaves what they would take.

    Attributes
    ----------
    pairs
        Image-caption pairs of the rebound test and of retrieval.
    peak_lr
        Peak rate of the pretraining; None takes what is known of the checkpoint.
    """

    pairs: PairSpec | None = None
    peak_lr: float | None = None


class ProofDialog(FittedDialog):
    """Emits ``chosen(ProofChoice)``.

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
        choice: ProofChoice,
        prompts: Prompts,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Options of the tests")
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
        self.state = Label("", "error", wrap=True)
        self.defaults = QPushButton("Defaults")
        self.defaults.setProperty("quiet", True)
        self.ok = primary_button("Use these")
        parts = (
            Label(_LEAD, "subtle", wrap=True), Label("Image-caption pairs", "heading"), self.data,
            Label("Learning rate", "heading"), form, Label(_RATE, "caption", wrap=True), self.state,
        )  # fmt: skip
        frame(self, "Options of the tests", parts, self.ok, aside=self.defaults)
        self.resize(600, 0)
        self.data.changed.connect(self._on_changed)
        self.defaults.clicked.connect(self._on_defaults)
        self.ok.clicked.connect(self._on_accepted)
        self._show(choice)

    def _show(self, choice: ProofChoice) -> None:
        self.data.show_specs(choice.pairs, None)
        if choice.pairs is None and not self._has_usual:
            self.data.table.setChecked(True)
        self.own_rate.setChecked(choice.peak_lr is not None)
        self.rate.setValue(choice.peak_lr or UNKNOWN.assumed)
        self._on_changed()

    def _on_changed(self) -> None:
        self.data.exclude_row.setVisible(not self.data.demo.isChecked())
        self.state.hide()

    def _on_defaults(self) -> None:
        self._show(ProofChoice())

    def _on_accepted(self) -> None:
        self.rate.interpretText()
        rate = self.rate.value() if self.own_rate.isChecked() else None
        try:
            pairs = None if self.data.demo.isChecked() else self.data.pairs()
        except InputError as error:
            self.state.setText(plain(error.sentence, 600))
            self.state.show()
            return
        self.accept()
        self.chosen.emit(ProofChoice(pairs, rate))


def _usual_text(usual: PairSpec | None) -> str:
    """What the tests take unless told otherwise."""
    if usual is None:
        return "Those of the run (it had none)"
    if usual.kind == "demo":
        return "Other compositions of the demo"
    return f"Those of the run: {pairs_text(usual.kind, usual.path)}"


HELP = (
    "A low ASR for one trigger does not prove the model is clean. The rebound test finetunes it "
    "again on clean pairs and watches whether the backdoor comes back; hold-outs test what the run "
    "never saw: the trigger moved, scaled and recoloured, other triggers, retrieval, other classes."
)
Kind = Literal["rebound", "holdouts"]
_FILES: dict[Kind, str] = {"rebound": REBOUND_FILE, "holdouts": HOLDOUTS_FILE}
_NAMES: dict[Kind, str] = {"rebound": "The rebound test", "holdouts": "The hold-outs test"}


class ProofSection(QWidget):
    """Stands under before and after; hidden until there is a result.

    ``rebound_button`` and ``holdouts_button`` show commands of the station, which binds them.
    """

    def __init__(self, prompts: Prompts) -> None:
        super().__init__()
        self.setAccessibleName("Proof")
        self.rebound_button = QPushButton()
        self.holdouts_button = QPushButton()
        self.options_button = QPushButton("Options…")
        self.options_button.setProperty("quiet", True)
        self.options_button.setAccessibleName("Options of the tests")
        self.cancel = QPushButton("Cancel")
        self.cancel.setProperty("danger", True)
        self.cancel.setAccessibleName("Cancel the test")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setRange(0, 1000)
        self.bar.setAccessibleName("Progress of the test")
        self.uses = Label("", "caption", wrap=True)
        self._state = Label("", "caption", wrap=True)
        self.rebound = ReboundView(prompts)
        self.holdouts = HoldoutsView()
        acts = (self.rebound_button, self.holdouts_button, self.options_button, self.cancel)
        head = FoldingRow(Label("Proof", "heading"), *acts)
        column(
            rule(), head, Label(HELP, "caption", wrap=True), self.uses, self.bar, self._state,
            self.rebound, self.holdouts, of=self, margins=(0, theme.SPACE_S, 0, 0),
            spacing=theme.SPACE_S,
        )  # fmt: skip
        self.show_idle("")
        self.hide()

    def show_running(self, text: str) -> None:
        """Show that a test runs; it can only be cancelled."""
        self.bar.setValue(0)
        self.bar.show()
        self.cancel.show()
        self.cancel.setEnabled(True)
        self.say(text)

    def show_share(self, fraction: float) -> None:
        """Show how far the whole test is."""
        self.bar.setValue(round(1000 * fraction))

    def show_idle(self, text: str, *, error: bool = False) -> None:
        """Show that no test runs, and why if it ended early."""
        self.bar.hide()
        self.cancel.hide()
        self.say(text, error=error)

    def show_uses(self, text: str) -> None:
        """Say what was chosen for the tests, or has to be; empty where neither is so."""
        self.uses.setText(text)
        self.uses.setVisible(bool(text))

    def show_record(self, kind: Kind, record: dict[str, Any]) -> None:
        """Show what a test found, or why it cannot be shown."""
        fits = is_rebound(record) if kind == "rebound" else are_holdouts(record)
        if not fits:
            self.refuse(kind, f"{_FILES[kind]} of this run cannot be read; run the test again.")
        elif kind == "rebound":
            self.rebound.show_record(record)
        else:
            self.holdouts.show_record(record)

    def refuse(self, kind: Kind, sentence: str) -> None:
        """Say why nothing is shown of a test."""
        (self.rebound if kind == "rebound" else self.holdouts).hide()
        self.say(sentence)

    def say(self, text: str, *, error: bool = False) -> None:
        """Say one sentence under the bar."""
        theme.set_property(self._state, "role", "error" if error else "caption")
        self._state.setText(text)
        self._state.setVisible(bool(text))

    def sentence(self) -> str:
        """The sentence under the bar."""
        return self._state.text()

    def forget(self) -> None:
        """Take the results of another run away."""
        self.rebound.hide()
        self.holdouts.hide()
        self.show_idle("")


class ProofTests(QObject):
    """Runs one test at a time.

    ``changed`` is emitted when a test begins or ends; ``failed`` carries an InputError.

    What is chosen for the tests holds for every run on the same checkpoint, until the window ends.
    """

    changed = Signal()
    failed = Signal(object)
    logged = Signal(str)

    def __init__(
        self,
        section: ProofSection,
        session: Session,
        prompts: Prompts,
        make_runner: NewRunner = new_runner,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._section, self._session, self._prompts = section, session, prompts
        self._choices: dict[str, ProofChoice] = {}
        self._folder: Path | None = None
        self._tested: Path | None = None
        self.task = JobTask("rebound", make_runner, self)
        self.kind: Kind = "rebound"
        self._free = True
        self._points: list[Metric] = []  # of the rebound test at work
        self._begun = 0.0
        self._begin_chart: Callable[[], object] = lambda: None
        self.task.received.connect(self._on_event)
        self.task.ended.connect(self._on_ended)
        self.task.logged.connect(self.logged)
        section.options_button.clicked.connect(self.ask_options)
        section.cancel.clicked.connect(self._on_cancel_clicked)
        section.rebound.chart.failed.connect(self.failed)
        self._refresh()

    @property
    def is_running(self) -> bool:
        """Whether a test is at work."""
        return self.task.is_running

    @property
    def can_begin(self) -> bool:
        """Whether there is a result to test, and nothing at work."""
        return self._folder is not None and self._free and not self.is_running

    @property
    def why_not(self) -> str:
        """What a test waits for; empty where it need not wait, or is at work."""
        return "" if self._free else "A run is in progress; wait until it has finished."

    @property
    def tested(self) -> Path | None:
        """The folder of the run that is tested, or was last."""
        return self._tested

    @property
    def title(self) -> str:
        """What the test at work is called at the head of a sentence."""
        return _NAMES[self.kind]

    def set_free(self, free: bool) -> None:
        """Whether a test could begin: no run is at work."""
        self._free = free
        self._refresh()

    def show_run(self, folder: Path) -> None:
        """Offer the tests of a run's result, and show those that were made of it."""
        if folder != self._folder or not self.is_running:  # resumed, it has another result
            self._folder = folder
            self._section.forget()
            if self.is_running:
                self._show_running()
        for kind in _FILES:
            try:
                record = read_proof(folder, _FILES[kind])
            except InputError as error:
                self._section.refuse(kind, error.sentence)
                continue
            at_work = self.is_running and (kind, folder) == (self.kind, self._tested)
            if record is not None and not at_work:
                self._section.show_record(kind, record)
        self._section.show()
        self._tell_uses()
        self._refresh()

    def begin_rebound(self) -> None:
        """Finetune the cleaned model once more and watch."""
        self._begin("rebound")

    def begin_holdouts(self) -> None:
        """Measure what the run was not told."""
        self._begin("holdouts")

    def ask_options(self) -> None:
        """Ask for other pairs and another rate."""
        if self._folder is None:
            return
        try:
            job = read_spec(self._folder / SPEC_FILE)
        except InputError as error:
            self._section.say(error.sentence)
            return
        dialog = ProofDialog(
            usual_pairs(job), self._choice(job), self._prompts, self._section.window(),
        )  # fmt: skip
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.chosen.connect(partial(self._on_chosen, job.checkpoint))
        dialog.open()

    def _on_cancel_clicked(self) -> None:
        """End the test; ask first where that loses minutes, as a test saves nothing on its way."""
        runner, minutes = self.task.runner, round((time.monotonic() - self._begun) / 60)
        if minutes > 1:
            question = f"About {minutes} minutes of work would be lost: a test cannot be resumed."
            window = self._section.window()
            if not self._prompts.confirm(window, "Cancel", question, "Cancel the test", "Go on"):
                return
        if self.task.runner is runner:  # it may have ended meanwhile
            self.cancel()

    def cancel(self) -> None:
        """End the test at once."""
        if self.is_running:
            self._section.cancel.setEnabled(False)
            self.task.cancel()

    def _begin(self, kind: Kind) -> None:
        folder = self._folder
        if folder is None or not self.can_begin:
            return
        try:
            job = read_spec(folder / SPEC_FILE).model_copy(update={"output_dir": str(folder)})
            chosen = {key: value for key, value in vars(self._choice(job)).items() if value}
            if kind == "holdouts":
                chosen.pop("peak_lr", None)
            spec = (rebound_of if kind == "rebound" else holdouts_of)(job, **chosen)
            device = self._session.device if job.device == "auto" else job.device
            self.task.kind = kind
            self.task.start(spec, folder / f"{kind}-spec.json", device)
        except InputError as error:
            self._section.say(error.sentence)
            return
        self.kind, self._tested = kind, folder
        self._begun = time.monotonic()
        self._points = []
        if isinstance(spec, ReboundSpec):
            self._begin_chart = partial(self._section.rebound.begin, spec.limit, spec.steps)
        self._show_running()
        self._refresh()
        self.changed.emit()

    def _show_running(self) -> None:
        """Show the test at work, and what it has measured if it is of the run on show."""
        self._section.show_running(f"{_NAMES[self.kind]} is running.")
        self._section.show_share(self.task.fraction)
        if self.kind == "rebound" and self._tested == self._folder:
            self._begin_chart()
            for point in self._points:
                self._section.rebound.add(point)

    def _choice(self, job: CleanSpec) -> ProofChoice:
        return self._choices.get(job.checkpoint, ProofChoice())

    def _on_chosen(self, checkpoint: str, choice: ProofChoice) -> None:
        self._choices[checkpoint] = choice
        self._tell_uses()

    def _tell_uses(self) -> None:
        """Say what the tests of the run on show take that was chosen, or that they need it."""
        text = ""
        if self._folder is not None:
            try:
                job = read_spec(self._folder / SPEC_FILE)
            except InputError:  # beginning a test shows it
                pass
            else:
                adapter = (self._folder / ADAPTER_FILE).is_file()
                text = _uses(self._choice(job), usual_pairs(job) is None, adapter)
        self._section.show_uses(text)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._section.show_share(self.task.fraction)
            left = left_text(self.task.seconds_left)
            going = f"{_NAMES[self.kind]} is running"
            self._section.say(f"{going}, {left}." if left else f"{going}.")
        elif isinstance(event, Metric) and self.kind == "rebound":
            self._points.append(event)
            if self._tested == self._folder:
                self._section.rebound.add(event)

    def _on_ended(self, last: Done) -> None:
        name = _NAMES[self.kind]
        if last.status == "finished":
            self._section.show_idle("")
            if self._tested == self._folder:
                self._section.show_record(self.kind, last.result)
        elif last.status == "failed":
            failed = last.error if last.error_code == "killed" else f"{name} failed: {last.error}"
            self._section.show_idle(failed, error=True)
        else:
            self._section.show_idle(f"{name} was cancelled.")
        self._refresh()
        self.changed.emit()

    def _refresh(self) -> None:
        options = self._section.options_button
        options.setEnabled(self._free and not self.is_running)
        options.setToolTip(self.why_not)


def _uses(choice: ProofChoice, needed: bool, adapter: bool) -> str:
    """A sentence on what the user chose, and on pairs that the tests still need."""
    parts = []
    if choice.pairs is not None:
        parts.append(f"pairs of {pairs_text(choice.pairs.kind, choice.pairs.path)}")
    if choice.peak_lr is not None:
        parts.append(f"a peak rate of {number_text(choice.peak_lr, 'log')}")
    chosen = f"Chosen for the tests: {' and '.join(parts)}." if parts else ""
    if choice.pairs is not None or not needed:
        return chosen
    who = "Retrieval, a hold-out, needs" if adapter else "The rebound test and retrieval need"
    need = f"{who} image-caption pairs, and this run had none: choose some under “Options…”."
    return f"{need} {chosen}".strip()
