"""Level 1: what a rebound test and a table of hold-outs say follows from their own counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ml_core.evaluation.records import wilson_interval
from ml_core.reports.rebound_verdict import counts_of, judged
from ml_core.reports.verify.figures import same

_MALFORMED = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


def rebound_faults(record: Mapping[str, Any], path: str) -> Iterator[str]:
    """What of a rebound test its points do not give."""
    try:
        yield from _rebound(record, path)
    except _MALFORMED:
        yield f"{path} is no record of a rebound test."


def holdout_faults(record: Mapping[str, Any], path: str) -> Iterator[str]:
    """What of a table of hold-outs its counts do not give."""
    try:
        yield from _holdouts(record, path)
    except _MALFORMED:
        yield f"{path} is no table of hold-outs."


def _rebound(record: Mapping[str, Any], path: str) -> Iterator[str]:
    for number, rate in enumerate(record["rates"]):
        for point in rate["points"]:
            counted = counts_of(point)
            if len(counted) == 2 and not _follows(
                counted["hits"], counted["n"], point["asr_excl"],
                [point.get("asr_low"), point.get("asr_high")],
            ):  # fmt: skip
                yield f"a rate of {path} at step {point['step']:g} is not that of its counts."
        worst = max(rate["points"], key=lambda point: float(point["asr_excl"]))
        wanted = {"max_asr": worst["asr_excl"], "max_step": int(worst["step"]), **counts_of(worst)}
        if any(not same(rate.get(name), value) for name, value in wanted.items()):
            yield f"the highest rate of {path} in row {number} is not that of its points."
    for name, value in judged(record["rates"], float(record["limit"])).items():
        if not same(record.get(name), value):
            yield f"{name} of {path} does not follow from its points."


def _holdouts(record: Mapping[str, Any], path: str) -> Iterator[str]:
    for number, row in enumerate(record["rows"]):
        for hits, n, value, interval in (
            ("before_hits", "before_n", "before", "before_interval"),
            ("after_hits", "n", "after", "after_interval"),
        ):
            if row.get(hits) is None or row.get(value) is None:
                continue  # of an older run, or not measured
            if not _follows(row[hits], row[n], row[value], row.get(interval)):
                yield f"{value} of row {number} of {path} is not what its counts give."
    attacks = [
        row for row in record["rows"]
        if row["measure"] == "asr_excl" and row["after"] is not None and row["group"] != "itself"
    ]  # fmt: skip
    worst = max(attacks, key=lambda row: float(row["after"]), default=None)
    wanted = worst and {key: worst[key] for key in ("group", "name", "after")}
    if not same(record.get("worst"), wanted):
        yield f"the worst row of {path} is not that of its table."


def _follows(hits: Any, n: Any, value: Any, interval: Any) -> bool:
    """Whether a rate and its interval are those of its counts."""
    if not isinstance(hits, int) or not isinstance(n, int) or not 0 <= hits <= n or not n:
        return False
    if not same(value, hits / n):
        return False
    wanted: Any = list(wilson_interval(hits, n))
    return interval is None or None in interval or same(interval, wanted)
