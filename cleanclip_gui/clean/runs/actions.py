"""What can be done with a run of the history: show, repeat, duplicate, halve, open a step."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Qt, Slot

from cleanclip_gui.clean.job import copy_job
from cleanclip_gui.clean.runs.export_dialog import ExportDialog
from cleanclip_gui.clean.runs.history import PastRun, read_run
from cleanclip_gui.clean.runs.saved_run import read_saved_run
from cleanclip_gui.clean.try_in_studio import is_source, where_open
from cleanclip_gui.widgets.text import plain
from ml_core.cleaning.tradeoff import Point
from ml_core.events import Done
from ml_core.jobs.cluster import RESULTS_FOLDER, RUN_FILE, SLURM_FILE, elsewhere, export_job
from ml_core.jobs.halved_batch import halved
from ml_core.jobs.specs import SPEC_FILE, CleanSpec, as_measured, read_spec
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger
from ml_core.triggers.files import load_trigger

if TYPE_CHECKING:
    from cleanclip_gui.clean.station import CleanStation


_NO_TRIGGER = (
    "The trigger of this run is not in its folder, so Studio keeps its own: open the run's trigger "
    "there to see what was measured."
)


class HistoryActs(QObject):
    """The acts of the bench's buttons on the panel."""

    def __init__(self, panel: CleanStation) -> None:
        super().__init__(panel)
        self._panel = panel
        bench = panel.bench
        bench.start_asked.connect(self._on_start_asked)
        bench.open_asked.connect(self._on_open_asked)
        bench.repeat_asked.connect(self._on_repeat_asked)
        bench.duplicate_asked.connect(self._on_duplicate_asked)
        bench.resume_asked.connect(self._on_resume_asked)
        bench.halve_asked.connect(self._on_halve_asked)
        bench.export_asked.connect(self._on_export_asked)
        bench.point_asked.connect(self._on_point_asked)

    @Slot()
    def halve_current(self) -> None:
        """Queue the run that failed again, at half its batch."""
        folder = self._panel.run.folder
        if folder is None:
            return
        try:
            self._on_halve_asked(read_run(folder))
        except InputError as error:
            self._panel.failed.emit(error)

    def start_again(self, folder: Path) -> None:
        """Start a copy of a run that left no save, whatever the form shows by now.

        Raises
        ------
        InputError
            If the job or its trigger is gone, or the new folder cannot be written.
        """
        spec = read_run(folder).spec
        copy = copy_job(spec, self._panel.setup.folder())
        asked = _trigger(spec), spec.target
        self._panel.begin_or_enqueue(copy, read_spec(copy / SPEC_FILE), asked)

    def _on_start_asked(self, run: PastRun) -> None:
        self._panel.enqueue(run.folder)

    def _on_open_asked(self, run: PastRun) -> None:
        """Show a run as if it had just ended."""
        panel = self._panel
        if panel.is_busy():
            panel.bench.say("Another run is at work; an older one can be shown when it has ended.")
            return
        trigger = _trigger(run.spec)
        panel.run.take_up(run.folder, run.spec, (trigger, run.spec.target))
        panel.run.fill_charts()
        if run.result:
            status = "stopped" if run.status == "stopped" else "finished"
            panel.run.show_outcome(status, {"seconds": 0.0, **run.result})
        elif run.status in ("failed", "cancelled", "interrupted"):
            panel.run.show_trouble(run.status, Done("failed", {}, run.error, run.error_code))
        else:
            panel.hide_outcome()
            panel.run_bar.show_idle(f"{panel.run.title()}: {run.status}", plain(run.error, 400))
        if run.spec.trigger is not None and trigger is None:
            panel.run_bar.show_notice(_NO_TRIGGER)
        panel.changed.emit()  # there may be nothing to save now
        panel.show_page(0)

    def _on_repeat_asked(self, run: PastRun) -> None:
        spec = self._spec_here(run)
        self._panel.setup.show_spec(spec)
        self._panel.repeated.emit(spec)

    def _on_duplicate_asked(self, run: PastRun) -> None:
        """Queue the run again, with the arithmetic that it measured where it left a result."""
        self._queue_copy(as_measured(self._spec_here(run), run.result))

    def _on_halve_asked(self, run: PastRun) -> None:
        facts, spec = self._panel.session.checkpoint, self._spec_here(run)
        vit = (
            facts is not None
            and Path(facts.path) == Path(spec.checkpoint)
            and facts.architecture.startswith("ViT")
        )
        smaller = halved(spec, batch_norm=not vit)
        if smaller.recipe == spec.recipe:
            self._panel.bench.say("The batch has two examples already and cannot be halved.")
            return
        self._queue_copy(smaller)

    def _on_export_asked(self, run: PastRun) -> None:
        """Ask for how many GPUs the job is written."""
        dialog = ExportDialog(run.spec.recipe, run.spec.processes, self._panel.window())
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.chosen.connect(partial(self._export, run))
        dialog.open()

    def _export(self, run: PastRun, gpus: int, machines: int) -> None:
        """Write the job with a Slurm script into a folder of the user's choice."""
        bench = self._panel.bench
        chosen = bench.prompts.open_folder(self._panel, "Folder for the cluster's job", "")
        if not chosen:
            return
        folder = Path(chosen) / f"job-{run.folder.name}"
        spec = run.spec
        if not spec.device.startswith("cuda"):  # what this machine has says nothing of that one
            spec = spec.model_copy(update={"device": "auto"})
        try:
            export_job(spec, folder, processes=gpus, machines=machines)
        except InputError as error:
            self._panel.failed.emit(error)
            return
        except OSError as error:
            name = plain(folder.name, 80)
            sentence = f"{name} cannot be written; choose another folder."
            self._panel.failed.emit(InputError(sentence, "usage", str(error)))
            return
        seen = ", ".join(plain(path, 120) for path in elsewhere(run.spec)) or "no other files"
        bench.say(
            f"The job is in {plain(folder, 200)}: submit {SLURM_FILE}, or run {RUN_FILE}. It must "
            f"see {seen}. Bring its {RESULTS_FOLDER} folder back with “Open results folder…”."
        )

    def _on_resume_asked(self, run: PastRun) -> None:
        panel = self._panel
        if panel.is_busy():
            panel.bench.say("Another run is at work; resume this one when it has ended.")
            return
        try:
            panel.go_on(read_saved_run(run.folder))
        except InputError as error:
            panel.failed.emit(error)

    def _on_point_asked(self, run: PastRun, point: Point) -> None:
        """Open the checkpoint of an evaluation in Studio; step 0 is the suspect itself."""
        panel = self._panel
        session, asked = panel.session, (_trigger(run.spec), run.spec.target)
        if run.spec.trigger is not None and asked[0] is None:
            panel.bench.say(_NO_TRIGGER)
        if not point.checkpoint:
            if not is_source(session.checkpoint, _told(run)):
                panel.bench.say(
                    f"Step 0 is {plain(Path(run.spec.checkpoint).name, 80)} as it was: open that "
                    "file to see it."
                )
                return
            if asked[0] is not None:
                panel.shell.trigger_wanted.emit(*asked)
            panel.shell.role_wanted.emit("suspect")
            panel.try_in_studio.emit()
            return
        result = {"source": run.spec.checkpoint, "checkpoint": point.checkpoint}
        if point.checkpoint.endswith(".adapter.safetensors"):
            result |= {"checkpoint": run.spec.checkpoint, "adapter": point.checkpoint}
        panel.trying.begin(result, asked)

    def _spec_here(self, run: PastRun) -> CleanSpec:
        """A run's job, its checkpoint named where that file is open if it ran elsewhere."""
        found = where_open(_told(run), self._panel.session.checkpoint)
        return run.spec.model_copy(update={"checkpoint": found["source"]})

    def _queue_copy(self, spec: CleanSpec) -> None:
        panel = self._panel
        try:
            folder = copy_job(spec, panel.setup.folder())
        except InputError as error:
            panel.failed.emit(error)
            return
        panel.enqueue(folder)
        panel.bench.table.choose(folder)


def _told(run: PastRun) -> dict[str, Any]:
    """What a run tells of its source, with a result or without."""
    return {**run.result, "source": run.spec.checkpoint}


def _trigger(spec: CleanSpec) -> Trigger | None:
    """What a job measures attack success with; None if it is gone."""
    if spec.trigger is None:
        return None
    try:
        return load_trigger(spec.trigger)
    except InputError:
        return None
