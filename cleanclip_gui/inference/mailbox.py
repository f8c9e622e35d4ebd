"""The queue between the window and the inference thread: a lane for each sort of question."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence

from cleanclip_gui.inference.questions import LIVE, QUICK, Failed, Lane, Question
from cleanclip_gui.ticket import Callback, Ticket, TicketProgress


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
