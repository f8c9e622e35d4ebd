"""Measurements of this machine by what decides them: the same one need not be made again.

Which is the same is decided by the weights and how they were read, the pictures, the class texts,
the trigger and its target, the arithmetic, the device and the versions. The cache holds where each
lies. It is taken over if it is still there and whole, and still answers the same question.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from ml_core.atomic import replace_files
from ml_core.evaluation.evaluate import conditions_of
from ml_core.jobs.journal import digest_of
from ml_core.jobs.measure import Bench
from ml_core.model import ClipModel
from ml_core.paths import cache_dir
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import read_file
from ml_core.reports.measurement_files import MeasurementFolder, read_measurement

_MOST = 8192  # bytes of a path

Question = Mapping[str, Any]


def question_of(
    model: ClipModel, bench: Bench, classifier: Tensor, *, targeted: bool, heldout: bool
) -> Question:
    """All that decides the zero-shot measurement of a model before it is cleaned, as JSON has it.

    Parameters
    ----------
    targeted
        Whether somebody named the target.
    heldout
        Whether it is the second set of pictures.
    """
    facts = conditions_of(bench.subject(model, classifier), bench.trigger)
    target = bench.target if targeted else None
    of_model = {"identity": model.identity, "heldout": heldout, "when": "before"}
    question: Question = json.loads(json.dumps(facts | of_model | {"target": target}))
    return question


def remember(question: Question, folder: Path) -> None:
    """Note where the answer lies; a cache that cannot be written is no error."""
    with suppress(OSError):
        place = _place(question)
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_files({place: str(folder.absolute()).encode("utf-8", "surrogateescape")})


def find(question: Question) -> MeasurementFolder | None:
    """The measurement that answers a question; None if there is none, or it was changed."""
    if question["identity"] is None:  # of no file
        return None
    try:
        raw = read_file(_place(question), _MOST)
        there = read_measurement(Path(raw.decode("utf-8", "surrogateescape")))
        there.classifier()
        there.trigger()
    except (OSError, ValueError, InputError):
        return None
    facts = there.facts
    known = there.evaluation | {
        "identity": facts.checkpoint.identity, "heldout": facts.heldout, "when": facts.when,
    }  # fmt: skip
    same = all(key in known and known[key] == value for key, value in question.items())
    return there if same and facts.head == "zero-shot" else None


def _place(question: Question) -> Path:
    return cache_dir() / "measured" / f"{digest_of(question)[:32]}.txt"
