"""Run a generator to its end."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TypeVar

import pytest

from ml_core.events import Event
from ml_core.reading.errors import CancelledError

Result = TypeVar("Result")
Step = TypeVar("Step")


def drain(run: Generator[Event, None, Result]) -> tuple[list[Event], Result]:
    """Its events, and what it returns."""
    events = []
    while True:
        try:
            events.append(next(run))
        except StopIteration as end:
            return events, end.value


def until_cancelled(steps: Iterable[Step]) -> list[Step]:
    """What comes before a `CancelledError`, which has to come."""
    found: list[Step] = []
    with pytest.raises(CancelledError):
        found.extend(steps)
    return found
