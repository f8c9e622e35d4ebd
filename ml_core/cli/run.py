"""Running work in this process: a progress bar, and what Ctrl-C and other signals do."""

from __future__ import annotations

import os
import signal
import threading
import time
from _thread import interrupt_main
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text

from ml_core import figures
from ml_core.cli import output
from ml_core.events import Control, Done, Event, Message, Metric, Progress, run_to_end
from ml_core.reading.errors import CancelledError, plain

if TYPE_CHECKING:
    from ml_core.jobs.overall import Plan


_TRAINING = ("train", "plant", "twin", "ramp")  # stages beside whose bars the loss stands


class _HowFar(MofNCompleteColumn):
    """Item count for a stage, per cent for the whole job."""

    def render(self, task: Task) -> Text:
        if "left" not in task.fields:
            return super().render(task)
        return Text(f"{task.percentage:.0f} %", style="progress.download")


class _TimeLeft(TimeRemainingColumn):
    """A stage's time left from its rate, the job's from its plan."""

    def render(self, task: Task) -> Text:
        if "left" not in task.fields:
            return super().render(task)
        left = task.fields["left"]
        shown = "-:--:--" if left is None else str(timedelta(seconds=round(left)))
        return Text(shown, style="progress.remaining")


@contextmanager
def progress_bar(plan: Plan | None = None) -> Generator[Callable[[Event], None]]:
    """A rich progress display on standard error, fed with events.

    Parameters
    ----------
    plan
        The stages of the whole job, for a line with its share and time left.

    Yields
    ------
    callable
        Give it every event of a job.
    """
    from ml_core.jobs.table import TITLES

    bar = Bar(
        TextColumn("{task.description:<18}"),
        BarColumn(),
        _HowFar(),
        _TimeLeft(),
        TextColumn("{task.fields[note]}"),
        console=output.errors(),
    )
    tasks: dict[str, TaskID] = {}
    overall = None
    if plan is not None:
        from ml_core.jobs.overall import Overall

        overall = Overall(plan)
        tasks[""] = bar.add_task("Whole job", total=1.0, note="", left=None)

    def show(event: Event) -> None:
        if isinstance(event, Progress):
            name, _, rest = event.stage.partition(" ")
            title = f"{TITLES.get(name.strip(','), name)} {rest}".strip()
            if event.stage not in tasks:
                tasks[event.stage] = bar.add_task(title, total=event.total or None, note="")
            total = event.total or None
            bar.update(tasks[event.stage], completed=event.done, total=total)
            if overall is not None:
                overall.take(event)
                left = overall.seconds_left
                bar.update(tasks[""], completed=overall.fraction, left=left)
        elif isinstance(event, Metric):
            for stage in [name for name in tasks if name in _TRAINING][-1:]:
                bar.update(tasks[stage], note=_note(event.values))
        elif isinstance(event, Message):
            bar.console.print(plain(event.text), markup=False)
        elif isinstance(event, Done) and event.status == "finished":
            for task in bar.tasks:  # a search that was sure early has no rest
                ended = max(1, task.completed)
                bar.update(task.id, completed=ended, total=ended)

    with bar:
        yield show


def _note(values: dict[str, float]) -> str:
    """The numbers beside the bar."""
    shown = []
    for key, title in (("loss", "loss"), ("ca", "CA"), ("asr_excl", "ASR")):
        if key in values:
            value = values[key]
            number = f"{value:.3f}" if key == "loss" else figures.percent(value)
            shown.append(f"{title} {number}")
    return "  ".join(shown)


Result = TypeVar("Result")
_SOON_SECONDS, _GRACE_SECONDS, _TELL_SECONDS = 0.5, 0.9, 0.1


@contextmanager
def ctrl_c_cancels(control: Control, *, leaves: bool = False) -> Generator[None]:
    """The first Ctrl-C cancels the work between steps, the second ends the program.

    With ``leaves`` the program ends within a second of the first one, as a job of the window does:
    a step of a large model takes minutes, and what was saved last is intact.
    """
    timers: list[threading.Timer] = []

    def handle(_signal: int, _frame: object) -> None:
        if control.cancelled:
            raise KeyboardInterrupt
        how = "" if leaves else "; press Ctrl-C again to leave at once"
        output.say(f"Cancelling{how}.")
        control.cancel()
        if leaves:
            for seconds, act in ((_SOON_SECONDS, interrupt_main), (_GRACE_SECONDS, _leave)):
                timers.append(threading.Timer(seconds, act))
                timers[-1].daemon = True
                timers[-1].start()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        signal.signal(signal.SIGINT, before)


@contextmanager
def watched(what: str) -> Generator[tuple[Callable[[str, int, int], None], Callable[[], bool]]]:
    """Show on standard error how far a step of a command is; a Ctrl-C cancels it.

    Yields
    ------
    tuple
        What is told what is done, how much of it, and of how much; and whether to end.

    Raises
    ------
    KeyboardInterrupt
        If it was cancelled.
    """
    control, shown_at = Control(), 0.0
    with output.errors().status(f"{escape(plain(what))} …") as status:

        def report(what: str, done: int, total: int) -> None:
            nonlocal shown_at
            if time.monotonic() - shown_at < _TELL_SECONDS:
                return
            shown_at = time.monotonic()
            status.update(escape(plain(what)) + (f" ({100 * done // total} %)" if total else " …"))

        try:
            with ctrl_c_cancels(control):
                yield report, lambda: control.cancelled
        except CancelledError:
            raise KeyboardInterrupt from None


def _leave() -> None:
    """End the program in the middle of a step that no exception reaches."""
    errors = output.errors()
    errors.show_cursor()
    errors.print("Cancelled.")
    os._exit(output.EXIT_CANCELLED)


def run_stage(stage: Generator[Event, None, Result]) -> Result:
    """Run a part of a command's work with a progress bar; what it returns.

    Ctrl-C ends it at once: nothing is written.
    """
    with progress_bar() as show:
        return run_to_end(stage, show)


def run_spec(
    spec: BaseModel, *, planned: bool = True, estimate: bool = False, **options: Any
) -> dict[str, Any]:
    """Run a job of any kind in this process; result and errors are those of `run_to_result`.

    Parameters
    ----------
    spec
        What to do.
    planned
        Whether the bar shows the progress of the whole job, if its stages are planned.
    estimate, **options
        As in `run_job`.
    """
    from ml_core.jobs.runner import run_job
    from ml_core.jobs.table import job_of

    job = job_of(spec)
    with output.working("Loading torch") if job.needs_model else nullcontext():
        job.load(estimate=estimate)
    plan = None if job.plan is None or estimate or not planned else job.plan(spec)
    return run_to_result(lambda control: run_job(spec, control, estimate=estimate, **options), plan)


def run_to_result(
    job: Callable[[Control], Generator[Event, None, None]], plan: Plan | None = None
) -> dict[str, Any]:
    """Run a job in this process with a progress bar; return its result.

    With the ``plan`` of its stages, the bar shows the progress of the whole job too.

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
    with ctrl_c_cancels(control, leaves=True), progress_bar(plan=plan) as show:
        for event in job(control):
            show(event)
    done = event
    assert isinstance(done, Done), "the last event of every job is one"
    if done.status == "cancelled":
        raise KeyboardInterrupt
    output.raise_failure(done)
    return done.result
