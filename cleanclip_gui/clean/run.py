"""The run that the Clean station is about: its process, and how it ended. Without any widget."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PySide6.QtCore import QObject, Signal, Slot

from cleanclip_gui.clean.job import count_gpus, trigger_of
from cleanclip_gui.clean.result import is_source, where_open
from cleanclip_gui.clean.run_folders.history import PastRun, run_metrics
from cleanclip_gui.clean.run_folders.saved_run import SavedRun, can_resume
from cleanclip_gui.inference.device import StudioDevice
from cleanclip_gui.jobs import tasks
from cleanclip_gui.jobs.protocol import INTERRUPTED
from cleanclip_gui.jobs.runner import JobRunner, Mode, make_runner
from cleanclip_gui.session import CheckpointFacts, RunState, Session
from cleanclip_gui.session.records import is_live
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.text import count_text, plain
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
HINT = "Estimate measures a few steps; Start runs them all."
STALE = "The set-up was changed during the estimate; measure again."
NO_TRIGGER = (
    "The trigger of this run is not in its folder, so Studio keeps its own: open the run's trigger "
    "there to see what was measured."
)
State = Literal["idle", "starting", "running", "paused", "stopping", "cancelling", "ended"]
# What attack success is measured with: a trigger, if there is one, and its target class.
Asked = tuple[Trigger | None, int]


@dataclass(frozen=True, eq=False)
class Trouble:
    """Why a run has no result, and the way on.

    ``can_resume`` tells whether there is a save to go on from, ``may_lack_memory`` whether half a
    batch may help. ``error`` is what failed, with its details; None if nothing did.
    """

    sentence: str
    can_resume: bool
    may_lack_memory: bool = False
    error: InputError | None = None


def estimate_folder() -> Path:
    """Where the job of an estimate is written, and taken away again."""
    return cache_dir() / "estimate"


class CleaningRun(QObject):
    """One child process at a time, for a run or an estimate, and the run that is on show.

    It alone writes ``session.run`` and ``session.run_progress``. ``began`` tells that a process
    was started, ``opened`` that another run than before is on show, ``measured(Metric)`` a number
    of it, ``result_shown(result)`` that its result is to be shown, ``changed`` that anything of
    :attr:`headline`, :attr:`details`, :attr:`notice`, :attr:`state`, :attr:`trouble`,
    :attr:`shows_result` or :attr:`estimated` may be another one.

    ``said(event)`` passes on all that a run at work tells, ``progressed(Progress)`` how far it or
    an estimate is, ``logged(line)`` a line for the log. ``ended(Done)`` is the last word of either;
    once all have heard it, ``freed`` tells that another one may begin. ``restored(SavedRun)`` tells
    that a run of an earlier time goes on, or could; ``failed`` carries an InputError.
    """

    began = Signal()
    opened = Signal()
    measured = Signal(object)
    result_shown = Signal(object)
    changed = Signal()
    said = Signal(object)
    progressed = Signal(object)
    logged = Signal(str)
    ended = Signal(object)
    freed = Signal()
    restored = Signal(object)
    failed = Signal(object)

    def __init__(
        self,
        session: Session,
        device: StudioDevice,
        new_runner: Callable[[Path, Mode, str, int], JobRunner] = make_runner,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._new_runner = new_runner
        self._session, self._studio_device = session, device
        self._reading: Ticket | None = None  # numbers of an earlier run
        self.runner: JobRunner | None = None
        self.mode: Mode = "run"
        self.folder: Path | None = None
        self.recipe: Recipe | None = None
        self.source = ""  # path of the checkpoint that it cleans
        self.asked: Asked = (None, 0)
        self.device = session.device
        self.status = ""  # of the run on show while no process is at work; empty without one
        self.details = HINT
        self.notice = ""
        self.result: dict[str, Any] = {}
        self.shows_result = False
        self.trouble: Trouble | None = None
        self.estimated: dict[str, Any] = {}
        self._estimate_holds = False

    # How it stands

    @property
    def is_running(self) -> bool:
        """Whether a process is at work, for a run or an estimate."""
        return self.runner is not None

    @property
    def is_cleaning(self) -> bool:
        """Whether a run is at work, and no estimate."""
        return self.runner is not None and self.mode != "estimate"

    @property
    def state(self) -> State:
        """How the process at work stands; idle if there is none."""
        return "idle" if self.runner is None else self.runner.state

    @property
    def can_be_steered(self) -> bool:
        """Whether it can be paused, or stopped and saved."""
        return self.is_cleaning and self.state in ("starting", "running", "paused")

    @property
    def can_be_cancelled(self) -> bool:
        """Whether a process is at work that was not told to end at once."""
        return self.is_running and self.state != "cancelling"

    @property
    def is_reading(self) -> bool:
        """Whether the numbers of an earlier run are still being read."""
        return self._reading is not None and self._reading.is_open

    @property
    def has_result(self) -> bool:
        """Whether a result is on show."""
        return bool(self.result) and self.shows_result

    @property
    def is_offered(self) -> bool:
        """Whether a run without a result can go on, or begin anew."""
        return self.trouble is not None and not self.is_running

    @property
    def title(self) -> str:
        """The method, and what it works on where another checkpoint was opened meanwhile."""
        method = self.recipe.method if self.recipe is not None else "cleanclip"
        title = FACTS[method].title
        facts = self._session.checkpoint
        another = bool(self.source) and facts is not None and facts.path != self.source
        return f"{title} on {plain(Path(self.source).name, 40)}" if another else title

    @property
    def headline(self) -> str:
        """What goes on, or how it ended, in a few words."""
        state = self.state
        if state == "stopping":
            return "Finishing the step, then saving"
        if state == "cancelling":
            return "Cancelling"
        if self.is_running:
            doing = "paused" if state == "paused" else "running"
            return "Estimating" if self.mode == "estimate" else f"{self.title} is {doing}"
        return f"{self.title}: {ENDS.get(self.status, self.status).lower()}" if self.status else (
            "Ready"
        )  # fmt: skip

    # Beginning and ending

    def begin(self, folder: Path, spec: CleanSpec, asked: Asked, mode: Mode = "run") -> None:
        """Start a written job, or go on with it, and show it.

        Raises
        ------
        InputError
            If another job uses its device; what was on show stays.
        """
        self._launch(folder / SPEC_FILE, mode, self._device_of(spec), self._fitting(spec))
        self._open(folder, spec, asked)
        self._session.run_progress = None
        self._set_run("running")
        self.notice = self._studio_device.release(self.device)
        self.began.emit()
        self.changed.emit()

    def resume(self, saved: SavedRun) -> None:
        """Go on with a run from its last save, whichever window began it.

        Raises
        ------
        InputError
            If another job uses its device; what was on show stays.
        """
        self.begin(saved.folder, saved.spec, (saved.trigger, saved.spec.target), "resume")
        self._restore(saved)

    def offer(self, saved: SavedRun) -> None:
        """Show a run that was interrupted and can go on."""
        self._open(saved.folder, saved.spec, (saved.trigger, saved.spec.target))
        total = saved.spec.recipe.known_steps
        of = "" if total is None else f" of {count_text(total)}"
        self._set_idle("interrupted")
        self.trouble = Trouble(
            f"The run {plain(saved.folder.name, 80)} was interrupted; its last save is at step "
            f"{count_text(saved.step)}{of}. Resume goes on from there.",
            can_resume=True,
            may_lack_memory=True,
        )
        self._restore(saved)
        self.changed.emit()

    def show_past(self, past: PastRun) -> None:
        """Show a run of the history as if it had just ended; its numbers follow."""
        asked = trigger_of(past.spec), past.spec.target
        self._open(past.folder, past.spec, asked)
        self._reading = tasks.run(
            lambda _: run_metrics(past.folder), self._on_metrics_read, self._on_read_failed
        )
        if past.result:
            status = "stopped" if past.status == "stopped" else "finished"
            self.show_outcome(status, {"seconds": 0.0, **past.result})
        elif past.status in ("failed", "cancelled", "interrupted"):
            self._show_trouble(past.status, Done("failed", {}, past.error, past.error_code))
        else:
            self._set_idle(past.status, plain(past.error, 400))
        if past.spec.trigger is not None and asked[0] is None:
            self.notice = NO_TRIGGER
        self.changed.emit()

    def estimate(self, spec_path: Path) -> None:
        """Measure a few steps of a job.

        Raises
        ------
        InputError
            If another job uses the device.
        """
        self._launch(spec_path, "estimate", self._session.device, 1)
        self._estimate_holds = True
        self.began.emit()
        self.changed.emit()

    def forget_estimate(self) -> None:
        """Take the estimate away, and the one that is being measured: it is of another job."""
        self._estimate_holds = False
        if self.estimated:
            self.estimated = {}
            self.changed.emit()

    @Slot()
    def pause(self) -> None:
        """Hold the run before its next step, or let it go on."""
        if self.runner is None or not self.is_cleaning:
            return
        if self.runner.state == "paused":
            self.runner.resume()
        else:
            self.runner.pause()

    @Slot()
    def stop(self) -> None:
        """Finish the step, save what there is, measure it."""
        if self.runner is not None and self.is_cleaning:
            self.runner.stop_and_save()

    @Slot()
    def cancel(self) -> None:
        """End the run, or the estimate, at once; the last save is kept."""
        if self.runner is not None:
            self.runner.cancel()

    # The result

    def show_outcome(self, status: Any, result: dict[str, Any]) -> None:
        """Show the result of a run that has ended, now or long ago."""
        self.result = where_open(result, self._session.checkpoint)
        self._set_idle(status, str(result.get("stopped_because") or ""))
        self._set_run(status)
        self._show_result()
        self.changed.emit()

    def follow(self, facts: CheckpointFacts | None, *, keep: bool = False) -> None:
        """Show a result beside the checkpoint that it was made from; ``keep`` leaves it there."""
        if self.result and not self.is_running and self._session.run is not None:
            self.status = self._session.run.status  # an estimate has taken it away
        if self.result.get("source"):
            here = where_open(self.result, facts)
            moved, self.result = here != self.result, here
            if not is_source(facts, here):
                self.shows_result = self.shows_result and keep
            elif moved or not self.shows_result:  # moved: of a run elsewhere
                self._show_result()
        self.changed.emit()

    # What only this class does

    def _open(self, folder: Path, spec: CleanSpec, asked: Asked) -> None:
        """Make a run the one that is on show."""
        self.folder, self.recipe, self.source, self.asked = (
            folder, spec.recipe, spec.checkpoint, asked,
        )  # fmt: skip
        self.device = self._device_of(spec)
        self.result, self.shows_result, self.trouble, self.notice = {}, False, None, ""
        if self._reading is not None:
            self._reading.cancel()
        self.opened.emit()

    def _restore(self, saved: SavedRun) -> None:
        """Tell what a saved run has measured, and that it is on show."""
        for metric in run_metrics(saved.folder, saved.step):
            self.measured.emit(metric)
        self.restored.emit(saved)

    def _on_metrics_read(self, metrics: tuple[Metric, ...]) -> None:
        for metric in metrics:
            self.measured.emit(metric)

    def _on_read_failed(self, error: InputError) -> None:
        self.failed.emit(error)

    def _launch(self, spec_path: Path, mode: Mode, device: str, processes: int) -> None:
        """Start the supervising thread."""
        runner = self._new_runner(spec_path, mode, device, processes)
        runner.event_received.connect(self._on_event)
        runner.line_logged.connect(self.logged)
        runner.state_changed.connect(self._on_state_changed)
        runner.ended.connect(self._on_ended)
        runner.launch()
        self.runner, self.mode = runner, mode

    def _device_of(self, spec: CleanSpec) -> str:
        return self._session.device if spec.device == "auto" else spec.device

    def _fitting(self, spec: CleanSpec) -> int:
        """Processes of a job, no more than this machine has GPUs, as far as they are known."""
        gpus = count_gpus(self._session.devices)
        fewer = spec.device == "cuda" and self._session.devices and gpus < spec.processes
        return max(1, gpus) if fewer else spec.processes

    @Slot()
    def forget_ended(self) -> None:
        """Tell the rest of the window of no run any more, unless one goes on."""
        if not is_live(self._session.run):
            self._session.run = None

    def _set_run(self, status: Any, error: str = "") -> None:
        """Tell the rest of the window how the run stands."""
        self._session.run = RunState(
            str(self.folder or ""),
            self.recipe.method if self.recipe is not None else "cleanclip",
            status,
            self.device,
            self.result,
            error,
        )

    def _set_idle(self, status: str, details: str = "") -> None:
        self.status, self.details, self.notice = status, details, ""

    def _show_result(self) -> None:
        self.shows_result = True
        self.result_shown.emit(self.result)

    @Slot(object)
    def _on_event(self, event: Event) -> None:
        if self.runner is not None:
            self.runner.mark_running()
        if isinstance(event, Progress):
            self._session.run_progress = event
            self.progressed.emit(event)
        elif isinstance(event, Metric):
            if self.mode != "estimate":
                self.measured.emit(event)
        elif isinstance(event, Message):
            self.logged.emit(event.text)
        elif isinstance(event, Saved):
            self.logged.emit(f"Saved {Path(event.path).name} at step {event.step}.")
        if self.mode != "estimate":
            self.said.emit(event)

    @Slot(str)
    def _on_state_changed(self, state: str) -> None:
        if state == "ended":  # its last word follows
            return
        if state in ("running", "paused") and self.is_cleaning:
            self._set_run(state)
        self.changed.emit()

    @Slot(object)
    def _on_ended(self, last: Done) -> None:
        runner, self.runner = self.runner, None
        self._studio_device.restore()
        if self.mode == "estimate":
            shutil.rmtree(estimate_folder(), ignore_errors=True)
            self._show_estimate(last)
        elif last.status in ("finished", "stopped"):
            self.show_outcome(last.status, last.result)
        else:
            status = ending(last)
            self._show_trouble(status, last)
            self._set_run(status, last.error)
        if runner is not None:
            runner.deleteLater()
        self.changed.emit()
        self.ended.emit(last)
        self.freed.emit()

    def _show_estimate(self, last: Done) -> None:
        """Keep what the measured steps mean for the whole run."""
        finished = last.status == "finished"
        stale = finished and not self._estimate_holds
        self._set_idle("", STALE if stale else "")
        self.estimated = dict(last.result) if finished and not stale else {}
        if last.status == "failed":
            self.failed.emit(as_error(last))

    def _show_trouble(self, status: str, last: Done) -> None:
        """Say how a run ended that left no result, now or long ago, and what can be done."""
        saved = self.folder is not None and can_resume(self.folder)
        tail = (
            "Resume goes on from the last save."
            if saved
            else "There was no save yet: Start again begins anew."
        )
        self._set_idle(status)
        failed = status != "cancelled" and bool(last.error)
        sentence = last.error if failed else f"The run was {ENDS[status].lower()}."
        if failed and status == "interrupted":
            sentence = f"Interrupted: {sentence}"
        self.trouble = Trouble(
            f"{sentence} {tail}",
            can_resume=saved,
            may_lack_memory=last.error_code in ("killed", "memory")
            or (status == "interrupted" and not failed),
            error=as_error(last) if failed else None,
        )


def ending(last: Done) -> str:
    """How a run without a result stands: one whose process was ended is interrupted."""
    return "interrupted" if last.error_code in INTERRUPTED else last.status


def as_error(last: Done) -> InputError:
    """A failed job as what the window's error dialog shows."""
    code = last.error_code
    known = ("dangerous", "damaged", "unsupported", "usage")
    return InputError(last.error, code if code in known else "damaged", last.details)  # type: ignore[arg-type]
