"""Run a generator to its end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel
from torch import Tensor

from ml_core.cleaning.weight_space import Validate
from ml_core.events import Control, Done, Event
from ml_core.jobs.runner import run_job
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


def events_of(
    spec: BaseModel, control: Control | None = None, **options: Any
) -> tuple[list[Event], Done]:
    """Run a job to its end; all its events, and the last one."""
    events = list(run_job(spec, control or Control(), **options))
    assert isinstance(events[-1], Done)
    return events, events[-1]


def done_of(spec: BaseModel, control: Control | None = None, **options: Any) -> Done:
    """Run a job to its end; its last event."""
    return events_of(spec, control, **options)[1]


def finished(spec: BaseModel, **options: Any) -> Done:
    """Run a job that has to finish; its last event."""
    done = done_of(spec, **options)
    assert done.status == "finished", done.error + done.details
    return done
