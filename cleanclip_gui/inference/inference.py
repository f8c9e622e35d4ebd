"""The window's handle on the inference thread: who asks gets the answer.

torch and open_clip are imported in that thread, after the window is on screen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from PySide6.QtCore import QObject, QThread, Signal, Slot

from cleanclip_gui import threads
from cleanclip_gui.inference.mailbox import Mailbox
from cleanclip_gui.inference.questions import EngineFactory, Failed, Question
from cleanclip_gui.inference.ticket import QuestionTicket
from cleanclip_gui.inference.worker import InferenceWorker
from cleanclip_gui.ticket import Callback, Ticket


class Inference(QObject):
    """Asks the models in another thread; answers arrive in the thread of this object.

    ``failed(Failed)`` carries the failures of questions whose askers take none. Where the engine
    did not start twice, ``try_again(sentence)`` says whether to start it anew; questions wait.

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

    def __init__(
        self,
        engine: EngineFactory | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
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
            Let an older one that is in flight give its first result yet, where that does not
            mislead.

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
        """End the thread after the batch in flight; whether it ended within the time."""
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
