"""The inference thread: questions wait in a mailbox, a worker answers them, each asker is told.

torch and open_clip are imported in that thread, after the window is on screen.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import threading
import traceback
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue

from PySide6.QtCore import QObject, QThread, Signal, Slot

from cleanclip_gui import threads
from cleanclip_gui.inference.questions import (
    LIVE,
    QUICK,
    AnsweringEngine,
    EngineFactory,
    Failed,
    Lane,
    Question,
    SetDevice,
    SetThreads,
)
from cleanclip_gui.session import Session
from cleanclip_gui.ticket import Callback, Throttle, Ticket, TicketProgress
from cleanclip_gui.widgets.text import count_text, used_text
from ml_core.children import collector_off
from ml_core.data.watch import Watch
from ml_core.reading.errors import CancelledError, InputError


class QuestionTicket(Ticket):
    """A ticket that a newer question replaces, and that commits an answer which changes the engine.

    ``number`` counts the questions; a newer one has a greater number.
    """

    def __init__(
        self,
        question: Question,
        number: int = 0,
        slot: str | None = None,
        on_result: Callback | None = None,
        on_failed: Callback | None = None,
        on_progress: Callback | None = None,
    ) -> None:
        super().__init__(slot, on_result, on_failed, on_progress)
        self.question = question
        self.number = number
        self._lock = threading.Lock()
        self._replaced = self._committed = False

    @property
    def is_replaced(self) -> bool:
        """Whether it was cancelled by a newer question of its slot."""
        return self._cancelled and self._replaced

    def cancel(self) -> bool:
        """Let no answer arrive from now on.

        False if it is too late: the engine has changed, or is about to, and the answer comes.
        """
        with self._lock:
            if self._closed or not self._committed:
                self._cancelled = True
            return self._cancelled

    def replace(self) -> None:
        """Cancel it for a newer question."""
        if self.is_open:
            self._replaced = True
            self.cancel()

    def commit(self) -> bool:
        """Make the answer sure to come; False if it was cancelled before."""
        with self._lock:
            self._committed = not self._cancelled
            return self._committed

    def deliver(self, answer: object) -> None:
        """Hand a result or a progress to the asker, in the asker's thread."""
        if isinstance(answer, TicketProgress):
            self.give_progress(answer)
            return
        if not self._cancelled and self.question.is_last(answer):
            self.close()
        self.give_result(answer)

    def deliver_failure(self, failed: Failed) -> None:
        """Hand a failure to the asker, in the asker's thread."""
        self.give_failure(failed)


MOST_THUMBNAILS = 64
_CUTS_IN: dict[Lane, tuple[Lane, ...]] = {
    Lane.PREDICT: (Lane.THUMBNAILS,),  # between batches of class texts
    Lane.EVALUATE: QUICK,
    Lane.EXPLAIN: LIVE,
    Lane.TEXTS: (*LIVE, Lane.EXPLAIN),
}


class Mailbox:
    """Holds tickets until the worker takes them; safe to use from any thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._lanes: dict[Lane, deque[QuestionTicket]] = {lane: deque() for lane in Lane}
        self._closed = False

    def put(self, ticket: QuestionTicket) -> None:
        """Add a ticket; it replaces the waiting one of the same slot."""
        with self._condition:
            lane = self._lanes[ticket.question.lane]
            older = self._of_slot(ticket.slot)
            for other in older:
                other.replace()
            if older and older[0] in lane:
                lane[lane.index(older[0])] = ticket
            else:
                lane.append(ticket)
            if ticket.question.lane is Lane.THUMBNAILS and len(lane) > MOST_THUMBNAILS:
                lane.popleft().cancel()
            self._condition.notify()

    def put_back(self, ticket: QuestionTicket) -> None:
        """Return a ticket that was interrupted, unless nobody waits for it any more."""
        with self._condition:
            newer = any(not other.is_cancelled for other in self._of_slot(ticket.slot))
            if self._closed or ticket.is_cancelled or newer:
                ticket.close()
            else:
                self._lanes[ticket.question.lane].append(ticket)

    def take(self) -> QuestionTicket | None:
        """Wait for the next ticket; None when the mailbox is closed."""
        with self._condition:
            while not self._closed:
                ticket = self._next(tuple(Lane))
                if ticket is not None:
                    return ticket
                self._condition.wait()
            return None

    def take_between(self, ticket: QuestionTicket) -> QuestionTicket | None:
        """Return what may be answered between two batches of ``ticket``, if it waits."""
        with self._condition:
            if self._closed or self._waits((Lane.ORDERED,)):
                return None
            return self._next(_CUTS_IN.get(ticket.question.lane, ()))

    def ends(self, ticket: QuestionTicket, answered: bool) -> bool:
        """Whether a ticket in flight should end here; ``answered`` if it has given a result.

        The first batch of an evaluation always gives its numbers: while the brush moves, a newer
        trigger is waiting all the time, and the figure would never move otherwise.
        """
        lane = ticket.question.lane
        with self._condition:
            if self._closed or ticket.is_cancelled:
                return True
            if lane is Lane.ORDERED:
                return False
            if self._waits((Lane.ORDERED,)):
                return True
            if lane is Lane.EVALUATE:
                evaluations = self._lanes[Lane.EVALUATE]
                return answered and any(_newer(other, ticket) for other in evaluations)
            return ticket.question.yields_to_live and self._waits(LIVE)

    def ends_texts(self, ticket: QuestionTicket) -> bool:
        """Whether to embed no more class texts for a ticket in flight.

        They go on for a live question that was replaced: the newer one needs the same texts, and
        those embedded so far would be lost.
        """
        live = ticket.question.lane is not Lane.EXPLAIN
        with self._condition:
            if self._closed or self._waits((Lane.ORDERED,)):
                return True
            return ticket.is_cancelled and not (live and ticket.is_replaced)

    def drop(self, outdated: Callable[[Question], bool]) -> None:
        """Cancel the tickets that wait for an answer about something that is gone."""
        with self._condition:
            for lane, tickets in self._lanes.items():
                for ticket in tickets:
                    if outdated(ticket.question):
                        ticket.cancel()
                self._lanes[lane] = deque(t for t in tickets if not t.is_cancelled)

    @property
    def closed(self) -> bool:
        """Whether the worker should end."""
        return self._closed

    def close(self) -> None:
        """Ask the worker to end after the batch in flight."""
        with self._condition:
            self._closed = True
            self._condition.notify()

    def _of_slot(self, slot: Hashable) -> list[QuestionTicket]:
        """The tickets of a slot that wait, cancelled ones among them."""
        tickets = (ticket for lane in self._lanes.values() for ticket in lane)
        return [ticket for ticket in tickets if slot is not None and ticket.slot == slot]

    def _waits(self, lanes: Sequence[Lane]) -> bool:
        return any(not ticket.is_cancelled for lane in lanes for ticket in self._lanes[lane])

    def _next(self, lanes: Sequence[Lane]) -> QuestionTicket | None:
        for lane in lanes:
            tickets = self._lanes[lane]
            while tickets:
                ticket = tickets.pop() if lane is Lane.THUMBNAILS else tickets.popleft()
                if not ticket.is_cancelled:
                    return ticket
        return None


def _newer(other: QuestionTicket, ticket: QuestionTicket) -> bool:
    return not other.is_cancelled and other.number > ticket.number


_LOG = logging.getLogger(__name__)
_ATTEMPTS = 5  # to start the engine: the second by itself, the others when asked for
_LIBRARIES = {"linux": "libtorch.so", "darwin": "libtorch.dylib"}


@contextmanager
def imported_beside_the_window() -> Iterator[None]:
    """Import torch inside the block, in another thread than the window's.

    Two things would hold the interpreter's lock for 0.1 to 0.7 s each: loading the libraries, which
    is done beforehand in a foreign call that leaves the lock free, and the garbage collector,
    which walks over all the new objects again and again and is off meanwhile.
    """
    library = torch_library()
    if library is not None:
        load_unlocked(library)
    with collector_off():
        yield


def torch_library() -> Path | None:
    """The library that needs all the others of torch; None where it is not known."""
    name, package = _LIBRARIES.get(sys.platform), find_spec("torch")
    if name is None or package is None or package.origin is None:
        return None
    path = Path(package.origin).parent / "lib" / name
    return path if path.is_file() else None


def load_unlocked(library: Path) -> bool:
    """Load a shared library while other threads run; return whether it was loaded.

    ``ctypes.CDLL(library)`` would hold the lock. Python's own bindings cannot be loaded so, since
    their initialisers may need it.
    """
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.argtypes, dlopen.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    return dlopen(os.fsencode(library), os.RTLD_NOW) is not None


def _torch_engine(watch_texts: Watch) -> AnsweringEngine:
    """Import torch and make the engine; seconds, so only in the inference thread.

    open_clip is imported too: the first opening would wait for it, the choice of a file does not.
    """
    with imported_beside_the_window():
        import ml_core.last_layer  # noqa: F401
        from cleanclip_gui.inference import engine

        return engine.Engine(watch_texts)


class InferenceWorker(QObject):
    """Takes tickets from the mailbox until it is closed; lives in the inference thread.

    ``answered(ticket, answer)`` and ``failed(ticket, Failed)`` carry what becomes of them. After
    ``start_failed(sentence)`` it waits until ``try_again`` holds whether to start the engine anew.
    """

    answered = Signal(object, object)
    failed = Signal(object, object)
    busy_changed = Signal(str)
    devices_found = Signal(object)
    start_failed = Signal(str)

    def __init__(self, mailbox: Mailbox, engine: EngineFactory | None) -> None:
        super().__init__()
        self._mailbox = mailbox
        self._make_engine = engine or _torch_engine
        self._serving: list[_Control] = []  # the innermost one last
        self._reason, self._details = "", ""  # why there is no engine
        self.try_again: SimpleQueue[bool] = SimpleQueue()
        self._throttle = Throttle()

    @Slot()
    def run(self) -> None:
        """Serve until the mailbox is closed; nothing else ends it."""
        engine = self._start()
        while (ticket := self._mailbox.take()) is not None:
            if engine is None:
                self.failed.emit(ticket, Failed(ticket.question, self._reason, self._details))
            else:
                self._serve(engine, ticket)
        # Model memory is given back in this thread, while its interpreter state exists.
        del engine

    def _start(self) -> AnsweringEngine | None:
        """Make the engine; meanwhile the questions wait. None if it failed for good."""
        for attempt in range(1, _ATTEMPTS + 1):
            self.busy_changed.emit("Loading torch…")
            try:
                engine = self._make_engine(self._on_texts)
                self.devices_found.emit(engine.devices())
                return engine
            except Exception as error:
                _LOG.exception("the inference engine did not start")
                self._reason = f"The model library did not load: {error}."
                self._details = traceback.format_exc()
            finally:
                self.busy_changed.emit("")
            if 1 < attempt < _ATTEMPTS:
                self.start_failed.emit(self._reason)
                if not self.try_again.get():
                    break
        self._reason += " Close the program and start it again."
        return None

    def _serve(self, engine: AnsweringEngine, ticket: QuestionTicket) -> None:
        """Answer one ticket; whatever goes wrong becomes a sentence."""
        control = _Control(self, self._mailbox, ticket)
        self._serving.append(control)
        try:
            try:
                self._answer(engine, control)
            except Exception as error:
                self._fail(ticket, error)
        except Exception:  # an error that cannot even be told of
            _LOG.exception("a question failed, and so did its failure")
            sentence, details = (
                "This failed unexpectedly; the log has the details.",
                traceback.format_exc(),
            )
            self.failed.emit(ticket, Failed(ticket.question, sentence, details))
        finally:
            self._serving.pop()

    def _answer(self, engine: AnsweringEngine, control: _Control) -> None:
        """Pass the answers on, and between them serve questions that may interrupt this one."""
        ticket = control.ticket
        question, busy = ticket.question, ticket.question.busy
        if busy:
            self.busy_changed.emit(busy)
        finished = False
        try:
            for answer in question.answers(engine, control):
                finished = question.is_last(answer)
                control.answered = control.answered or not isinstance(answer, TicketProgress)
                if question.lane is Lane.ORDERED:
                    self._mailbox.drop(question.outdates)  # before anybody learns of the change
                self.answered.emit(ticket, answer)
                if finished:
                    break
                while (other := self._mailbox.take_between(ticket)) is not None:
                    self._serve(engine, other)
                if control.stopped():
                    busy = busy or "texts"  # they may have been embedded, and are no longer
                    break
        except CancelledError:
            busy = "texts"
        finally:
            if busy:
                self.busy_changed.emit("")
        if not finished:
            if control.was_stopped:
                self._mailbox.put_back(ticket)
            else:
                ticket.close()

    def _on_texts(self, _what: str, done: int, total: int) -> None:
        """Show the progress of embedding class texts; stop if something is to be opened first."""
        serving = self._serving[-1]
        if done < total and self._mailbox.ends_texts(serving.ticket):
            serving.was_stopped = True
            raise CancelledError
        if done == total:
            self.busy_changed.emit("")
        elif done and self._throttle.lets_through(TicketProgress(done, total)):
            self.busy_changed.emit(
                f"Embedding class texts… {count_text(done)} of {count_text(total)}"
            )

    def _fail(self, ticket: QuestionTicket, error: Exception) -> None:
        """Say what went wrong; called while ``error`` is handled."""
        question = ticket.question
        if isinstance(error, InputError):
            lacks = getattr(error, "tower", "")  # of DonorNeeded; its module may need torch
            failed = Failed(question, error.sentence, error.details, error.code, lacks)
            if not ticket.is_cancelled:
                _LOG.warning("%s", error.sentence)
        else:
            if isinstance(error, MemoryError):
                sentence = "There is not enough memory for this. Try fewer images."
            elif type(error).__name__ == "OutOfMemoryError":
                sentence = "The device has too little free memory. Choose the CPU."
            else:
                sentence = f"{question.act} failed unexpectedly: {error}"
            _LOG.exception("%s", sentence)
            failed = Failed(question, sentence, traceback.format_exc())
        self.failed.emit(ticket, failed)


class _Control:
    """A ticket in flight; see :class:`cleanclip_gui.inference.questions.QuestionControl`."""

    def __init__(self, worker: InferenceWorker, mailbox: Mailbox, ticket: QuestionTicket) -> None:
        self._worker, self._mailbox = worker, mailbox
        self.ticket = ticket
        self.answered = False
        self.was_stopped = False
        self._throttle = Throttle()

    def stopped(self) -> bool:
        """Whether to end here; remembered, since the reason may be gone when it has ended."""
        self.was_stopped = self.was_stopped or self._mailbox.ends(self.ticket, self.answered)
        return self.was_stopped

    def commit(self) -> bool:
        """Make the answer sure to come."""
        return self.ticket.commit()

    def tell(self, progress: TicketProgress) -> None:
        """Tell how far it is, ten times a second at most; that all is done is always told."""
        if self._throttle.lets_through(progress):
            self._worker.answered.emit(self.ticket, progress)


class Inference(QObject):
    """Asks the models in another thread; answers arrive in the thread of this object.

    ``failed(Failed)`` carries failures that the asker does not handle. If the engine failed to
    start twice, ``try_again(sentence)`` returns whether to start it anew; questions wait meanwhile.

    Parameters
    ----------
    engine
        Makes the engine, called in the inference thread; by default the one that loads torch.
    """

    # It may be within a batch of seconds, or importing torch: the process ends without it.
    closing_ms = threads.READING_MS
    failed = Signal(object)
    busy_changed = Signal(str)
    devices_found = Signal(object)

    def __init__(self, engine: EngineFactory | None = None) -> None:
        super().__init__()
        self.try_again: Callable[[str], bool] = lambda sentence: False
        self._mailbox = Mailbox()
        self._asked = 0
        self._open: defaultdict[str, list[QuestionTicket]] = defaultdict(list)  # by slot
        self._thread = QThread()
        self._thread.setObjectName("inference")
        self._worker = InferenceWorker(self._mailbox, engine)
        self._worker.moveToThread(self._thread)
        self._thread.started.connect(self._worker.run)
        self._thread.finished.connect(self._on_finished)
        self._worker.answered.connect(self._on_answered)
        self._worker.failed.connect(self._on_failed)
        self._worker.start_failed.connect(self._on_start_failed)
        self._worker.busy_changed.connect(self.busy_changed)
        self._worker.devices_found.connect(self.devices_found)
        self._started = False

    def start(self) -> None:
        """Start the thread, which imports torch; call it once the window is shown."""
        if not self._started and not self._mailbox.closed:
            self._started = True
            threads.enter(self)
            self._thread.start()

    def ask(
        self,
        question: Question,
        on_result: Callback | None = None,
        on_failed: Callback | None = None,
        *,
        on_progress: Callback | None = None,
        slot: str | None = None,
        keep_older: bool = False,
    ) -> Ticket:
        """Queue a question; starts the thread if need be.

        Parameters
        ----------
        question
            What is asked.
        on_result, on_failed, on_progress
            Take each result, the one failure (:class:`Failed`) and each :class:`Progress`, in the
            thread of this object. Nothing is called for a method of a deleted QObject.
        slot
            Older questions in it are cancelled; by default the kind of the question, if only the
            newest of its kind is answered.
        keep_older
            Let an older question in flight still give its first result, if that does not mislead.

        Returns
        -------
        Ticket
            Cancels the question.
        """
        if slot is None and not question.answers_each:
            slot = type(question).__name__
        self._asked += 1
        ticket = QuestionTicket(question, self._asked, slot, on_result, on_failed, on_progress)
        if slot is not None:
            for older in () if keep_older else self._open[slot]:
                older.replace()
            self._open[slot] = [t for t in self._open[slot] if t.is_open] + [ticket]
        self._mailbox.put(ticket)
        self.start()
        return ticket

    def cancel(self, slot: str) -> None:
        """Cancel what was asked in a slot, in flight or waiting."""
        for ticket in self._open[slot]:
            ticket.cancel()

    def isRunning(self) -> bool:  # noqa: N802
        """Whether the thread has not ended."""
        return self._thread.isRunning()

    def end(self) -> None:
        """Ask the thread to end after the batch in flight; nobody is answered any more."""
        self._mailbox.close()
        self._worker.try_again.put(False)
        self._thread.quit()

    def close(self, timeout_ms: int = 10_000) -> bool:
        """End the thread after the batch in flight; return whether it ended in time."""
        self.end()
        return self._thread.wait(timeout_ms)

    @Slot()
    def _on_finished(self) -> None:
        self._thread.wait(1000)  # the signal comes an instant before the thread is gone
        threads.leave(self)

    @Slot(str)
    def _on_start_failed(self, sentence: str) -> None:
        self._worker.try_again.put(not self._mailbox.closed and self.try_again(sentence))

    @Slot(object, object)
    def _on_answered(self, ticket: QuestionTicket, answer: object) -> None:
        if not self._mailbox.closed:
            ticket.deliver(answer)

    @Slot(object, object)
    def _on_failed(self, ticket: QuestionTicket, failed: Failed) -> None:
        if self._mailbox.closed or ticket.is_cancelled:
            return
        ticket.deliver_failure(failed)
        if not ticket.takes_failures:
            self.failed.emit(failed)


_THREADS = "OMP_NUM_THREADS"  # what `ml_core.jobs.devices.set_threads` looks at; jobs inherit it
_TOLD = os.environ.get(_THREADS)


class StudioDevice:
    """Moves Studio off a GPU that a run uses, and back when the run has ended."""

    def __init__(self, session: Session, inference: Inference) -> None:
        self._session = session
        self._inference = inference
        self._released = False
        self._home = ""

    def found(self, devices: tuple[str, ...], chosen: str) -> None:
        """Go to the device that the user chose before, or else to the best of those found."""
        device = chosen if chosen in devices else devices[0]
        if self._released:  # a run that was resumed at once has the GPU
            self._home, device = device, "cpu"
        self._session.device, self._session.devices = device, devices
        self.move(device)

    def move(self, device: str) -> None:
        """Ask the models to move; the session learns where they are."""
        self._inference.ask(SetDevice(device), self._on_moved)

    def use_threads(self, number: int) -> None:
        """Compute with this many threads from now on, as will later jobs; 0 picks a number."""
        if number:
            os.environ[_THREADS] = str(number)
        elif _TOLD is None:
            os.environ.pop(_THREADS, None)
        else:
            os.environ[_THREADS] = _TOLD
        self._inference.ask(SetThreads())

    def release(self, device: str) -> str:
        """Leave ``device`` to a run; return what that means for Studio, as a sentence."""
        if device == "cpu":
            return "Meanwhile Studio is slower."
        self._released, self._home = True, self._session.device
        if self._home != "cpu":
            self.move("cpu")
        return f"Studio evaluates on the CPU while the run uses {used_text(device)}."

    @property
    def wanted(self) -> str:
        """The device that the user chose, wherever Studio is meanwhile."""
        return self._home if self._released else self._session.device

    def restore(self) -> None:
        """Go back to where Studio was."""
        if self._released and self._home != "cpu":
            self.move(self._home)
            self._session.device = self._home
        self._released = False

    def _on_moved(self, device: str) -> None:
        self._session.device = device
