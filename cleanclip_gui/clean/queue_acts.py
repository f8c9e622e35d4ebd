"""Who waits for the run at work: added, started in turn, and kept over the window's end."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Slot

from cleanclip_gui.clean.queue_file import read_queue, write_queue
from cleanclip_gui.clean.runs.history import read_run
from cleanclip_gui.widgets.text import plural
from ml_core.reading.errors import InputError
from ml_core.triggers.files import load_trigger

if TYPE_CHECKING:
    from cleanclip_gui.clean.station import CleanStation

_LOG = logging.getLogger(__name__)


class QueueActs(QObject):
    """Starts the next job of the panel's queue whenever it may."""

    def __init__(self, panel: CleanStation) -> None:
        super().__init__(panel)
        self._panel, self._queue = panel, panel.queue
        self._file: Path | None = None
        self._queue.changed.connect(self._on_changed)

    @property
    def can_start(self) -> bool:
        """Whether jobs wait for the user."""
        return self._queue.held and len(self._queue) > 0

    @Slot()
    def start(self) -> None:
        """Let the jobs that wait run, one after the other."""
        self._queue.hold(False)

    def enqueue(self, folder: Path) -> None:
        """Let a written job wait for the one at work, or start it if there is none."""
        self._panel.bench.note_run(folder)
        self._queue.add(folder)  # which starts it if nothing is at work
        if folder in self._queue.folders:
            waiting = plural(len(self._queue), "run")
            self._panel.show_log(f"{folder.name} waits in the queue ({waiting}).")

    def next(self) -> bool:
        """Start the job that waits longest, unless something is at work; whether it began."""
        panel = self._panel
        if panel.is_busy():
            return False
        folder = self._queue.take()
        if folder is None:
            return False
        try:
            run = read_run(folder)
            if run.status != "not started":  # another window has the same queue
                panel.show_log(f"{folder.name} was begun elsewhere, and waits no more.")
                return self._after_all()
            spec = run.spec
            asked = (None if spec.trigger is None else load_trigger(spec.trigger), spec.target)
        except InputError as error:
            panel.failed.emit(error)
            return self._after_all()
        if not panel.begin(folder, spec, asked):  # it waits until its device is free
            self._queue.put_back(folder)
            return False
        self._queue.changed.emit()
        return True

    def _after_all(self) -> bool:
        """The one that was taken does not run: tell so, which starts the next; whether it did."""
        self._queue.changed.emit()
        return self._panel.is_busy()

    def keep(self, path: Path) -> None:
        """Take up what waited when the window was closed, held, and keep the queue from now on."""
        folders, sentence = read_queue(path)
        if folders:
            self._queue.hold(True)
        for folder in folders:
            self._panel.bench.note_run(folder)
            self._queue.add(folder)
        if folders:
            runs = plural(len(folders), "run")
            self._panel.show_log(f"{runs} of the last time in the queue: “Start the queue” begins.")
        if sentence:
            _LOG.warning("%s", sentence)
            self._panel.bench.say(sentence)
        self._file = path

    def _on_changed(self) -> None:
        if self._file is not None:
            write_queue(self._file, self._queue.folders)
        self._panel.tell_queue(len(self._queue), self._queue.held)
        if not self._queue.held:
            self.next()
        self._panel.changed.emit()
