"""The page of the rate finder: the ramp, its charts, and the rate to use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QDialog, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.charts.charts import SeriesStyle, plain
from cleanclip_gui.clean.rates.chart import RateChart
from cleanclip_gui.widgets.busy_row import BusyRow
from cleanclip_gui.widgets.dialog_frame import resize_within
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.number_box import NumberBox
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import (
    bytes_text,
    count_text,
    duration_text,
    fitting,
    left_text,
    percent,
)
from cleanclip_gui.widgets.text import plain as plain_text
from ml_core.cleaning.rate_range import DROP, smoothed
from ml_core.events import Metric, Progress
from ml_core.figures import CA
from ml_core.jobs.rate_finder_spec import HIGHEST, LOWEST, STEPS, RateRecord

HELP = (
    "A copy of the checkpoint is trained for a few steps while the learning rate rises. In the "
    "proposed range it keeps its accuracy on validation images. The backdoor is not looked at: "
    "higher rates remove more of it, and a run wins accuracy back as its rate falls."
)
_STAGES = {
    "open": "Opening the checkpoint and the data",
    "data": "Reading the data",
    "texts": "Embedding class texts",
    "prepare": "Choosing the precision",
    "validate": "Measuring accuracy",
    "estimate": "Measuring a few steps",
    "ramp": "Raising the rate",
}
_CHART = 122


@dataclass(frozen=True)
class RampWish:
    """What was chosen."""

    low: float
    high: float
    steps: int


class RateDialog(QDialog):
    """Shows what it is told; ``start_clicked``, ``estimate_clicked``, ``cancel_clicked``,
    ``use_clicked`` (with the rate) and ``closed`` are the user's."""

    start_clicked = Signal()
    estimate_clicked = Signal()
    cancel_clicked = Signal()
    use_clicked = Signal(float)
    closed = Signal()
    failed = Signal(object)

    def __init__(
        self, checkpoint: str, method: str, prompts: Prompts, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Find a learning rate")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.low = _rate_box("Lowest rate", LOWEST)
        self.high = _rate_box("Highest rate", HIGHEST)
        self.steps = NumberBox("int", 10, 10_000, "steps")
        self.steps.setAccessibleName("Steps of the ramp")
        self.steps.setValue(STEPS)
        self.steps.setMinimumWidth(theme.px(110))
        self.start = QPushButton("&Start")
        self.start.setProperty("primary", True)
        self.estimate = QPushButton("&Estimate")
        self.estimate.setToolTip("Measure a few steps and say how long the ramp would take.")
        self.busy = BusyRow("Progress of the rate finder")
        self.state = Label("", "subtle", wrap=True)
        self.losses = RateChart(
            "Loss",
            prompts,
            (SeriesStyle("loss", "Each step", 4), SeriesStyle("smoothed", "Smoothed", 0)),
            show=plain,
            empty="The loss of every step appears here.",
        )
        self.rates = RateChart(
            "Clean accuracy",
            prompts,
            (SeriesStyle("ca", "Validation images", CA, markers=True, solid=True),),
            show=percent,
            empty="Clean accuracy on validation images appears here.",
        )
        self.verdict = Label("", wrap=True)
        self.verdict.setFont(theme.figure_font(theme.FONT_POINTS + 1, bold=True))
        self.facts = Label("", "caption", wrap=True)
        self.rate = _rate_box("Learning rate to use", LOWEST)
        self.use = QPushButton("&Use this rate")
        self.use.setProperty("primary", True)
        self.close_button = QPushButton("Close")
        self._losses: list[float] = []
        self._lay_out(checkpoint, method)
        self._connect()
        for button in self.findChildren(QPushButton):
            button.setAutoDefault(button in (self.start, self.use))
        resize_within(self, 900, 690)
        self.set_busy(False)
        self.show_state("")
        self._offer(False)

    def chosen(self) -> RampWish:
        """The fields."""
        return RampWish(self.low.value(), self.high.value(), round(self.steps.value()))

    def show_running(self) -> None:
        """The ramp, or its estimate, has begun."""
        self.set_busy(True)
        self.busy.bar.setRange(0, 1000)
        self.busy.bar.setValue(0)
        self.show_state(f"{_STAGES['open']}…")

    def begin_ramp(self, low: float, high: float) -> None:
        """Show empty charts from one rate to the other."""
        self._losses = []
        for chart in (self.losses, self.rates):
            chart.clear()
            chart.show_proposal(None)
            chart.set_ramp(low, high)
        self.rates.level = None
        self.verdict.hide()
        self.facts.hide()
        self._offer(False)

    def show_progress(
        self, progress: Progress, fraction: float, seconds_left: float | None
    ) -> None:
        """How far a stage is, and of the whole its share and the time left."""
        words = _STAGES.get(progress.stage, progress.stage)
        self.busy.bar.setValue(round(1000 * fraction))
        if progress.stage == "ramp":
            words += f": step {count_text(progress.done)} of {count_text(progress.total)}"
        left = left_text(seconds_left)
        if self.busy.cancel.isEnabled():
            self.show_state(f"{words}, {left}" if left else f"{words}…")

    def add(self, metric: Metric) -> None:
        """Take in a step or a measurement."""
        values = metric.values
        rate = values.get("lr", 0.0)
        if "ca" in values and not rate:
            self._show_limit(values["ca"], DROP)
        elif "ca" in values:
            nan = float("nan")
            interval = values.get("ca_low", nan), values.get("ca_high", nan)
            self.rates.add("ca", rate, values["ca"], *interval)
        elif "loss" in values and rate:
            self._losses.append(values["loss"])
            self.losses.add("loss", rate, values["loss"])
            self._smooth()

    def show_cancelling(self) -> None:
        """The user gave up; the process has still to end."""
        self.busy.cancel.setEnabled(False)
        self.show_state("Cancelling…")

    def show_ended(self, words: str, *, error: bool = False) -> None:
        """It ended without a result."""
        self.set_busy(False)
        self.show_state(words, "error" if error else "subtle")

    def show_estimate(self, found: Mapping[str, Any]) -> None:
        """What the measured steps mean for the ramp."""
        self.show_ended(
            f"About {duration_text(found['seconds'])} for {count_text(found['steps'])} steps "
            f"({found['step_seconds']:.2f} s a step, measured), "
            f"{bytes_text(found['memory_bytes'])} of memory."
        )

    def show_record(self, record: RateRecord) -> None:
        """Show what was found."""
        self.set_busy(False)
        proposal = record.proposal
        for chart in (self.losses, self.rates):
            chart.show_proposal(proposal)
        self.verdict.setText(plain_text(proposal.sentence))
        theme.set_property(self.verdict, "role", "warning" if proposal.start is None else "success")
        self.verdict.show()
        self.facts.setText(facts_text(record))
        self.facts.show()
        self.rates.setAccessibleDescription(plain_text(proposal.sentence))
        early = {
            "fell": "The ramp ended early: accuracy had fallen far.",
            "diverged": "The ramp ended early: the loss was no number.",
        }.get(record.ended, "")
        again = "The same ramp was run before; this is what it found." if record.cached else ""
        self.show_state(" ".join(filter(None, (again, early))))
        if proposal.start is not None:
            self.rate.setValue(proposal.start)
            self._offer(True)
            self.use.setFocus()

    def show_state(self, words: str, role: str = "subtle") -> None:
        """Say how it stands."""
        theme.set_property(self.state, "role", role)
        self.state.setText(plain_text(words, 1000))
        self.state.setVisible(bool(words))

    def set_busy(self, busy: bool) -> None:
        """Whether a process is at work for the dialog."""
        self.busy.setVisible(busy)
        self.busy.cancel.setEnabled(True)
        for widget in (self.low, self.high, self.steps, self.start, self.estimate):
            widget.setEnabled(not busy)

    def done(self, result: int) -> None:
        """Closed for good."""
        self.closed.emit()
        super().done(result)

    def _smooth(self) -> None:
        """Draw the smoothed loss anew: each step moves what lies near it."""
        series = self.losses.series("smoothed")
        places = self.losses.series("loss").arrays()[0]
        series.clear()
        for x, y in zip(places, smoothed(self._losses), strict=True):
            self.losses.append("smoothed", float(x), y)

    def _show_limit(self, start: float, drop: float) -> None:
        """Mark how low accuracy may be."""
        self.rates.set_level(start - drop / 100, f"{drop:g} point under the start")

    def _offer(self, offered: bool) -> None:
        """Whether there is a rate to use."""
        for widget in (self._rate_label, self.rate, self.use):
            widget.setVisible(offered)

    def _lay_out(self, checkpoint: str, method: str) -> None:
        title = QHBoxLayout()
        title.setSpacing(theme.SPACE_L)
        about = Label(fitting(plain_text(f"{method} on {checkpoint}", 100)), "subtle", wrap=True)
        about.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        title.addWidget(Label("Find a learning rate", "title"))
        title.addWidget(about, 1)
        setup = FoldingRow((Label("Fro&m", "field", buddy=self.low), self.low))
        setup.add(Label("&to", "field", buddy=self.high), self.high)
        setup.add(Label("&in", "field", buddy=self.steps), self.steps)
        setup.add(self.start, self.estimate)
        self._rate_label = Label("Learning &rate", "field", buddy=self.rate)
        foot = QHBoxLayout()
        foot.setSpacing(theme.SPACE_S)
        foot.addStretch(1)
        for widget in (self.close_button, self._rate_label, self.rate, self.use):
            foot.addWidget(widget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(*(theme.SPACE_L,) * 4)
        layout.setSpacing(theme.SPACE_S)
        layout.addLayout(title)
        layout.addWidget(Label(HELP, "caption", wrap=True))
        layout.addWidget(setup)
        layout.addWidget(self.busy)
        layout.addWidget(self.state)
        for chart in (self.losses, self.rates):
            chart.setMinimumHeight(theme.px(_CHART))
            layout.addWidget(chart, 1)
        layout.addWidget(self.verdict)
        layout.addWidget(self.facts)
        layout.addLayout(foot)
        self.verdict.hide()
        self.facts.hide()

    def _connect(self) -> None:
        self.start.clicked.connect(self.start_clicked)
        self.estimate.clicked.connect(self.estimate_clicked)
        self.busy.cancel_clicked.connect(self.cancel_clicked)
        self.use.clicked.connect(self._on_use_clicked)
        self.close_button.clicked.connect(self.reject)
        for chart in (self.losses, self.rates):
            chart.failed.connect(self.failed)

    @Slot()
    def _on_use_clicked(self) -> None:
        self.use_clicked.emit(self.rate.value())


def facts_text(record: RateRecord) -> str:
    """Small print of a ramp."""
    parts = [
        f"{count_text(sum(row.lr > 0 for row in record.rows))} steps of "
        f"{count_text(record.batch_size)} examples in {duration_text(record.seconds)}",
        f"accuracy on {count_text(record.n)} images, {count_text(record.classes)} classes, "
        f"{count_text(record.templates)} templates",
    ]
    return " · ".join([*parts, *(plain_text(note, 400) for note in record.notes)])


def _rate_box(name: str, value: float) -> NumberBox:
    box = NumberBox("log", 1e-12, 1.0)
    box.setAccessibleName(name)
    box.setValue(value)
    box.setMinimumWidth(theme.px(100))
    return box
