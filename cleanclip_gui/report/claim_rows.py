"""The claims of a report as rows of a list, in the report's order. No Qt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from cleanclip_gui.widgets.text import percent, percent_range, plain, signed
from ml_core.reports.record import (
    Claim,
    ContrastClaim,
    Counted,
    DifferenceClaim,
    Evidence,
    HoldsBy,
    Interval,
    MeasurementFacts,
    QuotedClaim,
)

SECTIONS = (
    "File safety", "Before", "Scan", "What was done", "After", "Rebound and hold-outs",
)  # fmt: skip
_SAFETY, _BEFORE, _SCAN, _DONE, _AFTER, _PROOFS = SECTIONS
_TOPICS: Mapping[str, str] = {
    "safety": _SAFETY, "scan": _SCAN, "training": _DONE, "weights": _DONE, "rebound": _PROOFS,
    "holdout": _PROOFS,
}  # fmt: skip
HOLDS: Mapping[HoldsBy, str] = {
    "exact": "Anybody can check it from the files of the bundle alone, to the last digit.",
    "margin": "Anybody can check it from the files of the bundle, and with checkpoint and pictures "
    "by measuring again.",
    "interval": "It can be checked by measuring again: the value has to lie in the interval.",
    "recorded": "It was written down and cannot be checked.",
}


@dataclass(frozen=True)
class Place:
    """Where something was measured: a station, and there the id of a job or scan of the record."""

    kind: Literal["checkpoint", "measurement", "run", "scan"]
    id: str = ""


@dataclass(frozen=True)
class ClaimRow:
    """One claim; texts are safe to show, ``evidence`` are files of the bundle."""

    id: str
    sentence: str
    value: str
    interval: str
    holds_by: HoldsBy
    evidence: tuple[str, ...]
    headline: bool
    place: Place


def sections(evidence: Evidence) -> tuple[tuple[str, tuple[ClaimRow, ...]], ...]:
    """Titles with their claims; a section without any is left out."""
    found: dict[str, list[ClaimRow]] = {title: [] for title in SECTIONS}
    for claim in evidence.claims:
        found[_section(evidence, claim)].append(_row(evidence, claim))
    return tuple((title, tuple(rows)) for title, rows in found.items() if rows)


def _section(evidence: Evidence, claim: Claim) -> str:
    if isinstance(claim, QuotedClaim):
        return _TOPICS[claim.topic]
    if isinstance(claim, ContrastClaim):
        return _SCAN
    facts = evidence.measurements[claim.measurement]
    if facts.when == "after":
        return _AFTER
    cleaned = evidence.checkpoints[facts.checkpoint].role == "cleaned"
    return _AFTER if cleaned else _BEFORE


def _row(evidence: Evidence, claim: Claim) -> ClaimRow:
    value, interval = _figures(claim)
    return ClaimRow(
        id=claim.id,
        sentence=plain(claim.sentence, 900),
        value=value,
        interval=interval,
        holds_by=claim.holds_by,
        evidence=tuple(claim.evidence),
        headline=claim.headline,
        place=_place(evidence, claim),
    )


def _figures(claim: Claim) -> tuple[str, str]:
    """The value and its interval; empty of a claim without a figure."""
    if isinstance(claim, DifferenceClaim):
        return _points(claim.difference), _points_range(claim.adjusted_interval)
    if isinstance(claim, ContrastClaim):
        return _points(claim.difference), _points_range(claim.interval)
    return _rate(claim.rate), _range(claim.interval)


def _rate(rate: Counted | None) -> str:
    return "" if rate is None else percent(rate.value)


def _range(interval: Interval | None) -> str:
    return "" if interval is None else percent_range((interval.low, interval.high))


def _points(difference: float) -> str:
    return f"{signed(100 * difference)} points"


def _points_range(interval: Interval) -> str:
    return f"{signed(100 * interval.low)} to {signed(100 * interval.high)}"


def _place(evidence: Evidence, claim: Claim) -> Place:
    if isinstance(claim, ContrastClaim):
        return Place("scan", claim.scan)
    if isinstance(claim, QuotedClaim):
        if claim.topic == "safety":
            return Place("checkpoint")
        return next(_owners(evidence, claim), Place("measurement"))
    facts: MeasurementFacts = evidence.measurements[claim.measurement]
    return Place("measurement") if facts.job is None else Place("run", facts.job)


def _owners(evidence: Evidence, claim: QuotedClaim) -> Iterator[Place]:
    """The jobs and scans that a claim's files are of."""
    for id_, job in evidence.jobs.items():
        if set(claim.evidence) & set(job.files.values()):
            yield Place("run", id_)
    for id_, scan in evidence.scans.items():
        if set(claim.evidence) & set(scan.files.values()):
            yield Place("scan", id_)
