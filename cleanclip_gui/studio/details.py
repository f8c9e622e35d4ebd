"""Shows what the number in Studio was measured with."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Slot

from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.questions import Failed, TellDetails
from cleanclip_gui.studio.exports import save_table
from cleanclip_gui.studio.result_details import ResultDetails, rows_of
from ml_core.evaluation.details import Details
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from cleanclip_gui.studio.station import StudioStation

_KINDS = "JSON (*.json);;CSV (*.csv)"


class StudioDetails(QObject):
    """Asks the inference thread, which knows model and images, and opens the dialog."""

    def __init__(self, panel: StudioStation, inference: Inference) -> None:
        super().__init__(panel)
        self._panel, self._inference = panel, inference
        self.dialog: ResultDetails | None = None
        events = panel.session.events
        for event in (events.evaluation, events.trigger):
            event.connect(self._on_change)
        self._on_change()

    @property
    def can_show(self) -> bool:
        """Whether there is a number whose trigger is still on the canvas."""
        session = self._panel.session
        found = session.evaluation
        digest = None if session.trigger is None else session.trigger.digest
        return found is not None and found.trigger == digest

    @Slot()
    def show(self) -> None:
        """Ask for the record of the number on show."""
        session = self._panel.session
        if session.evaluation is None or not self.can_show:
            self._panel.failed.emit(InputError("There is no finished number to show yet."))
            return
        question = TellDetails(session.evaluation, session.trigger, session.role)
        self._inference.ask(question, partial(self._on_told, question), self._on_failed)

    def _on_change(self, *_: object) -> None:
        self._panel.measured.setEnabled(self.can_show)

    def _on_told(self, question: TellDetails, details: Details) -> None:
        found = question.evaluation
        record = {"evaluation": found.to_dict()} | details.to_dict()
        name = found.target_name
        estimate = ", an estimate so far" if found.partial else ""
        self.dialog = ResultDetails(
            f"{found.n} of {found.n_total} images, target {name}{estimate}", record, self._panel
        )
        self.dialog.save_clicked.connect(self._on_save)
        self.dialog.destroyed.connect(self._on_destroyed)
        self.dialog.open()

    def _on_failed(self, failed: Failed) -> None:
        self._panel.failed.emit(InputError(failed.sentence, "usage", failed.details))

    @Slot()
    def _on_destroyed(self) -> None:
        self.dialog = None

    def _on_save(self, record: dict[str, Any]) -> None:
        panel = self._panel
        path = panel.prompts.save_file(panel, "Save the record", "measurement.json", _KINDS)
        if path:
            rows = [("what", "value"), *rows_of(record)]
            try:
                save_table(Path(path), rows, record)
            except InputError as error:
                panel.failed.emit(error)
