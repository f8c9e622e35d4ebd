"""How the window calls the stages of a scan, and what they look for."""

from __future__ import annotations

from ml_core.jobs.scan_spec import Stage

STAGES: dict[Stage, tuple[str, str]] = {
    "pull": (
        "Classes that draw pictures",
        "Which classes lie nearer to pictures that do not show them than on the reference. It only "
        "says where to search first.",
    ),
    "probes": (
        "Known triggers",
        "About forty fixed triggers, published ones and simple patterns, put on pictures as they "
        "are.",
    ),
    "patches": (
        "Patches",
        "Small patches from random starts, changed until pictures become one class, whichever. The "
        "only stage that can find something without a reference.",
    ),
    "overlays": (
        "Overlays",
        "Soft patterns over the whole picture, searched on both models for the classes that the "
        "stages before point at. Needs a reference.",
    ),
    "thorough": (
        "Thorough",
        "Overlays for every class instead of a few. Takes long; needs a reference.",
    ),
    "weights": (
        "Changed weights",
        "How far the weights are from the reference's: whether that is a parent, by which the rest "
        "is judged. Needs a reference.",
    ),
    "swap": (
        "Encoders exchanged",
        "Image and text encoder of either model together: which one carries what was found. Words "
        "before the prompts are tried too. Needs a reference.",
    ),
}
"""Title of each stage, and what it does."""

_OTHERS = {
    "open": "Opening the models",
    "data": "Reading the pictures",
    "texts": "Embedding class texts",
    "accuracy": "Classifying clean pictures",
    "refine": "Sharpening the best patch",
    "measure": "Measuring on other pictures",
}


def at_work(stage: str) -> str:
    """What goes on, for a line; ``stage`` is as the job's progress names it."""
    for name, (title, _) in STAGES.items():
        if name == stage:
            return title
    return _OTHERS.get(stage, stage)
