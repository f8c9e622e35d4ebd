"""Starting a job: its record on disk, a process on it, and who hears of that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from PySide6.QtCore import SignalInstance

from cleanclip_gui.jobs.runner import JobRunner
from ml_core.jobs.spec_file import write_spec_file
from ml_core.reading.errors import InputError

Slot = Callable[[Any], object]


def launch(
    new_runner: Callable[..., JobRunner],
    spec: BaseModel,
    path: Path,
    on_event: Slot,
    on_ended: Slot,
    on_line: SignalInstance | None = None,
    **options: Any,
) -> JobRunner:
    """Write a job and start it in a process of its own.

    Parameters
    ----------
    new_runner
        Makes the runner of the job's file, with ``options`` such as ``device``.
    spec, path
        The job, and its file.
    on_event, on_ended
        Methods of an object of the GUI thread: they take each event, and the last word.
    on_line
        A signal for each line of output.

    Raises
    ------
    InputError
        If the job cannot be written, or another one runs on the device.
    """
    try:
        write_spec_file(spec, path)
    except OSError as error:
        raise InputError(
            f"The job cannot be written into {path.parent.name}: {error.strerror or error}."
        ) from error
    runner = new_runner(path, **options)
    runner.event_received.connect(on_event)
    runner.ended.connect(on_ended)
    if on_line is not None:
        runner.line_logged.connect(on_line)
    runner.launch()
    return runner


def let_go(runner: JobRunner, on_event: Slot, on_ended: Slot) -> None:
    """Cancel a job whose last words would be about nothing on show, or about something else."""
    runner.event_received.disconnect(on_event)
    runner.ended.disconnect(on_ended)
    runner.cancel()
