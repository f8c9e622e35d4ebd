"""Queue, history and comparison of runs: what is in the table, and what its buttons do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QDeadlineTimer, Signal, Slot
from PySide6.QtWidgets import QWidget

from cleanclip_gui.clean.run_queue import RunQueue
from cleanclip_gui.clean.runs.history import (
    PastRun,
    Status,
    list_runs,
    points_by_head,
    read_run,
    run_points,
    write_note,
)
from cleanclip_gui.clean.runs.run_marks import MOST, free_mark
from cleanclip_gui.clean.runs.runs_table import run_title
from cleanclip_gui.clean.runs.view import RunsView
from cleanclip_gui.jobs.background import Background
from cleanclip_gui.jobs.reads import Reads
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plain
from ml_core.cleaning.tradeoff import Head, Point
from ml_core.events import Event, Metric, Saved
from ml_core.reading.errors import InputError


class CleanRuns(RunsView):
    """The page of all runs. Each signal ``*_asked`` carries the :class:`PastRun` it is about.

    ``point_asked(run, point)`` asks for the checkpoint of an evaluation.
    """

    start_asked = Signal(object)
    open_asked = Signal(object)
    repeat_asked = Signal(object)
    duplicate_asked = Signal(object)
    resume_asked = Signal(object)
    halve_asked = Signal(object)
    export_asked = Signal(object)
    point_asked = Signal(object, object)
    failed = Signal(object)

    def __init__(self, queue: RunQueue, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.prompts = Prompts()
        self.queue = queue
        self.parent_folder: Callable[[], Path] = Path
        self._past: dict[Path, PastRun] = {}
        self._added: list[Path] = []
        self._live: Path | None = None
        self._live_events: list[Event] = []
        self._marks: dict[Path, int] = {}
        self._points: dict[Path, dict[Head, tuple[Point, ...]]] = {}
        self._noted: Path | None = None
        self.reads = Reads(self)
        self._reader: Background | None = None
        self._newer: set[Path] = set()
        self._again = False
        self._connect()
        self._refresh()

    # What is known

    @property
    def runs(self) -> tuple[PastRun, ...]:
        """Rows of the table: the one at work, who waits, then the past, newest first."""
        waiting = [folder for folder in self.queue.folders if folder in self._past]
        first = [self._live] if self._live in self._past else []
        ahead = [folder for folder in (*first, *waiting) if folder is not None]
        rest = [folder for folder in self._past if folder not in ahead]
        rest.sort(key=lambda folder: (self._past[folder].begun, folder.name), reverse=True)
        return tuple(self._standing(folder) for folder in (*ahead, *rest))

    def compared(self) -> dict[Path, int]:
        """Runs in the charts, with their marks."""
        return dict(self._marks)

    @Slot()
    def reload(self) -> None:
        """Read the runs' folders beside the window; once more if that is going on already."""
        if self._reader is not None:
            self._again = True
            return
        parent, added = self.parent_folder(), tuple(self._added)
        self._newer = set()

        def work(cancelled: Callable[[], bool]) -> Iterator[object]:
            found = {run.folder: run for run in list_runs(parent)}
            gone = []
            for folder in added:
                if cancelled():
                    return
                try:
                    found[folder] = read_run(folder)
                except InputError:
                    gone.append(folder)
            yield found, gone

        self._reader = Background(work)
        self._reader.yielded.connect(self._on_read)
        self._reader.failed.connect(self.failed)
        self._reader.finished.connect(self._on_reader_finished)
        self._reader.begin()

    def note_run(self, folder: Path) -> None:
        """A job was written, or its folder changed: read that one folder now."""
        try:
            self._take_in(read_run(folder))
        except InputError as error:
            self.failed.emit(error)
        self._refresh()

    def stop(self, timeout_ms: int) -> bool:
        """Keep a note that is being typed, and end the readers, when the window closes."""
        deadline = QDeadlineTimer(timeout_ms)
        self._keep_note()
        ended = self._reader is None or self._reader.stop(timeout_ms)
        return self.reads.stop(deadline.remainingTime()) and ended

    def _take_in(self, run: PastRun) -> None:
        """Have a run in the table as it is now, whatever a reload that goes on has read of it."""
        self._past[run.folder] = run
        self._newer.add(run.folder)

    # The run at work

    def begin_live(self, folder: Path, events: tuple[Event, ...] = ()) -> None:
        """A run began in ``folder``, after the events of an earlier session."""
        self._live, self._live_events = folder, list(events)
        self.reads.forget(folder)
        self.note_run(folder)
        self.compare(folder, True, silent=True)

    def add_event(self, event: Event) -> None:
        """Take in what the run at work says."""
        if self._live is None:
            return
        evaluated = isinstance(event, Metric) and "ca" in event.values
        kept = isinstance(event, Saved) and event.what == "step"
        if evaluated or kept:
            self._live_events.append(event)
            if self._live in self._marks:
                self._points[self._live] = points_by_head(self._live_events)
                self._draw()

    def end_live(self) -> None:
        """The run at work has ended; what it left is read from its folder."""
        folder, self._live = self._live, None
        self._live_events = []
        if folder is None:
            return
        if not folder.is_dir():  # deleted while it ran
            self._past.pop(folder, None)
            self.compare(folder, False)
            return
        self.note_run(folder)
        if folder in self._marks:
            self._read_points(folder)

    # Comparison

    def compare(self, folder: Path, on: bool, *, silent: bool = False) -> None:
        """Draw a run in the charts, or take it out."""
        if not on:
            self._marks.pop(folder, None)
            self._points.pop(folder, None)
            self.reads.forget(folder)
        elif folder not in self._marks:
            if folder not in self._past:
                self.note_run(folder)
            mark = free_mark(set(self._marks.values()))
            if mark is None:
                if not silent:
                    self.say(f"{MOST} runs are compared at most: untick another one first.")
                self._refresh()
                return
            self._marks[folder] = mark
            if folder != self._live:
                self._read_points(folder)
        if folder == self._live and folder in self._marks:
            self._points[folder] = points_by_head(self._live_events)
        self.say("")
        self._refresh()
        self._draw()

    def _read_points(self, folder: Path) -> None:
        self.reads.begin(folder, lambda: run_points(folder))

    def _on_points_read(self, folder: Path, points: dict[Head, tuple[Point, ...]]) -> None:
        self._points[folder] = points
        self._draw()

    def _draw(self) -> None:
        """Bring both charts up to date; a run whose journal is being read follows."""
        shown = sorted(self._marks.items(), key=lambda item: item[1])
        none = points_by_head(())
        self.comparison.draw(
            [
                (mark, self._past[folder], self._points.get(folder, none))
                for folder, mark in shown
                if folder in self._past
            ]
        )

    # The table

    def _standing(self, folder: Path) -> PastRun:
        """A run with the status that the window alone knows."""
        run = self._past[folder]
        status: Status = run.status
        if folder == self._live:
            status = "running"
        elif folder in self.queue.folders:
            status = "waiting"
        return run if status == run.status else replace(run, status=status)

    def _refresh(self) -> None:
        self.table.set_runs(self.runs, self._marks)
        self.hold.setChecked(self.queue.held)
        self.start_queue.setVisible(self.queue.held and len(self.queue) > 0)
        self._refresh_buttons()

    def _refresh_buttons(self) -> None:
        run = self.table.chosen
        waiting = run is not None and run.status == "waiting"
        over = run is not None and run.status not in ("waiting", "running")
        place = self.queue.folders.index(run.folder) if run is not None and waiting else -1
        for button, usable in (
            (self.open_, over and bool(run and run.can_be_shown)),
            (self.repeat, run is not None),
            (self.duplicate, run is not None),
            (self.resume, over and bool(run and run.can_go_on)),
            (self.halve, over and bool(run and (run.ran_out or run.status == "interrupted"))),
            (self.start, bool(run and run.status == "not started")),
            (self.up, place > 0),
            (self.down, waiting and place < len(self.queue) - 1),
            (self.remove, waiting),
            (self.export, run is not None),
        ):
            button.setEnabled(usable)
        # What is about some runs only would fill the row for all others.
        self.halve.setVisible(self.halve.isEnabled())
        self.resume.setVisible(self.resume.isEnabled())
        self.start.setVisible(self.start.isEnabled())
        for button in (self.up, self.down, self.remove):
            button.setVisible(waiting)
        self.note.setEnabled(run is not None)
        text = "" if run is None else run.note
        if self.note.text() != text and not (self.note.hasFocus() and self.note.isModified()):
            self.note.setText(text)

    def _connect(self) -> None:
        self.reads.done.connect(self._on_points_read)
        self.reads.failed.connect(self.failed)
        self.table.run_chosen.connect(self._on_run_chosen)
        self.table.opened.connect(self._on_opened)
        self.table.runs.ticked.connect(self.compare)
        self.tradeoff.chosen.connect(self._on_point_chosen)
        self.tradeoff.failed.connect(self.failed)
        self.curves.failed.connect(self.failed)
        self.queue.changed.connect(self._refresh)
        self.hold.toggled.connect(self.queue.hold)
        self.start_queue.clicked.connect(self._on_start_queue)
        self.note.editingFinished.connect(self._keep_note)
        self.add_folder.clicked.connect(self.choose_folder)
        self.up.clicked.connect(self._on_up)
        self.down.clicked.connect(self._on_down)
        self.remove.clicked.connect(self._on_remove)
        self.open_.clicked.connect(self._on_open)
        self.start.clicked.connect(self._on_start)
        self.repeat.clicked.connect(self._on_repeat)
        self.duplicate.clicked.connect(self._on_duplicate)
        self.resume.clicked.connect(self._on_resume)
        self.halve.clicked.connect(self._on_halve)
        self.export.clicked.connect(self._on_export)

    @Slot()
    def choose_folder(self) -> None:
        """Add a run that was made elsewhere, on a cluster say."""
        chosen = self.prompts.open_folder(self, "Results folder of a run", "")
        if chosen:
            self.open_folder(Path(chosen).absolute())

    def open_folder(self, folder: Path) -> None:
        """Show a run of another place in the table."""
        try:
            run = read_run(folder)
        except InputError as error:
            self.failed.emit(error)
            return
        if folder not in self._added:
            self._added.append(folder)
        self._take_in(run)
        self._refresh()
        self.table.choose(folder)

    def _on_read(self, told: tuple[dict[Path, PastRun], list[Path]]) -> None:
        found, gone = told
        for folder in (*self.queue.folders, *([self._live] if self._live else [])):
            if folder in self._past:  # in another output folder
                found.setdefault(folder, self._past[folder])
        found |= {folder: self._past[folder] for folder in self._newer if folder in self._past}
        self._past = dict(found)
        self._added = [folder for folder in self._added if folder not in gone or folder in found]
        for folder in [folder for folder in self._marks if folder not in self._past]:
            self.compare(folder, False)
        self._refresh()
        if self._marks:
            self._draw()
        if lost := [plain(folder.name, 60) for folder in gone if folder not in found]:
            self.say(
                f"No longer read, and taken out of the table: {', '.join(lost[:5])}. "
                "“Open results folder…” takes a folder in again."
            )

    def _on_reader_finished(self) -> None:
        self._reader = None
        if self._again:
            self._again = False
            self.reload()

    def _on_run_chosen(self, run: PastRun | None) -> None:
        self._keep_note()
        self._noted = None if run is None else run.folder
        self._refresh_buttons()

    def _keep_note(self) -> None:
        """Write what was typed about the run that was selected then."""
        folder = self._noted
        if folder is None or not self.note.isModified():
            return
        self.note.setModified(False)
        try:
            write_note(folder, self.note.text())
        except InputError as error:
            self.failed.emit(error)
            return
        self.note_run(folder)

    def _on_point_chosen(self, key: str, point: Point) -> None:
        run = self._past.get(Path(key))
        if run is None:
            return
        if not point.checkpoint and point.step:
            self.say(
                f"No checkpoint of step {point.step} of {plain(run_title(run), 80)} was kept. "
                "Tick “Keep every evaluated checkpoint” and run it again to open its steps."
            )
            return
        self.say("")
        self.point_asked.emit(run, point)

    def _with_chosen(self, act: Callable[[PastRun], None]) -> None:
        run = self.table.chosen
        if run is not None:
            act(run)

    def _on_opened(self, run: PastRun) -> None:
        if self.open_.isEnabled():
            self.open_asked.emit(run)

    def _on_start_queue(self) -> None:
        self.queue.hold(False)

    def _on_up(self) -> None:
        self._with_chosen(lambda run: self.queue.move(run.folder, -1))

    def _on_down(self) -> None:
        self._with_chosen(lambda run: self.queue.move(run.folder, 1))

    def _on_remove(self) -> None:
        self._with_chosen(lambda run: self.queue.remove(run.folder))

    def _on_open(self) -> None:
        self._with_chosen(self.open_asked.emit)

    def _on_start(self) -> None:
        self._with_chosen(self.start_asked.emit)

    def _on_repeat(self) -> None:
        self._with_chosen(self.repeat_asked.emit)

    def _on_duplicate(self) -> None:
        self._with_chosen(self.duplicate_asked.emit)

    def _on_resume(self) -> None:
        self._with_chosen(self.resume_asked.emit)

    def _on_halve(self) -> None:
        self._with_chosen(self.halve_asked.emit)

    def _on_export(self) -> None:
        self._with_chosen(self.export_asked.emit)
