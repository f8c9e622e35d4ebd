"""Continue a run that another window began: one asked for, dropped, found or repeated."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QWidget

from cleanclip_gui.clean.history import (
    SavedRun,
    can_resume,
    check_place,
    read_run,
    read_saved_run,
    was_interrupted,
)
from cleanclip_gui.clean.job import copy_job, measures_alike, trigger_of
from cleanclip_gui.clean.queue import RunQueue
from cleanclip_gui.clean.run import CleaningRun
from cleanclip_gui.session import ImagesState, RunState
from cleanclip_gui.session.records import is_live
from cleanclip_gui.station import Context
from cleanclip_gui.widgets.prompts import failing
from ml_core.jobs.audit import AUDIT_FILE
from ml_core.jobs.chain_folder import Chain, is_chain, read_chain
from ml_core.jobs.specs import RESULT_FILE, SPEC_FILE, CleanSpec, read_spec
from ml_core.reading.errors import InputError
from ml_core.triggers.files import load_trigger

_LOG = logging.getLogger(__name__)
_BUSY = InputError("A run is in progress; resume another one when it has finished.")


class Resuming(QObject):
    """Continues runs, and opens what they work on.

    It remembers the run that goes on, so that it can be found after the window was killed.

    Parameters
    ----------
    context
        Knows what is open and the folder of the run that goes on; opens what a run works on.
    run, queue
        What goes on, and what begins a run anew.
    runs_folder
        Where runs are kept.
    is_busy
        Whether something is at work, so that no run can go on.
    parent
        The widget that dialogs belong to.
    """

    def __init__(
        self,
        context: Context,
        run: CleaningRun,
        queue: RunQueue,
        runs_folder: Callable[[], Path],
        is_busy: Callable[[], bool],
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self._session, self._settings = context.session, context.settings
        self._shell, self._prompts = context.shell, context.prompts
        self._run, self._queue = run, queue
        self._runs_folder, self._is_busy, self._parent = runs_folder, is_busy, parent
        self._awaited: CleanSpec | None = None
        self._session.events.images.connect(self._on_images_change)
        self._session.events.run.connect(self._on_run_change)
        run.restored.connect(self._on_restored)

    def choose(self) -> None:
        """Ask for the folder of a run or a chain and go on with it."""
        runs = str(self._runs_folder())
        path = self._prompts.open_folder(self._parent.window(), "Resume a run", runs)
        if path and self.offer(Path(path)) and self._run.is_offered:
            self.resume_shown()

    def offer(self, folder: Path) -> bool:
        """Show a run or a chain, with a button if it can go on; return whether it is shown."""
        with failing(self._shell.failed, "Could not resume the run"):
            if self._is_busy():
                raise _BUSY
            if is_chain(folder):
                self._run.show_chain(_read_chain(folder.absolute()))
            else:
                self._run.offer(read_saved_run(folder.absolute()))
            self._shell.station_wanted.emit("clean")
            return True
        return False

    def offer_interrupted(self) -> None:
        """Offer the run that was killed together with its window, without a dialog."""
        last = self._settings.value.last_run
        try:
            if last and is_chain(Path(last)):
                chain = _read_chain(Path(last))
                if not chain.is_whole:
                    self._run.show_chain(chain)
            elif last and was_interrupted(Path(last)):
                self._run.offer(read_saved_run(Path(last)))
        except InputError as error:
            _LOG.info("the last run cannot go on: %s", error.sentence)

    def resume_shown(self, *, keep: bool = False) -> None:
        """Go on with the run on show, from its last save or, without one, from its start.

        Parameters
        ----------
        keep
            Whether a chain takes a round that was stopped as it is, and goes on with its scan.
        """
        folder, chain = self._run.on_show.folder, self._run.on_show.chain
        if self._is_busy():
            return
        with failing(self._shell.failed, "Could not resume the run"):
            if chain is not None and not (chain := _read_chain(chain.folder)).is_whole:
                chain.spec = chain.spec.model_copy(update={"keep_stopped": keep})
                self._run.begin_chain(chain)
                self._open_all(chain.spec.base)
            elif can_resume(folder):
                self._run.resume(read_saved_run(folder))
            else:
                self._start_again(folder)

    def repeat(self, spec: CleanSpec) -> None:
        """Have everything as it was for a run that is to be repeated."""
        with failing(self._shell.failed, "Could not repeat the run"):
            trigger = None if spec.trigger is None else load_trigger(spec.trigger)
            self._open(spec)
            self._shell.open("trigger", trigger, spec.target)

    def _start_again(self, folder: Path) -> None:
        """Start a copy of a run that left no save, whatever the form shows by now.

        Raises
        ------
        InputError
            If the job or its trigger is gone, or the new folder cannot be written.
        """
        copy = copy_job(read_run(folder).spec, self._runs_folder())
        self._queue.start_or_add(copy, read_spec(copy / SPEC_FILE))

    def _on_run_change(self, run: RunState | None) -> None:
        """What failed stays remembered: its window may be closed before it is resumed."""
        if run is not None and is_live(run) and self._run.newest is not None:
            self._settings.update(last_run=str(self._run.newest.folder))
        elif run is not None and run.status not in ("failed", "interrupted"):
            self._settings.update(last_run="")

    def _on_restored(self, saved: SavedRun) -> None:
        """Open what a continued run works on, with its trigger and target."""
        if self._run.is_running:
            self._open_all(saved.spec)

    def _open_all(self, spec: CleanSpec) -> None:
        self._open(spec)
        if (trigger := trigger_of(spec)) is not None:
            self._shell.open("trigger", trigger, spec.target)

    def _open(self, spec: CleanSpec) -> None:
        """Open checkpoint and images of a job, as far as others are open."""
        images = spec.test_images or spec.images
        if images is not None and not measures_alike(spec, self._session.images):
            self._awaited = spec
            self._shell.open("images", images, spec.label_set, spec.templates)
        facts = self._session.checkpoint
        if facts is None or Path(facts.path) != Path(spec.checkpoint):
            self._shell.open("checkpoint", spec.checkpoint)
            self._shell.station_wanted.emit("clean")

    def _on_images_change(self, images: ImagesState | None) -> None:
        """Aim at the job's target: other images came with the class that was the target before."""
        spec, self._awaited = self._awaited, None
        if spec is not None and measures_alike(spec, images):
            self._shell.open("target", spec.target)


def _read_chain(folder: Path) -> Chain:
    """Read a chain, which can go on unless it is whole.

    Raises
    ------
    InputError
        If it cannot be read, or cannot go on.
    """
    chain = read_chain(folder)
    if not chain.is_whole:
        check_place(folder, chain.spec.base)
    return chain


def is_audit(path: Path) -> bool:
    """Whether a path is the folder of an audit, or its record beside its spec."""
    if path.is_dir():
        return (path / AUDIT_FILE).is_file()
    return path.name == AUDIT_FILE and path.is_file() and (path.parent / SPEC_FILE).is_file()


def is_unfinished_run(path: Path) -> bool:
    """Whether a path is the folder of a run without a result, or of a chain."""
    return is_chain(path) or (
        path.is_dir() and (path / SPEC_FILE).is_file() and not (path / RESULT_FILE).exists()
    )
