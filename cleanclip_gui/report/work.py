"""A job of the report at work: its process, how far it is, and what it finds."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping

from pydantic import BaseModel
from PySide6.QtCore import QObject, Signal

from cleanclip_gui.jobs.launching import launch
from cleanclip_gui.jobs.runner import JobRunner
from cleanclip_gui.widgets.text import count_text
from ml_core.events import Done, Event, Finding, Message, Progress
from ml_core.paths import cache_dir

STAGES: Mapping[str, str] = {
    "open": "Opening", "data": "Reading the pictures", "texts": "Embedding the class texts",
    "measure": "Measuring", "again": "Measuring pictures again", "write": "Writing the bundle",
    "intact": "Checking that no file was changed", "arithmetic": "Computing every figure again",
    "print": "Printing the report again",
    "identity": "Comparing the pictures", "inference": "Predicting pictures again",
}  # fmt: skip
"""Words for the stages of these jobs; another one is shown by its own name."""


class Work(QObject):
    """One process at a time.

    ``found(values)`` is what it finds on its way, ``progressed`` tells that :attr:`fraction` or
    :attr:`words` are others, ``logged(str)`` is a line for the log, ``began`` and ``ended(Done)``
    are of the process.

    Parameters
    ----------
    new_runner
        Makes the runner of a spec's file.
    """

    began = Signal()
    found = Signal(object)
    progressed = Signal()
    logged = Signal(str)
    ended = Signal(object)

    def __init__(self, new_runner: Callable[..., JobRunner], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._new_runner = new_runner
        self._runner: JobRunner | None = None
        self.fraction: float | None = None
        self.words = ""

    @property
    def is_running(self) -> bool:
        """Whether a process is at work."""
        return self._runner is not None

    def start(self, spec: BaseModel, device: str) -> None:
        """Write the spec, and run it on a device.

        Raises
        ------
        InputError
            If the spec cannot be written, or another job runs on the device.
        """
        path = cache_dir() / "report" / f"{uuid.uuid4().hex}.json"
        self._runner = launch(
            self._new_runner, spec, path, self._on_event, self._on_ended, self.logged,
            device=device,
        )  # fmt: skip
        self.fraction, self.words = None, "Starting"
        self.began.emit()
        self.progressed.emit()

    def cancel(self) -> None:
        """End it at once."""
        if self._runner is not None:
            self.words = "Cancelling"
            self._runner.cancel()
            self.progressed.emit()

    def _on_event(self, event: Event) -> None:
        if self._runner is None:
            return
        self._runner.mark_running()
        if isinstance(event, Message):
            self.logged.emit(event.text)
        elif isinstance(event, Finding):
            self.found.emit(event.values)
        elif isinstance(event, Progress):
            self.fraction = event.done / event.total if event.total > 1 else None
            said = STAGES.get(event.stage, event.stage)
            far = event.done < event.total and 1 < event.total < 1_000_000  # else bytes
            of = f", {count_text(event.done)} of {count_text(event.total)}" if far else ""
            self.words = f"{said}{of}"
            self.progressed.emit()

    def _on_ended(self, last: Done) -> None:
        runner, self._runner = self._runner, None
        self.fraction, self.words = None, ""
        if isinstance(runner, QObject):
            runner.deleteLater()
        self.ended.emit(last)
