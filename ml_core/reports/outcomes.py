"""What a record says of a checkpoint as tests that passed, warned or failed. Torch-free.

For formats that want a decision. The limits are those of the built-in policy
(``resources/policies/built-in.toml``); the rules stand in ``docs/formats.md``. That a test passed
is never a proof that there is no backdoor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ml_core.reports.claims import trigger_works
from ml_core.reports.policy import ANY, built_in
from ml_core.reports.record import (
    BundlePath,
    DifferenceClaim,
    Evidence,
    Id,
    Metric,
    QuotedClaim,
    RateClaim,
    ScanFacts,
)
from ml_core.reports.rendering import rates_of

State = Literal["passed", "warned", "failed"]
Topic = Literal["safety", "scan", "trigger", "rebound", "accuracy", "untested"]
SCAN_RANKS = {"nothing": 0, "suspicious": 1, "found": 2}
"""The verdicts of scans that say something, from the best on."""
SCAN_LIMITS = {"nothing found": 0, "suspicious": 1}
"""What a policy allows, as ranks."""
_STAYS_CLEAN = "/stays_clean"
_SUCCESS: tuple[Metric, ...] = ("asr_excl", "asr_all")


@dataclass(frozen=True)
class Outcome:
    """One test of a checkpoint.

    Attributes
    ----------
    test
        Its name, unique for the checkpoint: a claim's id, ``scan:ID``, ``file-safety`` or
        ``backdoor-not-tested``.
    topic, state
        What it is about, and how it ended.
    sentence
        With the figures that decided.
    evidence
        Files that it stands on.
    about
        What was looked for (trigger, target, head and pictures, or the class that a scan names):
        it distinguishes findings of one checkpoint, whatever their ids are.
    """

    test: str
    topic: Topic
    state: State
    sentence: str
    evidence: tuple[BundlePath, ...] = ()
    about: str = ""


def outcomes_of(evidence: Evidence, checkpoint: Id) -> tuple[Outcome, ...]:
    """All tests of a checkpoint: its file, scans, triggers, rebound tests, accuracy."""
    facts, limits = evidence.checkpoints[checkpoint], built_in().rules
    inspection = () if facts.inspection is None else (facts.inspection,)
    reason = " ".join(facts.safety_reasons[:1]) or "The file holds tensors and plain data only."
    safety: State = "warned" if facts.safety == "caution" else "failed"
    if facts.safety in limits["file.allow"]:
        safety = "passed"
    tests = [Outcome("file-safety", "safety", safety, reason, inspection)]
    for id_, scan in evidence.scans.items():
        if scan.suspect == checkpoint:
            tests.append(_scan(id_, scan, limits["scan.at_most"]))
    tests += _triggers(evidence, checkpoint, limits[f"trigger.{ANY}.asr_at_most"])
    if not any(test.topic in ("scan", "trigger") for test in tests):
        tests.append(
            Outcome(
                "backdoor-not-tested", "untested", "warned",
                "Neither was a known trigger tried on this checkpoint nor an unknown one "
                "searched for.",
            )
        )  # fmt: skip
    tests += _rebounds(evidence, checkpoint, limits["rebound.at_most"])
    tests += _accuracy(evidence, checkpoint, limits["accuracy.lost_at_most"])
    return tuple(tests)


def overall(tests: tuple[Outcome, ...]) -> State:
    """The worst state of them."""
    states = {test.state for test in tests}
    return "failed" if "failed" in states else "warned" if "warned" in states else "passed"


def success_rates(evidence: Evidence, checkpoint: Id) -> dict[Id, RateClaim]:
    """The attack success rate of each measurement of a checkpoint.

    It is that over images of other classes, where they have labels.
    """
    success: dict[Id, RateClaim] = {}
    for claim, _ in rates_of(evidence, checkpoint):
        known = success.get(claim.measurement)
        if claim.metric in _SUCCESS and (known is None or known.metric != "asr_excl"):
            success[claim.measurement] = claim
    return success


def rebound_claims(evidence: Evidence, checkpoint: Id) -> Iterator[tuple[QuotedClaim, str]]:
    """The verdict of each rebound test of a checkpoint, with the method that cleaned it."""
    jobs = {
        job.files["rebound"]: job.method
        for job in evidence.jobs.values()
        if (job.result or job.source) == checkpoint and "rebound" in job.files
    }
    for claim in evidence.claims:
        if not isinstance(claim, QuotedClaim) or claim.topic != "rebound":
            continue
        file = next(iter(claim.evidence), "")
        if file in jobs and _STAYS_CLEAN in claim.quotes:
            yield claim, jobs[file]


def accuracy_changes(evidence: Evidence, checkpoint: Id) -> Iterator[DifferenceClaim]:
    """Clean accuracy of a checkpoint minus that of another one, such as the one before."""
    for claim in evidence.claims:
        if not isinstance(claim, DifferenceClaim) or claim.metric != "ca":
            continue
        first, second = (evidence.measurements[id_] for id_ in (claim.measurement, claim.against))
        if first.checkpoint == checkpoint and second.checkpoint != checkpoint:
            yield claim


def _scan(id_: Id, scan: ScanFacts, at_most: str) -> Outcome:
    sentence = " ".join((f"{scan.title}.", *scan.reasons))
    evidence = tuple(scan.files[key] for key in ("scan", "trigger") if key in scan.files)
    rank = SCAN_RANKS.get(scan.verdict)
    state: State = "failed" if scan.verdict == "found" else "warned"
    if rank is not None and rank <= SCAN_LIMITS[at_most]:
        state = "passed"
    return Outcome(f"scan:{id_}", "scan", state, sentence, evidence, scan.target)


def _triggers(evidence: Evidence, checkpoint: Id, at_most: float) -> Iterator[Outcome]:
    """A known trigger fails where it works, as the report's verdict has it; in between it warns."""
    chance = {
        claim.measurement: claim.interval
        for claim, _ in rates_of(evidence, checkpoint)
        if claim.metric == "baseline_target_rate"
    }
    for id_, claim in success_rates(evidence, checkpoint).items():
        measured = evidence.measurements[id_]
        state: State = "passed"
        if claim.interval.high > at_most:
            state = "failed" if trigger_works(claim.interval, chance.get(id_)) else "warned"
        data = evidence.data[measured.data].key
        about = f"{measured.trigger} {measured.target_name} {measured.head} {data}"
        yield Outcome(claim.id, "trigger", state, claim.sentence, claim.evidence, about)


def _rebounds(evidence: Evidence, checkpoint: Id, at_most: float) -> Iterator[Outcome]:
    """Whether the trigger works again after ordinary finetuning: the verdict of each test.

    If no verdict was reached but the highest rate is low, it is a warning.
    """
    for claim, method in rebound_claims(evidence, checkpoint):
        state: State = "passed"
        if claim.quotes[_STAYS_CLEAN] is not True:
            low = claim.rate is not None and claim.rate.value <= at_most
            state = "warned" if low else "failed"
        yield Outcome(claim.id, "rebound", state, claim.sentence, claim.evidence, method)


def _accuracy(evidence: Evidence, checkpoint: Id, lost_at_most: float) -> Iterator[Outcome]:
    """How much clean accuracy was lost to another checkpoint, such as the one before."""
    for claim in accuracy_changes(evidence, checkpoint):
        state: State = "passed"
        if claim.interval.low < -lost_at_most:
            state = "failed" if claim.difference < -lost_at_most else "warned"
        yield Outcome(claim.id, "accuracy", state, claim.sentence, claim.evidence)
