"""The live loop of Studio: from a change of the trigger to numbers; what is visible comes first."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from PySide6.QtCore import QElapsedTimer, QObject, QTimer, Signal

from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.questions import (
    EmbedTexts,
    Evaluate,
    EvaluationUpdated,
    Failed,
    Look,
    Looked,
    MeasureSpeed,
    Predict,
    PredictionReady,
)
from cleanclip_gui.session import RunState, Session
from cleanclip_gui.session.records import is_live
from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.studio.gallery.gallery import Gallery
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.text import count_text, used_text
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger

if TYPE_CHECKING:
    from ml_core.evaluation.records import Evaluation
    from ml_core.evaluation.speed import EncodingSpeed

THROTTLE_MS = 60
SLOW_SECONDS = 20.0  # a whole set that takes longer is not measured after every stroke
SHORT_SECONDS = 5.0  # what is measured instead takes about this long
FAST_MODEL = 0.010  # seconds that such a model takes for a picture; slower is the machine
_FEWEST, _FEWEST_OF_FAST = 32, 256
_MOST_GROWTHS = 4  # of one question, so that a machine of changing speed comes to an end
_JUDGED_AFTER = 1.0  # seconds; the first small batches say little


@dataclass(frozen=True)
class WholeSet:
    """How many images of the whole set are measured, and the seconds left, if they are known."""

    done: int
    total: int
    seconds_left: float | None = None


Relevance = Literal["newest", "older", "useless"]


def run_note(run: RunState | None) -> str:
    """What a cleaning run means for the numbers in Studio; empty when none goes on."""
    if run is None or run.status != "running":
        return ""
    if run.device == "cpu":
        return "Slower while a cleaning run is in progress."
    return f"On the CPU while a run uses {used_text(run.device)}."


def short_size(n: int, rate: float, fewest: int = _FEWEST) -> int | None:
    """How many of ``n`` images to measure live at ``rate`` images a second; None for all.

    Powers of two, so that the size does not change with every breath of the machine.
    """
    if rate <= 0 or n / rate <= SLOW_SECONDS:
        return None
    size = fewest
    while 2 * size <= rate * SHORT_SECONDS:
        size *= 2
    return size if size < n else None


class LiveLoop(QObject):
    """Asks for the trigger's numbers while it changes, at most every 60 ms.

    It alone writes ``session.trigger`` and ``session.evaluation``. At most one evaluation is in
    flight and the latest wins (the mailbox sees to that). Where the whole set takes long, fewer
    images are measured, and :attr:`note` says so. If that is the machine's doing and not the
    model's, the others follow while nothing changes. While many class texts are not embedded yet,
    numbers are estimates from one prompt template, which :attr:`note` says too; then all are asked
    for anew.

    Attributes
    ----------
    stale
        Whether a change has not been answered yet.
    one_image
        Whether the selected image alone is looked at.
    whole
        How far the requested measurement of the whole set is; None if none goes on.
    rate
        Images a second, clean and triggered; 0 while it is not known.

    Signals
    -------
    evaluated, predicted
        An answer, and whether it is of an older trigger (bool).
    pictured
        A picture whose probabilities are yet to come, and whether it is of an older trigger.
    became_stale
        What is on show is out of date from now on.
    whole_changed
        :attr:`whole` changed.
    failed
        The InputError of a trigger that cannot be made.
    unanswered
        The :class:`Failed` of a question.
    paced
        An answer of any kind has come, and :attr:`rate` is what it says.

    Parameters
    ----------
    session, inference
        What is asked about, and who is asked.
    make_trigger
        Gives the trigger on the canvas; may raise InputError.
    """

    evaluated = Signal(object, bool)
    predicted = Signal(object, bool)
    pictured = Signal(object, bool)
    became_stale = Signal()
    whole_changed = Signal()
    failed = Signal(object)
    unanswered = Signal(object)
    paced = Signal()

    def __init__(
        self,
        session: Session,
        inference: Inference,
        make_trigger: Callable[[], Trigger | None],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._inference = inference
        self._make_trigger = make_trigger
        self._evaluate_asked: Evaluate | None = None
        self._predict_asked: Predict | None = None
        self.stale = False
        self.one_image = False
        self._limit: int | None = None
        self._all_asked = False
        self.whole: WholeSet | None = None
        self._growths = 0
        self._part: int | None = None  # size of what is on show, where that is not the whole set
        self.rate = 0.0
        self._own_seconds = math.inf  # of the processor for a picture, the least seen
        self._templates = 0  # of what is on show, where that is not all of them
        self._texts = Ticket.closed()
        self._texts_asked: EmbedTexts | None = None
        # An evaluation, and the images of its first result.
        self._first: tuple[Evaluate | None, int] = (None, 0)
        self._pace = QElapsedTimer()
        self._processor = 0.0  # seconds of the process as the pace began
        self._since = QElapsedTimer()
        self._timer = QTimer(self, singleShot=True)
        self._timer.timeout.connect(self.send)

    @property
    def limit(self) -> int | None:
        """How many images are measured live; None for the whole set."""
        return None if self._all_asked else self._limit

    @property
    def measures_part(self) -> bool:
        """Whether the numbers are of a part of the set, because the whole takes long."""
        if self.one_image or (self._part or self.limit) is None:
            return False
        evaluation, images = self._session.evaluation, self._session.images
        return evaluation is None or images is None or evaluation.n < images.n

    @property
    def is_estimate(self) -> bool:
        """Whether the numbers are of one prompt template, until all texts are embedded."""
        return self._templates > 0

    @property
    def seconds(self) -> float:
        """What the whole set takes; 0 while it is not known."""
        images = self._session.images
        return 0.0 if images is None or self.rate <= 0 else images.n / self.rate

    @property
    def note(self) -> str:
        """What a reader of the numbers must know about them."""
        images = self._session.images
        evaluation, notes = self._session.evaluation, []
        if self.is_estimate and images is not None:
            every = count_text(len(images.templates))
            notes.append(
                f"Estimate from {self._templates} of {every} prompt templates "
                "until the others are ready."
            )
        if self.one_image:
            return " ".join([*notes, "This image only: nothing is measured on the set."])
        if self.measures_part and images is not None and evaluation is not None:
            share = f"{count_text(evaluation.n)} of {count_text(images.n)} images"
            notes.append(f"Estimate from {share} ({self._reason}).")
        return " ".join(notes) or run_note(self._session.run)

    @property
    def _reason(self) -> str:
        """Why the numbers are of a part of the set."""
        if self.completes:
            return "fewer pictures while the machine is busy"
        return "slow model" if self._own_seconds >= FAST_MODEL else "large set"

    @property
    def completes(self) -> bool:
        """Whether all images follow while nothing changes: idle, the machine soon measures them."""
        images = self._session.images
        return images is not None and images.n * self._own_seconds <= SLOW_SECONDS

    def set_one_image(self, one_image: bool) -> None:
        """Look at the selected image alone, or at the whole set."""
        if one_image != self.one_image:
            self.one_image = one_image
            if one_image:
                self._cancel()
                self._session.evaluation = None
            self.touch()

    def measure_all(self) -> None:
        """Measure the present trigger on the whole set, however long it takes."""
        self._all_asked, self._part = True, None
        self.one_image = False
        self._ask(keeps_all=True)
        images = self._session.images
        self._set_whole(None if images is None else WholeSet(0, images.n))

    def cancel_all(self) -> None:
        """End the measurement of the whole set; a part of it is measured again."""
        if self.whole is not None:
            self._cancel()
            self.touch()

    def _set_whole(self, whole: WholeSet | None) -> None:
        if whole != self.whole:
            self.whole = whole
            self.whole_changed.emit()

    def take_pace(self, rate: float, own_seconds: float = math.inf) -> None:
        """Learn that the model takes ``rate`` images a second, clean and triggered.

        ``own_seconds`` of the processor go into a picture, whatever else the machine does.
        """
        images, self.rate = self._session.images, rate
        self._own_seconds = min(self._own_seconds, own_seconds)
        fewest = _FEWEST_OF_FAST if self._own_seconds < FAST_MODEL else _FEWEST
        self._limit = None if images is None else short_size(images.n, rate, fewest)

    def forget_pace(self) -> None:
        """Forget how fast the model is; it must be measured again."""
        self.rate, self._limit, self._part, self._first = 0.0, None, None, (None, 0)
        self._own_seconds = math.inf

    def start_over(self) -> None:
        """Another model or set: forget the numbers, await none, and ask for new ones."""
        self._cancel()
        self._texts.cancel()
        self._templates = 0
        self.forget_pace()
        self._session.evaluation = None
        self.touch()

    def _cancel(self) -> None:
        """Await no numbers of what is being evaluated, whoever asked for it."""
        self._inference.cancel(Evaluate.__name__)

    def touch(self) -> None:
        """Ask again soon, since the trigger or the question changed."""
        self._ask()

    def _ask(self, *, keeps_all: bool = False) -> None:
        self._growths = 0
        if not keeps_all:
            self._all_asked = False
            self._set_whole(None)
        if not self.stale:
            self.stale = True
            self.became_stale.emit()
        if not self._timer.isActive():
            past = self._since.elapsed() if self._since.isValid() else THROTTLE_MS
            self._timer.start(max(0, THROTTLE_MS - past))

    def look(self) -> None:
        """Ask about the selected image alone, since another one was selected."""
        if self._session.can_measure and not self._timer.isActive():
            self._predict(self._session.trigger)

    def take_trigger(self) -> bool:
        """Make the canvas's trigger that of the session; False if it cannot be made."""
        try:
            self._session.trigger = self._make_trigger()
        except InputError as error:
            self.failed.emit(error.titled("Could not use the trigger"))
            return False
        return True

    def send(self) -> None:
        """Submit the newest trigger now; results of older ones show as stale from now on."""
        if self._session.can_measure and self.take_trigger():
            self._since.start()
            self._predict(self._session.trigger)
            if not self.one_image:
                self._evaluate(self.limit)

    def _evaluate(self, n: int | None) -> None:
        session, before = self._session, self._evaluate_asked
        asked = Evaluate(session.trigger, session.target, n, session.role)
        self._evaluate_asked = asked
        self._inference.ask(
            asked,
            self._on_evaluation_updated,
            self._on_unanswered,
            keep_older=before is not None and _is_alike(before, asked),
        )

    def _predict(self, trigger: Trigger | None) -> None:
        session, before = self._session, self._predict_asked
        asked = Predict(session.selected_image, trigger, session.role)
        self._predict_asked = asked
        same = before is not None and (before.index, before.role) == (asked.index, asked.role)
        self._inference.ask(asked, self._on_prediction_ready, self._on_unanswered, keep_older=same)

    def _relevance(self, question: Evaluate | Predict) -> Relevance:
        """How relevant an answer still is: the one check for all answers."""
        session = self._session
        newest: Evaluate | Predict | None
        if isinstance(question, Evaluate):
            fits, newest = not self.one_image, self._evaluate_asked
        else:
            fits, newest = question.index == session.selected_image, self._predict_asked
        if not fits or question.role != session.role:
            return "useless"
        return "newest" if question is newest and not self._timer.isActive() else "older"

    def _on_evaluation_updated(self, result: EvaluationUpdated) -> None:
        relevance = self._relevance(result.question)
        if relevance == "useless":
            return
        older = relevance == "older"
        shown = self._session.evaluation
        if not older and not self.stale and _says_less(result.evaluation, shown):
            self._keep_pace(result, older)  # the same trigger again: until it says more
            return
        if not older:
            images, size = self._session.images, result.evaluation.n_total
            self._part = size if images is not None and size < images.n else None
            self._take_templates(result.question, result.evaluation.templates)
            self.stale = False
            if result.evaluation == self._session.evaluation:
                self._session.evaluation = None  # notify listeners even if the numbers are equal
            self._session.evaluation = result.evaluation
        self.evaluated.emit(result, older)
        self._keep_pace(result, older)
        if not older and self.whole is not None and result.question.n is None:
            evaluation = result.evaluation
            left = (evaluation.n_total - evaluation.n) / self.rate if self.rate > 0 else None
            done = WholeSet(evaluation.n, evaluation.n_total, left)
            self._set_whole(done if evaluation.partial else None)

    def _take_templates(self, question: Evaluate | Predict, used: tuple[str, ...]) -> None:
        """Note which templates an answer used; if not all, have the others embedded too."""
        images = self._session.images
        estimated = images is not None and 0 < len(used) < len(images.templates)
        self._templates = len(used) if estimated else 0
        if estimated:
            self._embed_texts(question)

    def _embed_texts(self, estimated: Evaluate | Predict) -> None:
        """Embed all class texts when idle, then measure everything anew."""
        asked, text = self._texts_asked, "" if estimated.trigger is None else estimated.trigger.text
        if self._texts.is_open and asked is not None:
            before = "" if asked.trigger is None else asked.trigger.text
            if (asked.role, before) == (estimated.role, text):
                return
        self._texts_asked = EmbedTexts(estimated.trigger, estimated.role)
        self._texts = self._inference.ask(self._texts_asked, self._on_texts, self._on_unanswered)

    def _on_texts(self, _: EmbedTexts) -> None:
        self._ask(keeps_all=True)

    def _on_prediction_ready(self, result: PredictionReady) -> None:
        relevance = self._relevance(result.question)
        if relevance == "useless":
            return
        if result.clean_probs is None:
            self.pictured.emit(result, relevance == "older")
            return
        if self.one_image and relevance == "newest":
            self.stale = False
            self._take_templates(result.question, result.templates)
        self.predicted.emit(result, relevance == "older")

    def _on_unanswered(self, failed: Failed) -> None:
        self.unanswered.emit(failed)

    def _keep_pace(self, result: EvaluationUpdated, older: bool) -> None:
        """Learn how fast the model is; ask for fewer images where the whole set takes long."""
        question, n = result.question, result.evaluation.n
        partial = result.evaluation.partial
        if self._first[0] is not question:
            self._first = (question, n)
            self._pace.start()
            self._processor = time.process_time()
        seconds = self._pace.nsecsElapsed() / 1e9
        measured = n - self._first[1]
        if measured > 0 and (seconds >= _JUDGED_AFTER or not partial):
            own = min(seconds, time.process_time() - self._processor)
            self.take_pace(measured / max(seconds, 1e-6), own / measured)
        self.paced.emit()
        images = self._session.images
        if images is None or self.rate == 0 or older:
            return
        asked, limit = result.evaluation.n_total, None if self.completes else self.limit
        size = limit or images.n
        # Fewer at once when it turns out slow; more when these are done and it was not.
        grows = not partial and size > asked and self._growths < _MOST_GROWTHS
        self._growths += grows
        if grows or (partial and size < asked):
            self._evaluate(limit)


def _says_less(evaluation: Evaluation, shown: Evaluation | None) -> bool:
    """Whether ``shown`` is of more images, and not what is left of a sample that was ended."""
    return (
        shown is not None and evaluation.n < shown.n and (evaluation.partial or not shown.partial)
    )


def _is_alike(before: Evaluate, asked: Evaluate) -> bool:
    """Whether results of the old question do not mislead while the new one is awaited."""
    return (
        before.target == asked.target
        and before.role == asked.role
        and (before.trigger is None) == (asked.trigger is None)
    )


LOOK_SECONDS = 2.0  # a set that is measured sooner shows what it is without being asked
_PIECE_SECONDS = 0.3
_MOST = 32


def piece(rate: float) -> int:
    """How many images to ask about at a time, at ``rate`` images a second."""
    return max(1, min(_MOST, int(rate * _PIECE_SECONDS)))


class VisibleLabels(QObject):
    """Labels the images on screen, piece by piece between the batches of the estimate.

    The estimate is of the seeded stratified sample alone: what is said of these images goes to the
    gallery and into no figure. One request is out at a time, so that scrolling decides what is
    next. ``failed(str)`` says why there are none; nothing more is asked before the next change.

    Parameters
    ----------
    session, inference
        What is asked about, and who is asked.
    live
        Knows how fast the model is, and reports when the question has changed.
    gallery
        Shows the images, and gets their labels.
    """

    failed = Signal(str)

    def __init__(
        self, session: Session, inference: Inference, live: LiveLoop, gallery: Gallery
    ) -> None:
        super().__init__(gallery)
        self._session, self._inference = session, inference
        self._live, self._gallery = live, gallery
        self._ticket = Ticket.closed()  # of the question that is out
        self._tried: set[int] = set()  # of the present question; broken pictures never answer
        live.paced.connect(self.ask)  # a smaller sample than what is on show is not `evaluated`
        live.became_stale.connect(self.forget)
        gallery.view_moved.connect(self.ask)
        session.events.selected_image.connect(self.ask)

    def ask(self, *_: object) -> None:
        """Ask about the selected image and those on screen that are not known yet."""
        session, live = self._session, self._live
        out = self._ticket.is_open
        if out or live.one_image or live.stale or live.seconds <= LOOK_SECONDS:
            return
        if session.images is None or session.shown is None:
            return
        seen = (session.selected_image, *self._gallery.on_screen())
        unknown = dict.fromkeys(self._gallery.model.unknown(seen))
        indices = [i for i in unknown if i not in self._tried][: piece(live.rate)]
        if indices:
            self._tried.update(indices)
            look = Look(tuple(indices), session.trigger, session.target, session.role)
            self._ticket = self._inference.ask(look, self._on_looked, self._on_failed)

    def forget(self) -> None:
        """Drop the question under way: the question has changed."""
        self._ticket.cancel()
        self._tried.clear()

    def _on_looked(self, result: Looked) -> None:
        self._gallery.update_predictions(result.per_image)
        self.ask()

    def _on_failed(self, failed: Failed) -> None:
        self.failed.emit(failed.sentence)


FEWEST = 200  # below, there is little to win, and agreement says little
_IDLE_MS = 1000


class AutoSpeed(QObject):
    """Measures the speed while nobody paints; a stroke ends it, and it then begins anew.

    Parameters
    ----------
    session, inference
        Whose ``speed`` is written, and who is asked.
    live
        Reports when numbers come and when the trigger changes; measures its pace anew afterwards.
    settings
        Their precision is kept to.
    """

    def __init__(
        self, session: Session, inference: Inference, live: LiveLoop, settings: SettingsStore
    ) -> None:
        super().__init__(live)
        self._session, self._inference, self._live = session, inference, live
        self._settings = settings
        self._ticket = Ticket.closed()
        self._known: tuple[str | None, str] | None = None  # checkpoint and device
        self._again = False  # the numbers on show are of other settings
        self._timer = QTimer(self, singleShot=True, interval=_IDLE_MS)
        self._timer.timeout.connect(self.measure)
        live.evaluated.connect(self._on_evaluated)
        live.became_stale.connect(self._cancel)
        events = session.events
        for event in (events.checkpoint, events.cleaned, events.role, events.device):
            event.connect(self.forget)

    def measure(self) -> None:
        """Ask, unless a run on the same processor would make every rate wrong."""
        session = self._session
        if session.shown is not None and not is_live(session.run):
            self._ticket = self._inference.ask(
                MeasureSpeed(session.role, self._settings.value.precision),
                self._on_measured,
                self._on_failed,
            )

    def _on_evaluated(self, result: EvaluationUpdated, older: bool) -> None:
        evaluation, images = result.evaluation, self._session.images
        many = images is not None and images.n >= FEWEST
        known = self._known == (evaluation.checkpoint_sha256, evaluation.device)
        if not older and not evaluation.partial and many and not known:
            self._timer.start()

    def _on_measured(self, speed: EncodingSpeed) -> None:
        session = self._session
        if self._again:
            self._again = False
            self._live.touch()
        if speed.busy:
            return  # the engine has not taken it, and is asked again after the next numbers
        if session.evaluation is not None:
            self._known = session.evaluation.checkpoint_sha256, session.evaluation.device
        self._live.forget_pace()
        session.speed = speed.why

    def _on_failed(self, _: object) -> None:
        """Leave it to the log: nobody asked for a speed, and all goes on without it."""

    def _cancel(self) -> None:
        self._timer.stop()
        self._ticket.cancel()

    def choose_again(self) -> None:
        """Threads or precision were changed: find what is fastest now, then measure with it."""
        self.forget()
        if self._session.evaluation is not None:
            self._again = True
            self.measure()

    def forget(self, *_: object) -> None:
        """Forget the speed on show: it is of another model or device."""
        self._cancel()
        self._known = None
        self._session.speed = ""
