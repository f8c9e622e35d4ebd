"""What the window asks of the inference thread, and what comes back: frozen, torch-free records.

A question says in which lane it waits, what it calls on the engine, and what to call it in a
sentence. A new one is a class here and a method of the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cleanclip_gui.session.records import ImagesState, Role, ShownCheckpoint
from cleanclip_gui.ticket import TicketProgress
from ml_core.data.specs import ImageSpec
from ml_core.data.watch import Watch
from ml_core.evaluation.attribution_records import Method
from ml_core.evaluation.paired import PairedDifference
from ml_core.evaluation.records import Evaluation, PerImage
from ml_core.reading.errors import CancelledError
from ml_core.reading.inspection import Inspection
from ml_core.triggers import Trigger


class Lane(Enum):
    """Where a question waits, in the order in which the lanes are served.

    ``ORDERED`` questions change what the engine holds and are answered first in, first out;
    ``THUMBNAILS`` last in, first out, since what is asked for last is what is on screen.
    """

    ORDERED = "ordered"
    PREDICT = "predict"
    THUMBNAILS = "thumbnails"
    LOOK = "look"
    EVALUATE = "evaluate"
    EXPLAIN = "explain"
    TEXTS = "texts"


QUICK = (Lane.PREDICT, Lane.THUMBNAILS, Lane.LOOK)
"""What is answered between the batches of an evaluation."""

LIVE = (*QUICK, Lane.EVALUATE)
"""What is answered between the batches of an explanation."""


class QuestionControl(Protocol):
    """What the work on a question asks of the window, and reports to it."""

    def stopped(self) -> bool:
        """Whether to end here: cancelled, or something that goes first is waiting."""

    def commit(self) -> bool:
        """Announce that the engine changes now; False if the question was cancelled before.

        After it the question can't be cancelled any more: the window must learn of the change.
        """

    def tell(self, progress: TicketProgress) -> None:
        """Tell how far it is from within a callback; too frequent calls are left out."""


class AnsweringEngine(Protocol):
    """What answers the questions: the one that uses torch, and the tests' fakes.

    A question whose ``stopped()`` turns true may end with a `CancelledError`.
    """

    def devices(self) -> tuple[str, ...]:
        """Devices of this machine, best first."""

    def set_device(self, name: str, /) -> str:
        """Move the models; return the device in use."""

    def set_threads(self) -> int:
        """Take as many threads as the environment says; return the number."""

    def open_checkpoint(self, question: OpenCheckpoint, /) -> ShownCheckpoint:
        """Examine and load a checkpoint."""

    def load_images(
        self, question: LoadImages, watch: Watch, commit: Callable[[], bool], /
    ) -> ImagesState:
        """Open an image set and its classes, and use it if ``commit`` allows."""

    def thumbnails(self, question: Thumbnails, /) -> ThumbnailsReady:
        """Pictures of the set."""

    def evaluate(
        self, question: Evaluate, stopped: Callable[[], bool], /
    ) -> Iterator[tuple[Evaluation, PerImage]]:
        """Measure in growing batches; ``stopped`` is polled between them."""

    def look(self, question: Look, /) -> PerImage:
        """What the model says of a few images."""

    def class_texts(
        self, role: Role, trigger: Trigger | None, whole: bool = False, /
    ) -> Iterator[TicketProgress]:
        """Embed the class texts that an answer needs, a batch at a time; nothing if they are known.

        If there are many, embed those of one prompt template, unless ``whole`` asks for all.
        """

    def picture(self, question: Predict, /) -> PredictionReady | None:
        """The image without its probabilities, where those must wait for class texts."""

    def predict(self, question: Predict, /) -> PredictionReady:
        """Probabilities of one image."""

    def attribute(self, question: Attribute, stopped: Callable[[], bool], /) -> Iterator[object]:
        """Where the model looks, in steps."""

    def map_embeddings(
        self, question: MapEmbeddings, stopped: Callable[[], bool], /
    ) -> Iterator[object]:
        """An embedding map, in steps."""

    def compare_pair(
        self, question: ComparePair, stopped: Callable[[], bool], /
    ) -> Iterator[object]:
        """Two checkpoints side by side, in steps."""

    def tell_details(self, question: TellDetails, /) -> dict[str, Any]:
        """Everything that decides a number."""

    def measure_speed(
        self, question: MeasureSpeed, stopped: Callable[[], bool], /
    ) -> Iterator[object]:
        """The fastest way to encode; nothing if it was stopped."""


# Makes the engine in the inference thread. It is given what to tell while class texts are embedded,
# and lets through what that raises, which ends the answer.
EngineFactory = Callable[[Watch], AnsweringEngine]


@dataclass(frozen=True, eq=False)
class Question:
    """What can be asked; each kind is a subclass.

    ``act`` begins the sentence about an unexpected failure. Only the newest question of a kind is
    answered, unless it has ``answers_each``. A question that ``yields_to_live`` ends as soon as a
    live one waits, and begins anew afterwards.
    """

    lane: ClassVar[Lane] = Lane.EXPLAIN
    act: ClassVar[str] = "The question"
    answers_each: ClassVar[bool] = False
    yields_to_live: ClassVar[bool] = False

    @property
    def busy(self) -> str:
        """What the status bar says meanwhile; empty for a question that is soon done."""
        return ""

    def answers(self, engine: AnsweringEngine, control: QuestionControl) -> Iterator[object]:
        """Ask the engine; yields :class:`TicketProgress` on the way, and results."""
        raise NotImplementedError(f"{type(self).__name__} asks the engine nothing.")

    def is_last(self, answer: object) -> bool:
        """Whether nothing comes after this answer."""
        return not isinstance(answer, TicketProgress)

    def outdates(self, other: Question) -> bool:
        """Whether a question that waits is about something that this one has replaced."""
        return False


@dataclass(frozen=True, eq=False)
class OpenCheckpoint(Question):
    """Open a checkpoint in place of the present one with that role; answered by `ShownCheckpoint`.

    ``donor`` is a whole CLIP that gives the encoder which the file lacks.
    ``inspection`` of the same path saves inspecting again, if the file has not changed since.
    """

    lane = Lane.ORDERED
    act = "Opening the checkpoint"
    answers_each = True

    path: str
    role: Role = "suspect"
    donor: str = ""
    inspection: Inspection | None = None

    @property
    def busy(self) -> str:
        return "Opening checkpoint…"

    def answers(self, engine: AnsweringEngine, control: QuestionControl) -> Iterator[object]:
        if control.commit():
            yield engine.open_checkpoint(self)

    def outdates(self, other: Question) -> bool:
        return isinstance(other, (Evaluate, Predict, Look, EmbedTexts)) and other.role == self.role


@dataclass(frozen=True, eq=False)
class LoadImages(Question):
    """Open evaluation images; answered by `ImagesState`.

    ``label_set`` is a name or a file, templates None its own.
    """

    lane = Lane.ORDERED
    act = "Loading the images"

    spec: ImageSpec
    label_set: str
    templates: tuple[str, ...] | None = None

    @property
    def busy(self) -> str:
        return "Loading images…"

    def answers(self, engine: AnsweringEngine, control: QuestionControl) -> Iterator[object]:
        def watch(what: str, done: int, total: int) -> None:
            if control.stopped():
                raise CancelledError
            control.tell(TicketProgress(done, total, what))

        watch("", 0, 0)  # it may have been cancelled while it waited
        yield engine.load_images(self, watch, control.commit)

    def outdates(self, other: Question) -> bool:
        return other.lane in (*LIVE, Lane.TEXTS)


@dataclass(frozen=True, eq=False)
class SetDevice(Question):
    """Move the models to ``cpu``, ``cuda:0``, ``mps``...; answered by the device in use."""

    lane = Lane.ORDERED
    act = "Changing the device"

    name: str

    @property
    def busy(self) -> str:
        return f"Moving to {self.name}…"

    def answers(self, engine: AnsweringEngine, control: QuestionControl) -> Iterator[object]:
        if control.commit():
            yield engine.set_device(self.name)


@dataclass(frozen=True, eq=False)
class SetThreads(Question):
    """Compute with as many threads as the environment says now; answered by the number."""

    lane = Lane.ORDERED
    act = "Changing the number of threads"

    def answers(self, engine: AnsweringEngine, control: QuestionControl) -> Iterator[object]:
        if control.commit():
            yield engine.set_threads()


@dataclass(frozen=True, eq=False)
class Thumbnails(Question):
    """Ask for pictures of the set, ``size`` pixels square.

    With a trigger they are as the model of ``role`` sees them, in its own size.
    """

    lane = Lane.THUMBNAILS
    act = "Drawing thumbnails"
    answers_each = True

    indices: tuple[int, ...]
    size: int
    trigger: Trigger | None = None
    role: Role = "suspect"

    def answers(self, engine: AnsweringEngine, control: QuestionControl) -> Iterator[object]:
        yield engine.thumbnails(self)


@dataclass(frozen=True, eq=False)
class ThumbnailsReady:
    """Pictures of the set, uint8 [n, s, s, 3]."""

    indices: tuple[int, ...]
    images: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Evaluate(Question):
    """Measure a trigger (None: the clean set alone) over ``n`` images (None: all of them).

    Answered by an :class:`EvaluationUpdated` after each batch.
    """

    lane = Lane.EVALUATE
    act = "The evaluation"

    trigger: Trigger | None
    target: int
    n: int | None = None
    role: Role = "suspect"

    def answers(self, engine: AnsweringEngine, control: QuestionControl) -> Iterator[object]:
        yield from engine.class_texts(self.role, self.trigger)
        for evaluation, per_image in engine.evaluate(self, control.stopped):
            yield EvaluationUpdated(self, evaluation, per_image)

    def is_last(self, answer: object) -> bool:
        return isinstance(answer, EvaluationUpdated) and not answer.evaluation.partial


@dataclass(frozen=True, eq=False)
class EvaluationUpdated:
    """An evaluation, partial or final, in answer to `Evaluate`."""

    question: Evaluate
    evaluation: Evaluation
    per_image: PerImage


@dataclass(frozen=True, eq=False)
class Look(Question):
    """Ask what the model says of a few images, such as those on screen: no sample of the set."""

    lane = Lane.LOOK
    act = "Predicting the visible images"

    indices: tuple[int, ...]
    trigger: Trigger | None
    target: int
    role: Role = "suspect"

    def answers(self, engine: AnsweringEngine, control: QuestionControl) -> Iterator[object]:
        yield Looked(self, engine.look(self))


@dataclass(frozen=True, eq=False)
class Looked:
    """What the model says of these images; those that could not be read are left out."""

    question: Look
    per_image: PerImage


@dataclass(frozen=True, eq=False)
class Predict(Question):
    """Ask for the class probabilities of one image, clean and triggered.

    Answered by a :class:`PredictionReady`. If class texts are still to be embedded, another one
    with the picture alone comes first.
    """

    lane = Lane.PREDICT
    act = "The prediction"

    index: int
    trigger: Trigger | None
    role: Role = "suspect"

    def answers(self, engine: AnsweringEngine, control: QuestionControl) -> Iterator[object]:
        picture = engine.picture(self)
        if picture is not None:
            yield picture
            yield from engine.class_texts(self.role, self.trigger)
        yield engine.predict(self)

    def is_last(self, answer: object) -> bool:
        return isinstance(answer, PredictionReady) and answer.clean_probs is not None


@dataclass(frozen=True, eq=False)
class PredictionReady:
    """One image as the model sees it, uint8 [S, S, 3], and its probabilities, float32 [C].

    Without a trigger ``triggered_image`` and ``triggered_probs`` are None, and all probabilities
    are while class texts are embedded. ``templates`` are those of the classifier.
    """

    question: Predict
    clean_image: NDArray[np.uint8]
    triggered_image: NDArray[np.uint8] | None
    clean_probs: NDArray[np.float32] | None
    triggered_probs: NDArray[np.float32] | None
    templates: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class EmbedTexts(Question):
    """Embed all class texts, for numbers that are no estimate; answered by itself.

    All other questions go first.
    """

    lane = Lane.TEXTS
    act = "Embedding the class texts"

    trigger: Trigger | None
    role: Role = "suspect"

    def answers(self, engine: AnsweringEngine, control: QuestionControl) -> Iterator[object]:
        yield from engine.class_texts(self.role, self.trigger, True)
        yield self


@dataclass(frozen=True, eq=False)
class Attribute(Question):
    """Ask where the model looks for a class on one image; ``stage`` is Grad-CAM's.

    Answered by an `Attribution`.
    """

    act = "The attribution"

    index: int
    class_index: int
    trigger: Trigger | None
    role: Role = "suspect"
    method: Method | None = None
    stage: str | None = None

    def answers(self, engine: AnsweringEngine, control: QuestionControl) -> Iterator[object]:
        yield from engine.attribute(self, control.stopped)


@dataclass(frozen=True, eq=False)
class MapEmbeddings(Question):
    """Ask for an `EmbeddingMap` of ``n`` images, clean and triggered, of one or two checkpoints."""

    act = "The embedding map"

    trigger: Trigger | None
    roles: tuple[Role, ...] = ("suspect",)
    n: int = 1000

    def answers(self, engine: AnsweringEngine, control: QuestionControl) -> Iterator[object]:
        yield from engine.map_embeddings(self, control.stopped)


@dataclass(frozen=True, eq=False)
class ComparePair(Question):
    """Ask two checkpoints the same: the first one is judged, the second one is the reference.

    Answered by a :class:`Pair`.
    """

    act = "The comparison"

    trigger: Trigger | None
    target: int
    roles: tuple[Role, Role] = ("suspect", "cleaned")
    n: int | None = None

    def answers(self, engine: AnsweringEngine, control: QuestionControl) -> Iterator[object]:
        yield from engine.compare_pair(self, control.stopped)


@dataclass(frozen=True, eq=False)
class Pair:
    """What two checkpoints say of the same images, and whether that is more than chance."""

    evaluations: tuple[Evaluation, Evaluation]
    per_image: tuple[PerImage, PerImage]
    differences: tuple[PairedDifference, ...]


@dataclass(frozen=True, eq=False)
class TellDetails(Question):
    """Ask for everything that is needed to repeat a number; answered by what `details` gives."""

    act = "Collecting the measurement details"

    evaluation: Evaluation
    trigger: Trigger | None
    role: Role = "suspect"

    def answers(self, engine: AnsweringEngine, control: QuestionControl) -> Iterator[object]:
        yield engine.tell_details(self)


@dataclass(frozen=True, eq=False)
class MeasureSpeed(Question):
    """Ask which arithmetic and layout are fastest for a model, and use them from then on.

    ``precision`` fp32 leaves the layout alone to be chosen. Answered by a `Speed`.
    """

    act = "Choosing the fastest precision"
    yields_to_live = True

    role: Role = "suspect"
    precision: Literal["auto", "fp32"] = "auto"

    def answers(self, engine: AnsweringEngine, control: QuestionControl) -> Iterator[object]:
        yield from engine.measure_speed(self, control.stopped)


@dataclass(frozen=True, eq=False)
class Failed:
    """A question that came to nothing: one plain sentence, and details on demand.

    ``lacks`` names the encoder, image or text, that a donor must give.
    """

    question: Question
    sentence: str
    details: str = ""
    code: str = "internal"
    lacks: str = ""

    @property
    def title(self) -> str:
        """What failed, in a few words."""
        return f"{self.question.act} failed"
