"""Run a generator to its end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel
from torch import Tensor

from ml_core.cleaning.weight_space import Validate
from ml_core.events import Control, Done, Event, Message, Metric
from ml_core.jobs.runner import run_job
from ml_core.reading.errors import CancelledError

Result = TypeVar("Result")
Step = TypeVar("Step")


def drain(
    run: Generator[Event, None, Result], act: Callable[[], None] | None = None, step: int = 0
) -> tuple[list[Event], Result]:
    """Its events, and what it returns; ``act`` is called when a step was taken."""
    events: list[Event] = []
    while True:
        try:
            events.append(next(run))
        except StopIteration as end:
            return events, end.value
        if act is not None and isinstance(events[-1], Metric) and events[-1].step == step:
            act()


def killed(run: Generator[Event, None, object], step: int, kind: type[Any] = Metric) -> list[Event]:
    """Its events up to one of a kind and a step, where it is closed as if it were killed."""
    events = []
    for event in run:
        events.append(event)
        if isinstance(event, kind) and event.step == step:
            run.close()
    return events


def metrics_of(events: Iterable[Event]) -> list[Metric]:
    """The steps and evaluations among events."""
    return [event for event in events if isinstance(event, Metric)]


def losses_of(events: Iterable[Event]) -> list[float]:
    """The loss of each step."""
    return [event.values["loss"] for event in metrics_of(events) if "loss" in event.values]


def warnings_of(events: Iterable[Event]) -> list[str]:
    """The sentences of all warnings."""
    messages = [event for event in events if isinstance(event, Message)]
    return [message.text for message in messages if message.level == "warning"]


def silently(measured: Callable[[Tensor | None], dict[str, float] | None]) -> Validate:
    """A measurement on validation images that has nothing to tell on its way."""

    def validate(head: Tensor | None) -> Generator[Event, None, dict[str, float] | None]:
        yield from ()
        return measured(head)

    return validate


def until_cancelled(steps: Iterable[Step]) -> list[Step]:
    """What comes before a `CancelledError`, which has to come."""
    before: list[Step] = []
    with pytest.raises(CancelledError):
        before.extend(steps)
    return before


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
