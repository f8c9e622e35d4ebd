"""Level 1: what the record says of measurements, pictures, jobs and scans is what their files say.

A measurement's own file repeats rates, and they too must follow from its answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ml_core.cleaning.catalogue import FACTS, METHODS
from ml_core.detection.scan.records import Contrast, OverlayRow, newcombe
from ml_core.detection.scan.verdict import judge
from ml_core.evaluation import metrics
from ml_core.evaluation.records import wilson_interval
from ml_core.reading.errors import InputError
from ml_core.reading.json_file import short
from ml_core.reports import arithmetic
from ml_core.reports.measurement_files import per_class_csv, prompts_text
from ml_core.reports.record import JobFacts, MeasurementFacts, Metric, ScanFacts
from ml_core.reports.rows import Rows
from ml_core.reports.verify.checks import Check
from ml_core.reports.verify.figures import near, same
from ml_core.reports.verify.opened import Bundle
from ml_core.reports.verify.proofs import holdout_faults, rebound_faults

_RATES: dict[Metric, str] = {
    "ca": "ca_interval",
    "top5": "",
    "control_ca": "control_interval",
    "asr_excl": "asr_interval",
    "asr_all": "asr_all_interval",
    "baseline_target_rate": "baseline_interval",
    "poisoned_accuracy": "poisoned_interval",
    "flip_rate": "flip_interval",
}
"""Each rate of an `Evaluation`, and the field of its interval."""


def check_sources(bundle: Bundle) -> Iterator[Check]:
    """One check for every measurement, image set, job and scan."""
    evidence = bundle.evidence
    for id_ in evidence.checkpoints:
        yield _check(id_, _checkpoint_faults(bundle, id_), "the inspection of its file")
    for id_, data in evidence.data.items():
        if data.rows is not None:
            yield _check(id_, _picture_faults(bundle, id_), "its list of pictures")
    for id_ in evidence.measurements:
        yield _check(id_, _measurement_faults(bundle, id_), "its own files")
    for id_, job in evidence.jobs.items():
        yield _check(id_, _job_faults(bundle, id_, job), "its own files")
    for id_, scan in evidence.scans.items():
        yield _check(id_, _scan_faults(bundle, id_, scan), "its figures by the rules of a scan")
    if evidence.thumbnails:
        yield Check(
            1, "thumbnails", "recorded",
            "Thumbnails show what the record says of them; they are not compared.",
        )  # fmt: skip
    yield Check(
        1, evidence.environment, "recorded",
        "Date, author, versions, processor, seconds and notes are as they were recorded; nobody "
        "can check them.",
    )  # fmt: skip


def _check(id_: str, faults: Iterator[str], what: str) -> Check:
    try:
        fault = next(faults, "")
    except InputError as error:
        fault = error.sentence
    if fault:
        return Check(1, id_, "fails", f"{id_}: {fault}")
    return Check(1, id_, "holds", f"What the record says of {id_} follows from {what}.")


def _checkpoint_faults(bundle: Bundle, id_: str) -> Iterator[str]:
    facts = bundle.evidence.checkpoints[id_]
    if facts.inspection is None:
        return
    if facts.choice is not None and not isinstance(facts.choice, dict):
        yield "its settings of the loader are none."
    found = bundle.json(facts.inspection)
    wanted: dict[str, Any] = {
        "name": facts.name, "sha256": facts.sha256 or "", "size": facts.bytes,
        "format": facts.format, "verdict": facts.safety, "parameters": facts.parameters,
        "reasons": list(facts.safety_reasons),
    }  # fmt: skip
    for name, value in wanted.items():
        if not same(found.get(name), value):
            yield f"{facts.inspection} says {_told(found.get(name))} of {name}, not {_told(value)}."


def _picture_faults(bundle: Bundle, id_: str) -> Iterator[str]:
    facts, pictures = bundle.evidence.data[id_], bundle.pictures(id_)
    if len(pictures) != facts.n:
        yield f"{facts.rows} lists {len(pictures)} pictures, not {facts.n}."
    if facts.pictures is not None:
        there = {
            name.removeprefix(f"{facts.pictures}/")
            for name in bundle.reader.names() if name.startswith(f"{facts.pictures}/")
        }  # fmt: skip
        if len(there) > len(pictures):
            yield f"{facts.pictures} holds more pictures than {facts.rows} lists."


def _measurement_faults(bundle: Bundle, id_: str) -> Iterator[str]:
    facts, rows = bundle.measurement(id_), bundle.rows(id_)
    found = bundle.json(facts.evaluation)
    target = facts.target
    wanted: dict[str, Any] = {
        "n": facts.n, "n_broken": facts.n_broken, "target": target,
        "target_name": facts.target_name, "trigger": facts.trigger, "seed": facts.seed,
        "precision": facts.precision, "device": facts.device, "versions": facts.versions,
        "classifier_sha256": facts.classifier_sha256, "partial": False,
        "data_key": bundle.evidence.data[facts.data].key,
    }  # fmt: skip
    for name, value in wanted.items():
        if not same(found.get(name), value):
            yield f"{facts.evaluation} says {_told(found.get(name))} of {name}, not {_told(value)}."
    yield from _prompt_faults(bundle, id_, facts, found)
    if len(rows) != facts.n:
        yield f"{facts.per_image} has {len(rows)} rows, not {facts.n}."
    yield from _label_faults(bundle, facts, rows)
    if (rows.triggered_top is None) is not (facts.trigger is None):
        yield f"{facts.per_image} and the record differ in whether there was a trigger."
    yield from rate_faults(facts, rows, found)
    if facts.per_class is not None:
        names = bundle.prompts(id_)[1]
        if bundle.reader.read(facts.per_class) != per_class_csv(rows, names, target):
            yield f"{facts.per_class} does not count what {facts.per_image} gives."


def _prompt_faults(
    bundle: Bundle, id_: str, facts: MeasurementFacts, found: dict[str, Any]
) -> Iterator[str]:
    templates, names = bundle.prompts(id_)
    if len(names) != facts.classes:
        yield f"{facts.prompts} names {len(names)} classes, not {facts.classes}."
        return
    if facts.target is not None and facts.target >= len(names):
        yield f"the target {facts.target} is none of the classes of {facts.prompts}."
    said = found.get("templates")
    if not isinstance(said, list) or not all(isinstance(one, str) for one in said):
        yield f"{facts.evaluation} names no templates."
    elif prompts_text(said, names) != prompts_text(templates, names):
        yield f"{facts.evaluation} was measured with other templates than {facts.prompts} has."


def _label_faults(bundle: Bundle, facts: MeasurementFacts, rows: Rows) -> Iterator[str]:
    """The answers are to pictures of the set, with their labels."""
    if bundle.evidence.data[facts.data].rows is None:
        return
    pictures = bundle.pictures(facts.data)
    at = np.searchsorted(pictures.indices, rows.indices)
    known = at < len(pictures)
    known[known] = pictures.indices[at[known]] == rows.indices[known]
    if not known.all():
        index = int(rows.indices[~known][0])
        yield f"{facts.per_image} answers to the picture {index}, which {facts.data} does not list."
        return
    wrong = np.flatnonzero(pictures.labels[at] != rows.labels)
    if len(wrong):
        index = int(rows.indices[wrong[0]])
        yield (
            f"{facts.per_image} gives the picture {index} the label {int(rows.labels[wrong[0]])}, "
            f"and the list of {facts.data} {int(pictures.labels[at[wrong[0]]])}."
        )


def rate_faults(facts: MeasurementFacts, rows: Rows, found: dict[str, Any]) -> Iterator[str]:
    """Rates of an evaluation's file that do not follow from its answers."""
    for metric, interval in _RATES.items():
        rate = arithmetic.rate_of(metric, rows, facts.target)
        value = None if rate is None else rate.value
        if metric in found and not same(found[metric], value):
            yield (
                f"{facts.evaluation} says {_told(found[metric])} of {metric}, and "
                f"{facts.per_image} gives {_told(value)}."
            )
        if interval in found:
            wanted: Any = None if rate is None else list(wilson_interval(rate.hits, rate.n))
            if not same(found[interval], wanted):
                yield f"{facts.evaluation} has an interval of {metric} that its counts do not give."
    labelled = int(metrics.labelled(rows.labels).sum())
    if found.get("n_labelled") != labelled:
        yield f"{facts.evaluation} counts other pictures with a label than {facts.per_image} has."
    if facts.target is not None:
        others = int(metrics.not_target(rows.labels, facts.target).sum())
        if found.get("n_excl") != others:
            yield f"{facts.evaluation} counts other pictures of other classes than the answers do."


def _job_faults(bundle: Bundle, id_: str, facts: JobFacts) -> Iterator[str]:
    if "result" not in facts.files:
        return
    path = facts.files["result"]
    found = bundle.json(path)
    wanted: dict[str, Any] = {
        "method": facts.method, "preset": facts.preset, "status": facts.status,
        "seed": facts.seed, "steps": facts.steps, "training_data": facts.training_data,
        "precision": facts.precision, "device": facts.device,
    }  # fmt: skip
    for end, key in ((facts.source, "source_sha256"), (facts.result, "checkpoint_sha256")):
        if end is not None and end in bundle.evidence.checkpoints and found.get(key) is not None:
            wanted[key] = bundle.evidence.checkpoints[end].sha256
    if facts.method in METHODS and FACTS[facts.method].title != facts.title:
        yield f"{_told(facts.method)} is not called {_told(facts.title)}."
    for name, value in wanted.items():
        if not same(found.get(name), value):
            yield f"{path} says {_told(found.get(name))} of {name}, not {_told(value)}."
    recipes = [found.get("recipe")]
    if "spec" in facts.files:
        recipes.append(bundle.json(facts.files["spec"]).get("recipe"))
    if "recipe" in facts.files and not all(
        same(bundle.json(facts.files["recipe"]), one) for one in recipes
    ):
        yield f"{facts.files['recipe']} is not the recipe of its job and of {path}."
    for when in ("before", "after"):
        heads = found.get("heads")
        zero = heads.get("zero-shot") if isinstance(heads, dict) else None
        if isinstance(zero, dict) and not same(found.get(when), zero.get(when)):
            yield f"{path} has two sets of figures {when} cleaning."
    for name, proof in (("rebound", rebound_faults), ("holdouts", holdout_faults)):
        if name in facts.files:
            yield from proof(bundle.json(facts.files[name]), facts.files[name])
    for one, measured in bundle.evidence.measurements.items():
        if measured.job == id_ and measured.when in ("before", "after"):
            said = _side(found, measured)
            if said is not None and not same(said, bundle.json(measured.evaluation)):
                yield f"{path} has other figures of {one} than {measured.evaluation}."


def _side(result: dict[str, Any], facts: MeasurementFacts) -> Any:
    """What a job's result holds of one of its measurements."""
    if facts.heldout:
        part = result.get("heldout" if facts.head == "zero-shot" else "heldout_linear")
    else:
        heads = result.get("heads")
        part = heads.get(facts.head) if isinstance(heads, dict) else None
    return part.get(facts.when) if isinstance(part, dict) else None


def _scan_faults(bundle: Bundle, id_: str, facts: ScanFacts) -> Iterator[str]:
    """The verdict again from the stages, by the rules."""
    scan = bundle.scan(id_)
    path = facts.files["scan"]
    for contrast in _contrasts(scan):
        low, high = newcombe(contrast.suspect, contrast.beside)
        if not (near(low, contrast.low) and near(high, contrast.high)):
            yield f"{path} has an interval of a difference that its counts do not give."
    judged = judge(
        scan.stages, side=scan.side, held_out=scan.held_out, classes=len(scan.classes),
        suspect=scan.suspect, reference=scan.reference, rules=scan.judgement.rules,
    )  # fmt: skip
    if not same(judged.model_dump(mode="json"), scan.judgement.model_dump(mode="json")):
        yield f"the verdict of {path} does not follow from its stages by the rules of a scan."
    said = (facts.verdict, facts.title, facts.target, facts.reasons, facts.searched)
    judgement = scan.judgement
    wanted = (
        judgement.verdict, judgement.title, judgement.target, judgement.reasons, judgement.searched,
    )  # fmt: skip
    if said != wanted or (facts.not_searched, facts.warnings) != (
        judgement.not_searched, judgement.warnings,
    ):  # fmt: skip
        yield f"the record says of it what {path} does not say."


def _contrasts(value: Any) -> Iterator[Contrast | OverlayRow]:
    """Every measured difference of a scan."""
    if isinstance(value, (Contrast, OverlayRow)):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _contrasts(item)
    elif hasattr(type(value), "model_fields"):
        for name in type(value).model_fields:
            yield from _contrasts(getattr(value, name))


def _told(value: Any) -> str:
    return "nothing" if value is None else short(repr(value), 60)
