"""A job as a page sees it: its file is written, its process started, watched and ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel
from PySide6.QtCore import QObject, Signal

from cleanclip_gui.jobs.runner import JobRunner, NewRunner, new_runner
from ml_core.events import Done, Event, Message, Progress
from ml_core.jobs.overall import Overall, Plan
from ml_core.jobs.specs import write_spec_file
from ml_core.jobs.table import JOBS
from ml_core.reading.errors import InputError

NO_PLAN = Plan(())


class JobTask(QObject):
    """Runs one process at a time.

    ``began`` and ``ended(Done)`` are about the process; ``received(Event)`` carries each of its
    events, ``logged(str)`` a line for the log, ``warned(str)`` one to be seen. ``progressed``:
    :attr:`progress`, :attr:`fraction`, :attr:`seconds_left` or :attr:`is_cancelling` changed.

    Parameters
    ----------
    kind
        Kind of the job, such as ``scan``.
    make_runner
        Makes its runner.
    """

    began = Signal()
    received = Signal(object)
    progressed = Signal()
    logged = Signal(str)
    warned = Signal(str)
    state_changed = Signal(str)
    ended = Signal(object)

    def __init__(
        self, kind: str, make_runner: NewRunner = new_runner, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.kind, self.make_runner = kind, make_runner
        self.runner: JobRunner | None = None
        self.progress: Progress | None = None
        self.is_cancelling = False
        self.overall = Overall(NO_PLAN)

    @property
    def is_running(self) -> bool:
        """Whether a process is at work."""
        return self.runner is not None

    @property
    def fraction(self) -> float:
        """Share of the whole job that is done, 0 to 1."""
        return self.overall.fraction

    @property
    def seconds_left(self) -> float | None:
        """Until it is done; None while that is not known."""
        return self.overall.seconds_left

    def start(
        self, spec: BaseModel, path: Path, device: str, plan: Plan | None = None, **options: Any
    ) -> None:
        """Write a job and start a process on it.

        Parameters
        ----------
        spec, path
            The job, and its file.
        device
            What it computes on.
        plan
            The stages that it goes through; by default those of its kind.
        **options
            As in `new_runner`.

        Raises
        ------
        InputError
            If the job cannot be written, or another job runs on the device.
        """
        try:
            write_spec_file(spec, path)
        except OSError as error:
            raise InputError(
                f"The job cannot be written into {path.parent.name}: {error.strerror or error}."
            ) from error
        job = JOBS[self.kind]
        if plan is None:
            plan = NO_PLAN if job.plan is None else job.plan(spec)
        self.launch(path, device, plan, **options)

    def launch(self, path: Path, device: str, plan: Plan = NO_PLAN, **options: Any) -> None:
        """Start a process on a job that is written; see :meth:`start`."""
        runner = self.make_runner(self.kind, path, device=device, **options)
        runner.event_received.connect(self._on_event)
        runner.line_logged.connect(self.logged)
        runner.state_changed.connect(self._on_state_changed)
        runner.ended.connect(self._on_ended)
        runner.launch()
        self.runner, self.progress, self.is_cancelling = runner, None, False
        self.overall = Overall(plan)
        self.began.emit()

    def cancel(self) -> None:
        """End the process at once; its last word is still heard."""
        if self.runner is not None:
            self.is_cancelling = True
            self.runner.cancel()
            self.progressed.emit()

    def abandon(self) -> None:
        """End the process at once, and hear nothing more of it."""
        runner, self.runner = self.runner, None
        if runner is not None:
            runner.event_received.disconnect(self._on_event)
            runner.ended.disconnect(self._on_ended)
            runner.cancel()

    def take(self, event: Event) -> None:
        """Take in an event; a subclass may do more with it."""
        if isinstance(event, Message):
            (self.logged if event.level == "info" else self.warned).emit(event.text)
        elif isinstance(event, Progress):
            self.progress = event
            self.overall.take(event)
            self.progressed.emit()
        self.received.emit(event)

    def _on_event(self, event: Event) -> None:
        if self.runner is not None:  # else it was under way when the job was abandoned
            self.runner.mark_running()
            self.take(event)

    def _on_state_changed(self, state: str) -> None:
        if state != "ended":  # the last word follows
            self.state_changed.emit(state)

    def _on_ended(self, last: Done) -> None:
        runner, self.runner = self.runner, None
        if runner is not None:
            self.is_cancelling = False
            runner.deleteLater()
            self.ended.emit(last)
