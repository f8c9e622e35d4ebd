"""The run that the Clean station is about: its process, how it ended, and the bar that shows it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from PySide6.QtCore import QObject, Signal

from cleanclip_gui.clean.chain_view import answer_of
from cleanclip_gui.clean.history import PastRun, SavedRun, can_resume, read_run, run_metrics
from cleanclip_gui.clean.job import count_gpus, trigger_of
from cleanclip_gui.clean.result import is_source, where_open
from cleanclip_gui.inference.inference import StudioDevice
from cleanclip_gui.jobs import tasks
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.jobs.run_names import read_name, run_name
from cleanclip_gui.jobs.runner import INTERRUPTED, JobRunner, NewRunner, new_runner
from cleanclip_gui.session import RunState, Session, ShownCheckpoint
from cleanclip_gui.session.records import RunProgress, is_live
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.text import bytes_text, count_text, duration_text, plain
from ml_core.cleaning.recipes import Recipe
from ml_core.events import Done, Event, Finding, Metric, Progress, Saved
from ml_core.jobs.auto import TITLE, AutoStep
from ml_core.jobs.chain_folder import CHAIN_SPEC, Chain, is_chain, read_chain
from ml_core.jobs.overall import cleaning_plan, estimate_plan
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
HINT = "“Estimate” times a few steps first; “Start cleaning” runs them all."
STALE = "The set-up was changed during the estimate; measure again."
NO_TRIGGER = (
    "This run's folder does not contain its trigger, so Studio keeps the current one: open the "
    "run's trigger in Studio to see what was measured."
)
_STEP_BEGINS_AGAIN = "Finished steps are kept; this one begins again."
_CHAIN_GOES_ON = "Its finished steps are kept. “Resume” goes on with the one at work."
Mode = Literal["run", "resume", "estimate", "auto"]
State = Literal["idle", "starting", "running", "paused", "stopping", "cancelling", "ended"]
# What attack success is measured with: a trigger, if there is one, and its target class.
Asked = tuple[Trigger | None, int]


@dataclass(frozen=True, eq=False)
class Trouble:
    """Why a run has no result, and the way on.

    ``can_resume``: there is a save to go on from. ``may_lack_memory``: half the batch size may
    help. ``error`` is what failed, with its details; None if nothing did.
    """

    sentence: str
    can_resume: bool
    may_lack_memory: bool = False
    error: InputError | None = None


@dataclass(eq=False)
class ShownRun:
    """What a run works on, and how it stands or ended; without a source it is none.

    ``name`` is what the user calls it. ``status`` is empty while no process of this window has
    ended it; ``details`` and ``notice`` are lines of the run bar. ``chain`` is the one that it is a
    round of; without a round yet, ``folder`` is the chain's. ``saved`` is the user's own copy of
    the cleaned checkpoint.
    """

    folder: Path = Path()
    recipe: Recipe = field(default_factory=Recipe)
    source: str = ""
    asked: Asked = (None, 0)
    device: str = ""
    name: str = ""
    status: str = ""
    details: str = ""
    notice: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    shows_result: bool = False
    trouble: Trouble | None = None
    chain: Chain | None = None
    saved: Path | None = None

    @property
    def is_chain(self) -> bool:
        """Whether it is a chain of which no round is kept yet."""
        return self.chain is not None and self.chain.folder == self.folder

    @property
    def stands_for_chain(self) -> bool:
        """Whether it is a chain, or the round that is kept of one."""
        if self.is_chain or self.chain is None or self.chain.best != self.folder:
            return self.is_chain
        return self.chain.is_whole or self.status != "finished"

    @property
    def title(self) -> str:
        """What it is called: as in the list of runs, or as the chain of which it is kept."""
        name = TITLE if self.stands_for_chain else self.name
        return run_name(self.folder, self.recipe.model_dump(), name)


def estimate_folder() -> Path:
    """Where the job of an estimate is written, and taken away again."""
    return cache_dir() / "estimate"


def estimate_sentence(estimate: Mapping[str, Any]) -> str:
    """What the measured steps mean for the whole run."""
    text = (
        f"About {duration_text(estimate['seconds'])} for {count_text(estimate['steps'])} steps "
        f"({estimate['step_seconds']:.2f} s a step, measured)"
    )
    for key, where in (("memory_bytes", "of memory"), ("disk_bytes", "on disk")):
        if estimate.get(key):
            text += f", {bytes_text(estimate[key])} {where}"
    return f"{text}."


class CleaningRun(QObject):
    """One child process at a time, for a run or an estimate, and the run that is on show.

    The run on show is the one at work, until the user looks at an earlier one meanwhile.
    :attr:`headline`, :attr:`details`, :attr:`notice` and :attr:`state` are of the run at work, if
    there is one; all else is of the run on show.

    It alone writes ``session.run`` and ``session.run_progress``. ``began``: a process started;
    ``opened``: a different run is displayed; ``measured(Metric)``: a number of it;
    ``step_ended(Chain, AutoStep)``: a step of the chain at work; ``result_shown(result)``: show
    its result; ``changed``: one of :attr:`headline`, :attr:`details`, :attr:`notice`,
    :attr:`state`, :attr:`trouble`, :attr:`shows_result`, :attr:`newest_is_hidden` or
    :attr:`estimated` changed.

    ``event_received(event)`` passes on every event of the running process, ``progressed(Progress)``
    the progress of run or estimate after ``session.run_progress`` was written, ``logged(line)`` a
    line for the log. ``ended(Done)`` ends either; after all its listeners, ``freed``: the next may
    begin. ``restored(SavedRun)``: a run of an earlier session continues, or could;
    ``failed`` carries an InputError.
    """

    began = Signal()
    opened = Signal()
    measured = Signal(object)
    step_ended = Signal(object, object)
    result_shown = Signal(object)
    changed = Signal()
    event_received = Signal(object)
    progressed = Signal(object)
    logged = Signal(str)
    warned = Signal(str)
    ended = Signal(object)
    freed = Signal()
    restored = Signal(object)
    failed = Signal(object)

    def __init__(
        self,
        session: Session,
        device: StudioDevice,
        make_runner: NewRunner = new_runner,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.task = JobTask("clean", make_runner, self)
        self.task.received.connect(self._on_event)
        self.task.state_changed.connect(self._on_state_changed)
        self.task.logged.connect(self.logged)
        self.task.warned.connect(self.warned)
        self.task.ended.connect(self._on_ended)
        self._session, self._studio_device = session, device
        self._reading = Ticket.closed()  # numbers of a run that was begun earlier
        self._meanwhile: list[Metric] = []  # numbers that came while they were read
        self.mode: Mode = "run"
        self.on_show = ShownRun()
        self.newest: ShownRun | None = None  # that a process was started for, or that was offered
        self.estimated: dict[str, Any] = {}
        self._estimated_recipe: Recipe | None = None
        self._estimate_holds = False
        self._said_idle = HINT  # while no run is on show, and after an estimate
        self._asr: float | None = None  # measured last on the way
        self._safe_at = 0.0  # when work was saved last, or begun

    # How it stands

    @property
    def runner(self) -> JobRunner | None:
        """Supervises the process at work."""
        return self.task.runner

    @property
    def details(self) -> str:
        """What the run bar says below its title while no process is at work."""
        return self._said_idle or self._of_bar.details

    @property
    def notice(self) -> str:
        """What is to be known of the run in the run bar."""
        return self._of_bar.notice

    @property
    def newest_is_hidden(self) -> bool:
        """Whether an earlier run is on show beside the one at work, or the one that ended last."""
        return self.newest is not None and self.newest is not self.on_show

    @property
    def _of_bar(self) -> ShownRun:
        """The run of the run bar."""
        return self.newest if self.is_cleaning and self.newest is not None else self.on_show

    @property
    def chain(self) -> Chain | None:
        """The chain at work."""
        return self.newest.chain if self.is_cleaning and self.newest is not None else None

    @property
    def step(self) -> AutoStep | None:
        """The step of the chain at work."""
        return None if self.chain is None else self.chain.running

    @property
    def begins_again(self) -> str:
        """That the chain's step at work leaves nothing if it is cut off; empty if it does."""
        return "" if self.step is None or self.step.kind == "clean" else _STEP_BEGINS_AGAIN

    @property
    def seconds_unsaved(self) -> float:
        """Seconds of work that cancelling would lose; 0 while no run is at work."""
        return time.monotonic() - self._safe_at if self.is_cleaning else 0.0

    @property
    def is_running(self) -> bool:
        """Whether a process is at work, for a run or an estimate."""
        return self.task.is_running

    @property
    def is_cleaning(self) -> bool:
        """Whether a run is at work, and no estimate."""
        return self.runner is not None and self.mode != "estimate"

    @property
    def state(self) -> State:
        """State of the running process; idle if no process runs."""
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
        return self._reading.is_open

    @property
    def has_result(self) -> bool:
        """Whether a result is on show."""
        return bool(self.on_show.result) and self.on_show.shows_result

    @property
    def is_offered(self) -> bool:
        """Whether a run without a result can go on, or begin anew."""
        return self.on_show.trouble is not None and not self.is_running

    @property
    def title(self) -> str:
        """What it is called, and what it works on where another checkpoint was opened meanwhile."""
        run, facts = self._of_bar, self._session.checkpoint
        another = run.source and facts is not None and facts.path != run.source
        title = plain(run.title, 80)
        return f"{title} on {plain(Path(run.source).name, 40)}" if another else title

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
            return "Estimating" if self.mode == "estimate" else f"{self.title}: {doing}"
        status = self.on_show.status
        return f"{self.title}: {ENDS.get(status, status).lower()}" if status else "Ready"

    # Beginning and ending

    def begin(self, folder: Path, spec: CleanSpec, mode: Mode = "run") -> None:
        """Start a written job, or go on with it, and show it.

        Raises
        ------
        InputError
            If another job uses its device; what was on show stays.
        """
        same = self.estimated if spec.recipe == self._estimated_recipe else None
        plan = cleaning_plan(spec, same)
        self.task.kind = "clean"
        options = {"resume": True} if mode == "resume" else {}
        self.task.launch(
            folder / SPEC_FILE,
            self._device_of(spec),
            plan,
            processes=self._fitting(spec),
            **options,
        )
        self._on_launched(mode, self._shown_run(folder, spec))

    def begin_chain(self, chain: Chain) -> None:
        """Start *Clean it*, or go on after its last finished step, and show it.

        Raises
        ------
        InputError
            If it cannot be written, or another job uses its device; what was on show stays.
        """
        run = self._chain_run(chain)
        self.task.kind = "auto"
        self.task.start(chain.spec, chain.folder / CHAIN_SPEC, run.device)
        self._on_launched("auto", run)

    def _on_launched(self, mode: Mode, run: ShownRun) -> None:
        """Show the run whose process was started."""
        self._note_launch(mode)
        self.newest = run
        self._show(run)
        self._set_run(run, "running")
        run.notice = self._studio_device.release(run.device)
        self.began.emit()
        self.changed.emit()

    def resume(self, saved: SavedRun) -> None:
        """Go on with a run from its last save, whichever window began it.

        Raises
        ------
        InputError
            If another job uses its device; what was on show stays.
        """
        self.begin(saved.folder, saved.spec, "resume")
        self._restore(saved)

    def offer(self, saved: SavedRun) -> None:
        """Show a run that was interrupted and can go on."""
        run = self.newest = self._shown_run(saved.folder, saved.spec)
        total = saved.spec.recipe.total_steps
        run.status = "interrupted"
        run.trouble = Trouble(
            f"“{plain(run.title, 80)}” was interrupted; its last save is at step "
            f"{count_text(saved.step)} of {count_text(total)}. Resume continues from there.",
            can_resume=True,
            may_lack_memory=True,
        )
        self._show(run)
        self._restore(saved)
        self.changed.emit()

    def show_chain(self, chain: Chain) -> None:
        """Show a chain of an earlier window: its best round, or that it can go on."""
        if chain.is_whole and chain.best is not None:
            with suppress(InputError):  # its folder was deleted, say
                self.show_past(read_run(chain.best))
                return
        run = self.newest = self._chain_run(chain)
        run.status = "finished" if chain.is_whole else "interrupted"
        if not chain.is_whole:
            self._take_round(run, chain)
            run.trouble = Trouble(f"{TITLE} was interrupted. {_CHAIN_GOES_ON}", can_resume=True)
        if run.result:
            self._set_run(run, run.status)
        self._show(run)
        self._read_metrics(run)
        self.changed.emit()

    def show_past(self, past: PastRun) -> None:
        """Show a run of the history as if it had just ended; its numbers follow.

        A run at work goes on meanwhile.
        """
        newest, step = (self.newest, self.step) if self.is_cleaning else (None, None)
        at_work = "" if step is None or self.begins_again else step.folder
        if newest is not None and past.folder == newest.folder / at_work:
            self.show_newest()
            return
        run = self._shown_run(past.folder, past.spec)
        if newest is not None and newest.folder == past.folder.parent:
            run.chain = newest.chain
        elif is_chain(past.folder.parent):
            with suppress(InputError):  # a damaged record hides no round
                run.chain = read_chain(past.folder.parent)
        if past.result:
            run.status = "stopped" if past.status == "stopped" else "finished"
            self._keep_result(run, {"seconds": 0.0, **past.result})
        elif past.status in ("failed", "cancelled", "interrupted"):
            self._keep_trouble(run, past.status, Done("failed", {}, past.error, past.error_code))
        else:
            run.status, run.details = past.status, plain(past.error, 400)
        if past.spec.trigger is not None and run.asked[0] is None:
            run.notice = NO_TRIGGER
        if not self.is_cleaning:
            self.newest = run
            if past.result:
                self._set_run(run, run.status)
        self._show(run)
        self._read_metrics(run)
        self.changed.emit()

    def show_newest(self) -> None:
        """Show the run at work again, or the one that ended last."""
        if self.newest is not None and self.newest_is_hidden:
            self._show(self.newest)
            self._read_metrics(self.newest)
            self.changed.emit()

    def rename(self, folder: Path, name: str) -> None:
        """Call a run something else, if it is on show."""
        for run in filter(None, (self.newest, self.on_show)):
            if run.folder == folder:
                run.name = name
        self.changed.emit()

    def forget(self, folder: Path) -> None:
        """Show nothing of a run whose folder is gone."""
        if self.is_cleaning and self.newest is not None and self.newest.folder == folder:
            return
        if self.newest is not None and self.newest.folder == folder:
            self.newest = None
        if self.on_show.folder == folder:
            self.on_show, self._said_idle = ShownRun(), HINT
            self._stop_reading()
            self.opened.emit()
            self.changed.emit()

    def estimate(self, spec: CleanSpec) -> None:
        """Measure a few steps of a job.

        Raises
        ------
        InputError
            If it cannot be written, or another job uses the device.
        """
        path, device = Path(spec.output_dir) / SPEC_FILE, self._session.device
        self.task.kind = "clean"
        self.task.start(spec, path, device, estimate_plan(spec), estimate=True)
        self._note_launch("estimate")
        self._estimate_holds, self._estimated_recipe = True, spec.recipe
        self.began.emit()
        self.changed.emit()

    def forget_estimate(self) -> None:
        """Take the estimate away, and the one that is being measured: it is of another job."""
        self._estimate_holds = False
        if self.estimated:
            self.estimated = {}
            self.changed.emit()

    def pause(self) -> None:
        """Hold the run before its next step, or let it go on."""
        if self.runner is None or not self.is_cleaning:
            return
        if self.runner.state == "paused":
            self.runner.resume()
        else:
            self.runner.pause()

    def stop(self) -> None:
        """Finish the step, save what there is, measure it."""
        if self.runner is not None and self.is_cleaning:
            self.runner.stop_and_save()

    def cancel(self) -> None:
        """End the run, or the estimate, at once; the last save is kept."""
        self.task.cancel()

    # The result

    def follow(self, facts: ShownCheckpoint | None, *, keep: bool = False) -> None:
        """Show a result beside the checkpoint that it was made from; ``keep`` leaves it there."""
        run = self.on_show
        if run.result.get("source"):
            here = where_open(run.result, facts)
            moved, run.result = here != run.result, here
            if not is_source(facts, here):
                run.shows_result = run.shows_result and keep
            elif moved or not run.shows_result:  # moved: of a run elsewhere
                run.shows_result = True
                self.result_shown.emit(run.result)
        self.changed.emit()

    # What only this class does

    def _shown_run(self, folder: Path, spec: CleanSpec) -> ShownRun:
        asked = trigger_of(spec), spec.target
        device, name = self._device_of(spec), read_name(folder)
        return ShownRun(folder, spec.recipe, spec.checkpoint, asked, device, name)

    def _chain_run(self, chain: Chain) -> ShownRun:
        run = self._shown_run(chain.folder, chain.spec.base)
        run.chain = chain
        return run

    def _show(self, run: ShownRun) -> None:
        """Make a run the one that is on show."""
        self.on_show, self._said_idle = run, ""
        self._stop_reading()
        self.opened.emit()
        if run.result:
            self.result_shown.emit(run.result)

    def _restore(self, saved: SavedRun) -> None:
        """Tell what a saved run has measured, and that it is on show."""
        for metric in run_metrics(saved.folder, saved.step):
            self.measured.emit(metric)
        self.restored.emit(saved)

    def _read_metrics(self, run: ShownRun) -> None:
        """Read the numbers of a run from its journal, in the background."""
        folder = run.folder
        if run.chain is not None and run.is_chain:
            folder = run.chain.round_folder
        self._reading = tasks.run(
            lambda _: run_metrics(folder), self._on_metrics_read,
            lambda error: self.failed.emit(error.titled("Could not open the run")),
        )  # fmt: skip

    def _stop_reading(self) -> None:
        self._meanwhile = []
        self._reading.cancel()

    def _on_metrics_read(self, metrics: tuple[Metric, ...]) -> None:
        """Show what was read, and then what the run has measured since."""
        known = {(metric.step, "loss" in metric.values) for metric in metrics}
        since, self._meanwhile = self._meanwhile, []
        new = (metric for metric in since if (metric.step, "loss" in metric.values) not in known)
        for metric in (*metrics, *new):
            self.measured.emit(metric)

    def _note_launch(self, mode: Mode) -> None:
        """Note that a process was started."""
        self.mode = mode
        self._session.run_progress = None
        self._asr, self._safe_at = None, time.monotonic()

    def _device_of(self, spec: CleanSpec) -> str:
        return self._session.device if spec.device == "auto" else spec.device

    def _fitting(self, spec: CleanSpec) -> int:
        """Processes of a job, no more than this machine has GPUs, as far as they are known."""
        gpus = count_gpus(self._session.devices)
        fewer = spec.device == "cuda" and self._session.devices and gpus < spec.processes
        return max(1, gpus) if fewer else spec.processes

    def forget_ended(self) -> None:
        """Withdraw the run from the rest of the window, unless one goes on."""
        if not is_live(self._session.run):
            self._session.run = None

    def _set_run(self, run: ShownRun, status: Any, error: str = "") -> None:
        """Tell the rest of the window how the newest run stands."""
        folder = "" if run.is_chain else str(run.folder)  # of a run, for sessions and reports
        chain = run.chain if run.stands_for_chain else None
        self._session.run = RunState(
            folder, run.recipe.method, status, run.device, run.result, error, run.title,
            run.result.get("source") or run.source,
            "" if run.chain is None else str(run.chain.folder),
            "" if chain is None or chain.result is None else answer_of(chain.result)[0],
        )  # fmt: skip

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Progress):
            if self.chain is not None and (event.stage, event.done) == ("open", 1):
                self.task.overall.expect(*self.chain.plans())  # the job of a round is on disk now
            fraction, left = self.task.fraction, self.task.seconds_left
            progress = RunProgress(event.stage, fraction, left, self._asr, self.step)
            self._session.run_progress = progress
            self.progressed.emit(event)
        elif isinstance(event, Metric):
            if "factor" not in event.values:
                self._asr = event.values.get("asr_excl", self._asr)
            if (
                self.mode != "estimate"
                and not self.newest_is_hidden
                and "factor" not in event.values
            ):
                if self.is_reading:
                    self._meanwhile.append(event)
                else:
                    self.measured.emit(event)
        elif isinstance(event, Saved):
            self._safe_at = time.monotonic()
        elif isinstance(event, Finding) and event.kind == "step":
            self._take_step(AutoStep.model_validate(event.values))
        elif isinstance(event, Finding) and event.kind == "scan" and self.chain is not None:
            self.task.overall.expect(*self.chain.plans(event.values))
        if self.mode != "estimate":
            self.event_received.emit(event)

    def _take_step(self, step: AutoStep) -> None:
        """A step of the chain begins, or has ended."""
        run = self.newest
        if run is not None and run.chain is not None:
            run.chain.take(step)
            if step.status == "running":
                self.task.overall.begin_job(*run.chain.plans())
            self._safe_at = time.monotonic()
            if step.status != "running":
                self.step_ended.emit(run.chain, step)
            elif step.kind == "clean" and run is self.on_show:
                self._stop_reading()
                self.opened.emit()  # its numbers are those of another run
                self._read_metrics(run)
            self.changed.emit()

    def _on_state_changed(self, state: str) -> None:
        if state in ("running", "paused") and self.is_cleaning and self.newest is not None:
            overall = self.task.overall
            (overall.pause if state == "paused" else overall.go_on)()
            self._set_run(self.newest, state)
        self.changed.emit()

    def _on_ended(self, last: Done) -> None:
        self._studio_device.restore()
        run = self.newest
        if self.mode == "estimate":
            shutil.rmtree(estimate_folder(), ignore_errors=True)
            self._show_estimate(last)
        elif run is not None:
            run.notice = ""
            if run.chain is not None:
                self._end_chain(run, run.chain, last)
            elif last.status in ("finished", "stopped"):
                run.status = last.status
                self._keep_result(run, last.result)
            else:
                self._keep_trouble(run, ending(last), last)
            self._set_run(run, run.status, "" if run.result else last.error)
            if run.result and run is self.on_show:
                self.result_shown.emit(run.result)
        self.changed.emit()
        self.ended.emit(last)
        self.freed.emit()

    def _end_chain(self, run: ShownRun, chain: Chain, last: Done) -> None:
        """Show the best round of a chain, or why it has none."""
        run.status = ending(last)
        with suppress(InputError):  # then what was told on its way is on show
            record, cut_off = read_chain(chain.folder), chain.running
            chain.steps, chain.result = record.steps or chain.steps, record.result
            if cut_off is not None:
                chain.take(cut_off)  # the record has it once it has ended
        self._take_round(run, chain)
        if last.status != "finished":
            failed = last.status == "failed"
            sentence = last.error if failed else f"“{TITLE}” was {ENDS[run.status].lower()}."
            error = as_error(last) if failed else None
            run.trouble = Trouble(f"{sentence} {_CHAIN_GOES_ON}", can_resume=True, error=error)
        if run is self.on_show:
            self.opened.emit()
            self._read_metrics(run)

    def _take_round(self, run: ShownRun, chain: Chain) -> None:
        """Show what a stop has saved of a chain, or its best round."""
        shown = chain.round_folder if chain.was_stopped else chain.best or chain.folder
        with suppress(InputError):  # there is none, or its folder was deleted
            past = read_run(shown)
            if past.result:
                best = self._shown_run(past.folder, past.spec)
                run.folder, run.recipe, run.asked = best.folder, best.recipe, best.asked
                self._keep_result(run, {"seconds": 0.0, **past.result})

    def _show_estimate(self, last: Done) -> None:
        """Keep what the measured steps mean for the whole run."""
        finished = last.status == "finished"
        stale = finished and not self._estimate_holds
        self._said_idle = STALE if stale else ""
        self.estimated = dict(last.result) if finished and not stale else {}
        if last.status == "failed":
            self.failed.emit(as_error(last).titled("Could not measure the steps"))

    def _keep_result(self, run: ShownRun, result: dict[str, Any]) -> None:
        """Note what a run made, now or long ago."""
        run.result = where_open(result, self._session.checkpoint)
        chain = run.chain.result if run.chain is not None and run.stands_for_chain else None
        seconds = float(result.get("seconds") or 0) if chain is None else chain.seconds
        because = result.get("stopped_because") if chain is None else ""
        run.details = str(because or (f"In {duration_text(seconds)}." if seconds else ""))
        run.shows_result = True

    def _keep_trouble(self, run: ShownRun, status: str, last: Done) -> None:
        """Note how a run ended that left no result, now or long ago, and what can be done."""
        goes_on = run.chain is not None and not run.chain.is_whole
        saved = goes_on or can_resume(run.folder)
        tail = (
            _CHAIN_GOES_ON
            if goes_on
            else "“Resume” continues from the last save."
            if saved
            else "Nothing was saved yet: “Start again” begins at the first step."
        )
        run.status = status
        failed = status != "cancelled" and bool(last.error)
        sentence = last.error if failed else f"The run was {ENDS[status].lower()}."
        if failed and status == "interrupted":
            sentence = f"Interrupted: {sentence}"
        run.trouble = Trouble(
            f"{sentence} {tail}",
            can_resume=saved,
            may_lack_memory=last.error_code in ("killed", "memory")
            or (status == "interrupted" and not failed),
            error=as_error(last) if failed else None,
        )


def ending(last: Done) -> str:
    """The status of a run without a result; one whose process was ended is interrupted."""
    return "interrupted" if last.error_code in INTERRUPTED else last.status


def as_error(last: Done) -> InputError:
    """A failed job as what the window's error dialog shows."""
    code = last.error_code
    known = ("dangerous", "damaged", "unsupported", "usage")
    return InputError(last.error, code if code in known else "damaged", last.details)  # type: ignore[arg-type]
