"""Report how far a slow step is to the caller, who may then end it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Watch = Callable[[str, int, int], None]
"""Takes what is done, how much of it, and of how much (0: unknown); it may raise
`CancelledError`."""

_EVERY = 256
_T = TypeVar("_T")


def unwatched(what: str, done: int, total: int) -> None:
    """A `Watch` that does nothing."""


def watched(items: Iterable[_T], watch: Watch, what: str, total: int = 0) -> Iterator[_T]:
    """Iterate over items, reporting to ``watch`` now and then."""
    for number, item in enumerate(items):
        if number % _EVERY == 0:
            watch(what, number, total)
        yield item
