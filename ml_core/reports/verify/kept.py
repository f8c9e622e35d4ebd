"""Level 2 of what the bundle holds itself: triggers, class texts' embeddings, pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml_core.events import Event
from ml_core.reading.arrays import parse_safetensors
from ml_core.reading.errors import InputError
from ml_core.reports.bundle_files import Bundle
from ml_core.reports.record import DataFacts, MeasurementFacts, TriggerFacts
from ml_core.reports.verify.checks import Check, looked_at
from ml_core.triggers.descriptions import describe
from ml_core.triggers.files import trigger_of
from ml_core.triggers.record import Trigger

_LARGEST_TRIGGER = 64 << 20
_LARGEST_CLASSIFIER = 256 << 20
_MOST_HANDED = 16 << 20  # bytes of a picture that are told in one event


@dataclass(frozen=True, eq=False)
class Pixels:
    """The picture of a trigger, decoded where nothing else can be done: uint8 [h, w, 4]."""

    digest: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Hashes:
    """Says that the record could be read; has the SHA-256 of every file, for later readers."""

    digests: dict[str, str]


Checking = Generator[Check | Event]


@dataclass
class AtHand:
    """What was found so far.

    Attributes
    ----------
    files
        Given checkpoints and donors by their SHA-256.
    pixels
        Decoded pictures of triggers by the trigger's digest.
    """

    files: dict[str, Path] = field(default_factory=dict)
    pixels: dict[str, Pixels] = field(default_factory=dict)


def check_kept(bundle: Bundle) -> Iterator[Check | Pixels]:
    """Compare digests with the bytes that they are of; also gives the decoded pictures."""
    for digest, facts in bundle.evidence.triggers.items():
        yield from _trigger(bundle, digest, facts)
    for id_, measured in bundle.evidence.measurements.items():
        yield _classifier(bundle, id_, measured)
    for id_, data in bundle.evidence.data.items():
        if data.pictures is not None:
            yield _pictures(bundle, id_, data)
    for id_, checkpoint in bundle.evidence.checkpoints.items():
        if checkpoint.file is not None and checkpoint.sha256 is not None:
            yield _checkpoint(bundle, id_, checkpoint.file, checkpoint.sha256)


def _checkpoint(bundle: Bundle, id_: str, file: str, sha256: str) -> Check:
    """Check that a checkpoint in the bundle is the one that the record is about."""
    words = f"The checkpoint {file} in the bundle is"

    def faults() -> Iterator[str]:
        if bundle.reader.digest(file) != sha256:
            yield f"{words} not the file of {id_}."

    return looked_at(2, id_, faults(), f"{words} the file of {id_}.")


def _trigger(bundle: Bundle, digest: str, facts: TriggerFacts) -> Iterator[Check | Pixels]:
    name = f"trigger {facts.name or digest[:12]}"
    pictures: list[NDArray[np.uint8]] = []

    def faults() -> Iterator[str]:
        for file in facts.files:
            if file.endswith(".png") and not pictures:
                pictures.append(_decoded(bundle, file))
        trigger = trigger_from(bundle, facts, pictures[0] if pictures else None)
        if trigger.digest != digest or facts.digest != digest:
            yield f"its files have the digest {trigger.digest[:16]}…, not {digest[:16]}…."
        stated = (facts.kind, facts.name, facts.convention)
        if (trigger.kind, trigger.name, describe(trigger)) != stated:
            yield "the record and its file differ in name, kind or convention."

    check = looked_at(2, name, faults(), f"The files of {name} have its digest.", f"{name}: ")
    yield check
    if check.state == "holds" and pictures and pictures[0].nbytes <= _MOST_HANDED:
        yield Pixels(digest, pictures[0])


def trigger_from(bundle: Bundle, facts: TriggerFacts, pixels: NDArray[np.uint8] | None) -> Trigger:
    """A trigger of the bundle, given its decoded picture.

    Raises
    ------
    InputError
        If its files are damaged.
    """
    document, *others = facts.files
    arrays = {}
    for other in others:
        if other.endswith(".safetensors"):
            arrays = parse_safetensors(bundle.reader.read(other, _LARGEST_TRIGGER), other)
    return trigger_of(bundle.reader.read(document, 1 << 16), pixels, arrays, document)


def _decoded(bundle: Bundle, path: str) -> NDArray[np.uint8]:
    from ml_core.reading.images import read_image

    image = read_image(bundle.reader.read(path, _LARGEST_TRIGGER), name=path)
    return np.asarray(image.convert("RGBA"))


def classifier_from(bundle: Bundle, facts: MeasurementFacts) -> NDArray[np.float32] | None:
    """The kept rows of the classes, float32 [C, D]; None where none are kept.

    Raises
    ------
    InputError
        If the file is damaged, or of another number of classes.
    """
    if facts.classifier is None:
        return None
    raw = bundle.reader.read(facts.classifier, _LARGEST_CLASSIFIER)
    tensors = parse_safetensors(raw, facts.classifier)
    rows = tensors.get("classifier")
    fits = rows is not None and rows.dtype == np.float32 and rows.ndim == 2
    if rows is None or not fits or len(rows) != facts.classes or len(tensors) != 1:
        raise InputError(
            f"{facts.classifier} does not hold the rows of {facts.classes} classes.", "damaged"
        )
    return np.ascontiguousarray(rows)


def _classifier(bundle: Bundle, id_: str, facts: MeasurementFacts) -> Check:
    if facts.classifier is None:
        return Check(
            2, id_, "not checked", f"{id_}: the class texts' embeddings are not in the bundle.",
            "no classifier in the bundle",
        )  # fmt: skip

    def faults() -> Iterator[str]:
        rows = classifier_from(bundle, facts)
        if rows is None or hashlib.sha256(rows.tobytes()).hexdigest() != facts.classifier_sha256:
            yield f"{facts.classifier} is not what it was measured with."

    words = f"{id_}: {facts.classifier} has the SHA-256 of its record."
    return looked_at(2, id_, faults(), words, f"{id_}: ")


def _pictures(bundle: Bundle, id_: str, facts: DataFacts) -> Check:
    """Check the pictures in the bundle against the list."""

    def faults() -> Iterator[str]:
        listed, place = set(bundle.pictures(id_).digests), f"{facts.pictures}/"
        for name in bundle.reader.names():
            if name.startswith(place) and bundle.reader.digest(name) not in listed:
                yield f"{name} is none of the pictures that it lists."

    words = f"{id_}: the pictures in the bundle are those of its list."
    return looked_at(2, id_, faults(), words, f"{id_}: ")
