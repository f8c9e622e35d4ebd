"""How far a job of the report is, in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.widgets.text import count_text
from ml_core.paths import cache_dir

STAGES: Mapping[str, str] = {
    "open": "Opening", "data": "Reading the pictures", "texts": "Embedding the class texts",
    "measure": "Measuring", "again": "Measuring pictures again", "write": "Writing the bundle",
    "intact": "Checking that no file was changed", "arithmetic": "Computing every figure again",
    "print": "Printing the report again",
    "identity": "Comparing the pictures", "inference": "Predicting pictures again",
}  # fmt: skip
"""Words for the stages of these jobs; another one is shown by its own name."""


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
    words = STAGES.get(progress.stage, progress.stage)
    if progress.done < progress.total and 1 < progress.total < 1_000_000:  # else bytes
        words += f", {count_text(progress.done)} of {count_text(progress.total)}"
    return share, words
