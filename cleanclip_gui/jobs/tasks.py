"""Work in other threads, such as hashing a file; its starter gets the results."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from types import GeneratorType
from typing import TypeVar
from weakref import WeakKeyDictionary

from PySide6.QtCore import QObject, QThread, Signal, Slot

from cleanclip_gui import threads
from cleanclip_gui.ticket import (
    TELL_EVERY,
    Callback,
    Throttle,
    Ticket,
    TicketProgress,
    call,
    receiver,
)
from ml_core.reading.errors import CancelledError, InputError

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
# The newest task in each slot of an object, as long as that lives.
_SLOTS: WeakKeyDictionary[QObject, dict[Hashable, Ticket]] = WeakKeyDictionary()


class TaskControl:
    """Tells work in a thread whether it was cancelled, and reports its progress."""

    def __init__(self, ticket: Ticket, send: Callable[[Callable[[], object]], None]) -> None:
        self._ticket, self._send = ticket, send
        self._throttle = Throttle()

    def cancelled(self) -> bool:
        """Whether to end here; may be asked often."""
        return self._ticket.is_cancelled

    def tell(self, progress: TicketProgress) -> None:
        """Tell how far it is, ten times a second at most; that all is done is always told."""
        if self._throttle.lets_through(progress):
            self._send(partial(self._ticket.give_progress, progress))


Work = Callable[[TaskControl], object]


def run(
    work: Work,
    on_result: Callback | None = None,
    on_failed: Callback | None = None,
    *,
    on_progress: Callback | None = None,
    on_done: Callable[[], object] | None = None,
    slot: Hashable = None,
    closing_ms: int = threads.READING_MS,
) -> Ticket:
    """Do some work in a thread of low priority.

    Parameters
    ----------
    work
        A function or a generator. What it returns, or each thing that it yields, is a result. A
        `CancelledError` ends it without a word.
    on_result, on_failed, on_progress, on_done
        Take each result, the one failure (an `InputError`) and each :class:`TicketProgress`, in the
        thread of the caller; ``on_done`` follows the last result when the work came to its end.
        Nothing is called after the ticket was cancelled, or for a method of a deleted QObject.
    slot
        Cancels the work that the same object has under way in this slot. The object is the QObject
        whose methods the callbacks are.
    closing_ms
        How long the window waits for it when it closes: ``threads.CLOSING_MS`` for what writes.

    Returns
    -------
    Ticket
        Cancels the work, and nothing of it arrives any more.

    Raises
    ------
    ValueError
        If there is a slot, and no callback is a method of a QObject.
    """
    ticket = Ticket(slot, on_result, on_failed, on_progress)
    if slot is not None:
        owners = map(receiver, (on_result, on_failed, on_progress, on_done))
        owner = next((candidate for candidate in owners if isinstance(candidate, QObject)), None)
        if owner is None:
            raise ValueError("a slot belongs to a QObject: pass a method of one as a callback")
        slots = _SLOTS.setdefault(owner, {})
        older, slots[slot] = slots.get(slot), ticket
        if older is not None:
            older.cancel()
    _Task(work, ticket, on_done, closing_ms).begin()
    return ticket


def batches(items: Iterable[T], most: int = 2000) -> Iterator[list[T]]:
    """Items in lists, one each tenth of a second, so that the window takes in few results.

    No list is longer than ``most``; the last one may be empty.
    """
    batch: list[T] = []
    sent = time.monotonic()
    for item in items:
        batch.append(item)
        if time.monotonic() - sent > TELL_EVERY or len(batch) >= most:
            yield batch
            batch, sent = [], time.monotonic()
    yield batch


def is_busy() -> bool:
    """Whether some work goes on."""
    return any(isinstance(thread, _Task) for thread in threads.running())


class _Task(QThread):
    """One piece of work; among the threads of the window until it has ended."""

    _sent = Signal(object)

    def __init__(
        self, work: Work, ticket: Ticket, on_done: Callable[[], object] | None, closing_ms: int
    ) -> None:
        super().__init__()
        self.closing_ms = closing_ms
        self._work, self._ticket, self._on_done = work, ticket, on_done
        self._sent.connect(self._on_sent)
        self.finished.connect(self._on_finished)

    def begin(self) -> None:
        threads.enter(self)
        self.start(QThread.Priority.LowPriority)

    def end(self) -> None:
        self._ticket.cancel()

    def close(self, timeout_ms: int) -> bool:
        self.end()
        return self.wait(timeout_ms)

    def run(self) -> None:
        """Do the work in this thread, and send what becomes of it to the one that began it."""
        try:
            self._do()
        except CancelledError:
            return
        except InputError as error:
            _LOG.info("%s", error.sentence)
            self._sent.emit(partial(self._ticket.give_failure, error))
        except Exception as error:
            _LOG.exception("work beside the window failed")
            sentence = f"This failed unexpectedly: {error}"
            failure = InputError(sentence, "damaged", traceback.format_exc())
            self._sent.emit(partial(self._ticket.give_failure, failure))

    def _do(self) -> None:
        results = self._work(TaskControl(self._ticket, self._sent.emit))
        if not isinstance(results, GeneratorType):
            self._sent.emit(partial(self._give_last, (results,)))
            return
        for result in results:
            if self._ticket.is_cancelled:
                return
            self._sent.emit(partial(self._ticket.give_result, result))
        self._sent.emit(partial(self._give_last, ()))

    def _give_last(self, results: tuple[object, ...]) -> None:
        """Hand over what came last, in the thread of the asker; the ticket is closed before."""
        self._ticket.close()
        for result in results:
            self._ticket.give_result(result)
        if not self._ticket.is_cancelled:
            call(self._on_done)

    @Slot(object)
    def _on_sent(self, give: Callable[[], object]) -> None:
        give()

    @Slot()
    def _on_finished(self) -> None:
        self.wait(1000)  # the signal comes an instant before the thread is gone
        self._ticket.close()
        self._ticket.forget()
        slot = self._ticket.slot
        for slots in _SLOTS.values():
            if slots.get(slot) is self._ticket:
                del slots[slot]
        threads.leave(self)
