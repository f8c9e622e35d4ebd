"""The rate finder: a ramp of the learning rate is watched, and the rate it proposes is used."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.charts.charts import Chart
from cleanclip_gui.clean.charts.parts import SeriesStyle, plain
from cleanclip_gui.jobs.job_dialog import JobDialog
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.jobs.runner import NewRunner
from cleanclip_gui.widgets.controls import ElidedLabel, Label, push_button
from cleanclip_gui.widgets.form import Form
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import percent, plural
from cleanclip_gui.widgets.text import plain as plain_text
from ml_core.cleaning.rate_range import DROP, Proposal, smoothed
from ml_core.events import Event, Metric
from ml_core.figures import CA, rate_text
from ml_core.jobs.rates import RateRecord, RateSpec, refusal, watched_images
from ml_core.jobs.specs import CleanSpec
from ml_core.paths import cache_dir
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    import pyqtgraph as pg

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
# Writes the job that is set into a folder, and returns it with the device that it would take.
Job = Callable[[Path], tuple[CleanSpec, str]]


class RateChart(Chart):
    """A chart over the logarithm to base 10 of a rate; a band marks the proposed range."""

    axis_name = "log10_rate"
    from_zero = False
    ends = (-6.0, -2.0)  # of the ramp
    proposal: Proposal | None = None
    band: pg.LinearRegionItem | None = None

    def furnish(self, plot: pg.PlotWidget) -> None:
        """Add the band."""
        import pyqtgraph as pg

        super().furnish(plot)
        axis = plot.getAxis("bottom")
        axis.setLogMode(True)
        axis.tickStrings = lambda values, *_: [rate_text(10**value) for value in values]
        self.band = pg.LinearRegionItem(movable=False, pen=pg.mkPen(None))
        self.band.setZValue(-20)
        plot.addItem(self.band, ignoreBounds=True)

    def dress(self) -> None:
        """Put on the colours of the theme, and the band where it belongs."""
        super().dress()
        proposal = self.proposal
        if self.band is not None:
            colour = theme.colour("success")
            colour.setAlpha(34)
            self.band.setBrush(colour)
            self.band.hide()
            if proposal and proposal.low is not None and proposal.high is not None:
                self.band.setRegion((math.log10(proposal.low), math.log10(proposal.high)))
                self.band.show()

    def place_words(self, at: float | None) -> str:
        """The rate at the crosshair."""
        return "by learning rate" if at is None else f"rate {rate_text(10**at)}"

    def x_range(self) -> tuple[float, float]:
        """The whole ramp."""
        return self.ends


class RateDialog(JobDialog):
    """Raises the learning rate; ``used`` carries the method and the rate to use.

    Parameters
    ----------
    job
        Writes the job that is set.

    Raises
    ------
    InputError
        If the job has no rate, or no images that are measured.
    """

    def __init__(
        self, job: Job, prompts: Prompts, make_runner: NewRunner, parent: QWidget | None
    ) -> None:
        spec, _ = job(cache_dir() / "rates-job")
        if reason := refusal(spec.recipe):
            raise InputError(reason)
        watched_images(spec)
        super().__init__(
            JobTask("rates", make_runner), "Find a learning rate", "&Start",
            "Progress of the rate finder", parent,
        )  # fmt: skip
        self._job = job
        self.record: RateRecord | None = None
        self.form = Form(RateSpec, "low", "high", "steps")
        self.locked.append(self.form)
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
        self.charts = (self.losses, self.rates)
        self.verdict = Label("", wrap=True)
        self.verdict.setFont(theme.figure_font(theme.FONT_POINTS + 1, bold=True))
        self.notes = Label("", "caption", wrap=True)
        self.use = push_button("", self._on_use_clicked, look="primary")
        for chart in self.charts:
            chart.setMinimumHeight(theme.px(122))
            chart.failed.connect(self.failed)
        subject = plain_text(f"{spec.recipe.facts.title} on {Path(spec.checkpoint).name}", 100)
        column(
            row(Label("Find a learning rate", "title"), None, ElidedLabel(subject, "subtle")),
            Label(HELP, "caption", wrap=True),
            row((self.form, 1), self.start, spacing=theme.SPACE_M), self.busy, self.state,
            (self.losses, 1), (self.rates, 1), self.verdict, self.notes,
            row(None, self.close_button, self.use, spacing=theme.SPACE_S),
            of=self, margins=theme.SPACE_L, spacing=theme.SPACE_S,
        )  # fmt: skip
        self.finish(900, 690, self.use)
        self._show(None)

    def launch(self) -> None:
        """Raise the rate."""
        folder, values = cache_dir() / "rates-job", self.form.values()
        job, device = self._job(folder)
        spec = RateSpec(job=job, points=min(_POINTS, values["steps"]), **values)
        self.task.start(spec, folder / "rates.json", device)
        for chart in self.charts:
            chart.clear()
            chart.ends = math.log10(spec.low), math.log10(spec.high)
        self.rates.level = None
        self._show(None)

    def take(self, event: Event) -> None:
        """Draw the loss of a step, or a measurement."""
        super().take(event)
        if not isinstance(event, Metric):
            return
        values, rate = event.values, event.values.get("lr", 0.0)
        if "ca" in values and not rate:
            self.rates.set_level(values["ca"] - DROP / 100, f"{DROP:g} point under the start")
        elif "ca" in values:
            interval = (values.get(end, math.nan) for end in ("ca_low", "ca_high"))
            self.rates.append("ca", math.log10(rate), values["ca"], *interval)
            self._smooth()
        elif "loss" in values and rate:
            self.losses.append("loss", math.log10(rate), values["loss"])

    def _smooth(self) -> None:
        """Draw the losses so far smoothed: all anew, since a later loss moves earlier means."""
        self.losses.series("smoothed").clear()
        places, losses, *_ = self.losses.series("loss").arrays()
        for x, y in zip(places, smoothed(losses.tolist()), strict=True):
            self.losses.append("smoothed", float(x), y)

    def show_result(self, result: Mapping[str, Any]) -> None:
        """Show the proposed range and offer its start."""
        self._show(RateRecord.model_validate(result))

    def _show(self, record: RateRecord | None) -> None:
        """Show what was found; None: nothing yet."""
        self.record = record
        for widget in (self.verdict, self.notes):
            widget.setVisible(record is not None)
        self.use.setVisible(record is not None and record.proposal.start is not None)
        for chart in self.charts:
            chart.proposal = None if record is None else record.proposal
            chart.dress()
        if record is None:
            return
        proposal, start = record.proposal, record.proposal.start
        self._smooth()
        self.rates.setAccessibleDescription(plain_text(proposal.sentence))
        self.verdict.setText(plain_text(proposal.sentence))
        theme.set_property(self.verdict, "role", "warning" if start is None else "success")
        measured = (
            f"accuracy on {plural(record.n, 'image')}, {plural(record.classes, 'class', 'classes')}"
        )
        self.notes.setText(" · ".join([measured, *(plain_text(n, 400) for n in record.notes)]))
        again = "The same ramp was run before; this is what it found." if record.cached else ""
        self.show_state(" ".join(filter(None, (again, _EARLY.get(record.ended, "")))))
        if start is not None:
            self.use.setText(f"&Use {rate_text(start)}")
            self.use.setFocus()

    def _on_use_clicked(self) -> None:
        if self.record is not None:
            self.used.emit((self.record.recipe.method, self.record.proposal.start))
            self.done(0)
