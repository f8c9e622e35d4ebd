"""The loop that runs in the inference thread."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue

from PySide6.QtCore import QObject, Signal, Slot

from cleanclip_gui.inference.mailbox import Mailbox, QuestionTicket
from cleanclip_gui.inference.questions import AnsweringEngine, EngineFactory, Failed, Lane
from cleanclip_gui.ticket import Throttle, TicketProgress
from cleanclip_gui.widgets.text import count_text
from ml_core.children import collector_off
from ml_core.data.watch import Watch
from ml_core.reading.errors import CancelledError, InputError

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
