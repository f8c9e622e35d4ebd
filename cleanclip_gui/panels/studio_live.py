"""The live loop of Studio: from a change of the trigger to numbers on the screen."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QElapsedTimer, QObject, QTimer, Signal

from cleanclip_gui.jobs.inference import Inference
from cleanclip_gui.jobs.requests import Evaluate, EvaluationUpdated, Predict, PredictionReady
from cleanclip_gui.session import RunState, Session
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger

THROTTLE_MS = 60


def run_note(run: RunState | None) -> str:
    """What a cleaning run means for the numbers in Studio; empty when none goes on."""
    if run is None or run.status != "running":
        return ""
    if run.device == "cpu":
        return "A cleaning run slows this down meanwhile."
    return f"On the CPU while a run uses {run.device}."


class LiveLoop(QObject):
    """Asks for the trigger's numbers while it changes, at most every 60 ms.

    ``evaluated`` and ``predicted`` carry the result and whether it is of an older trigger.
    """

    evaluated = Signal(object, bool)
    predicted = Signal(object, bool)
    became_stale = Signal()
    failed = Signal(object)

    def __init__(
        self,
        session: Session,
        inference: Inference,
        make_trigger: Callable[[], Trigger | None],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._inference = inference
        self._make_trigger = make_trigger
        self._newest_evaluate = -1
        self._newest_predict = -1
        self._stale = False
        self._since = QElapsedTimer()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._send)
        inference.evaluation_updated.connect(self._on_evaluation_updated)
        inference.prediction_ready.connect(self._on_prediction_ready)

    @property
    def stale(self) -> bool:
        """Whether a change has not been answered yet."""
        return self._stale

    def touch(self) -> None:
        """The trigger or the question changed: ask again soon."""
        if not self._stale:
            self._stale = True
            self.became_stale.emit()
        if not self._timer.isActive():
            past = self._since.elapsed() if self._since.isValid() else THROTTLE_MS
            self._timer.start(max(0, THROTTLE_MS - past))

    def look(self) -> None:
        """Another image was selected: ask about it alone."""
        if self._can_ask() and not self._timer.isActive():
            self._predict(self._session.trigger)

    def stop(self) -> None:
        """Send nothing more."""
        self._timer.stop()

    def _can_ask(self) -> bool:
        session = self._session
        return session.shown is not None and session.images is not None and session.images.n > 0

    def _send(self) -> None:
        """Submit the newest trigger; results of older ones show as stale from now on."""
        if not self._can_ask():
            return
        try:
            trigger = self._make_trigger()
        except InputError as error:
            self.failed.emit(error)
            return
        self._since.start()
        session = self._session
        session.trigger = trigger
        self._predict(trigger)
        self._newest_evaluate = self._inference.submit(
            Evaluate(trigger, session.target, None, session.role)
        )

    def _predict(self, trigger: Trigger | None) -> None:
        session = self._session
        self._newest_predict = self._inference.submit(
            Predict(session.selected_image, trigger, session.role)
        )

    def _on_evaluation_updated(self, result: EvaluationUpdated) -> None:
        if self._inference_moved_on(result.generation) or result.role != self._session.role:
            return
        older = result.generation != self._newest_evaluate or self._timer.isActive()
        if not older:
            self._stale = False
            self._session.evaluation = result.evaluation
        self.evaluated.emit(result, older)

    def _inference_moved_on(self, generation: int) -> bool:
        """Whether somebody else asked this."""
        return generation > self._newest_evaluate

    def _on_prediction_ready(self, result: PredictionReady) -> None:
        older = result.generation != self._newest_predict or self._timer.isActive()
        if result.index == self._session.selected_image:
            self.predicted.emit(result, older)
