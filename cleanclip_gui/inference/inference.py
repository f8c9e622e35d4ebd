"""The window's handle on the inference thread; each answer goes to its asker.

torch and open_clip are imported in that thread, after the window is on screen.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable

from PySide6.QtCore import QObject, QThread, Signal, Slot

from cleanclip_gui import threads
from cleanclip_gui.inference.mailbox import Mailbox, QuestionTicket
from cleanclip_gui.inference.questions import EngineFactory, Failed, Question, SetDevice, SetThreads
from cleanclip_gui.inference.worker import InferenceWorker
from cleanclip_gui.session import Session
from cleanclip_gui.ticket import Callback, Ticket
from cleanclip_gui.widgets.text import used_text


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
            return "Studio shares the processor: its numbers come slower."
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
