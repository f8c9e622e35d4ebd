"""Clean: choose how, see what it takes, watch it, compare before and after, and with other runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QDeadlineTimer, Qt, Signal, Slot
from PySide6.QtWidgets import QWidget

from cleanclip_gui.clean.alpha import AlphaActs
from cleanclip_gui.clean.audit.audit import Auditing, same_pairs
from cleanclip_gui.clean.proof.proof import ProofActs
from cleanclip_gui.clean.queue_acts import QueueActs
from cleanclip_gui.clean.queue_file import QUEUE_FILE
from cleanclip_gui.clean.recipes import RecipeFiles
from cleanclip_gui.clean.resuming import Resuming, is_audit, is_unfinished_run
from cleanclip_gui.clean.run import Asked, RunAtWork, ending, estimate_folder
from cleanclip_gui.clean.run_queue import RunQueue
from cleanclip_gui.clean.runs.actions import HistoryActs
from cleanclip_gui.clean.runs.history import evaluations_until, run_metrics
from cleanclip_gui.clean.runs.page import CleanRuns
from cleanclip_gui.clean.runs.saved_run import (
    SavedRun,
    can_resume,
    read_saved_run,
)
from cleanclip_gui.clean.save_result import SaveCleaned
from cleanclip_gui.clean.try_in_studio import TryCleaned
from cleanclip_gui.clean.view import ESTIMATE_HELP, ESTIMATE_WAITS, CleanView
from cleanclip_gui.commands import Command
from cleanclip_gui.jobs.runner import DEVICES, JobRunner, is_taken
from cleanclip_gui.session import CheckpointFacts
from cleanclip_gui.session.records import is_live
from cleanclip_gui.station import AtWork, Context, Station
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import count_text, plain
from ml_core.data.specs import PairSpec
from ml_core.events import Done, Progress
from ml_core.jobs.specs import CleanSpec, read_spec
from ml_core.paths import data_dir
from ml_core.reading.errors import InputError

_RUN = ("A cleaning run is going on.", "Its last save is kept.")
_AUDIT = ("An audit of training pairs is going on.", "The next audit finds what was embedded.")
_ALPHA = ("An alpha is being measured or saved.", "The run's result stays as it is.")
_SAVING = ("A file is being saved.", "What it would write over, and the run's own file, stay.")
_TEST_KEEPS = "It begins anew the next time."


def _leave() -> None:
    """What ends by itself is not cancelled."""


def make(context: Context) -> Station:
    """The station, for the window."""
    return CleanStation(context)


class CleanStation(CleanView):
    """The Clean station.

    ``failed`` carries an :class:`InputError` for the window to show; ``resumed`` the
    :class:`SavedRun` that goes on; ``repeated`` the :class:`CleanSpec` that the form was filled
    with.
    """

    id = "clean"
    title = "Clea&n"
    question = "Can the backdoor be removed?"
    icon = "clean"
    shortcut = "Ctrl+3"

    failed = Signal(object)
    logged = Signal(str)
    resumed = Signal(object)
    repeated = Signal(object)
    changed = Signal()

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        self.queue = RunQueue()
        self.bench = CleanRuns(self.queue)
        super().__init__(self.bench, self.bench.comparison, parent)
        self.queue.setParent(self)
        self.session = session = context.session
        self.shell = context.shell
        inference = context.inference
        self.run = RunAtWork(session, inference, context.device, self)
        self.studio_device = context.device
        self.saving = SaveCleaned(self)
        self.auditing = Auditing(session, self, lambda: self.data.pairs())
        self.trying = TryCleaned(session, inference, self.shell, self)
        self.alpha_acts = AlphaActs(self.alpha, session, inference, self.shell, self)
        self.proving = ProofActs(self.proof, session, self)
        self.recipes = RecipeFiles(self.setup)
        self.waiting = QueueActs(self)
        self.history = HistoryActs(self)
        self.bench.parent_folder = self.setup.folder
        self.start_button.setObjectName("clean.start_button")
        self.before_after.setObjectName("clean.before_after")
        self.charts.rates.setObjectName("clean.rates")
        self._connect()
        self._use_prompts(context.prompts)
        self.failed.connect(self.shell.failed)
        self.logged.connect(self.shell.logged)
        self.changed.connect(self.shell.commands_changed)
        self.resuming = Resuming(context, self)
        self.waiting.keep(data_dir() / QUEUE_FILE)
        self._refresh()
        context.actions.add(self.commands())

    def is_available(self) -> bool:
        """Whether there is something to clean, or a run of an earlier window."""
        earlier = self.is_offering() or len(self.queue) > 0
        return self.session.checkpoint is not None or self.is_running() or earlier

    def commands(self) -> tuple[Command, ...]:
        """What can be done with runs, results, the queue and audits."""
        made = (
            Command(
                "clean.estimate", "&Estimate", "&Clean", partial(self._shown, self.estimate),
                "Measure a few steps and say how long the run would take.", "info", "Ctrl+E", 0,
                self.estimate_button.isEnabled,
            ),
            Command(
                "clean.start", "&Start cleaning", "&Clean", partial(self._shown, self.start),
                "Finetune the checkpoint in a process of its own.", "play", "Ctrl+Return", 0,
                self.start_button.isEnabled,
            ),
            Command(
                "clean.audit", "&Audit training pairs…", "&Clean", self.auditing.open,
                "Look for poisoned pairs in what the checkpoint is to be cleaned with.", "search",
                "Ctrl+Shift+A", 0,
                lambda: self.session.checkpoint is not None and self.data.takes_pairs,
            ),
            Command(
                "clean.open_audit", "Ope&n audit…", "&Clean", self.auditing.choose,
                "Show an audit that was made before, with what was excluded by it.", "folder",
            ),
            Command(
                "clean.resume_folder", "&Resume a run…", "&Clean", self.resuming.choose,
                "Go on with a run that was interrupted, from its folder.", "folder", "Ctrl+R", 0,
                lambda: not self.is_running(),
            ),
            Command(
                "clean.pause", "&Pause or go on", "&Clean", self.pause,
                "Hold the run before its next step, or let it go on.", "pause", "Ctrl+P", 1,
                self._is_cleaning,
            ),
            Command(
                "clean.stop", "S&top and save", "&Clean", self.stop_and_save,
                "Finish the step, save what there is, measure it.", "stop", "Ctrl+.", 1,
                self._is_cleaning,
            ),
            Command(
                "clean.cancel", "&Cancel", "&Clean", self.cancel,
                "End the run at once; its last save is kept.", "cancel", "Ctrl+Shift+.", 1,
                self.is_running,
            ),
            Command(
                "clean.try", "Try in St&udio", "&Clean", self.try_cleaned,
                "Put the same trigger on the cleaned model.", "compare", "Ctrl+Shift+T", 2,
                self.has_result,
            ),
            Command(
                "clean.save", "Save cleaned c&heckpoint or adapter…", "&Clean", self.save_cleaned,
                "Copy what the run made to a place of your choice.", "save", "Ctrl+S", 2,
                self.has_result,
            ),
            Command(
                "clean.rebound", "Re&bound test", "&Clean", self.proving.begin_rebound,
                "Finetune the cleaned model once more: does the backdoor come back?", "redo", "",
                2, self._can_prove,
            ),
            Command(
                "clean.holdouts", "Hold-&outs", "&Clean", self.proving.begin_holdouts,
                "Measure what the run was not told.", "target", "", 2, self._can_prove,
            ),
            Command(
                "clean.runs", "&Queue and history", "&Clean",
                partial(self._shown, partial(self.show_page, 1)),
                "Runs that wait, and those of before.", "library", "Ctrl+4", 3, self.is_available,
            ),
            Command(
                "clean.start_queue", "Run what &waits", "&Clean", self.start_queue,
                "Start the jobs that wait in a held queue, one after the other.", "play", "", 3,
                lambda: self.waiting.can_start,
            ),
            Command(
                "clean.compare", "Co&mpare runs", "&Clean",
                partial(self._shown, partial(self.show_page, 2)),
                "Trade-off and curves of the runs that are ticked.", "compare", "Ctrl+5", 3,
                self.is_available,
            ),
            # Without a menu: what the guided run does.
            *(
                Command(
                    f"clean.start_{preset}", f"CleanCLIP, preset {preset}", "",
                    partial(self.start_preset, preset), "",
                )
                for preset in ("talk", "default")
            ),
        )  # fmt: skip
        # A key that is held undoes step by step, but starts one run.
        return tuple(replace(command, repeats=False) for command in made)

    def at_work(self) -> tuple[AtWork, ...]:
        """Runs, proofs, audits and files that are being written."""
        found = []
        if is_live(self.session.run):
            found.append(AtWork(*_RUN, partial(self._end, self.cancel), waits=True))
        if self.proving.is_running:
            said = f"{self.proving.title} is going on."
            found.append(AtWork(said, _TEST_KEEPS, partial(self._end, self.proving.cancel)))
        if self.auditing.is_running:
            found.append(AtWork(*_AUDIT, partial(self._end, self.auditing.cancel)))
        if self.alpha_acts.is_busy:
            found.append(AtWork(*_ALPHA, _leave))
        if self.saving.is_busy:
            found.append(AtWork(*_SAVING, _leave))
        return tuple(found)

    def take_file(self, path: Path) -> bool:
        """Open the folder of an audit, and offer to go on with a run that has no result."""
        if is_audit(path):
            self.auditing.open_saved(path if path.is_dir() else path.parent)
        elif is_unfinished_run(path):
            self.resuming.offer(path)
        else:
            return False
        return True

    def may_close(self) -> bool:
        """Whether no marks of an audit would be lost, or the user lets them go."""
        return self.auditing.may_lose_marks("Quit", "Quit")

    def _end(self, act: Callable[[], object]) -> None:
        """Cancel something, and start none of what waits in the queue after it."""
        self.queue.hold(True)
        act()

    @Slot()
    def start_queue(self) -> None:
        """Show the queue and let what waits run."""
        self._shown(partial(self.show_page, 1))
        self.waiting.start()

    def start_preset(self, preset: str) -> None:
        """Clean with CleanCLIP's preset of that name, unless something is being cleaned."""
        if not is_live(self.session.run):
            self.form.set_method("cleanclip")
            self.form.set_preset(preset)
            self.start()

    def _shown(self, act: Callable[[], object]) -> None:
        """Do something on the page of this station."""
        self.shell.station_wanted.emit(self.id)
        act()

    def _is_cleaning(self) -> bool:
        return self.run.is_cleaning

    def _can_prove(self) -> bool:
        """Whether a result is on show that could be tested now."""
        shown = not self.proof.isHidden() and self.before_after.isVisibleTo(self)
        return shown and self.proof.rebound_button.isEnabled()

    # Acts

    @Slot()
    def start(self) -> None:
        """Write the job that is set, and run it or let it wait."""
        try:
            spec_path = self.setup.write(self.session, device=self.studio_device.wanted)
            spec = read_spec(spec_path)
        except InputError as error:
            self.failed.emit(error)
            return
        self.begin_or_enqueue(spec_path.parent, spec, (self.session.trigger, self.session.target))

    def begin_or_enqueue(self, folder: Path, spec: CleanSpec, asked: Asked) -> None:
        """Run a written job; while another one is at work, let it wait in the queue."""
        if self.is_busy() or not self.begin(folder, spec, asked):
            self.enqueue(folder)

    def enqueue(self, folder: Path) -> None:
        """Let a written job wait for the one at work, or start it if there is none."""
        self.waiting.enqueue(folder)

    @Slot()
    def estimate(self) -> None:
        """Measure a few steps and say how long the run would take."""
        if self.is_busy():
            return
        try:
            self.run.estimate(self.setup.write(self.session, estimate_folder()))
        except InputError as error:
            self.failed.emit(error)

    @Slot()
    def resume_run(self) -> None:
        """Go on with a run that was killed or cancelled, from its last save or from its start."""
        folder = self.run.folder
        if folder is None or self.is_busy():
            return
        try:
            if can_resume(folder):
                self.go_on(read_saved_run(folder))
            else:
                self.history.start_again(folder)
        except InputError as error:
            self.failed.emit(error)

    def go_on(self, saved: SavedRun) -> None:
        """Resume a run, whichever window began it; set-up and charts show what it is."""
        if self.is_busy():
            return
        try:
            self.run.begin(saved.folder, saved.spec, (saved.trigger, saved.spec.target), "resume")
        except InputError as error:
            self.failed.emit(error)
            return
        self._show_saved(saved)
        self.bench.begin_live(saved.folder, evaluations_until(saved.folder, saved.step))
        self.show_page(0)
        self.resumed.emit(saved)

    def offer(self, saved: SavedRun) -> None:
        """Say that a run can go on, with a button for it."""
        if self.is_busy():
            return
        self.run.take_up(saved.folder, saved.spec, (saved.trigger, saved.spec.target))
        self._show_saved(saved)
        self.run_bar.show_idle(f"{self.run.title()}: interrupted", "")
        total = saved.spec.recipe.known_steps
        of = "" if total is None else f" of {count_text(total)}"
        self.show_trouble(
            f"The run {plain(saved.folder.name, 80)} was interrupted; its last save is at step "
            f"{count_text(saved.step)}{of}. "
            "Resume goes on from there.",
            resumable=True,
            failed=False,
            halve=True,
        )

    def is_offering(self) -> bool:
        """Whether a run can go on at a click."""
        return self._trouble_card.isVisibleTo(self) and not self.is_running()

    @Slot()
    def pause(self) -> None:
        """Hold the run before its next step, or let it go on."""
        runner = self._runner
        if runner is None or not self.run.is_cleaning:
            return
        if runner.state == "paused":
            runner.resume()
        else:
            runner.pause()

    @Slot()
    def stop_and_save(self) -> None:
        """Finish the step, save what there is, measure it."""
        if self._runner is not None and self.run.is_cleaning:
            self._runner.stop_and_save()

    @Slot()
    def cancel(self) -> None:
        """End the run at once; its last save is kept."""
        if self._runner is not None:
            self._runner.cancel()

    @Slot()
    def try_cleaned(self) -> None:
        """Open the cleaned checkpoint beside the suspect one and show it in Studio."""
        self.trying.begin(self._result, self._asked)

    @Slot()
    def save_cleaned(self) -> None:
        """Copy the cleaned checkpoint, or the adapter, to a place of the user's choice."""
        self.saving.begin(self._result)

    def _use_prompts(self, prompts: Prompts) -> None:
        """Ask through these."""
        self.setup.use_prompts(prompts)
        self.bench.prompts = self.recipes.prompts = self.alpha_acts.prompts = prompts
        self.auditing.prompts = self.saving.prompts = self.proving.prompts = prompts

    def is_running(self) -> bool:
        """Whether a child is at work, for a run or for an estimate."""
        return self.run.is_running

    def is_busy(self) -> bool:
        """Whether this station is at work, for a run, an estimate or a test."""
        return self.is_running() or self.proving.is_running

    def has_result(self) -> bool:
        """Whether a cleaned checkpoint is on show."""
        return bool(self._result) and self.shows_result()

    def close_down(self, timeout_ms: int = 5000) -> bool:
        """End what is left when the window closes; whether it ended within the limit."""
        deadline = QDeadlineTimer(timeout_ms)
        self.queue.hold(True)
        ended = self.run.close(timeout_ms)
        ended = self.auditing.stop(deadline.remainingTime()) and ended
        ended = self.proving.stop(deadline.remainingTime()) and ended
        ended = self.alpha_acts.stop(deadline.remainingTime()) and ended
        ended = self.bench.stop(deadline.remainingTime()) and ended
        return self.saving.stop(deadline.remainingTime()) and ended

    # How a run begins and ends

    @property
    def _runner(self) -> JobRunner | None:
        return self.run.runner

    @property
    def _result(self) -> dict[str, Any]:
        return self.run.result

    @property
    def _asked(self) -> Asked:
        return self.run.asked

    def begin(self, folder: Path, spec: CleanSpec, asked: Asked) -> bool:
        """Start a written job; whether its device was free for it."""
        try:
            self.run.begin(folder, spec, asked)
        except InputError as error:
            self._on_line(f"{folder.name} waits. {error.sentence}")
            return False
        self.bench.begin_live(folder)
        return True

    def _show_saved(self, saved: SavedRun) -> None:
        """Set the form as a saved run was set, and draw what it measured."""
        self.setup.show_spec(saved.spec)
        for metric in run_metrics(saved.folder, saved.step):
            self.charts.add(metric)

    def _on_ended(self, last: Done) -> None:
        self.bench.end_live()
        failed = last.status == "failed" and self.run.mode != "estimate"
        said = f"{self.run.title()} {ending(last)}: {last.error}"
        if self.waiting.next() and failed:  # the next one took its card away
            self._on_line(f"{said} The next run starts.")
        self._refresh()

    def _on_line(self, text: str) -> None:
        self.show_log(text)
        self.logged.emit(text)

    # What follows the widgets and the session

    def _connect(self) -> None:
        self.setup.changed.connect(self._on_setup_changed)
        self.start_button.clicked.connect(self.start)
        self.estimate_button.clicked.connect(self.estimate)
        self.setup.audit_button.clicked.connect(self.auditing.open)
        self.auditing.failed.connect(self.failed)
        self.auditing.excluded.connect(self._on_excluded)
        self.run_bar.pause_clicked.connect(self.pause)
        self.run_bar.stop_clicked.connect(self.stop_and_save)
        self.run_bar.cancel_clicked.connect(self.cancel)
        self.resume_button.clicked.connect(self.resume_run)
        self.halve_button.clicked.connect(self.history.halve_current)
        self.details_button.clicked.connect(self._on_details_clicked)
        self.try_button.clicked.connect(self.try_cleaned)
        self.save_button.clicked.connect(self.save_cleaned)
        self.trying.opened.connect(self._on_opened_in_studio)
        for part in (
            self.trying, self.saving, self.charts, self.bench, self.run, self.recipes,
            self.alpha_acts, self.proving,
        ):  # fmt: skip
            part.failed.connect(self.failed)
        self.alpha_acts.saved.connect(self._on_saved)
        self.proving.logged.connect(self._on_line)
        self.proving.changed.connect(self._on_proof_changed)
        self.run.shown.connect(self._on_result_shown)
        self.saving.saved.connect(self._on_saved)
        self.saving.busy_changed.connect(self.save_button.setDisabled)
        self.run.logged.connect(self.logged)
        self.run.progressed.connect(self._on_progress)
        self.run.said.connect(self.bench.add_event)
        self.run.changed.connect(self._refresh)
        self.run.ended.connect(self._on_ended)
        self.page_shown.connect(self._on_page_shown)
        DEVICES.changed.connect(self._on_device_taken, Qt.ConnectionType.QueuedConnection)
        events = self.session.events
        events.checkpoint.connect(self._on_checkpoint_change)
        events.trigger.connect(self._on_trigger_change)
        events.images.connect(self._on_images_change)
        events.devices.connect(self._on_devices_change)
        events.device.connect(self._on_devices_change)

    @Slot()
    def _on_opened_in_studio(self) -> None:
        self.shell.station_wanted.emit("studio")

    @Slot(object)
    def _on_progress(self, progress: Progress) -> None:
        self.session.run_progress = progress

    @Slot(str, object)
    def _on_excluded(self, path: str, audited: PairSpec) -> None:
        """Leave out of the next run what was excluded, if these are still the pairs in use."""
        with suppress(InputError):
            if same_pairs(self.data.pairs(), audited):
                self.data.exclude.setText(path)

    @Slot()
    def _on_device_taken(self) -> None:
        self.waiting.next()
        self._refresh()

    def _on_setup_changed(self) -> None:
        self.run.forget_estimate()
        self._refresh()

    def _on_checkpoint_change(self, facts: CheckpointFacts | None) -> None:
        self.run.forget_estimate()
        self.run.follow(facts, keep=self.proving.is_running)
        self.run.show_again()
        path = Path(facts.path) if facts is not None else Path()
        self.setup.set_weight_bytes(path.stat().st_size if path.is_file() else 0)
        self._refresh()

    def _on_trigger_change(self, _trigger: object) -> None:
        self._refresh()

    def _on_images_change(self, _images: object) -> None:
        self.run.forget_estimate()  # most of a short run is measuring images
        self._refresh()

    def _on_devices_change(self, _: object) -> None:
        self.setup.gpus.set_devices(self.session.devices, self.studio_device.wanted)

    def _on_result_shown(self, result: dict[str, Any]) -> None:
        self.alpha_acts.show_result(result, self._asked)
        if self.run.folder is not None:
            self.proving.show_run(self.run.folder)
        self.changed.emit()

    def _on_proof_changed(self) -> None:
        if not self.proving.is_running:
            self.waiting.next()
        self._refresh()

    def _on_page_shown(self, page: int) -> None:
        if page == 1:
            self.bench.reload()

    def _on_details_clicked(self) -> None:
        if self.run.last_error is not None:
            self.failed.emit(self.run.last_error)

    def _on_saved(self, path: Path, adapter: bool = False) -> None:
        if adapter:
            self._on_line(f"Saved the adapter as {path.name}; keep it with the weights.")
        else:
            self._on_line(f"Saved the cleaned checkpoint as {path.name}.")

    def _refresh(self) -> None:
        """Enable what can be done, and say what is missing."""
        missing = self.setup.show_needs(self.session)
        ready = self.session.checkpoint is not None and not self.form.problem() and not missing
        busy = self.is_busy()
        free = not busy and not is_taken(self.setup.device(self.studio_device.wanted))
        self.proving.set_free(not self.is_running())
        self.start_button.setEnabled(ready)
        self.start_button.setText("Start cleaning" if free else "Add to the queue")
        self.estimate_button.setEnabled(ready and free)
        self.estimate_button.setToolTip(ESTIMATE_HELP if free else ESTIMATE_WAITS)
        self.resume_button.setEnabled(not busy)
        self.setup.audit_button.setEnabled(self.session.checkpoint is not None)
        if self.session.checkpoint is None:
            hint = "Open a checkpoint to clean it."
        elif missing:
            hint = missing
        elif self.session.images is None:
            hint = "No images are chosen: nothing will be measured before and after."
        elif self.session.trigger is None:
            hint = "No trigger is set in Studio: attack success will not be measured."
        else:
            hint = ""
        self.show_hint(hint)
        self.changed.emit()
