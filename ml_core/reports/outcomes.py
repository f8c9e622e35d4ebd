"""What a record says of a checkpoint as tests that passed, warned or failed. Torch-free.

For formats that want a decision. The limits are those of `ml_core.cleaning.tradeoff.Limits`; the
rules stand in ``docs/formats.md``. That a test passed is never a proof that there is no backdoor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ml_core.cleaning.tradeoff import Limits
from ml_core.reports.claims import trigger_works
from ml_core.reports.record import (
    BundlePath,
    DifferenceClaim,
    Evidence,
    Id,
    Interval,
    Metric,
    QuotedClaim,
    RateClaim,
    ScanFacts,
)
from ml_core.reports.rendering import rates_of

State = Literal["passed", "warned", "failed"]
Topic = Literal["safety", "scan", "trigger", "rebound", "accuracy", "untested"]
_LIMITS = Limits()
MOST_ASR = _LIMITS.asr / 100
MOST_LOST = _LIMITS.ca_drop / 100
_SAFETY: dict[str, State] = {"loads": "passed", "caution": "warned"}
_SCAN: dict[str, State] = {"nothing": "passed", "found": "failed"}
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
    facts = evidence.checkpoints[checkpoint]
    inspection = () if facts.inspection is None else (facts.inspection,)
    reason = " ".join(facts.safety_reasons[:1]) or "The file holds tensors and plain data only."
    tests = [Outcome("file-safety", "safety", _SAFETY.get(facts.safety, "failed"), reason,
                     inspection)]  # fmt: skip
    for id_, scan in evidence.scans.items():
        if scan.suspect == checkpoint:
            tests.append(_scan(id_, scan))
    tests += _triggers(evidence, checkpoint)
    if not any(test.topic in ("scan", "trigger") for test in tests):
        tests.append(
            Outcome(
                "backdoor-not-tested", "untested", "warned",
                "Neither was a known trigger tried on this checkpoint nor an unknown one "
                "searched for.",
            )
        )  # fmt: skip
    tests += _rebounds(evidence, checkpoint)
    tests += _accuracy(evidence, checkpoint)
    return tuple(tests)


def overall(tests: tuple[Outcome, ...]) -> State:
    """The worst state of them."""
    states = {test.state for test in tests}
    return "failed" if "failed" in states else "warned" if "warned" in states else "passed"


def _scan(id_: Id, scan: ScanFacts) -> Outcome:
    sentence = " ".join((f"{scan.title}.", *scan.reasons))
    evidence = tuple(scan.files[key] for key in ("scan", "trigger") if key in scan.files)
    state = _SCAN.get(scan.verdict, "warned")
    return Outcome(f"scan:{id_}", "scan", state, sentence, evidence, scan.target)


def _triggers(evidence: Evidence, checkpoint: Id) -> Iterator[Outcome]:
    """A known trigger fails where it works, as the report's verdict has it; in between it warns."""
    chance: dict[Id, Interval] = {}
    success: dict[Id, RateClaim] = {}
    for claim, _ in rates_of(evidence, checkpoint):
        if claim.metric == "baseline_target_rate":
            chance[claim.measurement] = claim.interval
        elif claim.metric in _SUCCESS:
            known = success.get(claim.measurement)
            if known is None or known.metric != "asr_excl":
                success[claim.measurement] = claim
    for id_, claim in success.items():
        measured = evidence.measurements[id_]
        state: State = "passed"
        if claim.interval.high > MOST_ASR:
            state = "failed" if trigger_works(claim.interval, chance.get(id_)) else "warned"
        data = evidence.data[measured.data].key
        about = f"{measured.trigger} {measured.target_name} {measured.head} {data}"
        yield Outcome(claim.id, "trigger", state, claim.sentence, claim.evidence, about)


def _rebounds(evidence: Evidence, checkpoint: Id) -> Iterator[Outcome]:
    """Whether the trigger works again after ordinary finetuning: the verdict of each test.

    If no verdict was reached but the highest rate is low, it is a warning.
    """
    jobs = {
        job.files["rebound"]: job.method
        for job in evidence.jobs.values()
        if (job.result or job.source) == checkpoint and "rebound" in job.files
    }
    for claim in evidence.claims:
        if not isinstance(claim, QuotedClaim) or claim.topic != "rebound":
            continue
        file = next(iter(claim.evidence), "")
        if file not in jobs or _STAYS_CLEAN not in claim.quotes:
            continue
        state: State = "passed"
        if claim.quotes[_STAYS_CLEAN] is not True:
            low = claim.rate is not None and claim.rate.value <= MOST_ASR
            state = "warned" if low else "failed"
        yield Outcome(claim.id, "rebound", state, claim.sentence, claim.evidence, jobs[file])


def _accuracy(evidence: Evidence, checkpoint: Id) -> Iterator[Outcome]:
    """How much clean accuracy was lost to another checkpoint, such as the one before."""
    for claim in evidence.claims:
        if not isinstance(claim, DifferenceClaim) or claim.metric != "ca":
            continue
        first, second = (evidence.measurements[id_] for id_ in (claim.measurement, claim.against))
        if first.checkpoint != checkpoint or second.checkpoint == checkpoint:
            continue
        state: State = "passed"
        if claim.interval.low < -MOST_LOST:
            state = "failed" if claim.difference < -MOST_LOST else "warned"
        yield Outcome(claim.id, "accuracy", state, claim.sentence, claim.evidence)
