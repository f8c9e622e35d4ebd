"""What the pages of Studio share that ask the models: question, progress, failure, saving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from PySide6.QtWidgets import QWidget

from cleanclip_gui.inference.questions import Failed, Question
from cleanclip_gui.station import Context
from cleanclip_gui.studio.exports import ask_and_save
from cleanclip_gui.ticket import Ticket, TicketProgress
from cleanclip_gui.widgets.controls import BusyRow, Label, push_button
from cleanclip_gui.widgets.text import plain
from ml_core.reading.errors import InputError


class AskingPage(QWidget):
    """A page with buttons to measure and to save, a line on the result, and a bar meanwhile.

    A page that has something to save and to ask overrides ``_on_save_clicked`` and ``_ask``; it
    begins with ``set_busy(None)`` once it is laid out.

    Attributes
    ----------
    what
        Is measured; names the bar.
    measures, saves
        Text and tool tip of the first button; name and tool tip of the other one, a picture.
    hint
        Stands in the place of the bar while nothing is measured; empty: nothing does.
    """

    what: ClassVar[str]
    measures: ClassVar[tuple[str, str]]
    saves: ClassVar[tuple[str, str]]
    hint: ClassVar[str] = ""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._session, self._inference = context.session, context.inference
        self._ticket = Ticket.closed()
        text, tip = self.measures
        self.measure = push_button(text, self._ask, tip=tip)
        name, tip = self.saves
        self.save = push_button(icon="save", name=name, tip=tip, clicked=self._on_save_clicked)
        self.says = Label("", wrap=True)
        self.readout = Label(self.hint, "caption", wrap=True)
        self.readout.setParent(self)
        self.busy = BusyRow(self.what, self._on_cancelled)

    def _follow(self, handler: Callable[..., object], *fields: str) -> None:
        """Have changes of some fields of the session handled."""
        for field in fields:
            getattr(self._session.events, field).connect(handler)

    def _ask(self) -> None:
        """Measure; called by the button."""

    def _ask_models(self, question: Question, on_result: Callable[..., object]) -> None:
        self._ticket = self._inference.ask(
            question, on_result, self._on_failed, on_progress=self._on_progress
        )

    def _cancel_question(self) -> None:
        self._ticket.cancel()

    def _on_cancelled(self) -> None:
        self._cancel_question()
        self.set_busy(None)

    def _on_progress(self, progress: TicketProgress) -> None:
        self.set_busy(progress.share)

    def _on_failed(self, failed: Failed | InputError) -> None:
        self.set_busy(None)
        self.says.setText(plain(failed.sentence, 300))

    def _on_save_clicked(self) -> None:
        """Save what is on show."""

    def _ask_and_save(self, name: str, kinds: str, write: Callable[[Path], object]) -> None:
        ask_and_save(self._context, self, self.saves[0], name, kinds, write)

    def set_busy(self, share: float | None) -> None:
        """Show how far a measurement is, 0 to 1, below 0 unknown; None if nothing is measured."""
        if share is not None and self.measure.hasFocus():  # the disabled button would hand it on
            self.busy.show()
            self.busy.cancel.setFocus()
        self.busy.setVisible(share is not None)
        self.readout.setVisible(share is None and bool(self.hint))
        self.measure.setEnabled(share is None)
        self.busy.show_share(None if share is not None and share < 0 else share or 0.0)
