"""A small cache of the results that were used last, for any thread."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class ResultCache(Generic[_K, _V]):
    """Keeps the last few results by key, for any thread; the oldest one goes first."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._kept: OrderedDict[_K, _V] = OrderedDict()
        self._lock = Lock()

    def get(self, key: _K, make: Callable[[], _V]) -> _V:
        """What is kept for the key, else what ``make`` returns, without holding the lock."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self._entries:
                self._kept.popitem(last=False)
        return made

    def find(self, key: _K) -> _V | None:
        """What is kept for the key, or None."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def forget(self, key: _K) -> None:
        """Drop what is kept for the key."""
        with self._lock:
            self._kept.pop(key, None)
