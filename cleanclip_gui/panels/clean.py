"""Clean: choose how, see what it takes, watch it, compare before and after."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from PySide6.QtCore import QDeadlineTimer, Signal, Slot
from PySide6.QtWidgets import QWidget

from cleanclip_gui.jobs.inference import Inference
from cleanclip_gui.jobs.runner import JobRunner, Mode, make_runner
from cleanclip_gui.jobs.saved_run import (
    SavedRun,
    can_resume,
    metrics_until_save,
    read_saved_run,
)
from cleanclip_gui.panels.clean_audit import Auditing, same_pairs
from cleanclip_gui.panels.clean_save import SaveCleaned
from cleanclip_gui.panels.clean_spec import new_folder, runs_dir, write_job
from cleanclip_gui.panels.clean_try import TryCleaned
from cleanclip_gui.panels.clean_view import CleanView, estimate_sentence
from cleanclip_gui.panels.studio_device import StudioDevice
from cleanclip_gui.session import CheckpointFacts, RunState, Session
from cleanclip_gui.text import count_text, plain
from ml_core.cleaning.catalogue import FACTS
from ml_core.cleaning.recipes import Recipe
from ml_core.data.specs import PairSpec
from ml_core.events import Done, Event, Message, Metric, Progress, Saved
from ml_core.jobs.specs import SPEC_FILE
from ml_core.paths import cache_dir
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger

_ENDS: dict[str, str] = {
    "finished": "Finished",
    "stopped": "Stopped and saved",
    "cancelled": "Cancelled",
    "failed": "Failed",
}


class CleanPanel(CleanView):
    """The Clean station.

    ``failed`` carries an :class:`InputError` for the window to show; ``try_in_studio`` asks it
    to show Studio; ``resume_asked`` to ask for a run's folder; ``resumed`` carries the
    :class:`SavedRun` that goes on; ``progressed`` carries a Progress. The window calls
    :meth:`cancel` and waits for ``session.run`` to end.
    """

    try_in_studio = Signal()
    failed = Signal(object)
    logged = Signal(str)
    progressed = Signal(object)
    resume_asked = Signal()
    resumed = Signal(object)

    def __init__(
        self, session: Session, inference: Inference, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.session = session
        self.new_runner: Callable[[Path, Mode, str], JobRunner] = make_runner
        self.saving = SaveCleaned(self)
        self.auditing = Auditing(session, self, lambda: self.data.pairs())
        self.trying = TryCleaned(session, inference, self)
        self._runner: JobRunner | None = None
        self._mode: Mode = "run"
        self._folder: Path | None = None
        self._recipe: Recipe | None = None
        self._source = ""
        self._asked: tuple[Trigger | None, int] = (None, 0)
        self._result: dict[str, Any] = {}
        self._device = session.device
        self.studio_device = StudioDevice(session, inference)
        self._last_error: InputError | None = None
        self.output.setText(str(runs_dir()))
        self._connect()
        self._refresh()

    # Acts

    @Slot()
    def start(self) -> None:
        """Write the job and run it."""
        self._begin("run")

    @Slot()
    def estimate(self) -> None:
        """Measure a few steps and say how long the run would take."""
        self._begin("estimate")

    @Slot()
    def resume_run(self) -> None:
        """Go on with a run that was killed or cancelled, from its last save."""
        folder = self._folder
        if folder is None or self.is_running():
            return
        if not can_resume(folder):
            self._begin("run")
            return
        try:
            self.go_on(read_saved_run(folder))
        except InputError as error:
            self.failed.emit(error)

    def go_on(self, saved: SavedRun) -> None:
        """Resume a run, whichever window began it; set-up and charts show what it is."""
        if self.is_running():
            return
        self._take_up(saved)
        self._launch(saved.folder / SPEC_FILE, "resume")
        if self.is_running():
            self.resumed.emit(saved)

    def offer(self, saved: SavedRun) -> None:
        """Say that a run can go on, with a button for it."""
        if self.is_running():
            return
        self._take_up(saved)
        self.run_bar.show_idle(f"{self._method_title()}: interrupted", "")
        self.show_trouble(
            f"The run {plain(saved.folder.name, 80)} was interrupted; its last save is at step "
            f"{count_text(saved.step)} of {count_text(saved.spec.recipe.total_steps)}. "
            "Resume goes on from there.",
            resumable=True,
            failed=False,
        )

    def is_offering(self) -> bool:
        """Whether a run can go on at a click."""
        return self._trouble_card.isVisibleTo(self) and not self.is_running()

    @Slot()
    def pause(self) -> None:
        """Hold the run before its next step, or let it go on."""
        runner = self._runner
        if runner is None:
            return
        if runner.state == "paused":
            runner.resume()
        else:
            runner.pause()

    @Slot()
    def stop_and_save(self) -> None:
        """Finish the step, save what there is, measure it."""
        if self._runner is not None:
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
        """Copy the cleaned checkpoint to a place of the user's choice."""
        self.saving.begin(self._result)

    @Slot()
    def choose_output(self) -> None:
        """Choose the folder in which runs are kept."""
        chosen = self.data.prompts.open_folder(self, "Output folder", self.output.text())
        if chosen:
            self.output.setText(chosen)

    def is_running(self) -> bool:
        """Whether a child is at work, for a run or for an estimate."""
        return self._runner is not None

    def stop(self, timeout_ms: int = 5000) -> bool:
        """End what is left when the window closes; whether it ended within the limit."""
        deadline = QDeadlineTimer(timeout_ms)
        ended = self._runner is None or self._runner.close(timeout_ms)
        ended = self.auditing.stop(deadline.remainingTime()) and ended
        return self.saving.stop(deadline.remainingTime()) and ended

    # How a run begins and ends

    def _begin(self, mode: Literal["run", "estimate"]) -> None:
        """Write the job and launch it."""
        if self.is_running():
            return
        try:
            recipe = self.form.recipe()
            if mode == "run":
                folder = new_folder(Path(self.output.text().strip() or runs_dir()), recipe)
            else:
                folder = cache_dir() / "estimate"
            spec_path = write_job(
                self.session,
                recipe,
                folder,
                pairs=self.data.pairs(),
                training_images=self.data.images(),
            )
        except InputError as error:
            self.failed.emit(error)
            return
        if mode == "run":
            self._recipe = recipe
            self._source = self.session.checkpoint.path if self.session.checkpoint else ""
            self._asked = (self.session.trigger, self.session.target)
            self._folder, self._result = folder, {}
            self.charts.clear()
        self._launch(spec_path, mode)

    def _launch(self, spec_path: Path, mode: Mode) -> None:
        """Start the supervising thread."""
        device = self._device if mode == "resume" else self.session.device
        runner = self.new_runner(spec_path, mode, device)
        runner.event_received.connect(self._on_event)
        runner.line_logged.connect(self._on_line)
        runner.state_changed.connect(self._on_state_changed)
        runner.ended.connect(self._on_ended)
        try:
            runner.launch()
        except InputError as error:
            self.failed.emit(error)
            return
        self._runner, self._mode = runner, mode
        if mode != "estimate":
            self._device, self._last_error = device, None
            self.hide_outcome()
        title = f"{self._method_title()} is running"
        self.run_bar.show_start(
            "Estimating" if mode == "estimate" else title, steerable=mode != "estimate"
        )
        if mode != "estimate":
            self._set_run("running")
            self.run_bar.show_notice(self.studio_device.give_way(device))
        self._refresh()

    def _take_up(self, saved: SavedRun) -> None:
        """Make a saved run the one that this station is about."""
        spec = saved.spec
        self._folder, self._result, self._recipe = saved.folder, {}, spec.recipe
        self._source = spec.checkpoint
        self._asked = (saved.trigger, spec.target)
        self._device = self.session.device if spec.device == "auto" else spec.device
        self.form.set_recipe(spec.recipe)
        self.data.show_specs(spec.pairs, spec.training_images)
        self._on_setup_changed()
        self.charts.clear()
        for metric in metrics_until_save(saved):
            self.charts.add(metric)

    def _set_run(self, status: Any, error: str = "") -> None:
        """Tell the rest of the window how the run stands."""
        self.session.run = RunState(
            str(self._folder or ""),
            self._recipe.method if self._recipe is not None else "cleanclip",
            status,
            self._device,
            self._result,
            error,
        )

    def _on_event(self, event: Event) -> None:
        if self._runner is not None:
            self._runner.mark_running()
        if isinstance(event, Progress):
            self.run_bar.show_progress(event)
            self.progressed.emit(event)
        elif isinstance(event, Metric):
            if self._mode != "estimate":
                self.charts.add(event)
        elif isinstance(event, Message):
            self._on_line(event.text)
        elif isinstance(event, Saved):
            self._on_line(f"Saved {Path(event.path).name} at step {event.step}.")

    def _on_line(self, text: str) -> None:
        self.show_log(text)
        self.logged.emit(text)

    def _on_state_changed(self, state: str) -> None:
        title = self._method_title()
        if state in ("running", "paused"):
            paused = state == "paused"
            self.run_bar.set_paused(paused)
            if self._mode != "estimate":
                self.run_bar.title.setText(f"{title} is {state}")
                self._set_run(state)
        elif state == "stopping":
            self.run_bar.show_ending("Finishing the step, then saving", cancelling=False)
        elif state == "cancelling":
            self.run_bar.show_ending("Cancelling", cancelling=True)

    def _on_ended(self, last: Done) -> None:
        runner, self._runner = self._runner, None
        self.studio_device.come_back()
        if self._mode == "estimate":
            shutil.rmtree(cache_dir() / "estimate", ignore_errors=True)
            self._show_estimate(last)
        else:
            self._show_end(last)
        if runner is not None:
            runner.deleteLater()
        self._refresh()

    def _show_estimate(self, last: Done) -> None:
        """Say what the measured steps mean for the whole run."""
        self.run_bar.show_idle("Ready", "")
        if last.status == "failed":
            self.failed.emit(_as_error(last))
        if last.status != "finished":
            self.show_estimate("")
            return
        self.show_estimate(estimate_sentence(last.result))

    def _show_end(self, last: Done) -> None:
        """Show the result, or why there is none and what can be done."""
        title = f"{self._method_title()}: {_ENDS[last.status].lower()}"
        if last.status in ("finished", "stopped"):
            self._result = last.result
            because = str(last.result.get("stopped_because") or "")
            self.run_bar.show_idle(title, because)
            self._set_run(last.status)
            self.show_result(last.result)
            return
        saved = self._folder is not None and can_resume(self._folder)
        tail = "Resume goes on from the last save." if saved else "There was no save yet."
        self.run_bar.show_idle(title, "")
        if last.status == "cancelled":
            self._set_run("cancelled")
            self.show_trouble(f"The run was cancelled. {tail}", resumable=saved, failed=False)
            return
        self._last_error = _as_error(last)
        self._set_run("failed", last.error)
        self.show_trouble(f"{last.error} {tail}", resumable=saved, failed=True)

    def _method_title(self) -> str:
        """The method, and what it works on where another checkpoint was opened meanwhile."""
        method = self._recipe.method if self._recipe is not None else "cleanclip"
        title = FACTS[method].title
        return (
            f"{title} on {plain(Path(self._source).name, 40)}" if self._is_of_another() else title
        )

    def _is_of_another(self) -> bool:
        facts = self.session.checkpoint
        return bool(self._source) and facts is not None and facts.path != self._source

    # What follows the widgets and the session

    def _connect(self) -> None:
        self.form.changed.connect(self._on_setup_changed)
        self.data.changed.connect(self._on_setup_changed)
        self.start_button.clicked.connect(self.start)
        self.estimate_button.clicked.connect(self.estimate)
        self.browse_output.clicked.connect(self.choose_output)
        self.audit_button.clicked.connect(self.auditing.open)
        self.auditing.failed.connect(self.failed)
        self.auditing.excluded.connect(self._on_excluded)
        self.resume_other.clicked.connect(self.resume_asked)
        self.run_bar.pause_clicked.connect(self.pause)
        self.run_bar.stop_clicked.connect(self.stop_and_save)
        self.run_bar.cancel_clicked.connect(self.cancel)
        self.resume_button.clicked.connect(self.resume_run)
        self.details_button.clicked.connect(self._on_details_clicked)
        self.try_button.clicked.connect(self.try_cleaned)
        self.save_button.clicked.connect(self.save_cleaned)
        self.trying.opened.connect(self.try_in_studio)
        self.trying.failed.connect(self.failed)
        self.saving.saved.connect(self._on_copied)
        self.saving.failed.connect(self.failed)
        self.saving.busy_changed.connect(self.save_button.setDisabled)
        self.charts.failed.connect(self.failed)
        events = self.session.events
        events.checkpoint.connect(self._on_checkpoint_change)
        events.trigger.connect(self._on_trigger_change)
        events.images.connect(self._on_images_change)

    @Slot(str, object)
    def _on_excluded(self, path: str, audited: PairSpec) -> None:
        """Leave out of the next run what was excluded, if these are still the pairs in use."""
        with suppress(InputError):
            if same_pairs(self.data.pairs(), audited):
                self.data.exclude.setText(path)

    def _on_setup_changed(self) -> None:
        self.show_estimate("")
        self.data.set_uses_pairs(self.form.method.currentData() != "supervised")
        self._refresh()

    def _on_checkpoint_change(self, facts: CheckpointFacts | None) -> None:
        self.show_estimate("")
        source = self._result.get("source")
        if source and (facts is None or facts.path != source):
            self._result = {}
            self.hide_outcome()
        state = self._runner.state if self._runner is not None else ""
        if state in ("running", "paused") and self._mode != "estimate":
            self.run_bar.title.setText(f"{self._method_title()} is {state}")
        self._refresh()

    def _on_trigger_change(self, _trigger: object) -> None:
        self._refresh()

    def _on_images_change(self, _images: object) -> None:
        self.show_estimate("")  # most of a short run is measuring images
        self._refresh()

    def _on_details_clicked(self) -> None:
        if self._last_error is not None:
            self.failed.emit(self._last_error)

    def _on_copied(self, path: Path) -> None:
        self._on_line(f"Saved the cleaned checkpoint as {path.name}.")

    def _refresh(self) -> None:
        """Enable what can be done, and say what is missing."""
        ready = self.session.checkpoint is not None and not self.form.problem()
        running = self.is_running()
        self.start_button.setEnabled(ready and not running)
        self.estimate_button.setEnabled(ready and not running)
        self.setup.setEnabled(not running)
        self.resume_button.setEnabled(not running)
        self.audit_button.setEnabled(self.session.checkpoint is not None)
        for part in (self.audit_button, self.audit_hint):
            part.setVisible(self.data.takes_pairs)
        if self.session.checkpoint is None:
            hint = "Open a checkpoint to clean it."
        elif self.session.images is None:
            hint = "No images are chosen: nothing will be measured before and after."
        elif self.session.trigger is None:
            hint = "No trigger is set in Studio: attack success will not be measured."
        else:
            hint = ""
        self.show_hint(hint)


def _as_error(last: Done) -> InputError:
    """A failed job as what the window's error dialog shows."""
    code = last.error_code
    known = ("dangerous", "damaged", "unsupported", "usage")
    return InputError(last.error, code if code in known else "damaged", last.details)  # type: ignore[arg-type]
