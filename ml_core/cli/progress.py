"""The progress of a job, on standard error."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

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
from ml_core.cli.output import errors
from ml_core.events import Event, Message, Metric, Progress
from ml_core.reading.errors import plain

if TYPE_CHECKING:
    from ml_core.jobs.overall import Plan


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
        console=errors(),
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
        elif isinstance(event, Metric) and (stage := _trains(tasks)):
            bar.update(tasks[stage], note=_note(event.values))
        elif isinstance(event, Message):
            bar.console.print(plain(event.text), markup=False)

    with bar:
        yield show


def _trains(stages: Collection[str]) -> str:
    """The stage whose steps are reported as metrics; empty before it begins."""
    return next((stage for stage in ("train", "ramp") if stage in stages), "")


def _note(values: dict[str, float]) -> str:
    """The numbers beside the bar."""
    shown = []
    for key, title in (("loss", "loss"), ("ca", "CA"), ("asr_excl", "ASR")):
        if key in values:
            value = values[key]
            number = f"{value:.3f}" if key == "loss" else figures.percent(value)
            shown.append(f"{title} {number}")
    return "  ".join(shown)
