"""Searches for the recipe that fits the open checkpoint, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QWidget

from cleanclip_gui.clean.search_dialog import SearchDialog
from cleanclip_gui.jobs.launching import launch
from cleanclip_gui.jobs.runner import JobRunner, search_runner
from cleanclip_gui.session import Session
from cleanclip_gui.widgets.prompts import Prompts
from ml_core.cleaning.halving import (
    DEFAULT_FACTORS,
    DEFAULT_METHODS,
    WITHOUT_CAPTIONS,
    candidates_of,
)
from ml_core.cleaning.pretraining import Pretraining
from ml_core.events import Done, Message, Progress, Saved
from ml_core.jobs.search_spec import SearchSpec, read_search
from ml_core.jobs.specs import read_spec
from ml_core.paths import data_dir
from ml_core.reading.errors import InputError

SEARCH_SPEC = "search-spec.json"
_STILL_ENDING = "The search that was closed is still ending: start again in a moment."
_KEPT = "What was measured is kept: the same search goes on from there."


def searches_dir() -> Path:
    """Where searches are kept."""
    return data_dir() / "searches"


class Searching(QObject):
    """One dialog, one process.

    ``used(recipe)`` carries the recipe that the user took. ``failed`` carries an InputError for the
    window to show. ``write_job`` writes the job that is set up into a folder and returns its path;
    ``pretraining`` tells what is known of the checkpoint's, whose rate the tried ones are multiples
    of.
    """

    used = Signal(object)
    failed = Signal(object)

    def __init__(
        self,
        session: Session,
        prompts: Prompts,
        write_job: Callable[[Path], Path],
        pretraining: Callable[[], Pretraining],
        parent: QWidget,
        new_runner: Callable[..., JobRunner] = search_runner,
    ) -> None:
        super().__init__(parent)
        self._session, self._prompts, self._parent = session, prompts, parent
        self._write_job, self._new_runner = write_job, new_runner
        self._pretraining = pretraining
        self.dialog: SearchDialog | None = None
        self.runner: JobRunner | None = None
        self.folder = searches_dir()
        self._path = ""
        self._begun_in: SearchDialog | None = None

    @property
    def is_running(self) -> bool:
        """Whether a search is going on."""
        return self.runner is not None

    @Slot()
    def open(self) -> None:
        """Show the page for the open checkpoint, with what an earlier search of it found."""
        facts = self._session.checkpoint
        if facts is None:
            why = InputError("Open a checkpoint first: the search plants triggers in a copy of it.")
            self.failed.emit(why.titled("Could not open the search"))
            return
        if self.dialog is not None:
            if self.is_running or self._path == facts.path:
                self.dialog.raise_()
                return
            self.dialog.done(0)
        found = facts.inspection
        self._path = facts.path
        self.folder = searches_dir() / (found.sha256 or found.name)[:24]
        known = self._pretraining()
        dialog = SearchDialog(found.name, known.assumed, self._prompts, self._parent.window())
        dialog.show_ended(known.sentence)
        self.dialog = dialog
        dialog.start_clicked.connect(self.start)
        dialog.cancel_clicked.connect(self.cancel)
        dialog.used.connect(self._on_used)
        dialog.closed.connect(self._on_closed)
        if self._show_record():
            dialog.show_ended(f"An earlier search of this checkpoint found this. {known.sentence}")
        dialog.show()

    @Slot()
    def start(self) -> None:
        """Begin, or go on with the same search."""
        dialog, device = self.dialog, self._session.device
        if dialog is None:
            return
        if self.runner is not None:
            dialog.show_ended(_STILL_ENDING, error=True)
            return
        facts = self._session.checkpoint
        if facts is None or facts.path != self._path:
            dialog.show_ended("That checkpoint is no longer open: open it again.", error=True)
            return
        try:
            runner = launch(
                self._new_runner, self._spec(dialog, device), self.folder / SEARCH_SPEC,
                self._on_event, self._on_ended, device=device,
            )  # fmt: skip
        except InputError as error:
            dialog.show_ended(error.sentence, error=True)
            return
        self.runner, self._begun_in = runner, dialog
        dialog.show_running()

    @Slot()
    def cancel(self) -> None:
        """End it at once; what was measured is kept."""
        if self.runner is not None:
            self.runner.cancel()
            if self.dialog is not None:
                self.dialog.show_cancelling()

    def close(self) -> None:
        """Close the dialog and cancel what it does."""
        if self.dialog is not None:
            self.dialog.done(0)

    def _spec(self, dialog: SearchDialog, device: str) -> SearchSpec:
        """The search that is set.

        Raises
        ------
        InputError
            If the training data are not named, or a value is out of range.
        """
        base = read_spec(self._write_job(self.folder))
        if base.pairs is None and base.training_images is None:
            raise InputError(
                f"{base.recipe.facts.title} trains on no data, and a search needs some: choose a "
                "method that takes pairs or labelled images, and its training data."
            )
        methods = WITHOUT_CAPTIONS if base.pairs is None else DEFAULT_METHODS
        peak = dialog.peak.value()
        return SearchSpec(
            base=base.model_copy(update={"device": device, "processes": 1}),
            recipes=candidates_of(methods, DEFAULT_FACTORS, peak),
            minutes=dialog.minutes.value(),
            max_ca_drop=dialog.ca_drop.value(),
            max_asr=dialog.asr.value(),
            rebound_steps=round(dialog.rebound.value()),
            peak_lr=peak,
        )

    def _show_record(self) -> bool:
        """Show what is on disk; whether there is something."""
        if self.dialog is None:
            return False
        try:
            record = read_search(self.folder)
        except InputError:
            return False
        self.dialog.show_record(record)
        return True

    @Slot(object)
    def _on_event(self, event: object) -> None:
        if self.runner is None:
            return
        self.runner.mark_running()
        if self.dialog is None or self.dialog is not self._begun_in:
            return
        if isinstance(event, Progress):
            self.dialog.show_progress(event)
        elif isinstance(event, Message):
            self.dialog.show_words(event.text)
        elif isinstance(event, Saved):
            self._show_record()

    @Slot(object)
    def _on_ended(self, done: Done) -> None:
        self.runner = None
        if self.dialog is None or self.dialog is not self._begun_in:
            return
        self._show_record()
        if done.status == "finished":
            self.dialog.show_ended("")
        elif done.status == "cancelled":
            self.dialog.show_ended(f"Cancelled. {_KEPT}")
        else:
            self.dialog.show_ended(done.error, error=True)

    @Slot(object)
    def _on_used(self, recipe: object) -> None:
        self.used.emit(recipe)
        if self.dialog is not None:
            self.dialog.done(0)

    @Slot()
    def _on_closed(self) -> None:
        self.cancel()
        self.dialog = None
