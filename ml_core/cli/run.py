"""Running work in this process: a progress bar, and what Ctrl-C does."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ml_core.cli import output
from ml_core.events import Control, Done, Event

if TYPE_CHECKING:
    from ml_core.jobs.overall import Plan


@contextmanager
def ctrl_c_cancels(control: Control) -> Generator[None]:
    """The first Ctrl-C cancels the work between steps, the second ends the program."""

    def handle(_signal: int, _frame: object) -> None:
        if control.cancelled:
            raise KeyboardInterrupt
        output.say("Cancelling; press Ctrl-C again to leave at once.")
        control.cancel()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run_to_result(
    job: Callable[[Control], Generator[Event, None, None]], plan: Plan | None = None
) -> dict[str, Any]:
    """Run a job in this process with a progress bar; return its result.

    With the ``plan`` of its stages the bar tells of the whole job too.

    Raises
    ------
    InputError
        If the job failed through its input.
    KeyboardInterrupt
        If it was cancelled.
    JobFailed
        If it failed inside.
    """
    control = Control()
    done = Done("failed", error="The job ended without a result.", error_code="internal")
    with ctrl_c_cancels(control), output.progress_bar(plan=plan) as show:
        for event in job(control):
            show(event)
            if isinstance(event, Done):
                done = event
    if done.status == "cancelled":
        raise KeyboardInterrupt
    output.raise_failure(done)
    return done.result
