"""Level 4 of a verification: the cleaning again, from the job that the bundle holds.

Training repeats bit for bit only on the same machine with the same versions, threads and fp32.
Elsewhere three seeds show how far results of this job lie apart, and what the bundle says must lie
among them: that is consistent with it, and no proof.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from ml_core.checkpoints import open_checkpoint
from ml_core.data.labels import label_sets
from ml_core.evaluation.evaluate import versions
from ml_core.events import Control, Done, Event, Progress, Saved
from ml_core.figures import percent
from ml_core.jobs.at_hand import AtHand, Checking
from ml_core.jobs.run import run
from ml_core.jobs.specs import CLEANED_FILE, CleanSpec, as_measured
from ml_core.jobs.verify_spec import VerifySpec
from ml_core.reading.errors import CancelledError, InputError
from ml_core.reading.examine import examine
from ml_core.reading.json_file import first_fault
from ml_core.reports.record import JobFacts, RateClaim
from ml_core.reports.verify.checks import Check
from ml_core.reports.verify.kept import trigger_from
from ml_core.reports.verify.opened import Bundle
from ml_core.triggers.files import save_trigger

SEEDS = 3
_METRICS = ("ca", "asr_excl")
_TRAINING = ("pairs", "training_images")
_IMAGES = ("images", "test_images", "heldout_images")


class _MissingError(Exception):
    """Something is not at hand: half a sentence, and a reason in a few words."""

    def __init__(self, sentence: str, reason: str) -> None:
        super().__init__(sentence)
        self.reason = reason


def retrain(bundle: Bundle, spec: VerifySpec, here: AtHand, control: Control) -> Checking:
    """Run each cleaning job again, and compare what comes of it."""
    for id_, facts in bundle.evidence.jobs.items():
        with tempfile.TemporaryDirectory(prefix="cleanclip-verify-") as place:
            try:
                job = _job(bundle, id_, facts, spec, here, Path(place))
            except _MissingError as error:
                words = f"{id_} was not run again: {error}."
                yield Check(4, id_, "not checked", words, error.reason)
                continue
            except InputError as error:
                yield Check(4, id_, "fails", f"{id_} cannot be run again: {error.sentence}")
                continue
            yield (yield from _compared(bundle, id_, facts, job, here, control))


def _compared(
    bundle: Bundle, id_: str, facts: JobFacts, job: CleanSpec, here: AtHand, control: Control
) -> Generator[Event, None, Check]:
    """The job with its own seed, and where it gives other weights with two more."""
    result = yield from _run(job, control, f"training {id_}")
    if result is None:
        return Check(4, id_, "fails", f"{id_} did not come to its end when it was run again.")
    if _same_weights(bundle, facts, Path(job.output_dir) / CLEANED_FILE, here, control):
        return Check(
            4, id_, "holds",
            f"{id_} was run again: the weights are the same, bit for bit ({facts.steps} steps, "
            f"seed {facts.seed}).",
        )  # fmt: skip
    if _same_arithmetic(bundle.json(facts.files["result"]), result):
        note = "with the same versions, threads and fp32 they differ; on another processor they may"
    else:
        note = "versions, threads or precision are others"
    results = [result]
    for number in range(1, SEEDS):
        recipe = job.recipe.changed(seed=facts.seed + number)
        other = job.model_copy(
            update={"recipe": recipe, "output_dir": f"{job.output_dir}-{number}"}
        )
        again = yield from _run(other, control, f"training {id_}, seed {recipe.seed}")
        if again is None:
            return Check(4, id_, "fails", f"{id_} did not come to its end with another seed.")
        results.append(again)
    return _among(bundle, id_, facts, results, note)


def _among(
    bundle: Bundle, id_: str, facts: JobFacts, results: list[dict[str, Any]], note: str
) -> Check:
    """Whether the bundle's rates after cleaning lie among those of three seeds."""
    told: list[str] = []
    outside: list[str] = []
    for claim in bundle.evidence.claims:
        if not isinstance(claim, RateClaim) or claim.metric not in _METRICS:
            continue
        measured = bundle.measurement(claim.measurement)
        is_result = measured.job == id_ and measured.when == "after" and not measured.heldout
        if not is_result or measured.head != "zero-shot":
            continue
        found = [one["after"].get(claim.metric) for one in results if one.get("after")]
        if not found or None in found:
            continue
        # What chance does to a rate of so many pictures is not training's.
        low = min(found) - (claim.rate.value - claim.interval.low)
        high = max(found) + (claim.interval.high - claim.rate.value)
        rates = f"{percent(min(found), unit='')} to {percent(max(found))}"
        name = {"ca": "CA", "asr_excl": "ASR"}[claim.metric]
        told.append(f"{name} {rates} here, {percent(claim.rate.value)} in the bundle")
        if not low <= claim.rate.value <= high:
            outside.append(name)
    if not told:
        return Check(
            4, id_, "not checked", f"{id_} was run again, but the bundle claims no rate after it.",
            "no rate after the training",
        )  # fmt: skip
    figures = "; ".join(told)
    if outside:
        return Check(
            4, id_, "fails",
            f"{id_} was run again with {SEEDS} seeds: {' and '.join(outside)} of the bundle "
            f"{'lies' if len(outside) == 1 else 'lie'} outside of what they reach ({figures}).",
        )  # fmt: skip
    return Check(
        4, id_, "holds",
        f"{id_} was run again with {SEEDS} seeds: the bundle is consistent with them ({figures}). "
        f"The weights are not the same: {note}.",
    )  # fmt: skip


def _run(
    job: CleanSpec, control: Control, stage: str
) -> Generator[Event, None, dict[str, Any] | None]:
    """Run a job to its result; None if it stopped before.

    Raises
    ------
    InputError
        If it could not run.
    CancelledError
        If it was cancelled.
    """
    done: Done | None = None
    for event in run(job, control):
        if isinstance(event, Done):
            done = event
        elif isinstance(event, Progress):
            yield Progress(f"{stage}: {event.stage}", event.done, event.total, event.rate,
                           event.seconds_left)  # fmt: skip
        elif not isinstance(event, Saved):
            yield event
    if done is None or done.status == "cancelled":
        raise CancelledError
    if done.status == "failed":
        raise InputError(f"The job could not be run again: {done.error}", "usage", done.details)
    return done.result if done.status == "finished" else None


def _same_weights(
    bundle: Bundle, facts: JobFacts, made: Path, here: AtHand, control: Control
) -> bool:
    """Whether a file has the weights of the bundle's result: by its SHA-256, or by its tensors."""
    if facts.result is None or not made.is_file():
        return False
    wanted = bundle.evidence.checkpoints[facts.result].sha256
    if wanted is None:
        return False
    if examine(made, lambda: control.cancelled).sha256 == wanted:
        return True
    if wanted not in here.files:
        return False
    one, other = (open_checkpoint(p, use_choice=False).read_state() for p in
                  (made, here.files[wanted]))  # fmt: skip
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def _same_arithmetic(then: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether versions, threads, device and precision are those of the bundle."""
    names = ("threads", "device", "precision")
    same = all(then.get(name) == now.get(name) for name in names)
    return same and then.get("precision") == "fp32" and then.get("versions") == versions()


def _job(
    bundle: Bundle, id_: str, facts: JobFacts, spec: VerifySpec, here: AtHand, place: Path
) -> CleanSpec:
    """The job of the bundle with this machine's files in place of its names.

    Raises
    ------
    _MissingError
        If a file is not at hand.
    InputError
        If the job is damaged.
    """
    if "spec" not in facts.files or "result" not in facts.files:
        raise _MissingError("its job file is not in the bundle", "no job file")
    fields = dict(bundle.json(facts.files["spec"]))
    fields |= {
        "checkpoint": str(_suspect(bundle, facts, here, place)),
        "output_dir": str(place / "run"), "device": spec.device, "threads": spec.threads,
        "keep_steps": False, "processes": 1,
    }  # fmt: skip
    if fields.get("donor") or fields.get("reference"):
        raise _MissingError("it takes a donor or a reference", "job with a donor or a reference")
    for name in _TRAINING:
        if isinstance(fields.get(name), dict):
            fields[name] = _placed(fields[name], spec.training, "training data")
    for name in _IMAGES:
        if isinstance(fields.get(name), dict):
            given = spec.images.get("") or next(iter(spec.images.values()), None)
            fields[name] = _placed(fields[name], given, "images")
    fields |= _classes_and_trigger(bundle, id_, fields, here, place)
    try:
        made = CleanSpec.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"its job file is damaged ({first_fault(error)}).", "damaged") from None
    if made.recipe.method != facts.method or made.recipe.seed != facts.seed:
        raise InputError("its job file is of another method or seed.", "damaged")
    result = bundle.json(facts.files["result"])
    threads = result.get("threads")
    if not spec.threads and isinstance(threads, int) and 0 < threads <= 1024:
        made = made.model_copy(update={"threads": threads})
    return as_measured(made, result)


def _suspect(bundle: Bundle, facts: JobFacts, here: AtHand, place: Path) -> Path:
    """The given suspect, under the name that the result's file tells of."""
    source = bundle.evidence.checkpoints[facts.source]
    if source.sha256 is None or source.sha256 not in here.files:
        raise _MissingError(f"{facts.source} was not given", "no checkpoint given")
    given = here.files[source.sha256].resolve()
    if given.is_file() and source.name != given.name and Path(source.name).name == source.name:
        link = place / "suspect" / source.name
        link.parent.mkdir()
        try:
            link.symlink_to(given)
        except OSError:  # without links the name differs, and with it the file's SHA-256
            return given
        return link
    return given


def _placed(data: dict[str, Any], given: str | None, what: str) -> dict[str, Any]:
    """A data set of the job with its place on this machine."""
    if data.get("kind") == "demo":
        return data | {"path": None}
    if given is None:
        raise _MissingError(f"its {what} were not given", f"no {what} given")
    if data.get("exclude") is not None or data.get("pictures") is not None:
        raise _MissingError(f"its {what} lie in more than one place", f"{what} in several places")
    return data | {"path": given}


def _classes_and_trigger(
    bundle: Bundle, id_: str, fields: dict[str, Any], here: AtHand, place: Path
) -> dict[str, Any]:
    """Label set, templates and trigger of the job's measurements, as files where they are own."""
    found: dict[str, Any] = {}
    own = [(one, facts) for one, facts in bundle.evidence.measurements.items() if facts.job == id_]
    if not own:
        raise _MissingError("none of its measurements is in the bundle", "no measurement of a job")
    measurement = own[0][0]
    templates, names = bundle.prompts(measurement)
    if fields.get("label_set", "demo") not in label_sets():
        classes = place / "classes.txt"
        classes.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        found["label_set"] = str(classes)
    if fields.get("templates") is not None or "label_set" in found:
        found["templates"] = templates
    if fields.get("trigger") is not None:
        digest = next((one.trigger for _, one in own if one.trigger is not None), None)
        if digest is None:
            raise _MissingError("its trigger is not in the bundle", "no trigger")
        decoded = here.pixels.get(digest)
        pixels = None if decoded is None else decoded.pixels
        made = trigger_from(bundle, bundle.evidence.triggers[digest], pixels)
        found["trigger"] = str(save_trigger(made, place / "trigger")[1])
    return found
