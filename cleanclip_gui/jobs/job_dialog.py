"""A window about one job: what is set, Start, how far it is, and what it results in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QPushButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.widgets.controls import BusyRow, Note, push_button
from cleanclip_gui.widgets.dialog_frame import ClosingDialog, resize_within
from cleanclip_gui.widgets.text import count_text, left_text, plain
from ml_core.cleaning.recipes import explain
from ml_core.events import Done, Event, Progress
from ml_core.jobs.table import JOBS
from ml_core.reading.errors import InputError


class JobDialog(ClosingDialog):
    """Starts a job, shows it and its result; closing the dialog abandons the job.

    ``closed`` is emitted when it is gone; ``failed`` carries an InputError for the window to show;
    ``used`` what the user takes from the result.

    Parameters
    ----------
    task
        Runs the process; belongs to the dialog from now on.
    title
        Title of the window.
    start
        Text of the button that starts the job.
    bar
        Accessible name of the progress bar.
    """

    closed = Signal()
    failed = Signal(object)
    used = Signal(object)
    cancelled_words = "Cancelled."

    def __init__(
        self, task: JobTask, title: str, start: str, bar: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(title, parent)
        task.setParent(self)
        self.task = task
        self.start = push_button(start, self.begin, look="primary")
        self.busy = BusyRow(bar, self.cancel)
        self.state = Note("subtle")
        self.close_button = push_button("Close", self.reject)
        self.locked: list[QWidget] = [self.start]  # while the job runs
        task.received.connect(self.take)
        task.ended.connect(self._on_ended)

    def finish(self, width: int, height: int, main: QPushButton) -> None:
        """Prepare the dialog once it is laid out; Enter presses Start or ``main``."""
        for button in self.findChildren(QPushButton):
            button.setAutoDefault(button in (self.start, main))
        resize_within(self, width, height)
        self.set_busy(False)
        self.show_state("")

    # What a dialog adds

    def launch(self) -> None:
        """Start the job that is set.

        Raises
        ------
        InputError, ValidationError
            If it cannot be started.
        """
        raise NotImplementedError

    def stage_words(self, progress: Progress) -> str:
        """What a stage does, and how far it is."""
        words = JOBS[self.task.kind].words(progress.stage).removesuffix("…")
        if progress.total <= 1:
            return f"{words}…"
        words += f": {count_text(progress.done)} of {count_text(progress.total)}"
        return f"{words}, {progress.rate:.0f} a second" if progress.rate else words

    def show_result(self, result: Mapping[str, Any]) -> None:
        """Show what a finished job left; may raise an InputError."""

    # What all do

    def begin(self) -> None:
        """Start the job, or say why that is not possible."""
        if self.task.is_running:
            return
        try:
            self.launch()
        except InputError as error:
            self.show_ended(error.sentence, error=True)
        except ValidationError as error:
            self.show_ended(explain(error), error=True)
        else:
            self.show_running()

    def cancel(self) -> None:
        """End the job at once; the dialog stays."""
        if self.task.is_running:
            self.busy.cancel.setEnabled(False)
            self.show_state("Cancelling…")
            self.task.cancel()

    def show_running(self) -> None:
        """Show that the job has begun."""
        self.set_busy(True)
        self.busy.show_share(0.0)
        self.show_state(self.stage_words(Progress("open", 0, 0)))

    def take(self, event: Event) -> None:
        """Show an event of the job."""
        if isinstance(event, Progress):
            words, left = self.stage_words(event), left_text(self.task.seconds_left)
            self.busy.show_share(self.task.fraction)
            self.show_doing(f"{words.removesuffix('…')}, {left}" if left else words)

    def show_doing(self, words: str) -> None:
        """Say what the job does, unless it is being cancelled."""
        if not self.task.is_cancelling:
            self.show_state(words)

    def show_ended(self, words: str, *, error: bool = False) -> None:
        """Show that nothing runs any more, and why there is no new result."""
        self.set_busy(False)
        self.show_state(words, "error" if error else "subtle")

    def show_state(self, words: str, role: str = "subtle") -> None:
        """Say how it stands; nothing hides the line."""
        theme.set_property(self.state, "role", role)
        self.state.setText(plain(words, 1000))

    def set_busy(self, busy: bool) -> None:
        """Lock what is set while the job runs, and show its progress."""
        self.busy.setVisible(busy)
        self.busy.cancel.setEnabled(True)
        for widget in self.locked:
            widget.setEnabled(not busy)

    def done(self, result: int) -> None:
        """Abandon the job, and tell that the dialog is closed."""
        self.task.abandon()
        super().done(result)
        self.closed.emit()

    def _on_ended(self, last: Done) -> None:
        self.set_busy(False)
        if last.status == "cancelled":
            self.show_ended(self.cancelled_words)
        elif last.status != "finished":
            self.show_ended(last.error, error=True)
        else:
            try:
                self.show_result(last.result)
            except InputError as error:
                self.show_ended(error.sentence, error=True)


D = TypeVar("D", bound=JobDialog)


class JobDialogs(QObject, Generic[D]):
    """Opens dialogs of one kind, one at a time, and passes on their ``failed`` and ``used``.

    Parameters
    ----------
    subject
        What could not be opened, in a sentence.
    new_dialog
        Returns the dialog to show beside the one that is open, if any; None keeps that. An
        InputError says why none can be shown.
    """

    failed = Signal(object)
    used = Signal(object)

    def __init__(
        self, subject: str, new_dialog: Callable[[D | None], D | None], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._subject, self._new_dialog = subject, new_dialog
        self.dialog: D | None = None

    @property
    def is_running(self) -> bool:
        """Whether the dialog's job is at work."""
        return self.dialog is not None and self.dialog.task.is_running

    def open(self) -> None:
        """Show the dialog, or say why it cannot open."""
        if self.is_running and self.dialog is not None:
            self.dialog.raise_()
            return
        try:
            dialog = self._new_dialog(self.dialog)
        except InputError as error:
            self.failed.emit(error.titled(f"Could not open {self._subject}"))
            return
        if dialog is not None:
            self.show(dialog)
        elif self.dialog is not None:
            self.dialog.raise_()

    def show(self, dialog: D) -> None:
        """Show a dialog in place of the one before."""
        self.close()
        self.dialog = dialog
        dialog.closed.connect(self._on_closed)
        dialog.failed.connect(self.failed)
        dialog.used.connect(self.used)
        dialog.show()

    def cancel(self) -> None:
        """End the dialog's job at once; the dialog stays."""
        if self.dialog is not None:
            self.dialog.cancel()

    def close(self) -> None:
        """Close the dialog and abandon its job."""
        if self.dialog is not None:
            self.dialog.done(0)

    def _on_closed(self) -> None:
        self.dialog = None
