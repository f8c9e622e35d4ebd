"""Asks the loader doctor about the checkpoint on show, in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QWidget

from cleanclip_gui.checkpoint.doctor_dialog import DoctorDialog
from cleanclip_gui.jobs.runner import JobRunner, doctor_runner
from cleanclip_gui.session import Session
from cleanclip_gui.widgets.prompts import Prompts
from ml_core.checkpoints.choice import Choice
from ml_core.checkpoints.saved_choices import forget, remember, remembered
from ml_core.events import Done, Finding
from ml_core.jobs.doctor_spec import DoctorSpec, write_doctor_spec
from ml_core.paths import cache_dir
from ml_core.reading import InputError, Inspection


class Doctoring(QObject):
    """One dialog, one process; ``failed`` carries an InputError.

    ``changed(str)`` carries the path of the file whose choice was made or forgotten: it is to be
    opened again.
    """

    changed = Signal(str)
    failed = Signal(object)

    def __init__(self, session: Session, prompts: Prompts, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        self._widget = parent
        self._prompts = prompts
        self.new_runner: Callable[..., JobRunner] = doctor_runner
        self.dialog: DoctorDialog | None = None
        self._runner: JobRunner | None = None
        self._ending: JobRunner | None = None  # of a dialog that was closed
        self._found: Inspection | None = None
        self._donor = ""
        self._result: Mapping[str, Any] = {}

    def open(self, found: Inspection, donor: str = "") -> None:
        """Show the doctor's page for an inspected file; ``donor`` as it was opened with."""
        if self.dialog is not None:
            if self._found is not None and self._found.path == found.path:
                self.dialog.raise_()
                return
            self.dialog.reject()
        self._found, self._donor, self._result = found, donor, {}
        dialog = self.dialog = DoctorDialog(found.name, self._prompts, self._widget.window())
        dialog.start_clicked.connect(self.start)
        dialog.cancel_clicked.connect(self.cancel)
        dialog.use_clicked.connect(self.use)
        dialog.forget_clicked.connect(self.forget)
        dialog.closed.connect(self._on_closed)
        dialog.images.failed.connect(self.failed)
        images = self._session.images
        own = images is not None and images.spec.kind != "demo"
        if images is not None and own and (images.labels >= 0).any():
            dialog.images.offer(images.spec, self._session.label_set, images.name)
        try:
            before = remembered(found.sha256)
            dialog.show_remembered("" if before is None else before.sentence)
        except InputError as error:
            dialog.show_ended(error.sentence, error=True)
        dialog.show()

    @Slot()
    def start(self) -> None:
        """Try the settings."""
        dialog, found = self.dialog, self._found
        if dialog is None or found is None or self._runner is not None:
            return
        images, label_set = dialog.images.chosen()
        device = self._session.device
        spec = DoctorSpec(
            checkpoint=str(found.path),
            donor=self._donor or None,
            images=images,
            label_set=label_set,
            device=device,
        )
        try:
            path = write_doctor_spec(spec, cache_dir() / "doctor" / f"{os.getpid()}.json")
            runner = self.new_runner(path, device=device)
            runner.event_received.connect(self._on_event)
            runner.ended.connect(self._on_ended)
            runner.launch()
        except InputError as error:
            dialog.show_ended(error.sentence, error=True)
            return
        except OSError as error:
            dialog.show_ended(f"The job could not be written: {error.strerror}.", error=True)
            return
        self._runner = runner
        dialog.show_running()

    @Slot()
    def cancel(self) -> None:
        """End it at once."""
        if self._runner is not None:
            self._runner.cancel()
            if self.dialog is not None:
                self.dialog.show_cancelling()

    @Slot()
    def use(self) -> None:
        """Remember the proposed settings for this file and open it with them."""
        values, found = self._result.get("choice"), self._found
        if values is None or found is None or self.dialog is None:
            return
        lists = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        try:
            made = remember(str(self._result["sha256"]), found.name, Choice(**lists))
        except InputError as error:
            self.dialog.show_ended(error.sentence, error=True)
            return
        self.dialog.show_used(made.sentence)
        self.changed.emit(str(found.path))

    @Slot()
    def forget(self) -> None:
        """Open the file as it says again."""
        if self._found is None or self.dialog is None:
            return
        try:
            forget(self._found.sha256)
        except InputError as error:
            self.dialog.show_ended(error.sentence, error=True)
            return
        self.dialog.show_remembered("")
        self.dialog.show_ended("The choice is forgotten: the file is opened as it says.")
        self.dialog.use.setEnabled(bool(self._result.get("choice")))
        self.changed.emit(str(self._found.path))

    def stop(self, timeout_ms: int) -> bool:
        """End when the window closes; whether it ended in time."""
        if self.dialog is not None:
            self.dialog.reject()
        runner, self._ending = self._ending, None
        return runner is None or runner.close(timeout_ms)

    @Slot()
    def _on_closed(self) -> None:
        self.cancel()
        if self._runner is not None:
            self._runner, self._ending = None, self._runner
        self.dialog = None

    @Slot(object)
    def _on_event(self, event: object) -> None:
        if self._runner is None or self.sender() is not self._runner:
            return
        self._runner.mark_running()
        if isinstance(event, Finding) and event.kind == "trial" and self.dialog is not None:
            self.dialog.add(event.values)

    @Slot(object)
    def _on_ended(self, done: Done) -> None:
        runner = self.sender()
        if isinstance(runner, JobRunner):
            Path(runner.spec_path).unlink(missing_ok=True)
        if runner is self._ending:
            self._ending = None
        if runner is not self._runner:
            return
        self._runner = None
        if self.dialog is None:
            return
        if done.status == "finished":
            self._result = done.result
            self.dialog.show_result(done.result)
        elif done.status == "cancelled":
            self.dialog.show_ended("Cancelled; what was tried stays listed.")
        else:
            self.dialog.show_ended(done.error, error=True)
