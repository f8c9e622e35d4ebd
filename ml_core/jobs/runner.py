"""Runs a job of any kind: its lock, its last word and what went wrong are the same for all."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ml_core.events import Control, Done, Event
from ml_core.jobs.failures import guarded
from ml_core.jobs.folder_lock import lock_folder
from ml_core.jobs.processes import together
from ml_core.jobs.table import Job, job_of
from ml_core.plugins import switch_on


def run_job(
    spec: BaseModel, control: Control, *, estimate: bool = False, **options: Any
) -> Generator[Event, None, None]:
    """Do a job; the last event is Done, whatever happens.

    Parameters
    ----------
    spec
        What to do; its type says which kind of job it is.
    control
        Cancel, stop and pause. A stop cancels a job that saves nothing on its way.
    estimate
        Only measure how long it would take; nothing is written.
    **options
        What the work of this kind takes besides (``overwrite``, ``ranks``, ``resume``); an estimate
        takes nothing.

    Yields
    ------
    Event
        The events of the work, and Done once the folder is free again, so that a listener may use
        the folder at once.
    """
    job = job_of(spec)
    if estimate and not job.estimate:
        error = f"There is no estimate of a job of kind {job.kind}."
        yield Done("failed", error=error, error_code="usage")
        return
    own = control if job.saves and not estimate else control.ended_by_stop()
    last = Done("failed", error="The job ended without a result.", error_code="internal")
    with closing(guarded(_worked(job, spec, own, estimate, options))) as events:
        for event in events:
            if isinstance(event, Done):
                last = event
            else:
                yield event
    yield last


def _worked(
    job: Job, spec: BaseModel, control: Control, estimate: bool, options: dict[str, Any]
) -> Generator[Event, None, None]:
    """The events of the work, while its folder is locked against others."""
    switch_on()
    if estimate:
        yield from job.load(estimate=True)(spec, control)
        return
    work = job.load()
    with ExitStack() as stack:
        if job.shared and "ranks" not in options:
            options["ranks"] = stack.enter_context(together(spec.device))  # type: ignore[attr-defined]
        first = "ranks" not in options or options["ranks"].first
        if job.folder is not None and first:
            stack.callback(lock_folder(Path(job.folder(spec))).release)
        yield from work(spec, control, **options)
