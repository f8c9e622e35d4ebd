"""Measures every trigger of the library on the images in use, and draws each on one picture."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QObject, Signal

from cleanclip_gui.inference.questions import (
    Evaluate,
    EvaluationUpdated,
    Failed,
    Thumbnails,
    ThumbnailsReady,
)
from cleanclip_gui.station import Context
from cleanclip_gui.studio.library_dialog import TriggerLibrary
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.pictures import rgba_to_image
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger

SLOT = "library"  # its questions replace each other, and none of the live numbers
_SECONDS_EACH, _LEAST, _MOST = 1.0, 64, 256


def images_each(rate: float) -> int:
    """How many images a trigger is measured on, at ``rate`` images a second (0: not known)."""
    return round(min(max(rate * _SECONDS_EACH, _LEAST), _MOST))


class LibraryScan(QObject):
    """Serves a :class:`TriggerLibrary` that is open: pictures at once, rates when asked.

    Parameters
    ----------
    context
        Asks the models about the session's images, target class and selected picture.
    dialog
        Shows what is found; the scan ends with it.
    make
        The trigger of a key of the library; raises InputError where it cannot be made.
    keys
        Of the triggers that need no file from the user, in their order.
    rate
        Images a second; 0 while it is not known.
    """

    ended = Signal()

    def __init__(
        self,
        context: Context,
        dialog: TriggerLibrary,
        make: Callable[[str], Trigger],
        keys: tuple[str, ...],
        rate: float,
    ) -> None:
        super().__init__(dialog)
        self._session, self._inference = context.session, context.inference
        self._dialog, self._make, self._keys = dialog, make, keys
        self._n = images_each(rate)
        self._waiting: list[str] = []
        self._ticket: Ticket | None = None
        dialog.measure_wanted.connect(self.start)
        dialog.cancel_wanted.connect(self.cancel)
        dialog.finished.connect(self.cancel)
        dialog.offer_measuring(self._session.can_measure)
        if self._session.can_measure:
            self._draw()

    def _draw(self) -> None:
        """Ask for the selected picture with each trigger on it."""
        session = self._session
        for key in self._keys:
            trigger = self._library_trigger(key)
            if trigger is not None and trigger.changes_pictures:
                asked = Thumbnails((session.selected_image,), 0, trigger, session.role)
                self._inference.ask(asked, partial(self._on_drawn, key), self._on_not_drawn)

    def _on_drawn(self, key: str, result: ThumbnailsReady) -> None:
        self._dialog.set_picture(key, rgba_to_image(result.images[0]))

    def _on_not_drawn(self, _: Failed) -> None:
        """The line has no picture."""

    def _library_trigger(self, key: str) -> Trigger | None:
        try:
            return self._make(key)
        except InputError as error:
            self._dialog.set_rate(key, None, error.sentence)
            return None

    def start(self) -> None:
        """Measure one after the other."""
        self._waiting = list(self._keys)
        self._next()

    def cancel(self) -> None:
        """End after the batch in flight; what was measured stays."""
        if self._ticket is not None:
            self._ticket.cancel()
            self._ticket = None
            self._finish()

    def _next(self) -> None:
        done = len(self._keys) - len(self._waiting)
        self._dialog.set_progress(done, len(self._keys))
        while self._waiting:
            key = self._waiting.pop(0)
            trigger = self._library_trigger(key)
            if trigger is None:
                continue
            session = self._session
            question = Evaluate(trigger, session.target, self._n, session.role)
            answered = partial(self._on_evaluated, key)
            failed = partial(self._on_failed, key)
            self._ticket = self._inference.ask(question, answered, failed, slot=SLOT)
            return
        self._ticket = None
        self._finish()

    def _finish(self) -> None:
        self._waiting = []
        self._dialog.set_progress(0, 0)
        self._dialog.sort_by_rate()
        self.ended.emit()

    def _on_evaluated(self, key: str, result: EvaluationUpdated) -> None:
        evaluation = result.evaluation
        if evaluation.partial:
            return
        rate = evaluation.asr_all if evaluation.asr_excl is None else evaluation.asr_excl
        words = f"{evaluation.n} images, target {evaluation.target_name}"
        if evaluation.most_pulled is not None:
            words += (
                f"; class that gains most: {evaluation.most_pulled}, "
                f"+{100 * evaluation.most_pulled_rise:.1f} points"
            )
        self._dialog.set_rate(key, rate, words)
        self._next()

    def _on_failed(self, key: str, failed: Failed) -> None:
        self._dialog.set_rate(key, None, failed.sentence)
        self._next()
