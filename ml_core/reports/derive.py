"""Derive from a bundle's files all that its record says because of them. Torch-free.

The writer of a bundle stores what `derive` gives. A verifier derives it again and compares, so that
anything the files do not give is a fault. The facts of a measurement, a job or a scan are compared
the same way, as pairs of what is stated and what is derived (`FACTS`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from pydantic import BaseModel

from ml_core import __version__
from ml_core.cleaning.catalogue import facts_of
from ml_core.detection.scan.records import Contrast, Judgement, OverlayRow, newcombe
from ml_core.detection.scan.verdict import RULES, judge
from ml_core.evaluation import metrics
from ml_core.evaluation.records import Evaluation, wilson_interval
from ml_core.reading.errors import InputError
from ml_core.reports.arithmetic import counted, counts_of, judged, rate_of
from ml_core.reports.bundle_files import Files, Read
from ml_core.reports.chart_rows import charts_of
from ml_core.reports.claims import Claims, Material, claims_of
from ml_core.reports.measurement_files import per_class_csv, prompts_text
from ml_core.reports.record import (
    ENVIRONMENT_FILE,
    EVIDENCE_FILE,
    Evidence,
    Measured,
    MeasurementFacts,
    Metric,
    Tool,
)
from ml_core.reports.rows import Rows

Pair = tuple[str, Any, Any]
"""Where something is stated (``FILE#POINTER``), what is stated there, and what is derived."""
INTERVALS: dict[Metric, str] = {
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
MEASURED = tuple(field.name for field in fields(Evaluation) if field.name in Measured.model_fields)
"""What an evaluation and the facts of its measurement both say."""
GROUPS = ("checkpoints", "data", "triggers", "measurements", "jobs", "scans")
"""The facts of a record, each by its id."""
_JUDGED = ("verdict", "title", "target", "reasons", "searched", "not_searched", "warnings")
_RAN = (
    "method", "preset", "status", "seed", "steps", "training_data", "precision", "device",
)  # fmt: skip


def evidence_from(read: Read, **facts: Any) -> Evidence:
    """The record of facts and of the files that they name, written by this version.

    Parameters
    ----------
    read
        Gives a file.
    **facts
        Fields of `Evidence` that no file gives; what is left out is empty.
    """
    empty: dict[str, Any] = {
        **dict.fromkeys(("verdict", "not_tested", "limits", "claims"), ()),
        **{name: {} for name in GROUPS},
    }
    tool = Tool(name="CleanCLIP GUI", version=__version__)
    stated = Evidence(**(empty | facts), tool=tool, environment=ENVIRONMENT_FILE)
    return derive(Files(stated, read))


def derive(files: Files) -> Evidence:
    """The record with the claims, the verdict, the limits and the charts that its files give."""
    material = material_of(files)
    claims = claims_of(material)
    return files.evidence.model_copy(
        update={
            **{field.name: getattr(claims, field.name) for field in fields(Claims)},
            "charts": charts_of(material, claims.claims, files.metrics()),
        }
    )


def material_of(files: Files) -> Material:
    """What claims are made of.

    Raises
    ------
    InputError
        If a file is damaged.
    """
    evidence = files.evidence
    records: list[str] = [
        *(item.inspection for item in evidence.checkpoints.values() if item.inspection is not None),
        *(
            job.files[name] for job in evidence.jobs.values()
            for name in ("result", "rebound", "holdouts") if name in job.files
        ),
    ]  # fmt: skip
    return Material(
        **{name: getattr(evidence, name) for name in GROUPS},
        rows={id_: files.rows(id_) for id_ in evidence.measurements},
        class_names={id_: files.prompts(id_)[1] for id_ in evidence.measurements},
        scan_records={id_: files.scan(id_) for id_ in evidence.scans},
        json={path: files.json(path) for path in records},
    )


def scan_facts(judgement: Judgement) -> dict[str, Any]:
    """The fields of `ScanFacts` that a scan's judgement gives."""
    return {name: getattr(judgement, name) for name in _JUDGED}


def rebound_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """A rebound test's record as the counts of its points give it."""
    rates = []
    for rate in record["rates"]:
        points = []
        for point in rate["points"]:
            ends = [name for name in ("asr_low", "asr_high") if point.get(name) is not None]
            counts = counts_of(point)
            if len(counts) == 2:
                value, interval = _rate(**counts)
                both = dict(zip(ends, interval, strict=True)) if len(ends) == 2 else {}
                point = {**point, "asr_excl": value, **both}
            points.append(point)
        worst = max(points, key=lambda point: float(point["asr_excl"]))
        highest = {"max_asr": worst["asr_excl"], "max_step": int(worst["step"])}
        rates.append({**rate, "points": points, **highest, **counts_of(worst)})
    return {**record, "rates": rates, **judged(rates, float(record["limit"]))}


def holdouts_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """A table of hold-outs as its counts give it; rows of older runs have none."""
    rows = []
    for stated in record["rows"]:
        row = dict(stated)
        for value, hits, n in (("before", "before_hits", "before_n"), ("after", "after_hits", "n")):
            if row.get(hits) is None or row.get(value) is None:
                continue
            row[value], interval = _rate(row[hits], row[n])
            if row.get(f"{value}_interval") is not None:
                row[f"{value}_interval"] = interval
        rows.append(row)
    attacks = [
        row for row in rows
        if row["measure"] == "asr_excl" and row["after"] is not None and row["group"] != "itself"
    ]  # fmt: skip
    worst = max(attacks, key=lambda row: float(row["after"]), default=None)
    named = worst and {key: worst[key] for key in ("group", "name", "after")}
    return {**record, "rows": rows, "worst": named}


def _rate(hits: Any, n: Any) -> tuple[float, list[float]]:
    """The rate of two counts, and its interval."""
    if type(hits) is not int or type(n) is not int:
        raise TypeError("no counts")
    return counted(hits, n).value, list(wilson_interval(hits, n))


def _json(record: BaseModel) -> dict[str, Any]:
    return record.model_dump(mode="json")


def _checkpoint(files: Files, id_: str) -> Iterator[Pair]:
    """The facts of a checkpoint, from the inspection of its file."""
    facts = files.evidence.checkpoints[id_]
    if facts.inspection is None:
        return
    inspection, stated = files.json(facts.inspection), _json(facts)
    name = inspection.get("name")
    with_adapter = facts.adapter is not None and facts.name.startswith(f"{name} with ")
    derived = {
        "choice": facts.choice if isinstance(facts.choice, dict) else None,
        "name": facts.name if with_adapter else name,
        "sha256": inspection.get("sha256") or None,
        "bytes": inspection.get("size"),
        "safety": inspection.get("verdict"),
        "safety_reasons": inspection.get("reasons"),
        **{name: inspection.get(name) for name in ("format", "parameters")},
    }
    yield f"{EVIDENCE_FILE}#/checkpoints/{id_}", stated, stated | derived


def _data(files: Files, id_: str) -> Iterator[Pair]:
    """The number of pictures, from their list."""
    facts = files.evidence.data[id_]
    pictures = files.pictures(id_)
    yield f"{EVIDENCE_FILE}#/data/{id_}/n", facts.n, len(pictures)


def _measurement(files: Files, id_: str) -> Iterator[Pair]:
    """The facts of a measurement, and its own files, from the answers picture by picture."""
    facts, rows = files.evidence.measurements[id_], files.rows(id_)
    evaluation, (templates, names) = files.json(facts.evaluation), files.prompts(id_)
    stated = _json(facts)
    derived = {name: evaluation.get(name) for name in MEASURED} | {"classes": len(names)}
    yield f"{EVIDENCE_FILE}#/measurements/{id_}", stated, stated | derived
    if facts.target is not None and facts.target >= len(names):
        raise InputError(f"the target {facts.target} is none of the classes of {facts.prompts}.")
    used = evaluation.get("templates")
    if not isinstance(used, list) or not all(isinstance(text, str) for text in used):
        raise InputError(f"{facts.evaluation} names no templates.")
    if prompts_text(used, names) != prompts_text(templates, names):
        raise InputError(
            f"{facts.evaluation} was measured with other templates than {facts.prompts} has."
        )
    _check_labels(files, facts, rows)
    if (rows.triggered_top is None) is not (facts.trigger is None):
        raise InputError(f"{facts.per_image} and the record differ in whether there was a trigger.")
    data_key = files.evidence.data[facts.data].key
    yield f"{facts.evaluation}#", evaluation, evaluation_of(evaluation, rows, facts, data_key)
    if facts.per_class is not None:
        table = per_class_csv(rows, names, facts.target)
        if files.read(facts.per_class) != table:
            raise InputError(f"{facts.per_class} does not count what {facts.per_image} gives.")


def evaluation_of(
    evaluation: Mapping[str, Any], rows: Rows, facts: MeasurementFacts, data_key: str
) -> dict[str, Any]:
    """An evaluation's file as its answers give it; rates that an older one lacks are left out."""
    derived: dict[str, Any] = {
        "n": len(rows),
        "partial": False,
        "data_key": data_key,
        "n_labelled": int(metrics.labelled(rows.labels).sum()),
    }
    if facts.target is not None:
        derived["n_excl"] = int(metrics.not_target(rows.labels, facts.target).sum())
    for metric, interval in INTERVALS.items():
        rate = rate_of(metric, rows, facts.target)
        if metric in evaluation:
            derived[metric] = None if rate is None else rate.value
        if interval in evaluation:
            derived[interval] = None if rate is None else list(wilson_interval(rate.hits, rate.n))
    return {**derived, **evaluation, **derived}  # counts first: they say most


def _check_labels(files: Files, facts: MeasurementFacts, rows: Rows) -> None:
    """Refuse answers to pictures that the set does not list, or with other labels."""
    if files.evidence.data[facts.data].rows is None:
        return
    pictures = files.pictures(facts.data)
    at = np.searchsorted(pictures.indices, rows.indices)
    known = at < len(pictures)
    known[known] = pictures.indices[at[known]] == rows.indices[known]
    if not known.all():
        raise InputError(
            f"{facts.per_image} answers to the picture {int(rows.indices[~known][0])}, which "
            f"{facts.data} does not list."
        )
    wrong = np.flatnonzero(pictures.labels[at] != rows.labels)
    if len(wrong):
        raise InputError(
            f"{facts.per_image} gives the picture {int(rows.indices[wrong[0]])} the label "
            f"{int(rows.labels[wrong[0]])}, and the list of {facts.data} "
            f"{int(pictures.labels[at[wrong[0]]])}."
        )


def _job(files: Files, id_: str) -> Iterator[Pair]:
    """The facts of a job, from its result; and what its own files say of each other."""
    facts, evidence = files.evidence.jobs[id_], files.evidence
    if "result" not in facts.files:
        return
    path, stated = facts.files["result"], _json(facts)
    result = files.json(path)
    derived = {name: result.get(name) for name in _RAN}
    if (method := facts_of(facts.method)) is not None:
        derived["title"] = method.title
    yield f"{EVIDENCE_FILE}#/jobs/{id_}", stated, stated | derived
    for end, key in ((facts.source, "source_sha256"), (facts.result, "checkpoint_sha256")):
        if end is not None and end in evidence.checkpoints and result.get(key) is not None:
            yield f"{path}#/{key}", result[key], evidence.checkpoints[end].sha256
    if "recipe" in facts.files:
        recipe = files.json(facts.files["recipe"])
        used, there = result.get("recipe"), recipe
        if isinstance(used, dict) and used.get("pairs", 0) < recipe["pairs"]:
            there = recipe | {"pairs": used["pairs"]}  # the run took what there was
        yield f"{path}#/recipe", used, there
        if "spec" in facts.files:
            spec = facts.files["spec"]
            yield f"{spec}#/recipe", files.json(spec).get("recipe"), recipe
    heads = result.get("heads")
    zero = heads.get("zero-shot") if isinstance(heads, dict) else None
    if isinstance(zero, dict):
        for when in ("before", "after"):
            yield f"{path}#/{when}", result.get(when), zero.get(when)
    for name, proof in (("rebound", rebound_of), ("holdouts", holdouts_of)):
        if name in facts.files:
            record = files.json(facts.files[name])
            yield f"{facts.files[name]}#", record, proof(record)
    for measured in evidence.measurements.values():
        if measured.job == id_ and measured.when in ("before", "after"):
            at, side = side_of(result, measured)
            if side is not None:
                yield f"{path}#{at}", side, files.json(measured.evaluation)


def side_of(result: Mapping[str, Any], measured: Measured) -> tuple[str, Any]:
    """Where a job's result holds one of its measurements, and what it holds there."""
    way: tuple[str, ...] = ("heads", measured.head)
    if measured.heldout:
        way = ("heldout" if measured.head == "zero-shot" else "heldout_linear",)
    value: Any = result
    for name in (*way, measured.when):
        value = value.get(name) if isinstance(value, dict) else None
    return "".join(f"/{name}" for name in (*way, measured.when)), value


def _scan(files: Files, id_: str) -> Iterator[Pair]:
    """The verdict of a scan from its stages, by the rules; and the facts that quote it."""
    facts, scan = files.evidence.scans[id_], files.scan(id_)
    path = facts.files["scan"]
    for contrast in _contrasts(scan):
        ends = newcombe(contrast.suspect, contrast.beside)
        yield f"{path}# (an interval)", [contrast.low, contrast.high], list(ends)
    if scan.judgement.rules == RULES:
        judgement = judge(
            scan.stages, held_out=scan.held_out, classes=len(scan.classes),
            suspect=scan.suspect, reference=scan.reference,
        )  # fmt: skip
        yield f"{path}#/judgement", _json(scan.judgement), _json(judgement)
    derived = facts.model_copy(update=scan_facts(scan.judgement))
    yield f"{EVIDENCE_FILE}#/scans/{id_}", _json(facts), _json(derived)


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


FACTS: dict[str, tuple[Callable[[Files, str], Iterator[Pair]], str]] = {
    "checkpoints": (_checkpoint, "the inspection of its file"),
    "data": (_data, "its list of pictures"),
    "measurements": (_measurement, "its own files"),
    "jobs": (_job, "its own files"),
    "scans": (_scan, "its figures by the rules of a scan"),
}
"""Of each part of a record: the pairs to compare, and what they are derived from."""
