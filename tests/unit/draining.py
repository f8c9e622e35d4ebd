"""Run a generator to its end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

import pytest
from torch import Tensor

from ml_core.cleaning.weight_space import Validate
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


def silently(measured: Callable[[Tensor | None], dict[str, float] | None]) -> Validate:
    """A measurement on validation images that has nothing to tell on its way."""

    def validate(head: Tensor | None) -> Generator[Event, None, dict[str, float] | None]:
        yield from ()
        return measured(head)

    return validate


def until_cancelled(steps: Iterable[Step]) -> list[Step]:
    """What comes before a `CancelledError`, which has to come."""
    found: list[Step] = []
    with pytest.raises(CancelledError):
        found.extend(steps)
    return found
