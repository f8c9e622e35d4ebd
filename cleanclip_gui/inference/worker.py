"""The loop that runs in the inference thread."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import QObject, Signal, Slot

from cleanclip_gui.inference.explaining import Explain, Explained, MeasureSpeed
from cleanclip_gui.inference.mailbox import Letter, Mailbox
from cleanclip_gui.inference.requests import (
    CANCELLED,
    CheckpointOpened,
    Evaluate,
    EvaluationUpdated,
    Failed,
    LoadImages,
    Loading,
    Look,
    Looked,
    OpenCheckpoint,
    Predict,
    PredictionReady,
    SetDevice,
    Thumbnails,
    ThumbnailsReady,
)
from cleanclip_gui.session.records import ImagesState
from cleanclip_gui.widgets.text import count_text
from ml_core.data.watch import Watch
from ml_core.reading.errors import CancelledError, InputError

if TYPE_CHECKING:
    from ml_core.evaluation.records import Evaluation, PerImage

_LOG = logging.getLogger(__name__)
_TELL_EVERY = 0.1  # seconds


class _MakesWayError(Exception):
    """An answer was given up for an opening or loading; it is asked for again afterwards."""


class EngineProtocol(Protocol):
    """What the inference thread can be asked; the torch one and the tests' fakes agree on it."""

    watch_texts: Watch

    def devices(self) -> tuple[str, ...]:
        """Devices of this machine, best first."""

    def set_device(self, name: str) -> str:
        """Move the models; return the device in use."""

    def open_checkpoint(self, request: OpenCheckpoint) -> CheckpointOpened:
        """Examine and load a checkpoint."""

    def load_images(self, request: LoadImages, watch: Watch) -> ImagesState:
        """Open an image set and its classes; ``watch`` is told how far it is, and may end it."""

    def thumbnails(self, request: Thumbnails) -> ThumbnailsReady:
        """Pictures of the set."""

    def evaluate(
        self, request: Evaluate, cancelled: Callable[[], bool]
    ) -> Iterator[tuple[Evaluation, PerImage]]:
        """Measure in growing batches; ``cancelled`` is polled between them."""

    def look(self, request: Look) -> PerImage:
        """What the model says of a few images."""

    def predict(self, request: Predict) -> PredictionReady:
        """Probabilities of one image."""

    def explain(
        self, request: Explain, cancelled: Callable[[], bool], generation: int = 0
    ) -> Iterator[Explained]:
        """Answer a long question in steps; ``cancelled`` is polled between them."""


def _torch_engine() -> EngineProtocol:
    """Import torch and make the engine; seconds, so only in the inference thread."""
    from cleanclip_gui.inference.explain_engine import ExplainingEngine

    return ExplainingEngine()


class InferenceWorker(QObject):
    """Takes requests from the mailbox until it is closed; lives in the inference thread."""

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

    def __init__(self, mailbox: Mailbox, engine: Callable[[], EngineProtocol] | None) -> None:
        super().__init__()
        self._mailbox = mailbox
        self._make_engine = engine or _torch_engine
        self._serving: list[Letter] = []  # the innermost one last
        self._told = 0.0

    @Slot()
    def run(self) -> None:
        """Serve until the mailbox is closed."""
        self.busy_changed.emit("Loading torch…")
        engine: EngineProtocol | None = None
        try:
            engine = self._make_engine()
            engine.watch_texts = self._on_texts
            self.devices_found.emit(engine.devices())
            self.ready.emit()
        except Exception as error:
            _LOG.exception("the inference engine did not start")
            reason = f"The model library did not load: {error}."
            details = traceback.format_exc()
        self.busy_changed.emit("")
        while (letter := self._mailbox.take()) is not None:
            if engine is None:
                self.failed.emit(Failed(letter.request, reason, details))
            else:
                self._serve(engine, letter)
        # Model memory is given back in this thread, while its interpreter state exists.
        del engine

    def _serve(self, engine: EngineProtocol, letter: Letter) -> None:
        """Serve one request; whatever goes wrong becomes a sentence."""
        self._serving.append(letter)
        try:
            self._dispatch(engine, letter)
        except _MakesWayError:
            self.busy_changed.emit("")
            if isinstance(letter.request, Explain):
                self._mailbox.put_back_explanation(letter)
            else:
                self._mailbox.put_back(letter)
        except InputError as error:
            lacks = getattr(error, "tower", "")  # of DonorNeeded; its module may need torch
            self.failed.emit(
                Failed(letter.request, error.sentence, error.details, error.code, lacks)
            )
        except CancelledError:
            self.failed.emit(Failed(letter.request, "It was cancelled.", code=CANCELLED))
        except MemoryError:
            self._fail(letter, "There is not enough memory for this. Try fewer images.")
        except Exception as error:
            if type(error).__name__ == "OutOfMemoryError":
                self._fail(letter, "The device has too little free memory. Choose the CPU.")
            else:
                _LOG.exception("request failed: %s", type(letter.request).__name__)
                self._fail(letter, f"{_act(letter)} failed unexpectedly: {error}")
        finally:
            self._serving.pop()

    def _on_texts(self, _what: str, done: int, total: int) -> None:
        """Tell how far the class texts are, now and then; an opening or loading goes first."""
        if done < total and self._mailbox.makes_way(self._serving[-1]):
            raise _MakesWayError
        now = time.monotonic()
        if done == total:
            self.busy_changed.emit("")
        elif done and now - self._told >= _TELL_EVERY:
            self._told = now
            self.busy_changed.emit(
                f"Embedding class texts… {count_text(done)} of {count_text(total)}"
            )

    def _fail(self, letter: Letter, sentence: str) -> None:
        self.failed.emit(Failed(letter.request, sentence, traceback.format_exc()))

    def _dispatch(self, engine: EngineProtocol, letter: Letter) -> None:
        request = letter.request
        if isinstance(request, Evaluate):
            self._evaluate(engine, letter, request)
        elif isinstance(request, Predict):
            self.prediction_ready.emit(_numbered(engine.predict(request), letter.generation))
        elif isinstance(request, Look):
            self.looked.emit(Looked(letter.generation, request, engine.look(request)))
        elif isinstance(request, Explain):
            self._explain(engine, letter, request)
        elif isinstance(request, Thumbnails):
            self.thumbnails_ready.emit(engine.thumbnails(request))
        elif isinstance(request, OpenCheckpoint):
            with _Busy(self, "Opening checkpoint…"):
                self.checkpoint_opened.emit(engine.open_checkpoint(request))
        elif isinstance(request, LoadImages):
            with _Busy(self, "Loading images…"):
                self._load(engine, letter, request)
        elif isinstance(request, SetDevice):
            with _Busy(self, f"Moving to {request.name}…"):
                self.device_changed.emit(engine.set_device(request.name))

    def _load(self, engine: EngineProtocol, letter: Letter, request: LoadImages) -> None:
        """Open images, and tell how far that is now and then."""
        told = 0.0

        def watch(what: str, done: int, total: int) -> None:
            nonlocal told
            if self._mailbox.loading_ends(letter):
                raise CancelledError
            now = time.monotonic()
            if now - told >= _TELL_EVERY:
                told = now
                self.loading.emit(Loading(request, what, done, total))

        watch("", 0, 0)  # it may have been cancelled while it waited
        self.images_loaded.emit(engine.load_images(request, watch))

    def _evaluate(self, engine: EngineProtocol, letter: Letter, request: Evaluate) -> None:
        """Emit partial results; let predictions and thumbnails cut in between batches."""
        # The first batch always gives its number: while the brush moves, a newer trigger
        # is waiting all the time, and the figure would never move otherwise.
        given = False

        def cancelled() -> bool:
            if self._mailbox.closed or self._mailbox.cancelled(letter):
                return True
            return given and self._mailbox.interrupted(letter)

        finished = False
        for evaluation, per_image in engine.evaluate(request, cancelled):
            given = True
            finished = not evaluation.partial
            self.evaluation_updated.emit(
                EvaluationUpdated(
                    letter.generation, request.role, evaluation, per_image, per_image.indices
                )
            )
            while (quick := self._mailbox.take_quick()) is not None:
                self._serve(engine, quick)
            if cancelled():
                break
        if not finished and self._mailbox.interrupted(letter):
            self._mailbox.put_back(letter)

    def _explain(self, engine: EngineProtocol, letter: Letter, request: Explain) -> None:
        """Emit each step; everything live cuts in between, and nothing done is lost by it.

        A speed makes way at once, and is measured from the start when nothing live waits.
        """
        makes_way = isinstance(request, MeasureSpeed)

        def ends() -> bool:
            if makes_way and self._mailbox.live_waits():
                return True
            return self._mailbox.explanation_ends(letter)

        finished = False
        for step in engine.explain(request, ends, letter.generation):
            finished = step.result is not None
            self.explained.emit(step)
            while not finished and (live := self._mailbox.take_live()) is not None:
                self._serve(engine, live)
            if ends():
                break
        if not finished:
            self._mailbox.put_back_explanation(letter)


class _Busy:
    """Says what the thread is doing, and that it is done."""

    def __init__(self, worker: InferenceWorker, text: str) -> None:
        self._worker = worker
        self._text = text

    def __enter__(self) -> None:
        self._worker.busy_changed.emit(self._text)

    def __exit__(self, *exc: object) -> None:
        self._worker.busy_changed.emit("")


def _numbered(result: PredictionReady, generation: int) -> PredictionReady:
    """Return the prediction with the number of its request."""
    return PredictionReady(
        result.index,
        result.role,
        result.clean_image,
        result.triggered_image,
        result.clean_probs,
        result.triggered_probs,
        generation,
    )


def _act(letter: Letter) -> str:
    """Name the request in a sentence."""
    names = {
        "OpenCheckpoint": "Opening the checkpoint",
        "LoadImages": "Loading the images",
        "Evaluate": "The evaluation",
        "Look": "The look at the images on screen",
        "Predict": "The prediction",
        "SetDevice": "Changing the device",
        "Thumbnails": "Drawing thumbnails",
        "Attribute": "The attribution",
        "MapEmbeddings": "The embedding map",
        "ComparePair": "The comparison",
        "TellDetails": "The record of this number",
        "MeasureSpeed": "Finding the fastest arithmetic",
        "RetrieveCaptions": "The ranking of captions",
        "SpreadTemplates": "The comparison of the templates",
    }
    return names[type(letter.request).__name__]
