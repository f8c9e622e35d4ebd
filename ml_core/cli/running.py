"""Running a job at the command line."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from ml_core.cli import output
from ml_core.cli.interrupt import ctrl_c_cancels
from ml_core.events import Control, Done, Event


def run_to_result(job: Callable[[Control], Generator[Event, None, None]]) -> dict[str, Any]:
    """Run a job in this process with a progress bar; return its result.

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
    with ctrl_c_cancels(control), output.progress_bar() as show:
        for event in job(control):
            show(event)
            if isinstance(event, Done):
                done = event
    if done.status == "cancelled":
        raise KeyboardInterrupt
    output.raise_failure(done)
    return done.result
