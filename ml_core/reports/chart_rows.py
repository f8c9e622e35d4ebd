"""The numbers of a report's charts, each also a table; how they are drawn is not decided here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import JsonValue

from ml_core.evaluation.records import wilson_interval
from ml_core.reports.claims import Material, in_order, is_headline, name_of, pairs_of
from ml_core.reports.record import EVIDENCE_FILE, BundlePath, ChartFacts, Claim, JobFacts, RateClaim
from ml_core.reports.rows import Rows

_METRICS = {
    "ca": "Clean accuracy",
    "asr_excl": "Attack success rate",
    "asr_all": "Attack success rate, all pictures",
    "baseline_target_rate": "Target without trigger",
    "poisoned_accuracy": "Accuracy with the trigger",
}
_WATCHED = {"ca": "clean accuracy", "asr_excl": "attack success rate"}
_INTERVALS = {"ca": "ca", "asr_excl": "asr"}
_CLASSES = 12
Row = tuple[JsonValue, ...]


def charts_of(
    material: Material, claims: Sequence[Claim], metrics: Mapping[str, Sequence[Mapping[str, Any]]]
) -> tuple[ChartFacts, ...]:
    """Every chart of a report.

    Parameters
    ----------
    material, claims
        What was measured, and what is claimed.
    metrics
        The evaluations of each job while it trained: ``step`` and the values of a Metric event.
    """
    material = in_order(material)
    charts: list[ChartFacts | None] = [_summary(material, claims)]
    for id_, job in material.jobs.items():
        rows = metrics.get(id_, ())
        charts += [_watched(id_, job, rows), _losses(id_, job, rows), _rebound(material, id_, job)]
    charts += [_tradeoff(material, metrics), *_classes(material)]
    return tuple(chart for chart in charts if chart is not None)


def _summary(material: Material, claims: Sequence[Claim]) -> ChartFacts | None:
    """Rates of the measurements that a report speaks of first."""
    rates = [
        claim
        for metric in _METRICS
        for claim in claims
        if isinstance(claim, RateClaim)
        and claim.metric == metric
        and is_headline(material, claim.measurement)
    ]
    rows: list[Row] = []
    for claim in rates:
        facts = material.measurements[claim.measurement]
        series = f"{name_of(material, facts.checkpoint)}, {claim.measurement}"
        values = claim.rate.value, claim.interval.low, claim.interval.high
        rows.append((_METRICS[claim.metric], series, *values))
    return _chart(
        "summary", "Rates before and after",
        "Each rate of each checkpoint with its Wilson 95 % interval.",
        ("rate", "checkpoint", "value", "low", "high"), rows, EVIDENCE_FILE,
    )  # fmt: skip


def _watched(id_: str, job: JobFacts, metrics: Sequence[Mapping[str, Any]]) -> ChartFacts | None:
    """Accuracy and attack success on the validation pictures while training."""
    names = [name for name in _WATCHED if any(name in row for row in metrics)]
    columns, keys = ["step"], []
    for name in names:
        words, short = _WATCHED[name], _INTERVALS[name]
        columns += [words, f"{words}, low", f"{words}, high"]
        keys += [name, f"{short}_low", f"{short}_high"]
    rows = [
        (row["step"], *(row.get(key) for key in keys))
        for row in metrics
        if any(name in row for name in names)
    ]
    return _chart(
        f"{id_}-validation", f"{job.title} while it trained",
        "Rates on the validation pictures at each evaluation, with 95 % intervals.",
        columns, _once(rows), job.files.get("journal", ""),
    )  # fmt: skip


def _losses(id_: str, job: JobFacts, metrics: Sequence[Mapping[str, Any]]) -> ChartFacts | None:
    """The loss of each reported step."""
    rows = [(row["step"], row["loss"]) for row in metrics if row.get("loss") is not None]
    return _chart(
        f"{id_}-loss", f"Loss of {job.title}",
        "The loss of the training steps that the journal tells of.",
        ("step", "loss"), _once(rows), job.files.get("journal", ""),
    )  # fmt: skip


def _rebound(material: Material, id_: str, job: JobFacts) -> ChartFacts | None:
    """The attack success rate while the cleaned checkpoint is finetuned at each rate."""
    record = material.json.get(job.files.get("rebound", ""))
    if record is None:
        return None
    columns, points = ["step"], dict[float, dict[str, JsonValue]]()
    for rate in record["rates"]:
        name = f"{rate['factor']:g} times the pretraining's rate"
        columns += [name, f"{name}, low", f"{name}, high"]
        for point in rate["points"]:
            row = points.setdefault(point["step"], {})
            row |= {
                name: point["asr_excl"],
                f"{name}, low": point.get("asr_low"),
                f"{name}, high": point.get("asr_high"),
            }
    rows = [
        (step, *(row.get(name) for name in columns[1:])) for step, row in sorted(points.items())
    ]
    return _chart(
        f"{id_}-rebound", "Rebound test",
        "Attack success rate at each step of finetuning the cleaned checkpoint again.",
        columns, rows, job.files["rebound"],
    )  # fmt: skip


def _tradeoff(
    material: Material, metrics: Mapping[str, Sequence[Mapping[str, Any]]]
) -> ChartFacts | None:
    """Accuracy against attack success, evaluation by evaluation, of all runs."""
    rows: list[Row] = [
        (f"{job.title} ({id_})", row["step"], row["asr_excl"], row["ca"])
        for id_, job in material.jobs.items()
        for row in metrics.get(id_, ())
        if row.get("asr_excl") is not None and row.get("ca") is not None
    ]
    journals = [job.files.get("journal", "") for job in material.jobs.values()]
    return _chart(
        "tradeoff", "Trade-off",
        "Each evaluation while training: attack success against clean accuracy.",
        ("run", "step", "attack success rate", "clean accuracy"), _once(rows, key=2),
        next(iter(journals), ""),
    )  # fmt: skip


def _classes(material: Material) -> Iterator[ChartFacts | None]:
    """The classes whose accuracy changes most between two measurements."""
    for first, second in pairs_of(material):
        left, right = material.measurements[first], material.measurements[second]
        after = is_headline(material, first) and is_headline(material, second)
        if not after or left.per_class is None:
            continue
        names = material.class_names[first]
        mine, theirs = (_accuracies(material.rows[id_], len(names)) for id_ in (first, second))
        both = (mine[1] > 0) & (theirs[1] > 0)
        if not both.any():
            continue
        change = np.zeros(len(names))
        change[both] = mine[0][both] / mine[1][both] - theirs[0][both] / theirs[1][both]
        order = np.lexsort((np.arange(len(names)), -np.abs(change)))
        rows: list[Row] = []
        for index in order[:_CLASSES].tolist():
            if not both[index]:
                continue
            for id_, facts, (hits, n) in ((second, right, theirs), (first, left, mine)):
                series = f"{name_of(material, facts.checkpoint)}, {id_}"
                correct, count = int(hits[index]), int(n[index])
                interval = wilson_interval(correct, count)
                rows.append((f"{names[index]} ({index})", series, correct / count, *interval))
        yield _chart(
            f"{first}-classes", "Classes whose accuracy changes most",
            f"Clean accuracy of {first} and {second}, with Wilson 95 % intervals.",
            ("class", "checkpoint", "value", "low", "high"), rows, left.per_class,
        )  # fmt: skip
        return


def _chart(
    name: str, title: str, description: str, columns: Sequence[str],
    rows: Sequence[Row], source: BundlePath,
) -> ChartFacts | None:  # fmt: skip
    """A chart; None without rows."""
    if not rows:
        return None
    return ChartFacts(
        title=title, description=description, file=f"charts/{name}.svg", columns=tuple(columns),
        rows=tuple(rows), source=source,
    )  # fmt: skip


def _accuracies(rows: Rows, classes: int) -> tuple[Any, Any]:
    """Hits and pictures of each class, int64 [C] each."""
    known = rows.labels >= 0
    labels, predicted = rows.labels[known], rows.clean_top[known, 0]
    return (
        np.bincount(labels[labels == predicted], minlength=classes),
        np.bincount(labels, minlength=classes),
    )


def _once(rows: Sequence[Sequence[Any]], key: int = 1) -> tuple[Row, ...]:
    """Rows without repeated steps (of a run that was taken up again the last one counts)."""
    return tuple(tuple(row) for row in {tuple(row[:key]): row for row in rows}.values())
