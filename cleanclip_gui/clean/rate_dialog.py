"""The rate finder: the ramp that is set, its charts, and the rate to use."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QPushButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.charts.charts import Chart
from cleanclip_gui.clean.charts.parts import SeriesStyle, plain
from cleanclip_gui.clean.run import estimate_sentence
from cleanclip_gui.jobs.job_dialog import JobDialog, JobDialogs
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.jobs.runner import NewRunner, new_runner
from cleanclip_gui.widgets.controls import Label
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.number_box import NumberBox
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import count_text, duration_text, fitting, percent
from cleanclip_gui.widgets.text import plain as plain_text
from ml_core.cleaning.rate_range import DROP, Proposal, smoothed
from ml_core.cleaning.recipes import explain
from ml_core.events import Event, Metric, Progress
from ml_core.figures import CA, rate_text
from ml_core.jobs.overall import estimate_plan
from ml_core.jobs.rates import HIGHEST, LOWEST, STEPS, RateRecord, RateSpec, refusal, watched_images
from ml_core.jobs.specs import CleanSpec
from ml_core.paths import cache_dir
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    import pyqtgraph as pg

_BAND_ALPHA = 34


class RateChart(Chart):
    """A `Chart` whose horizontal place is the logarithm to base 10 of a rate.

    :meth:`show_proposal` marks the range that is worth trying as a band, and the start as a line.
    """

    axis_name = "log10_rate"
    from_zero, room = False, 1.0
    level_side = (0, 0)  # below: accuracy comes from above
    band: pg.LinearRegionItem | None = None
    start: pg.InfiniteLine | None = None
    _marks: tuple[float | None, ...] = (None, None, None)
    _ends = (-6.0, -2.0)

    def set_ramp(self, low: float, high: float) -> None:
        """Let the axis run from the first rate to the last from the beginning."""
        self._ends = (math.log10(low), math.log10(high))
        self._fit()

    def add(
        self, key: str, rate: float, y: float, low: float = math.nan, high: float = math.nan
    ) -> None:
        """Add a point at a rate, with an interval if there is one."""
        self.append(key, math.log10(rate), y, low, high)

    def show_proposal(self, proposal: Proposal | None) -> None:
        """Mark what was proposed; None takes the marks away."""
        self._marks = (proposal.low, proposal.high, proposal.start) if proposal else (None,) * 3
        self.dress()

    def furnish(self, plot: pg.PlotWidget) -> None:
        """Add the marks of a proposal."""
        import pyqtgraph as pg

        super().furnish(plot)
        plot.getAxis("bottom").tickValues = decades
        plot.getAxis("bottom").tickStrings = decade_ticks
        self.band = pg.LinearRegionItem(movable=False, pen=pg.mkPen(None))
        self.band.setZValue(-20)
        self.start = pg.InfiniteLine(angle=90, movable=False)
        self.start.setZValue(-6)
        for item in (self.band, self.start):
            item.hide()
            plot.addItem(item, ignoreBounds=True)

    def dress(self) -> None:
        """Put on the colours of the theme, also to the marks."""
        super().dress()
        if self.plot is None or self.band is None or self.start is None:
            return
        self.plot.getAxis("bottom").setGrid(48)
        low, high, start = self._marks
        self.band.setVisible(low is not None)
        self.start.setVisible(low is not None)
        if low is None or high is None or start is None:
            return
        colour = theme.colour("success")
        self.start.setPen(colour, width=2)
        self.start.setPos(math.log10(start))
        self.band.setRegion((math.log10(low), math.log10(high)))
        colour.setAlpha(_BAND_ALPHA)
        self.band.setBrush(colour)

    def place_words(self, at: float | None) -> str:
        """The rate at the crosshair."""
        return "by learning rate" if at is None else f"rate {rate_text(10**at)}"

    def ends(self) -> tuple[float, float]:
        """The first and the last rate."""
        return self._ends


def decades(low: float, high: float, size: float) -> list[tuple[float, list[float]]]:
    """Marks at powers of ten; where less than two are in sight, at 1, 2 and 5 times them."""
    whole = [float(e) for e in range(math.ceil(low), math.floor(high) + 1)]
    if len(whole) > 1:
        return [(1.0, whole)]
    parts = [
        exponent + math.log10(mantissa)
        for exponent in range(math.floor(low), math.floor(high) + 1)
        for mantissa in (1, 2, 5)
    ]
    return [(0.3, [place for place in parts if low <= place <= high])]


def decade_ticks(values: list[float], scale: float, spacing: float) -> list[str]:
    """The rates as labels of ticks at these logarithms."""
    return [rate_text(10**value) for value in values]


HELP = (
    "A copy of the checkpoint is trained for a few steps while the learning rate rises. In the "
    "proposed range it keeps its accuracy on validation images. The backdoor is not looked at: "
    "higher rates remove more of it, and a run wins accuracy back as its rate falls."
)
_EARLY = {
    "fell": "The ramp ended early: accuracy had fallen far.",
    "diverged": "The ramp ended early: the loss was no number.",
}
_POINTS = 15
_CHART = 122
# Writes the job that is set into a folder, and returns it with the device that it would take.
Job = Callable[[Path], tuple[CleanSpec, str]]


class RateDialog(JobDialog):
    """Raises the learning rate; ``rate_chosen(method, rate)`` is what the user wants to use."""

    rate_chosen = Signal(str, float)

    def __init__(
        self, task: JobTask, job: Job, spec: CleanSpec, prompts: Prompts, parent: QWidget | None
    ) -> None:
        super().__init__(
            task, "Find a learning rate", "&Start", "Progress of the rate finder", parent
        )
        self._job, self._method = job, spec.recipe.method
        self._estimating = False
        self._losses: list[float] = []
        self.low = NumberBox("log", 1e-12, 1.0, title="Lowest rate", value=LOWEST)
        self.high = NumberBox("log", 1e-12, 1.0, title="Highest rate", value=HIGHEST)
        self.steps = NumberBox("int", 10, 10_000, "steps", title="Steps of the ramp", value=STEPS)
        self.rate = NumberBox("log", 1e-12, 1.0, title="Learning rate to use", value=LOWEST)
        for box, width in ((self.low, 100), (self.high, 100), (self.steps, 110), (self.rate, 100)):
            box.setMinimumWidth(theme.px(width))
        self.estimate = QPushButton("&Estimate")
        self.estimate.setToolTip("Measure a few steps and say how long the ramp would take.")
        self.estimate.clicked.connect(partial(self.begin, estimate=True))
        self.losses = RateChart(
            "Loss", prompts,
            (SeriesStyle("loss", "Each step", 4), SeriesStyle("smoothed", "Smoothed", 0)),
            show=plain, empty="The loss of every step appears here.",
        )  # fmt: skip
        self.rates = RateChart(
            "Clean accuracy", prompts,
            (SeriesStyle("ca", "Validation images", CA, markers=True, solid=True),),
            show=percent, empty="Clean accuracy on validation images appears here.",
        )  # fmt: skip
        self.verdict = Label("", wrap=True)
        self.verdict.setFont(theme.figure_font(theme.FONT_POINTS + 1, bold=True))
        self.facts = Label("", "caption", wrap=True)
        self.use = QPushButton("&Use this rate")
        self.use.setProperty("primary", True)
        self.use.clicked.connect(self._on_use_clicked)
        self.locked += [self.low, self.high, self.steps, self.estimate]
        self._lay_out(f"{spec.recipe.facts.title} on {Path(spec.checkpoint).name}")
        self.finish(900, 690, self.use)
        self._offer(False)

    def launch(self, *, estimate: bool = False) -> None:
        """Raise the rate, or measure a few steps."""
        folder, steps = cache_dir() / "rates-job", round(self.steps.value())
        job, device = self._job(folder)
        try:
            spec = RateSpec(
                job=job, low=self.low.value(), high=self.high.value(), steps=steps,
                points=min(_POINTS, steps),
            )  # fmt: skip
        except ValidationError as error:
            raise InputError(explain(error)) from error
        plan = estimate_plan(job) if estimate else None
        self.task.start(spec, folder / "rates.json", device, plan, estimate=estimate)
        self._estimating, self._method = estimate, job.recipe.method
        if not estimate:
            self._clear(spec)

    def stage_words(self, progress: Progress) -> str:
        """Name the stage; count the steps of the ramp."""
        words = super().stage_words(progress)
        if progress.stage == "ramp":
            words += f": step {count_text(progress.done)} of {count_text(progress.total)}"
        return f"{words}…"

    def take(self, event: Event) -> None:
        """Draw the loss of a step, or a measurement."""
        super().take(event)
        if not isinstance(event, Metric) or self._estimating:
            return
        values = event.values
        rate = values.get("lr", 0.0)
        if "ca" in values and not rate:
            self.rates.set_level(values["ca"] - DROP / 100, f"{DROP:g} point under the start")
        elif "ca" in values:
            nan = float("nan")
            interval = values.get("ca_low", nan), values.get("ca_high", nan)
            self.rates.add("ca", rate, values["ca"], *interval)
        elif "loss" in values and rate:
            self._losses.append(values["loss"])
            self.losses.add("loss", rate, values["loss"])
            self._smooth()

    def show_result(self, result: Mapping[str, Any]) -> None:
        """Show what was estimated, or found."""
        if self._estimating:
            self.show_state(estimate_sentence(result))
        else:
            self.show_record(RateRecord.model_validate(result))

    def show_record(self, record: RateRecord) -> None:
        """Show the proposed range and offer its start."""
        proposal = record.proposal
        for chart in (self.losses, self.rates):
            chart.show_proposal(proposal)
        self.verdict.setText(plain_text(proposal.sentence))
        theme.set_property(self.verdict, "role", "warning" if proposal.start is None else "success")
        self.facts.setText(facts_text(record))
        self.verdict.show()
        self.facts.show()
        self.rates.setAccessibleDescription(plain_text(proposal.sentence))
        again = "The same ramp was run before; this is what it found." if record.cached else ""
        self.show_state(" ".join(filter(None, (again, _EARLY.get(record.ended, "")))))
        if proposal.start is not None:
            self.rate.setValue(proposal.start)
            self._offer(True)
            self.use.setFocus()

    def _clear(self, spec: RateSpec) -> None:
        """Show empty charts from one rate to the other."""
        self._losses = []
        for chart in (self.losses, self.rates):
            chart.clear()
            chart.show_proposal(None)
            chart.set_ramp(spec.low, spec.high)
        self.rates.level = None
        self.verdict.hide()
        self.facts.hide()
        self._offer(False)

    def _smooth(self) -> None:
        """Draw the smoothed loss anew: each step moves what lies near it."""
        series = self.losses.series("smoothed")
        places = self.losses.series("loss").arrays()[0]
        series.clear()
        for x, y in zip(places, smoothed(self._losses), strict=True):
            self.losses.append("smoothed", float(x), y)

    def _offer(self, offered: bool) -> None:
        """Show whether there is a rate to use."""
        for widget in (self._rate_label, self.rate, self.use):
            widget.setVisible(offered)

    def _lay_out(self, subject: str) -> None:
        about = Label(fitting(plain_text(subject, 100)), "subtle", wrap=True)
        about.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        setup = FoldingRow(
            (Label("Fro&m", "field", buddy=self.low), self.low),
            (Label("&to", "field", buddy=self.high), self.high),
            (Label("&in", "field", buddy=self.steps), self.steps),
            (self.start, self.estimate),
        )
        self._rate_label = Label("Learning &rate", "field", buddy=self.rate)
        foot = (self.close_button, self._rate_label, self.rate, self.use)
        for chart in (self.losses, self.rates):
            chart.setMinimumHeight(theme.px(_CHART))
            chart.failed.connect(self.failed)
        column(
            row(Label("Find a learning rate", "title"), (about, 1), spacing=theme.SPACE_L),
            Label(HELP, "caption", wrap=True), setup, self.busy, self.state,
            (self.losses, 1), (self.rates, 1), self.verdict, self.facts,
            row(None, *foot, spacing=theme.SPACE_S),
            of=self, margins=theme.SPACE_L, spacing=theme.SPACE_S,
        )  # fmt: skip
        self.verdict.hide()
        self.facts.hide()

    def _on_use_clicked(self) -> None:
        self.rate_chosen.emit(self._method, self.rate.value())
        self.done(0)


class RateDialogs(JobDialogs[RateDialog]):
    """Opens the rate finder for the job that is set."""

    rate_chosen = Signal(str, float)
    subject = "the rate finder"

    def __init__(
        self, job: Job, prompts: Prompts, parent: QWidget, make_runner: NewRunner = new_runner
    ) -> None:
        super().__init__(parent)
        self._job, self._prompts, self._make_runner = job, prompts, make_runner

    def new_dialog(self) -> RateDialog:
        """Return the dialog, if the job has a rate and images that are measured."""
        spec, _ = self._job(cache_dir() / "rates-job")
        if reason := refusal(spec.recipe):
            raise InputError(reason)
        watched_images(spec)
        task = JobTask("rates", self._make_runner)
        dialog = RateDialog(task, self._job, spec, self._prompts, self._parent.window())
        dialog.rate_chosen.connect(self.rate_chosen)
        return dialog


def facts_text(record: RateRecord) -> str:
    """Small print of a ramp."""
    parts = [
        f"{count_text(sum(step.lr > 0 for step in record.rows))} steps of "
        f"{count_text(record.batch_size)} examples in {duration_text(record.seconds)}",
        f"accuracy on {count_text(record.n)} images, {count_text(record.classes)} classes, "
        f"{count_text(record.templates)} templates",
    ]
    return " · ".join([*parts, *(plain_text(note, 400) for note in record.notes)])
