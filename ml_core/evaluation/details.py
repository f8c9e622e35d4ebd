"""Everything that is needed to get the same numbers again, as one record. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ml_core.data.labels import same_names
from ml_core.data.specs import SAMPLING
from ml_core.triggers.descriptions import describe
from ml_core.triggers.published import standing

if TYPE_CHECKING:
    from ml_core.data.images import ImageSet
    from ml_core.evaluation.records import Evaluation
    from ml_core.evaluation.speed import EncodingSpeed
    from ml_core.model import ClipModel
    from ml_core.triggers.record import Trigger

SCHEMA = "cleanclip-evaluation-details-1"

_MACHINE = ("device", "threads", "batch", "platform", "versions", "speed")


def details(
    evaluation: Evaluation,
    *,
    model: ClipModel,
    images: ImageSet,
    trigger: Trigger | None,
    class_names: Sequence[str],
    label_set: str,
    threads: int,
    batch: int,
    speed: EncodingSpeed | None = None,
) -> dict[str, Any]:
    """What an evaluation was measured with, JSON-ready.

    ``digest`` is over all but the machine, which changes at most the last digits of a rate: equal
    digests mean the same measurement.

    Parameters
    ----------
    evaluation
        The evaluation.
    model, images, trigger, class_names
        What it measured. The images' ``known_by`` says whether their keys are made of the files'
        content (a set of over 512 MB is known by less until all of it was read once).
    label_set
        Name of the label set.
    threads, batch
        Number of torch's threads, and images a call.
    speed
        Why its precision and layout were chosen, if they were measured.
    """
    preprocess = model.preprocess

    def of(*names: str) -> dict[str, Any]:
        return {name: getattr(evaluation, name) for name in names}

    record = {
        "checkpoint": {"name": model.name, "sha256": model.sha256, "identity": model.identity},
        "preprocess": {
            "size": preprocess.size,
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
            "resize_mode": preprocess.fit.resize_mode,
            "interpolation": preprocess.fit.interpolation,
        },
        "assumptions": tuple(model.assumptions),
        "data": {
            "name": images.name,
            "key": images.key,
            "images_key": images.images_key,
            "known_by": images.known_by,
            "images": len(images),
            "left_out": images.left_out,
        },
        "counts": of("n", "n_total", "n_labelled", "n_excl", "n_broken"),
        "seed": evaluation.seed,
        "sampling": SAMPLING,
        "classes": {
            "label_set": label_set,
            "count": len(class_names),
            "sha256": _sha256(class_names),
            "same_names": {name: list(at) for name, at in same_names(class_names).items()},
        },
        "templates": evaluation.templates,
        "templates_sha256": _sha256(evaluation.templates),
        **of("classifier_sha256", "target", "target_name"),
        "trigger": None if trigger is None else _trigger(trigger, preprocess.size),
        **of("precision", "layout", "device"),
        "threads": threads,
        "batch": batch,
        "platform": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": dict(evaluation.versions),
        "speed": "" if speed is None else speed.why,
        "schema": SCHEMA,
    }
    facts = {name: value for name, value in record.items() if name not in _MACHINE}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return record | {"digest": digest}


def _trigger(trigger: Trigger, size: int) -> dict[str, Any]:
    """What was stamped, where and when."""
    return {
        "digest": trigger.digest,
        "name": trigger.name,
        "pixels_sha256": trigger.pixels_sha256,
        "arrays_sha256": trigger.arrays_sha256,
        "parameters": trigger.parameters(),
        "parts": [_trigger(part, size) for part in trigger.parts],
        "canvas": trigger.canvas,
        "stage": f"{trigger.stage} the model's resizing and cropping, before normalisation",
        "convention": describe(trigger),
        "standing": standing(trigger, size),
    }


def _sha256(texts: Sequence[str]) -> str:
    """Over texts in order, whatever they hold."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()
