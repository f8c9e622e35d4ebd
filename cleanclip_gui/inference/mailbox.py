"""The queue between the window and the inference thread: newest wins, by kind."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from cleanclip_gui.inference.explaining import Explain
from cleanclip_gui.inference.requests import (
    Evaluate,
    LoadImages,
    Look,
    Predict,
    Request,
    Thumbnails,
)


@dataclass(frozen=True, eq=False)
class Letter:
    """A request and the number under which it was submitted."""

    generation: int
    request: Request


class Mailbox:
    """Holds requests until the worker takes them; safe to use from any thread.

    Openings and loadings keep their order. Of the predictions, of the looks at a few images, and
    of the evaluations, only the newest is kept. Thumbnails are served last in, first out: what is
    asked for last is what is on screen.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._ordered: deque[Letter] = deque()
        self._predict: Letter | None = None
        self._look: Letter | None = None
        self._evaluate: Letter | None = None
        self._thumbnails: deque[Letter] = deque(maxlen=64)
        self._explain: dict[type[Explain], Letter] = {}
        self._unwanted: dict[type[Explain], int] = {}
        self._closed = False
        self._cancelled_to = 0
        self._loading_floor = 0

    def put(self, letter: Letter) -> None:
        """Add a request, in the place of older ones of its kind."""
        with self._condition:
            if isinstance(letter.request, Evaluate):
                self._evaluate = letter
            elif isinstance(letter.request, Predict):
                self._predict = letter
            elif isinstance(letter.request, Look):
                self._look = letter
            elif isinstance(letter.request, Thumbnails):
                self._thumbnails.append(letter)
            elif isinstance(letter.request, Explain):
                self._explain[type(letter.request)] = letter
            else:
                self._ordered.append(letter)
            self._condition.notify()

    def put_back(self, letter: Letter) -> None:
        """Return an evaluation, prediction or look that was interrupted, unless out of date."""
        with self._condition:
            if self.cancelled(letter):
                return
            if isinstance(letter.request, Evaluate):
                self._evaluate = self._evaluate or letter
            elif isinstance(letter.request, Predict):
                self._predict = self._predict or letter
            elif isinstance(letter.request, Look):
                self._look = self._look or letter

    def take(self) -> Letter | None:
        """Wait for the next request; None when the mailbox is closed."""
        with self._condition:
            while True:
                if self._closed:
                    return None
                letter = self._next_ordered() or self._next_live() or self._next_explain()
                if letter is not None:
                    return letter
                self._condition.wait()

    def take_quick(self) -> Letter | None:
        """Return what may cut in between batches: a prediction, thumbnails, a look."""
        with self._condition:
            return None if self._closed else self._next_quick()

    def take_live(self) -> Letter | None:
        """Return what may cut in between the batches of an explanation: evaluations too."""
        with self._condition:
            return None if self._closed or self._ordered else self._next_live()

    def live_waits(self) -> bool:
        """Whether something live waits to be answered."""
        with self._condition:
            return bool(self._predict or self._evaluate or self._thumbnails or self._look)

    def makes_way(self, letter: Letter) -> bool:
        """Whether what every answer waits for should wait for an opening or loading instead."""
        if isinstance(letter.request, Explain):
            return self.explanation_ends(letter)
        with self._condition:
            return bool(self._ordered) or self._closed or self.cancelled(letter)

    def explanation_ends(self, letter: Letter) -> bool:
        """Whether an explanation in flight is out of date, or an opening or loading waits."""
        with self._condition:
            return bool(self._ordered) or self._outdated(letter)

    def put_back_explanation(self, letter: Letter) -> bool:
        """Return one that an opening or loading cut short; whether it will be answered yet."""
        with self._condition:
            if self._outdated(letter):
                return False
            self._explain[_kind(letter)] = letter
            return True

    def cancel_explanation(self, kind: type[Explain], generation: int) -> None:
        """Forget explanations of a kind that are older than ``generation``."""
        with self._condition:
            self._explain.pop(kind, None)
            self._unwanted[kind] = generation

    def _outdated(self, letter: Letter) -> bool:
        kind = _kind(letter)
        unwanted = letter.generation < self._unwanted.get(kind, 0)
        return self._closed or unwanted or kind in self._explain

    def interrupted(self, letter: Letter) -> bool:
        """Whether this evaluation in flight should make way."""
        with self._condition:
            newer = self._evaluate is not None or bool(self._ordered)
            return newer or self._closed or self.cancelled(letter)

    def cancelled(self, letter: Letter) -> bool:
        """Whether the window no longer wants this evaluation at all."""
        return letter.generation < self._cancelled_to

    def cancel_evaluation(self, generation: int) -> None:
        """Forget evaluations, waiting or in flight, that are older than ``generation``."""
        with self._condition:
            self._evaluate = self._look = None
            self._cancelled_to = generation

    def cancel_loading(self, generation: int) -> None:
        """Let no images be opened that were asked for before ``generation``."""
        self._loading_floor = generation

    def loading_ends(self, letter: Letter) -> bool:
        """Whether nobody waits for these images: cancelled, or others are wanted by now."""
        with self._condition:
            later = any(isinstance(other.request, LoadImages) for other in self._ordered)
            return later or self._closed or letter.generation < self._loading_floor

    def drop_looks(self, generation: int) -> None:
        """Forget what was asked about images that are no longer in use."""
        with self._condition:
            self._evaluate = self._predict = self._look = None
            self._thumbnails.clear()
            self._cancelled_to = generation

    @property
    def closed(self) -> bool:
        """Whether the worker should end."""
        return self._closed

    def close(self) -> None:
        """Ask the worker to end after the batch in flight."""
        with self._condition:
            self._closed = True
            self._condition.notify()

    def _next_ordered(self) -> Letter | None:
        return self._ordered.popleft() if self._ordered else None

    def _next_quick(self) -> Letter | None:
        if self._predict is not None:
            letter, self._predict = self._predict, None
            return letter
        if self._thumbnails:
            return self._thumbnails.pop()
        look, self._look = self._look, None
        return look

    def _next_live(self) -> Letter | None:
        return self._next_quick() or self._next_evaluate()

    def _next_explain(self) -> Letter | None:
        return self._explain.pop(next(iter(self._explain))) if self._explain else None

    def _next_evaluate(self) -> Letter | None:
        letter, self._evaluate = self._evaluate, None
        return letter


def _kind(letter: Letter) -> type[Explain]:
    """Which kind of explanation a letter asks for."""
    assert isinstance(letter.request, Explain)
    return type(letter.request)
