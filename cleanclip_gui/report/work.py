"""How far a job of the report is, in words."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.widgets.text import count_text
from ml_core.jobs.table import JOBS
from ml_core.paths import cache_dir


def job_file() -> Path:
    """A new file for the spec of a job."""
    return cache_dir() / "report" / f"{uuid4().hex}.json"


def progress_of(task: JobTask) -> tuple[float | None, str]:
    """Share of the present stage, None where it is not known, and words for it."""
    progress = task.progress
    share = None
    if progress is not None and progress.total > 1:
        share = progress.done / progress.total
    if not task.is_running:
        return None, ""
    if task.is_cancelling:
        return share, "Cancelling"
    if progress is None:
        return None, "Starting"
    words = JOBS[task.kind].words(progress.stage)
    if progress.done < progress.total and 1 < progress.total < 1_000_000:  # else bytes
        words += f", {count_text(progress.done)} of {count_text(progress.total)}"
    return share, words
