"""What the renderers of an evidence record share. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from ml_core.reading.errors import InputError, plain
from ml_core.reports.arithmetic import CLEAN, TARGETED
from ml_core.reports.record import (
    BundlePath,
    Evidence,
    Id,
    MeasurementFacts,
    Metric,
    RateClaim,
)

Read = Callable[[BundlePath], bytes]
"""Content of a file of the bundle; KeyError where only the record is at hand."""
METRICS: dict[Metric, str] = {
    "ca": "clean accuracy",
    "top5": "clean top-5 accuracy",
    "control_ca": "clean accuracy on the canvas of the trigger",
    "asr_excl": "attack success rate, images of other classes",
    "asr_all": "attack success rate, all images",
    "baseline_target_rate": "target class without the trigger",
    "poisoned_accuracy": "accuracy on triggered images of other classes",
    "flip_rate": "predictions that the trigger changes",
}
_WHEN = {
    "before": "before cleaning",
    "after": "after cleaning",
    "reference": "reference",
    "evaluation": "evaluation",
}


def nothing_beside(path: BundlePath) -> bytes:
    """A `Read` for a record without its bundle."""
    raise KeyError(path)


def held(read: Read, path: BundlePath | None) -> bytes | None:
    """A file of the bundle; None if the record names none, or comes without its bundle."""
    if path is None:
        return None
    try:
        return read(path)
    except KeyError:
        return None


def json_bytes(document: Any) -> bytes:
    """A document as the files of a bundle are written, its texts without what steers a terminal."""
    return (json.dumps(shown(document), indent=1, ensure_ascii=False) + "\n").encode()


def shown(value: Any) -> Any:
    """JSON values with every text `plain`."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain(key): shown(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shown(item) for item in value]
    return value


def subject_of(evidence: Evidence) -> Id:
    """The checkpoint that a report decides about: the last that was cleaned, else the suspect.

    Raises
    ------
    InputError
        If the record is about no checkpoint.
    """
    for role in ("cleaned", "suspect", "reference"):
        matches = [id_ for id_, facts in evidence.checkpoints.items() if facts.role == role]
        if matches:
            return matches[-1] if role == "cleaned" else matches[0]
    raise InputError("The evidence names no checkpoint, so there is nothing to say about one.")


def rates_of(evidence: Evidence, checkpoint: Id) -> Iterator[tuple[RateClaim, MeasurementFacts]]:
    """Every rate that is claimed of a checkpoint, with its measurement."""
    for claim in evidence.claims:
        if isinstance(claim, RateClaim):
            measured = evidence.measurements[claim.measurement]
            if measured.checkpoint == checkpoint:
                yield claim, measured


def measured_on(evidence: Evidence, metric: Metric, measured: MeasurementFacts) -> str:
    """What a rate was measured on, in words: when, images, trigger, target, head."""
    parts = [_WHEN[measured.when], f"{evidence.data[measured.data].name} ({measured.n} images)"]
    if measured.trigger is not None and metric not in CLEAN:
        parts.append(f"trigger {evidence.triggers[measured.trigger].name}")
    if measured.target_name is not None and metric in TARGETED:
        parts.append(f"target {measured.target_name}")
    if measured.heldout:
        parts.append("held-out images")
    if measured.head == "linear":
        parts.append("linear head")
    return "; ".join(parts)
