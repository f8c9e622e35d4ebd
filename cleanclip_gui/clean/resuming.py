"""Going on with what another window began: a run asked for, dropped or found, and the queue."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Slot

from cleanclip_gui.clean.job import measures_alike
from cleanclip_gui.clean.runs.saved_run import SavedRun, read_saved_run, was_interrupted
from cleanclip_gui.session import ImagesState, RunState
from cleanclip_gui.session.records import is_live
from ml_core.jobs.audit_spec import AUDIT_FILE
from ml_core.jobs.specs import RESULT_FILE, SPEC_FILE, CleanSpec
from ml_core.reading.errors import InputError
from ml_core.triggers.files import load_trigger

if TYPE_CHECKING:
    from cleanclip_gui.clean.station import CleanStation
    from cleanclip_gui.station import Context

_LOG = logging.getLogger(__name__)
_BUSY = InputError("A run is going on; resume another one when it has ended.")


class Resuming(QObject):
    """Remembers the run that goes on, so that it can be found after the window was killed."""

    def __init__(self, context: Context, clean: CleanStation) -> None:
        super().__init__(clean)
        self._session, self._settings = context.session, context.settings
        self._prompts, self._shell = context.prompts, context.shell
        self._clean = clean
        self._awaited: CleanSpec | None = None
        context.session.events.images.connect(self._on_images_change)
        context.session.events.run.connect(self._on_run_change)
        clean.setup.resume_other.clicked.connect(self.choose)
        clean.resumed.connect(self._on_resumed)
        clean.repeated.connect(self._on_repeated)
        self._offer_interrupted()

    @Slot()
    def choose(self) -> None:
        """Ask for a run's folder and go on with it."""
        runs = str(self._clean.setup.folder())
        path = self._prompts.open_folder(self._clean.window(), "Resume a run", runs)
        saved = self._read(Path(path)) if path else None
        if saved is not None:
            self._shell.station_wanted.emit("clean")
            self._clean.go_on(saved)

    def offer(self, folder: Path) -> None:
        """Show that a run can go on, with a button for it; a sentence if it cannot."""
        saved = self._read(folder)
        if saved is not None:
            self._clean.offer(saved)
            self._shell.station_wanted.emit("clean")

    def _read(self, folder: Path) -> SavedRun | None:
        try:
            if self._clean.is_running():
                raise _BUSY
            return read_saved_run(folder.absolute())
        except InputError as error:
            self._shell.failed.emit(error)
            return None

    def _offer_interrupted(self) -> None:
        """Offer the run that was killed together with its window, without a dialog."""
        last = self._settings.value.last_run
        if not last or not was_interrupted(Path(last)):
            return
        try:
            self._clean.offer(read_saved_run(Path(last)))
        except InputError as error:
            _LOG.info("the last run cannot go on: %s", error.sentence)

    def _on_run_change(self, run: RunState | None) -> None:
        """What failed stays remembered: its window may be closed before it is resumed."""
        if run is not None and is_live(run):
            self._settings.update(last_run=run.output_dir)
        elif run is not None and run.status not in ("failed", "interrupted"):
            self._settings.update(last_run="")

    @Slot(object)
    def _on_resumed(self, saved: SavedRun) -> None:
        """Open what the run works on, unless its checkpoint is open already."""
        if not self._is_open(saved.spec):
            self._open(saved.spec)

    @Slot(object)
    def _on_repeated(self, spec: CleanSpec) -> None:
        """Have everything as it was for a run that is to be repeated."""
        try:
            trigger = None if spec.trigger is None else load_trigger(spec.trigger)
        except InputError as error:
            self._shell.failed.emit(error)
            return
        self._open(spec)
        self._shell.trigger_wanted.emit(trigger, spec.target)

    def _open(self, spec: CleanSpec) -> None:
        """Open checkpoint and images of a job, as far as others are open."""
        images = spec.test_images or spec.images
        if images is not None and not measures_alike(spec, self._session.images):
            self._awaited = spec
            self._shell.images_wanted.emit(images, spec.label_set, spec.templates)
        if not self._is_open(spec):
            self._shell.checkpoint_wanted.emit(spec.checkpoint)
            self._shell.station_wanted.emit("clean")

    def _is_open(self, spec: CleanSpec) -> bool:
        facts = self._session.checkpoint
        return facts is not None and Path(facts.path) == Path(spec.checkpoint)

    def _on_images_change(self, images: ImagesState | None) -> None:
        """Aim at the job's target: other images came with the class that was the target before."""
        spec, self._awaited = self._awaited, None
        if spec is not None and measures_alike(spec, images):
            self._shell.target_wanted.emit(spec.target)


def is_audit(path: Path) -> bool:
    """Whether a path is the folder of an audit, or its record beside its spec."""
    if path.is_dir():
        return (path / AUDIT_FILE).is_file()
    return path.name == AUDIT_FILE and path.is_file() and (path.parent / SPEC_FILE).is_file()


def is_unfinished_run(path: Path) -> bool:
    """Whether a path is the folder of a run without a result."""
    return path.is_dir() and (path / SPEC_FILE).is_file() and not (path / RESULT_FILE).exists()
