"""Jobs that wait for the run at work: their order, their file, and starting the next one.

The file outlives the window: folders of jobs, the next one first.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, Field
from PySide6.QtCore import QObject, Signal

from cleanclip_gui.clean.history import read_run
from cleanclip_gui.clean.run import CleaningRun, ending
from cleanclip_gui.widgets.text import plain, plural
from ml_core.atomic import replace_files
from ml_core.data.specs import PathText
from ml_core.events import Done
from ml_core.jobs.specs import CleanSpec
from ml_core.reading.errors import InputError
from ml_core.reading.json_file import JsonFile
from ml_core.triggers.files import load_trigger

_LOG = logging.getLogger(__name__)
QUEUE_FILE = "queue.json"
FORMAT = "cleanclip-queue-1"
_FILE = JsonFile("a queue of runs", "start its runs from the history", max_bytes=1_000_000)


class _Waiting(BaseModel):
    """The file."""

    folders: tuple[PathText, ...] = Field(max_length=10_000)


class RunQueue(QObject):
    """Holds folders with a job in each, and starts the next one whenever it may.

    ``held`` keeps the next one from starting. ``changed``: the order or ``held`` changed;
    ``noted(folder)``: a job was added; ``logged``: a line for the log; ``failed`` carries the
    InputError of a job that cannot be read.

    Parameters
    ----------
    run
        What starts a job.
    is_busy
        Whether something is at work that a job waits for.
    """

    changed = Signal()
    noted = Signal(object)
    logged = Signal(str)
    failed = Signal(object)

    def __init__(
        self, run: CleaningRun, is_busy: Callable[[], bool], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._run, self._is_busy = run, is_busy
        self._folders: list[Path] = []
        self._held = False
        self._file: Path | None = None
        self._failure = ""  # of the run that has just ended
        run.ended.connect(self._on_run_ended)
        run.freed.connect(self._on_run_freed)

    def __len__(self) -> int:
        return len(self._folders)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Who waits, the next one first."""
        return tuple(self._folders)

    @property
    def held(self) -> bool:
        """Whether the queue waits for the user."""
        return self._held

    @property
    def can_start(self) -> bool:
        """Whether jobs wait for the user to start them."""
        return self._held and bool(self._folders)

    def hold(self, held: bool) -> None:
        """Keep the next job from starting when the one at work has ended, or let it."""
        if held != self._held:
            self._held = held
            self._on_changed()

    def add(self, folder: Path) -> None:
        """Put a written job at the end, or start it if nothing is at work.

        One that waits already stays where it is.
        """
        self.noted.emit(folder)
        self._append(folder)
        if folder in self._folders:
            waiting = plural(len(self._folders), "run")
            self.logged.emit(f"{_title(folder)} waits in the queue ({waiting}).")

    def start_or_add(self, folder: Path, spec: CleanSpec) -> None:
        """Start a written job, before those that wait; while something is at work, add it."""
        if self._is_busy() or not self._begin(folder, spec):
            self.add(folder)

    def remove(self, folder: Path) -> None:
        """Take a job out; its folder stays on disk."""
        if folder in self._folders:
            self._folders.remove(folder)
            self._on_changed()

    def move(self, folder: Path, by: int) -> None:
        """Move a job towards the front (-1) or the end (1)."""
        if folder not in self._folders:
            return
        at = self._folders.index(folder)
        to = min(max(at + by, 0), len(self._folders) - 1)
        if to != at:
            self._folders.insert(to, self._folders.pop(at))
            self._on_changed()

    def keep(self, path: Path) -> str:
        """Take up what waited when the window was closed, held, and keep the queue from now on.

        Returns
        -------
        str
            One sentence on what is left out; mostly empty.
        """
        folders, sentence = read_queue(path)
        if folders:
            self.hold(True)
        for folder in folders:
            self.noted.emit(folder)
            self._append(folder)
        if folders:
            runs = plural(len(folders), "run")
            self.logged.emit(f"{runs} left in the queue from last time: press “Start the queue”.")
        self._file = path
        return sentence

    def start_next(self) -> bool:
        """Start the job that waits longest, unless something is at work; return if it began."""
        if self._held or not self._folders or self._is_busy():
            return False
        folder = self._folders.pop(0)
        try:
            job = read_run(folder)
            if job.status != "not started":  # another window has the same queue
                title = plain(job.title, 80)
                self.logged.emit(f"{title} was started elsewhere and is no longer in the queue.")
                return self._after_all()
            if job.spec.trigger is not None:
                load_trigger(job.spec.trigger)  # says now if it is gone
        except InputError as error:
            self.failed.emit(error.titled("Could not start the queued run"))
            return self._after_all()
        if not self._begin(folder, job.spec):  # it waits until its device is free
            self._folders.insert(0, folder)
            return False
        self._on_changed()
        return True

    def _begin(self, folder: Path, spec: CleanSpec) -> bool:
        """Start a written job; return whether its device was free."""
        try:
            self._run.begin(folder, spec)
        except InputError as error:
            self.logged.emit(f"{_title(folder)} waits. {error.sentence}")
            return False
        return True

    def _after_all(self) -> bool:
        """Report that the chosen job does not run, which starts the next; return if one started."""
        self._on_changed()
        return self._is_busy()

    def _append(self, folder: Path) -> None:
        if folder not in self._folders:
            self._folders.append(folder)
            self._on_changed()

    def _on_changed(self) -> None:
        if self._file is not None:
            write_queue(self._file, self._folders)
        self.changed.emit()
        self.start_next()

    def _on_run_ended(self, last: Done) -> None:
        failed = last.status == "failed" and self._run.mode != "estimate"
        self._failure = f"{self._run.title} {ending(last)}: {last.error}" if failed else ""

    def _on_run_freed(self) -> None:
        failure, self._failure = self._failure, ""
        if self.start_next() and failure:  # the next one took its card away
            self.logged.emit(f"{failure} The next run starts.")


def _title(folder: Path) -> str:
    """What a job is called; the name of its folder if it cannot be read."""
    try:
        return plain(read_run(folder).title, 80)
    except InputError:
        return plain(folder.name, 80)


def write_queue(path: Path, folders: Sequence[Path]) -> None:
    """Save the order; a full disk is noted in the log, the queue does not change."""
    fields = {"format": FORMAT, "folders": [str(folder) for folder in folders]}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_files({path: json.dumps(fields, indent=1).encode()})
    except OSError as error:
        _LOG.warning("The queue could not be kept: %s", error.strerror or error)


def read_queue(path: Path) -> tuple[tuple[Path, ...], str]:
    """What waited when the window was closed, and one sentence on jobs that are left out, if any.

    A job that was begun since is left out without a word: it is in the history.
    """
    try:
        if not path.exists():
            return (), ""
        named = _FILE.check(_FILE.read(path), _Waiting, path.name).folders
    except (OSError, InputError) as error:
        _LOG.info("%s: %s", path, error)
        return (), (
            "The saved queue cannot be read: start its runs again from the history, where they "
            "are “not started”."
        )
    waiting, lost = [], []
    for folder in dict.fromkeys(map(Path, named)):
        try:
            run = read_run(folder)
        except InputError as error:
            _LOG.info("%s is left out of the queue: %s", folder, error)
            lost.append(plain(folder.name, 60))
        else:
            if run.status == "not started":
                waiting.append(folder)
    sentence = ""
    if lost:
        jobs = plural(len(lost), "job")
        sentence = f"{jobs} of the queue cannot be read and will not run: {', '.join(lost[:5])}."
    return tuple(waiting), sentence
