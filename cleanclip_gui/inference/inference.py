"""The window's handle on the inference thread.

torch and open_clip are imported in that thread, after the window is on screen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from PySide6.QtCore import QObject, QThread, Signal

from cleanclip_gui.inference.explaining import Explain, Explained
from cleanclip_gui.inference.mailbox import Letter, Mailbox
from cleanclip_gui.inference.requests import (
    Evaluate,
    EvaluationUpdated,
    Failed,
    LoadImages,
    Looked,
    OpenCheckpoint,
    Predict,
    PredictionReady,
    Request,
    SetDevice,
)
from cleanclip_gui.inference.worker import EngineProtocol, InferenceWorker

_LOG = logging.getLogger(__name__)
# A QThread that is collected while it runs aborts the process; one that outlived its
# time limit is kept here until it ends.
_LINGERING: list[QThread] = []


class Inference(QObject):
    """Asks a model in another thread; every signal arrives in the thread of this object.

    Parameters
    ----------
    engine
        Makes the engine, called in the inference thread; by default the one that loads torch.
    """

    checkpoint_opened = Signal(object)
    loading = Signal(object)
    images_loaded = Signal(object)
    thumbnails_ready = Signal(object)
    evaluation_updated = Signal(object)
    looked = Signal(object)
    prediction_ready = Signal(object)
    explained = Signal(object)
    failed = Signal(object)
    busy_changed = Signal(str)
    ready = Signal()
    devices_found = Signal(object)
    device_changed = Signal(str)

    def __init__(
        self,
        engine: Callable[[], EngineProtocol] | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._mailbox = Mailbox()
        self._generation = 0
        self._evaluation_floor = 0
        self._explanation_floor: dict[type[Explain], int] = {}
        self._prediction_floor = 0
        self._last_evaluate: Evaluate | None = None
        self._last_evaluation = 0
        self._last_predict: Predict | None = None
        self._thread = QThread()
        self._thread.setObjectName("inference")
        self._worker = InferenceWorker(self._mailbox, engine)
        self._worker.moveToThread(self._thread)
        self._thread.started.connect(self._worker.run)
        self._worker.checkpoint_opened.connect(self._on_checkpoint_opened)
        self._worker.loading.connect(self._on_loading)
        self._worker.images_loaded.connect(self._on_images_loaded)
        self._worker.thumbnails_ready.connect(self._on_thumbnails_ready)
        self._worker.evaluation_updated.connect(self._on_evaluation_updated)
        self._worker.looked.connect(self._on_looked)
        self._worker.prediction_ready.connect(self._on_prediction_ready)
        self._worker.explained.connect(self._on_explained)
        self._worker.failed.connect(self._on_failed)
        self._worker.busy_changed.connect(self._on_busy_changed)
        self._worker.ready.connect(self._on_ready)
        self._worker.devices_found.connect(self._on_devices_found)
        self._worker.device_changed.connect(self._on_device_changed)
        self._started = False

    def start(self) -> None:
        """Start the thread, which imports torch; call it once the window is shown."""
        if not self._started and not self._mailbox.closed:
            self._started = True
            self._thread.start()

    def submit(self, request: Request) -> int:
        """Queue a request and return its generation number; starts the thread if need be."""
        self._generation += 1
        if isinstance(request, Evaluate):
            if _other_question(self._last_evaluate, request):
                self._evaluation_floor = self._generation
            self._last_evaluate, self._last_evaluation = request, self._generation
        elif isinstance(request, Predict):
            last = self._last_predict
            if last is None or (last.index, last.role) != (request.index, request.role):
                self._prediction_floor = self._generation
            self._last_predict = request
        elif isinstance(request, Explain):
            self._explanation_floor[type(request)] = self._generation
        elif isinstance(request, LoadImages):
            self._forget_looks()
        elif isinstance(request, OpenCheckpoint):
            self._evaluation_floor = self._prediction_floor = self._generation
        self._mailbox.put(Letter(self._generation, request))
        self.start()
        return self._generation

    @property
    def evaluating(self) -> tuple[int, Evaluate] | None:
        """Generation and question of the newest evaluation; None once it is forgotten."""
        if self._last_evaluate is None or self._last_evaluation < self._evaluation_floor:
            return None
        return self._last_evaluation, self._last_evaluate

    def cancel_evaluation(self) -> None:
        """Forget the evaluation in flight and the one that waits; no late result arrives."""
        self._generation += 1
        self._evaluation_floor = self._generation
        self._last_evaluate = None
        self._mailbox.cancel_evaluation(self._generation)

    def cancel_loading(self) -> None:
        """Open none of the images asked for so far; ``failed`` says so of each."""
        self._generation += 1
        self._mailbox.cancel_loading(self._generation)

    def cancel_explanation(self, kind: type[Explain]) -> None:
        """Forget explanations of a kind, in flight or waiting; no late step arrives."""
        self._generation += 1
        self._explanation_floor[kind] = self._generation
        self._mailbox.cancel_explanation(kind, self._generation)

    def set_device(self, name: str) -> None:
        """Move the models to ``cpu``, ``cuda:0``, ``mps``...; ``device_changed`` answers."""
        self.submit(SetDevice(name))

    def close(self, timeout_ms: int = 10_000) -> bool:
        """End the thread after the batch in flight; whether it ended within the time."""
        self._mailbox.close()
        if not self._started:
            return True
        self._thread.quit()
        ended = self._thread.wait(timeout_ms)
        if not ended:
            _LOG.warning("the inference thread did not end within %d ms", timeout_ms)
            _LINGERING.append(self._thread)
        return ended

    def _forget_looks(self) -> None:
        self._evaluation_floor = self._prediction_floor = self._generation
        self._mailbox.drop_looks(self._generation)

    def _on_checkpoint_opened(self, result: object) -> None:
        self.checkpoint_opened.emit(result)

    def _on_loading(self, result: object) -> None:
        self.loading.emit(result)

    def _on_images_loaded(self, result: object) -> None:
        self.images_loaded.emit(result)

    def _on_thumbnails_ready(self, result: object) -> None:
        self.thumbnails_ready.emit(result)

    def _on_evaluation_updated(self, result: EvaluationUpdated) -> None:
        if result.generation >= self._evaluation_floor:
            self.evaluation_updated.emit(result)

    def _on_looked(self, result: Looked) -> None:
        if result.generation >= self._evaluation_floor:
            self.looked.emit(result)

    def _on_prediction_ready(self, result: PredictionReady) -> None:
        if result.generation >= self._prediction_floor:
            self.prediction_ready.emit(result)

    def _on_explained(self, result: Explained) -> None:
        if result.generation >= self._explanation_floor.get(type(result.request), 0):
            self.explained.emit(result)

    def _on_failed(self, result: Failed) -> None:
        self.failed.emit(result)

    def _on_busy_changed(self, text: str) -> None:
        self.busy_changed.emit(text)

    def _on_ready(self) -> None:
        self.ready.emit()

    def _on_devices_found(self, names: object) -> None:
        self.devices_found.emit(names)

    def _on_device_changed(self, name: str) -> None:
        self.device_changed.emit(name)


def _other_question(last: Evaluate | None, new: Evaluate) -> bool:
    """Whether results of ``last`` would mislead where ``new`` is awaited."""
    if last is None:
        return True
    return (
        last.target != new.target
        or last.role != new.role
        or (last.trigger is None) != (new.trigger is None)
    )
