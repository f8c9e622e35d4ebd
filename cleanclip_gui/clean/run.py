"""The run that the Clean station is about: its child process, and how it stands on the screen."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QDeadlineTimer, QObject, Signal

from cleanclip_gui.clean.gpu_choice import count_gpus
from cleanclip_gui.clean.runs.history import run_metrics
from cleanclip_gui.clean.runs.saved_run import can_resume
from cleanclip_gui.clean.try_in_studio import is_source, where_open
from cleanclip_gui.clean.view import CleanView, estimate_sentence
from cleanclip_gui.inference.device import StudioDevice
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.jobs.protocol import INTERRUPTED
from cleanclip_gui.jobs.reads import Reads
from cleanclip_gui.jobs.runner import JobRunner, Mode, make_runner
from cleanclip_gui.session import CheckpointFacts, RunState, Session
from cleanclip_gui.widgets.text import plain
from ml_core.cleaning.catalogue import FACTS
from ml_core.cleaning.recipes import Recipe
from ml_core.events import Done, Event, Message, Metric, Progress, Saved
from ml_core.jobs.specs import SPEC_FILE, CleanSpec
from ml_core.paths import cache_dir
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger

ENDS: dict[str, str] = {
    "finished": "Finished",
    "stopped": "Stopped and saved",
    "cancelled": "Cancelled",
    "failed": "Failed",
    "interrupted": "Interrupted",
}
STALE = "The set-up was changed during the estimate; measure again."
Asked = tuple[Trigger | None, int]


def estimate_folder() -> Path:
    """Where the job of an estimate is written, and taken away again."""
    return cache_dir() / "estimate"


class RunAtWork(QObject):
    """One child process at a time, for a run or an estimate.

    ``said(event)`` passes on what a run tells, ``ended(Done)`` its last word or that of an
    estimate; ``shown(result)`` tells that a result is on the screen; ``changed`` asks for the
    buttons to be looked at again.
    """

    said = Signal(object)
    ended = Signal(object)
    changed = Signal()
    shown = Signal(object)
    failed = Signal(object)
    logged = Signal(str)
    progressed = Signal(object)

    def __init__(
        self, session: Session, inference: Inference, device: StudioDevice, view: CleanView
    ) -> None:
        super().__init__(view)
        self.session = session
        self._view = view
        self.new_runner: Callable[[Path, Mode, str, int], JobRunner] = make_runner
        self.studio_device = device
        self.reads = Reads(self)
        self.reads.done.connect(self._on_charts_read)
        self.reads.failed.connect(self.failed)
        self.runner: JobRunner | None = None
        self.mode: Mode = "run"
        self.folder: Path | None = None
        self.recipe: Recipe | None = None
        self.source = ""
        self.asked: Asked = (None, 0)
        self.result: dict[str, Any] = {}
        self.device = session.device
        self._estimate_holds = False
        self.last_error: InputError | None = None

    @property
    def is_running(self) -> bool:
        """Whether a child is at work."""
        return self.runner is not None

    @property
    def is_cleaning(self) -> bool:
        """Whether a run is at work, and no estimate."""
        return self.runner is not None and self.mode != "estimate"

    def take_up(self, folder: Path, spec: CleanSpec, asked: Asked) -> None:
        """Make a run the one that the station is about."""
        self.folder, self.result, self.recipe = folder, {}, spec.recipe
        self.source, self.asked = spec.checkpoint, asked
        self.device = self._device(spec)
        self.reads.forget("charts")
        self._view.charts.clear()
        self._view.charts.explain(spec.recipe.method)

    def fill_charts(self) -> None:
        """Draw what the run's journal holds; it is read beside the window."""
        folder = self.folder
        if folder is not None:
            self.reads.begin("charts", lambda: run_metrics(folder))

    def begin(self, folder: Path, spec: CleanSpec, asked: Asked, mode: Mode = "run") -> None:
        """Start a run, or go on with it, and make it the one that the station is about.

        Raises
        ------
        InputError
            If another job uses its device; the station shows what it showed.
        """
        self._launch(folder / SPEC_FILE, mode, self._device(spec), self._fitting(spec))
        self.take_up(folder, spec, asked)
        self.last_error = None
        self._view.hide_outcome()
        bar = self._view.run_bar
        bar.show_start(f"{self.title()} is running", steerable=True)
        self.session.run_progress = None
        self._set_run("running")
        bar.show_notice(self.studio_device.give_way(self.device))
        self.changed.emit()

    def estimate(self, spec_path: Path) -> None:
        """Measure a few steps of a job.

        Raises
        ------
        InputError
            If another job uses the device.
        """
        self._launch(spec_path, "estimate", self.session.device, 1)
        self._estimate_holds = True
        self._view.run_bar.show_start("Estimating", steerable=False)
        self.changed.emit()

    def forget_estimate(self) -> None:
        """Take the estimate away, and the one that is being measured: it is of another job."""
        self._estimate_holds = False
        self._view.show_estimate("")

    def show_again(self) -> None:
        """Name the run anew, since another checkpoint was opened."""
        bar, run = self._view.run_bar, self.session.run
        if self.runner is None and self.result and run is not None:
            bar.title.setText(f"{self.title()}: {ENDS[run.status].lower()}")
        elif self.is_cleaning and self.runner.state in ("running", "paused"):
            bar.title.setText(f"{self.title()} is {self.runner.state}")

    def show_outcome(self, status: Any, result: dict[str, Any]) -> None:
        """Show the result of a run that has ended, now or long ago."""
        result = where_open(result, self.session.checkpoint)
        self.result = result
        title = f"{self.title()}: {ENDS[status].lower()}"
        self._view.run_bar.show_idle(title, str(result.get("stopped_because") or ""))
        self._set_run(status)
        self.show_result()

    def show_result(self) -> None:
        """Put before and after on the screen."""
        self._view.show_result(self.result)
        self.shown.emit(self.result)

    def follow(self, facts: CheckpointFacts | None, *, keep: bool) -> None:
        """Show a result beside the checkpoint that it was made from; ``keep`` leaves it there."""
        if not self.result.get("source"):
            return
        here = where_open(self.result, facts)
        moved, self.result = here != self.result, here
        if not is_source(facts, here):
            if not keep:
                self._view.hide_outcome()
        elif moved or not self._view.shows_result():  # moved: of a run elsewhere
            self.show_result()

    def title(self) -> str:
        """The method, and what it works on where another checkpoint was opened meanwhile."""
        method = self.recipe.method if self.recipe is not None else "cleanclip"
        title = FACTS[method].title
        facts = self.session.checkpoint
        another = bool(self.source) and facts is not None and facts.path != self.source
        return f"{title} on {plain(Path(self.source).name, 40)}" if another else title

    def close(self, timeout_ms: int) -> bool:
        """End the child when the window closes; whether it ended within the limit."""
        deadline = QDeadlineTimer(timeout_ms)
        ended = self.runner is None or self.runner.close(timeout_ms)
        return self.reads.stop(deadline.remainingTime()) and ended

    def _on_charts_read(self, _: str, metrics: tuple[Metric, ...]) -> None:
        for metric in metrics:
            self._view.charts.add(metric)

    def _launch(self, spec_path: Path, mode: Mode, device: str, processes: int) -> None:
        """Start the supervising thread."""
        runner = self.new_runner(spec_path, mode, device, processes)
        runner.event_received.connect(self._on_event)
        runner.line_logged.connect(self._on_line)
        runner.state_changed.connect(self._on_state_changed)
        runner.ended.connect(self._on_ended)
        runner.launch()
        self.runner, self.mode = runner, mode

    def _device(self, spec: CleanSpec) -> str:
        return self.session.device if spec.device == "auto" else spec.device

    def _fitting(self, spec: CleanSpec) -> int:
        """Processes of a job, no more than this machine has GPUs, as far as they are known."""
        gpus = count_gpus(self.session.devices)
        fewer = spec.device == "cuda" and self.session.devices and gpus < spec.processes
        return max(1, gpus) if fewer else spec.processes

    def _set_run(self, status: Any, error: str = "") -> None:
        """Tell the rest of the window how the run stands."""
        self.session.run = RunState(
            str(self.folder or ""),
            self.recipe.method if self.recipe is not None else "cleanclip",
            status,
            self.device,
            self.result,
            error,
        )

    def _on_event(self, event: Event) -> None:
        if self.runner is not None:
            self.runner.mark_running()
        if isinstance(event, Progress):
            self._view.run_bar.show_progress(event)
            self.progressed.emit(event)
        elif isinstance(event, Metric):
            if self.mode != "estimate":
                self._view.charts.add(event)
        elif isinstance(event, Message):
            self._on_line(event.text)
        elif isinstance(event, Saved):
            self._on_line(f"Saved {Path(event.path).name} at step {event.step}.")
        if self.mode != "estimate":
            self.said.emit(event)

    def _on_line(self, text: str) -> None:
        self._view.show_log(text)
        self.logged.emit(text)

    def _on_state_changed(self, state: str) -> None:
        bar = self._view.run_bar
        if state in ("running", "paused"):
            bar.set_paused(state == "paused")
            if self.mode != "estimate":
                bar.title.setText(f"{self.title()} is {state}")
                self._set_run(state)
        elif state == "stopping":
            bar.show_ending("Finishing the step, then saving", cancelling=False)
        elif state == "cancelling":
            bar.show_ending("Cancelling", cancelling=True)

    def _on_ended(self, last: Done) -> None:
        runner, self.runner = self.runner, None
        self.studio_device.come_back()
        if self.mode == "estimate":
            shutil.rmtree(estimate_folder(), ignore_errors=True)
            self._show_estimate(last)
        else:
            self._show_end(last)
        if runner is not None:
            runner.deleteLater()
        self.ended.emit(last)

    def _show_estimate(self, last: Done) -> None:
        """Say what the measured steps mean for the whole run."""
        finished = last.status == "finished"
        stale = finished and not self._estimate_holds
        self._view.run_bar.show_idle("Ready", STALE if stale else "")
        if last.status == "failed":
            self.failed.emit(as_error(last))
        holds = finished and not stale
        self._view.show_estimate(estimate_sentence(last.result) if holds else "")

    def _show_end(self, last: Done) -> None:
        """Show the result, or why there is none and what can be done."""
        if last.status in ("finished", "stopped"):
            self.show_outcome(last.status, last.result)
            return
        status = ending(last)
        self.show_trouble(status, last)
        self._set_run(status, last.error)

    def show_trouble(self, status: str, last: Done) -> None:
        """Say how a run ended that left no result, now or long ago, and what can be done."""
        saved = self.folder is not None and can_resume(self.folder)
        tail = (
            "Resume goes on from the last save."
            if saved
            else "There was no save yet: Start again begins anew."
        )
        self._view.run_bar.show_idle(f"{self.title()}: {ENDS[status].lower()}", "")
        failed = status != "cancelled" and bool(last.error)
        self.last_error = as_error(last) if failed else None
        sentence = last.error if failed else f"The run was {ENDS[status].lower()}."
        if failed and status == "interrupted":
            sentence = f"Interrupted: {sentence}"
        halve = last.error_code in ("killed", "memory") or (status == "interrupted" and not failed)
        self._view.show_trouble(f"{sentence} {tail}", resumable=saved, failed=failed, halve=halve)


def ending(last: Done) -> str:
    """How a run without a result stands: one whose process was ended is interrupted."""
    return "interrupted" if last.error_code in INTERRUPTED else last.status


def as_error(last: Done) -> InputError:
    """A failed job as what the window's error dialog shows."""
    code = last.error_code
    known = ("dangerous", "damaged", "unsupported", "usage")
    return InputError(last.error, code if code in known else "damaged", last.details)  # type: ignore[arg-type]
