"""The rate finder in the window: its dialog and its process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError
from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QWidget

from cleanclip_gui.clean.rates.dialog import RateDialog
from cleanclip_gui.jobs.launching import launch, let_go
from cleanclip_gui.jobs.runner import JobRunner, rates_runner
from cleanclip_gui.widgets.prompts import Prompts
from ml_core.cleaning.recipes import explain
from ml_core.events import Done, Metric, Progress
from ml_core.jobs.overall import Overall, Plan, estimate_plan, rates_plan
from ml_core.jobs.rate_finder_spec import RateRecord, RateSpec, refusal, watched_images
from ml_core.jobs.specs import CleanSpec
from ml_core.paths import cache_dir
from ml_core.reading.errors import InputError

_POINTS = 15


def job_folder() -> Path:
    """Where the job of a ramp is written, and taken away again."""
    return cache_dir() / "rates-job"


class RateFinding(QObject):
    """One dialog, one process.

    ``found(str, float)`` is the method and the rate that the user wants to use; ``failed`` carries
    an InputError for the window to show. ``job`` writes the job that is set into a folder, and
    returns it with the device that it would take.
    """

    found = Signal(str, float)
    failed = Signal(object)

    def __init__(
        self,
        job: Callable[[Path], tuple[CleanSpec, str]],
        prompts: Prompts,
        parent: QWidget,
        new_runner: Callable[..., JobRunner] = rates_runner,
    ) -> None:
        super().__init__(parent)
        self._job, self._prompts, self._parent = job, prompts, parent
        self._new_runner = new_runner
        self.dialog: RateDialog | None = None
        self.runner: JobRunner | None = None
        self._method = ""
        self._estimating = False
        self._overall = Overall(Plan(()))

    @property
    def is_running(self) -> bool:
        """Whether a process is at work for the dialog."""
        return self.runner is not None

    @Slot()
    def open(self) -> None:
        """Show the page for the job that is set."""
        if self.dialog is not None and self.is_running:
            self.dialog.raise_()
            return
        try:
            job, _ = self._job(job_folder())
            if said := refusal(job.recipe):
                raise InputError(said)
            watched_images(job)
        except InputError as error:
            self.failed.emit(error.titled("Could not open the rate finder"))
            return
        if self.dialog is not None:
            self.dialog.done(0)
        self._method = job.recipe.method
        title, name = job.recipe.facts.title, Path(job.checkpoint).name
        dialog = RateDialog(name, title, self._prompts, self._parent.window())
        self.dialog = dialog
        dialog.start_clicked.connect(self.start)
        dialog.estimate_clicked.connect(self.estimate)
        dialog.cancel_clicked.connect(self.cancel)
        dialog.use_clicked.connect(self._on_use_clicked)
        dialog.closed.connect(self._on_closed)
        dialog.failed.connect(self.failed)
        dialog.show()

    @Slot()
    def start(self) -> None:
        """Raise the rate."""
        self._begin(estimate=False)

    @Slot()
    def estimate(self) -> None:
        """Measure a few steps."""
        self._begin(estimate=True)

    @Slot()
    def cancel(self) -> None:
        """End it at once; nothing is kept."""
        if self.runner is not None:
            self.runner.cancel()
            if self.dialog is not None:
                self.dialog.show_cancelling()

    def close(self) -> None:
        """Close the dialog and cancel what it does."""
        if self.dialog is not None:
            self.dialog.done(0)

    def _begin(self, *, estimate: bool) -> None:
        dialog = self.dialog
        if dialog is None or self.runner is not None:
            return
        wish, folder = dialog.chosen(), job_folder()
        try:
            job, device = self._job(folder)
            spec = RateSpec(
                job=job, low=wish.low, high=wish.high, steps=wish.steps,
                points=min(_POINTS, wish.steps),
            )  # fmt: skip
            runner = launch(
                self._new_runner, spec, folder / "rates.json", self._on_event, self._on_ended,
                device=device, estimate=estimate,
            )  # fmt: skip
        except ValidationError as error:
            dialog.show_ended(explain(error), error=True)
            return
        except InputError as error:
            dialog.show_ended(error.sentence, error=True)
            return
        self.runner, self._estimating, self._method = runner, estimate, job.recipe.method
        self._overall = Overall(estimate_plan(job) if estimate else rates_plan(spec))
        dialog.show_running()
        if not estimate:
            dialog.begin_ramp(spec.low, spec.high)

    @Slot(float)
    def _on_use_clicked(self, rate: float) -> None:
        self.found.emit(self._method, rate)
        self.close()

    @Slot()
    def _on_closed(self) -> None:
        if self.runner is not None:
            let_go(self.runner, self._on_event, self._on_ended)
            self.runner = None
        self.dialog = None

    @Slot(object)
    def _on_event(self, event: object) -> None:
        if self.runner is None or self.dialog is None:  # under way when the dialog was closed
            return
        self.runner.mark_running()
        if isinstance(event, Progress):
            self._overall.take(event)
            whole = self._overall.fraction, self._overall.seconds_left
            self.dialog.show_progress(event, *whole)
        elif isinstance(event, Metric) and not self._estimating:
            self.dialog.add(event)

    @Slot(object)
    def _on_ended(self, done: Done) -> None:
        was_running, self.runner = self.is_running, None
        dialog = self.dialog
        if not was_running or dialog is None:
            return
        if done.status == "cancelled":
            dialog.show_ended("Cancelled.")
        elif done.status != "finished":
            dialog.show_ended(done.error, error=True)
        elif self._estimating:
            dialog.show_estimate(done.result)
        else:
            dialog.show_record(RateRecord.model_validate(done.result))
