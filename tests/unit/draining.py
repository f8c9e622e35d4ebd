"""Run a generator of events to its end."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

from ml_core.events import Event

Result = TypeVar("Result")


def drain(run: Generator[Event, None, Result]) -> tuple[list[Event], Result]:
    """Its events, and what it returns."""
    events = []
    while True:
        try:
            events.append(next(run))
        except StopIteration as end:
            return events, end.value
