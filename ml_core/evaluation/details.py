"""Everything that is needed to get the same numbers again, as one record. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ml_core.data.labels import same_names
from ml_core.data.sampling import SAMPLING
from ml_core.triggers.descriptions import describe
from ml_core.triggers.published import standing

if TYPE_CHECKING:
    from ml_core.data.images import ImageSet
    from ml_core.evaluation.records import Evaluation
    from ml_core.evaluation.speed import Speed
    from ml_core.model import ClipModel
    from ml_core.triggers.record import Trigger

SCHEMA = "cleanclip-evaluation-details-1"

_MACHINE = ("device", "threads", "processes", "batch", "platform", "versions", "speed")


@dataclass(frozen=True)
class Details:
    """What a number was measured with.

    Attributes
    ----------
    checkpoint
        ``name``, ``sha256`` of the file, ``identity`` over weights, config and preprocessing.
    preprocess
        ``size`` in pixels, ``mean``, ``std``, ``resize_mode``, ``interpolation``.
    assumptions
        What the checkpoint did not tell.
    data
        ``name``, ``key`` over pictures, order and labels, ``images_key`` over pictures and order,
        ``known_by``: whether these are made of the files' content (a set of over 512 MB is known by
        less until all of it was read once),
        ``images`` in the set, and ``left_out`` when it was opened.
    counts
        ``n``, ``n_total``, ``n_labelled``, ``n_excl`` and ``n_broken`` of the evaluation.
    seed, sampling
        Seed of the order and of each image's draws, and how the order comes about.
    classes
        ``label_set``, ``count``, ``sha256`` over the names, ``same_names`` (indices of equal ones).
    templates, templates_sha256
        Prompts in order.
    classifier_sha256
        Over the classes' embeddings.
    target, target_name
        The class's index, which counts, and its name.
    trigger
        None, or ``digest``, ``name``, ``pixels_sha256``, ``arrays_sha256``, ``parameters``,
        ``parts``, ``canvas``, ``stage`` (before or after the model's own resizing and cropping),
        ``convention`` in words, and ``standing``: whether it is a published trigger at this size.
    precision, layout, device, threads, processes, batch, platform, versions, speed
        How it was computed; another machine changes these and at most the last digits.
    """

    checkpoint: dict[str, Any]
    preprocess: dict[str, Any]
    assumptions: tuple[str, ...]
    data: dict[str, Any]
    counts: dict[str, int]
    seed: int
    sampling: str
    classes: dict[str, Any]
    templates: tuple[str, ...]
    templates_sha256: str
    classifier_sha256: str
    target: int
    target_name: str
    trigger: dict[str, Any] | None
    precision: str
    layout: str
    device: str
    threads: int
    batch: int
    platform: str
    versions: dict[str, str] = field(default_factory=dict)
    speed: str = ""
    processes: int = 1
    schema: str = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready copy with its ``digest``."""
        return asdict(self) | {"digest": self.digest}

    @property
    def digest(self) -> str:
        """SHA-256 over all but the machine: equal digests mean the same measurement."""
        facts = {key: value for key, value in asdict(self).items() if key not in _MACHINE}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def details(
    found: Evaluation,
    *,
    model: ClipModel,
    images: ImageSet,
    trigger: Trigger | None,
    class_names: Sequence[str],
    label_set: str,
    threads: int,
    batch: int,
    speed: Speed | None = None,
    processes: int = 1,
) -> Details:
    """Write down what an evaluation was measured with.

    Parameters
    ----------
    found
        The evaluation.
    model, images, trigger, class_names
        What it measured.
    label_set
        Name of the label set.
    threads, batch
        Of torch, and images a call.
    speed
        Why its precision and layout were chosen, if they were measured.
    processes
        That shared the images.
    """
    preprocess = model.preprocess
    return Details(
        checkpoint={"name": model.name, "sha256": model.sha256, "identity": model.identity},
        preprocess={
            "size": preprocess.size,
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
            "resize_mode": preprocess.fit.resize_mode,
            "interpolation": preprocess.fit.interpolation,
        },
        assumptions=tuple(model.assumptions),
        data={
            "name": images.name,
            "key": images.key,
            "images_key": images.images_key,
            "known_by": images.known_by,
            "images": len(images),
            "left_out": images.left_out,
        },
        counts={
            name: getattr(found, name)
            for name in ("n", "n_total", "n_labelled", "n_excl", "n_broken")
        },
        seed=found.seed,
        sampling=SAMPLING,
        classes={
            "label_set": label_set,
            "count": len(class_names),
            "sha256": _sha256(class_names),
            "same_names": {name: list(at) for name, at in same_names(class_names).items()},
        },
        templates=found.templates,
        templates_sha256=_sha256(found.templates),
        classifier_sha256=found.classifier_sha256,
        target=found.target,
        target_name=found.target_name,
        trigger=None if trigger is None else _trigger(trigger, preprocess.size),
        precision=found.precision,
        layout=found.layout,
        device=found.device,
        threads=threads,
        batch=batch,
        platform=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        versions=dict(found.versions),
        speed="" if speed is None else speed.why,
        processes=processes,
    )


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
