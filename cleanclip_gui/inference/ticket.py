"""A question that was asked of the inference thread."""

from __future__ import annotations

import threading

from cleanclip_gui.inference.questions import Failed, Question
from cleanclip_gui.ticket import Callback, Progress, Ticket


class QuestionTicket(Ticket):
    """A ticket that a newer question replaces, and that commits an answer which changes the engine.

    ``number`` counts the questions: of two, the greater one is newer.
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
        if isinstance(answer, Progress):
            self.give_progress(answer)
            return
        if not self._cancelled and self.question.is_last(answer):
            self.close()
        self.give_result(answer)

    def deliver_failure(self, failed: Failed) -> None:
        """Hand a failure to the asker, in the asker's thread."""
        self.give_failure(failed)
