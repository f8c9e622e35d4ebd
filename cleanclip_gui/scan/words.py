"""What the stages of a scan are called, and what they look for."""

from __future__ import annotations

from ml_core.jobs.scan_spec import Stage
from ml_core.jobs.table import JOBS

HELP: dict[Stage, str] = {
    "pull": (
        "Which classes lie nearer to pictures that do not show them than on the reference. It only "
        "says where to search first."
    ),
    "probes": (
        "About forty fixed triggers, published ones and simple patterns, put on pictures as they "
        "are."
    ),
    "patches": (
        "Small patches from random starts, changed until pictures become one class, whichever. The "
        "only stage that can find something without a reference."
    ),
    "overlays": (
        "Soft patterns over the whole picture, searched on both models for the classes that the "
        "stages before point at. Needs a reference."
    ),
    "thorough": ("Overlays for every class instead of a few. Takes long; needs a reference."),
    "weights": (
        "How far the weights are from the reference's: whether that is a parent, by which the rest "
        "is judged. Needs a reference."
    ),
    "swap": (
        "Image and text encoder of either model together: which one carries what was found. Words "
        "before the prompts are tried too. Needs a reference."
    ),
}
"""What each stage looks for."""


def stage_title(stage: str) -> str:
    """Name a stage; ``stage`` is as the job's progress names it."""
    return JOBS["scan"].words(stage)
