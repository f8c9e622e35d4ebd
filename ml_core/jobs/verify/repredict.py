"""Levels 2 and 3 of a verification: are these the pictures, and does the model answer the same?"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ml_core import __version__
from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.open import Checkpoint
from ml_core.data.images import ImageSet
from ml_core.data.labels import LabelSet
from ml_core.data.specs import ImageSpec
from ml_core.events import Control, Event, Progress
from ml_core.jobs.devices import set_threads
from ml_core.jobs.measure import OpenSetting
from ml_core.jobs.opening import opening_images
from ml_core.jobs.remeasure import Predictions, label_set_of, open_again, predict_again
from ml_core.jobs.verify import VerifySpec
from ml_core.reading.errors import CancelledError, InputError, printable
from ml_core.reading.json_file import first_fault, short
from ml_core.reports import arithmetic
from ml_core.reports.bundle_files import Bundle, PictureRows
from ml_core.reports.record import CheckpointFacts, DataFacts, MeasurementFacts, RateClaim
from ml_core.reports.rows import Rows
from ml_core.reports.verify.checks import Check
from ml_core.reports.verify.kept import AtHand, Checking, classifier_from, trigger_from
from ml_core.triggers.record import Trigger

USUAL_TAU = 1e-2
"""Where a bundle gives none: ten times what fp32 logits moved by between machines."""
LARGEST_TAU = {"fp32": 0.05}
"""Beyond it arithmetic does not explain a change; other precisions have three bits of a digit."""
_LARGEST_TAU = 4.0
_BATCH = 64
_BLOCK = 1024  # pictures whose logits are in memory together
_SEEN = 0.95
_NEAR_CLASSIFIER = 1e-3  # of unit vectors


@dataclass(frozen=True, eq=False)
class _Set:
    """An image set on this machine, and which of its pictures are checked."""

    images: ImageSet
    spec: ImageSpec
    sample: NDArray[np.int64]


def answers_again(bundle: Bundle, spec: VerifySpec, here: AtHand, control: Control) -> Checking:
    """Hash the pictures, predict them again, and compare with the answers that the bundle holds."""
    set_threads(spec.threads)
    sets: dict[str, _Set] = {}
    for id_, data in bundle.evidence.data.items():
        data_images = yield from _images(bundle, id_, data, spec, control)
        if data_images is not None:
            sets[id_] = data_images
    opened: dict[str, Checkpoint] = {}
    for id_, facts in bundle.evidence.measurements.items():
        checkpoint = bundle.evidence.checkpoints[facts.checkpoint]
        missing = _missing(checkpoint, facts, here, sets)
        if missing:
            reason, sentence = missing
            yield Check(3, id_, "not checked", f"{id_} was not measured again: {sentence}.", reason)
            continue
        try:
            yield from _measurement(bundle, id_, spec, here, sets[facts.data], opened, control)
        except InputError as error:
            yield Check(3, id_, "fails", f"{id_} could not be measured again: {error.sentence}")


def _missing(
    checkpoint: CheckpointFacts, facts: MeasurementFacts, here: AtHand, sets: Mapping[str, _Set]
) -> tuple[str, str] | None:
    """What a measurement lacks on this machine: a reason in a few words, and half a sentence."""
    if facts.data not in sets:
        return "no images given", f"the pictures of {facts.data} are not at hand"
    if checkpoint.sha256 is None or checkpoint.sha256 not in here.files:
        return "no checkpoint given", f"{facts.checkpoint} is not at hand"
    if checkpoint.adapter is not None:
        return (
            "former method",
            f"{facts.checkpoint} needs an adapter of RVPT, which is no longer offered",
        )
    if checkpoint.donor is not None and checkpoint.donor not in here.files:
        return "no donor given", f"the donor of {facts.checkpoint} is not at hand"
    return None


def _images(
    bundle: Bundle, id_: str, data: DataFacts, spec: VerifySpec, control: Control
) -> Generator[Check | Event, None, _Set | None]:
    """Open an image set, and compare its pictures with the list."""
    place = spec.images.get(id_, spec.images.get(""))
    if data.spec.get("kind") != "demo" and place is None:
        yield Check(2, id_, "not checked", f"The pictures of {id_} were not given.",
                    "no images given")  # fmt: skip
        return None
    try:
        image_spec = _image_spec(id_, data, place)
        images = yield from opening_images(image_spec, _classes(bundle, id_), control)
        listed = bundle.pictures(id_)
    except InputError as error:
        yield Check(2, id_, "fails", f"{id_} could not be opened: {error.sentence}")
        return None
    if len(images) != len(listed):
        yield Check(
            2, id_, "fails",
            f"The images given for {id_} are {len(images)} pictures, and it lists {len(listed)}: "
            "these are other pictures.",
        )  # fmt: skip
        return None
    sample = chosen(listed.indices, spec)
    for number, index in enumerate(sample.tolist()):
        if control.cancelled:
            raise CancelledError
        if number % 64 == 0:
            yield Progress("identity", number, len(sample))
        fault = _picture_fault(images, listed, index)
        if fault:
            yield Check(2, id_, "fails", f"{id_}: {fault}")
            return None
    whole = len(sample) == len(listed)
    share = f"all {len(sample)}" if whole else f"{len(sample)} of {len(listed)}"
    yield Check(
        2, id_, "holds",
        f"{share[0].upper()}{share[1:]} pictures of {id_} have the SHA-256 and the label of its "
        "list."
        + ("" if whole else _can_miss(len(sample), len(listed), "picture")),
    )  # fmt: skip
    return _Set(images, image_spec, sample)


def _image_spec(id_: str, data: DataFacts, place: str | None) -> ImageSpec:
    """How the set was opened, with its place on this machine."""
    fields: dict[str, Any] = {**data.spec, "path": place}
    if data.spec.get("kind") == "demo":
        fields["path"] = None
    try:
        return ImageSpec.model_validate(fields)
    except ValidationError as error:
        raise InputError(
            f"what the record says of {id_} is no image set ({first_fault(error)}).", "damaged"
        ) from None


def _classes(bundle: Bundle, data: str) -> LabelSet:
    """Classes of the first measurement on a set: they decide what its labels mean."""
    for id_, facts in bundle.evidence.measurements.items():
        if facts.data == data:
            return label_set_of(facts.label_set, bundle.prompts(id_)[1], ("{}",))
    raise InputError("no measurement is on it, so its classes are not known.", "damaged")


def chosen(indices: NDArray[np.int64], spec: VerifySpec) -> NDArray[np.int64]:
    """The seeded sample of a set's pictures, ascending; all pictures if no sample is asked for."""
    if spec.sample is None or spec.sample >= len(indices):
        return indices
    draw = np.random.Generator(np.random.PCG64(spec.seed))
    return np.sort(draw.choice(indices, spec.sample, replace=False))


def _picture_fault(images: ImageSet, listed: PictureRows, index: int) -> str:
    """What is wrong with a picture, or nothing."""
    name = printable(images.pictures.name(index))
    if listed.names[index] not in (name, f"{name} [{index}]"):
        return f"the picture {name} is called {short(listed.names[index], 80)} in the list."
    try:
        raw = images.pictures.raw(index)
    except InputError:
        raw = b""
    if (hashlib.sha256(raw).hexdigest() if raw else "") != listed.digests[index]:
        return f"the picture {name} was replaced: its SHA-256 is not the one in the list."
    if len(raw) != listed.sizes[index]:
        return f"the picture {name} has {len(raw)} bytes, and in the list {listed.sizes[index]}."
    if int(images.labels[index]) != listed.labels[index]:
        return f"the picture {name} has another label here than in the list."
    return ""


def smallest_seen(sample: int, n: int) -> int:
    """How many of ``n`` must be changed so that a sample finds one with 95 % probability."""
    missed = 0.0  # log probability that none of k changed ones is drawn
    for k in range(1, n + 1):
        if n - sample - k + 1 <= 0:
            return k
        missed += math.log(n - sample - k + 1) - math.log(n - k + 1)
        if missed <= math.log(1 - _SEEN):
            return k
    return n


def _can_miss(sample: int, n: int, what: str) -> str:
    least = smallest_seen(sample, n)
    return (
        f" A sample of this size meets a change with 95 % probability if it is in {least} "
        f"{what}s or more ({least / n:.1%}); fewer may go unseen unless all are looked at."
    )


def _measurement(
    bundle: Bundle,
    id_: str,
    spec: VerifySpec,
    here: AtHand,
    data: _Set,
    opened: dict[str, Checkpoint],
    control: Control,
) -> Checking:
    """One measurement again, on the sample."""
    facts, rows = bundle.evidence.measurements[id_], bundle.rows(id_)
    checkpoint = bundle.evidence.checkpoints[facts.checkpoint]
    names = bundle.prompts(id_)[1]
    # As they were measured with: a line break in one is written otherwise in the list of prompts.
    templates = tuple(map(str, bundle.json(facts.evaluation)["templates"]))
    classifier = classifier_from(bundle, facts)
    trigger = _trigger(bundle, facts, here)
    if facts.head == "linear" and classifier is None:
        raise InputError("its linear head is not in the bundle.", "damaged")
    if facts.checkpoint not in opened:
        donor = None if checkpoint.donor is None else here.files[checkpoint.donor]
        assert checkpoint.sha256 is not None, "_missing has looked"
        weights = here.files[checkpoint.sha256]
        opened[facts.checkpoint] = open_checkpoint(weights, donor, use_choice=False)
    if opened[facts.checkpoint].inspection.sha256 != checkpoint.sha256:
        name = opened[facts.checkpoint].path.name
        raise InputError(f"{name} changed meanwhile; verify again.")
    ready = yield from open_again(
        opened[facts.checkpoint],
        OpenSetting(
            data.spec.model_copy(update={"seed": facts.seed}), data.images,
            label_set_of(facts.label_set, names, templates), trigger, facts.target or 0,
        ),
        control,
        choice=checkpoint.choice,
        classifier=classifier if facts.head == "linear" else None,
        device=spec.device,
    )  # fmt: skip
    identity = ready.model.identity or ""
    if bundle.evidence.tool.version == __version__ and identity != checkpoint.identity:
        raise InputError("the model is put together otherwise than the record says.", "damaged")
    if classifier is not None and facts.head == "zero-shot":
        yield _class_texts(id_, classifier, ready.classifier.float().cpu().numpy())
    at = np.flatnonzero(np.isin(rows.indices, data.sample))
    tally = _Tally(facts, rows.take(at))
    for start in range(0, len(at), _BLOCK):
        asked_for = rows.indices[at[start : start + _BLOCK]]
        predictions = yield from predict_again(
            ready, asked_for, control, batch=_BATCH, stage=f"inference {id_}"
        )
        tally.add(predictions, start)
    yield tally.check(id_, len(rows))
    yield from _rates(bundle, id_, tally)


def _trigger(bundle: Bundle, facts: MeasurementFacts, here: AtHand) -> Trigger | None:
    if facts.trigger is None:
        return None
    decoded = here.pixels.get(facts.trigger)
    pixels = None if decoded is None else decoded.pixels
    trigger = trigger_from(bundle, bundle.evidence.triggers[facts.trigger], pixels)
    if trigger.digest != facts.trigger:
        raise InputError("its trigger is another one.", "damaged")
    return trigger


def _class_texts(id_: str, classifier: NDArray[np.float32], anew: NDArray[np.float32]) -> Check:
    """Check that the prompts give the classifier of the measurement."""
    change = float(np.abs(classifier - anew).max()) if classifier.shape == anew.shape else math.inf
    if change > _NEAR_CLASSIFIER:
        return Check(
            3, id_, "fails",
            f"{id_}: its class names and templates give another classifier than it was measured "
            f"with (a number differs by {change:.2g}).",
        )  # fmt: skip
    return Check(3, id_, "holds", f"{id_}: its class names and templates give its classifier.")


class _Tally:
    """Counts differences between the new answers and the bundle's, picture by picture.

    A picture fails if its likeliest class differs although the old or the new margin is above tau.
    It also fails if the margin itself changed by more than tau, or else a forged margin would
    excuse any answer.
    """

    def __init__(self, facts: MeasurementFacts, rows: Rows) -> None:
        self.facts, self.rows = facts, rows
        self.tau = facts.tau if facts.tau is not None else USUAL_TAU
        self.inside = np.zeros(len(rows), np.bool_)
        self.faults: list[str] = []
        self.same = 0
        self.found: list[Rows] = []

    def add(self, predictions: Predictions, start: int) -> None:
        """Compare a block of pictures, the ones from ``start`` on."""
        asked = len(predictions.rows) + len(predictions.unread)
        rows = self.rows.take(np.arange(start, start + asked))
        self.found.append(predictions.rows)
        for index in predictions.unread.tolist():
            self.faults.append(f"the picture {index} cannot be read")
        there = np.isin(rows.indices, predictions.rows.indices)
        place = start + np.flatnonzero(there)
        rows = rows.take(np.flatnonzero(there))
        agree = np.ones(len(rows), np.bool_)
        for side, top, margin, logits in (
            ("clean", rows.clean_top, rows.clean_margin, predictions.clean_logits),
            ("triggered", rows.triggered_top, rows.triggered_margin, predictions.triggered_logits),
        ):
            if top is None or margin is None or logits is None:
                continue
            differs, moved, wrong = self._compare(top, margin, logits)
            agree &= ~differs
            self.inside[place] |= moved | (margin <= self.tau)
            for row in np.flatnonzero(wrong).tolist():
                self.faults.append(
                    f"the {side} answer to picture {int(rows.indices[row])} is not the recorded one"
                )
        if rows.control_top1 is not None and predictions.rows.control_top1 is not None:
            moved = rows.control_top1 != predictions.rows.control_top1
            agree &= ~moved
            self.inside[place] |= moved  # it has no margin
        self.same += int(agree.sum())

    def _compare(
        self, top: NDArray[np.int64], margin: NDArray[np.float32], logits: NDArray[np.float32]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        """Pictures with another first class, with any change in the five, and beyond tau."""
        ranked = -np.sort(-logits.astype(np.float64), axis=1)[:, : top.shape[1]]
        recorded = np.take_along_axis(logits.astype(np.float64), top, axis=1)
        behind = ranked - recorded  # how far each recorded class is from having its rank
        differs = np.asarray(behind[:, 0] > 0, dtype=np.bool_)
        # The order of equals, and of what lies within tau, is free; all else is not.
        wrong = (np.abs(behind) > self.tau).any(axis=1) | (differs & (margin > self.tau))
        if self.facts.precision == "fp32" and ranked.shape[1] > 1:
            wrong |= np.abs(ranked[:, 0] - ranked[:, 1] - margin) > self.tau
        moved = np.asarray((behind != 0).any(axis=1), dtype=np.bool_)
        return differs, moved, np.asarray(wrong, dtype=np.bool_)

    def check(self, id_: str, n: int) -> Check:
        """The check that results; ``n`` pictures were measured."""
        most = LARGEST_TAU.get(self.facts.precision, _LARGEST_TAU)
        if self.tau > most:
            return Check(
                3, id_, "fails",
                f"{id_}: tau is {self.tau:.2g}, more than {self.facts.precision} arithmetic "
                f"explains ({most:g}); it would excuse any answer.",
            )  # fmt: skip
        count = len(self.rows)
        if self.faults:
            return Check(
                3, id_, "fails",
                f"{id_}: {self.faults[0]}; {_answers(len(self.faults))} in {count} pictures by "
                f"more than tau ({self.tau:.2g}).",
            )  # fmt: skip
        words = (
            f"{id_}: {self.same} of {count} pictures get the same answer again, "
            f"{int(self.inside.sum())} lie within tau ({self.tau:.2g}"
            f"{'' if self.facts.tau is not None else ', as the bundle gives none'})."
        )
        whole = count == n
        return Check(3, id_, "holds", words + ("" if whole else _can_miss(count, n, "answer")))


def _answers(count: int) -> str:
    return "1 answer differs" if count == 1 else f"{count} answers differ"


def _rates(bundle: Bundle, id_: str, tally: _Tally) -> Iterator[Check]:
    """Check the claimed rates on the pictures that were predicted again."""
    if tally.faults or not tally.found:
        return
    now = _joined(tally.found)
    free = int(tally.inside.sum())
    for claim in bundle.evidence.claims:
        if not isinstance(claim, RateClaim) or claim.measurement != id_:
            continue
        target = tally.facts.target
        then = arithmetic.rate_of(claim.metric, tally.rows, target)
        again = arithmetic.rate_of(claim.metric, now, target)
        if then is None or again is None:
            continue
        if then.n != again.n or abs(then.hits - again.hits) > free:
            yield Check(
                3, claim.id, "fails",
                f"{claim.id}: {again.hits} of {again.n} now, {then.hits} of {then.n} in the "
                f"bundle, and only {free} pictures lie within tau.",
            )  # fmt: skip


def _joined(blocks: list[Rows]) -> Rows:
    """Blocks of rows as one table."""

    def column(name: str) -> Any:
        parts = [getattr(block, name) for block in blocks]
        return None if parts[0] is None else np.concatenate(parts)

    return Rows(**{name: column(name) for name in Rows.__dataclass_fields__})
