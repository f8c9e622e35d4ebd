"""What *Clean it* says of its steps and at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_core.detection.scan.records import Scan
from ml_core.detection.scan.verdict import is_near
from ml_core.evaluation.records import largest_loss
from ml_core.figures import percent
from ml_core.jobs.auto import StepKind
from ml_core.jobs.auto.choice import MOST_LOST, Round, is_found
from ml_core.reading.errors import plain

STOPPED = (
    "It was stopped before its end. When “Clean it” is started again, it goes on with this step."
)
Record = Mapping[str, Any]


def about_scan(scan: Scan) -> str:
    """What a scan says, with what decided it."""
    judgement = scan.judgement
    return " ".join([f"{judgement.title}.", *judgement.reasons[:1]])


def about_round(cleaned: Round) -> str:
    """What a round changed."""
    attack = f"{percent(cleaned.asr_before)} to {percent(cleaned.asr)}"
    accuracy = f"{percent(cleaned.ca_before)} to {percent(cleaned.ca)}"
    of = f" of “{plain(cleaned.trigger[:60])}”" if cleaned.trigger else ""
    first = f"The attack success rate{of} went from {attack}."
    if cleaned.asr is None:
        first = "No attack was measured: no trigger is known, or there are no labelled pictures."
    second = f"Clean accuracy went from {accuracy}."
    if cleaned.ca is None:
        second = "Clean accuracy was not measured: that needs labelled pictures."
    return f"{first} {second} {cleaned.stopped_because}".rstrip()


def about_rebound(record: Record) -> str:
    """The highest success rate of a rebound test."""
    highest, steps = percent(record["worst"]["max_asr"]), record["steps"]
    if record["stays_clean"]:
        return (
            f"Within {steps} steps of finetuning on clean data, the attack success rate reached "
            f"{highest} at most."
        )
    return (
        f"The backdoor comes back: within {steps} steps of finetuning on clean data, the attack "
        f"success rate reached {highest}."
    )


def not_tested(kind: StepKind, error: str) -> str:
    """What is not known because a proof could not be run."""
    what = "whether the backdoor comes back" if kind == "rebound" else "other forms of the trigger"
    return f"Not tested: {what}. {error}"


def about_holdouts(record: Record) -> str:
    """The worst of other forms of the trigger and of other triggers, and what was lost most."""
    worst = record.get("worst")
    if not worst or worst.get("after") is None:
        first = "No other form of the trigger and no other trigger could be measured."
    else:
        first = (
            "Among other forms of the trigger and other triggers, the highest success rate is "
            f"{percent(worst['after'])} ({worst['group']}: {worst['name']})."
        )
    lost = largest_loss(record["rows"])
    return f"{first} The largest loss among these hold-outs: {lost}." if lost else first


def sentences(
    first: Scan | None,
    named: bool,
    rounds: Sequence[Round],
    best: Round | None,
    proofs: Sequence[str],
) -> Iterator[str]:
    """The answer of a whole chain, a sentence or two at a time.

    Parameters
    ----------
    first
        The scan before cleaning; None where there is none.
    named
        Whether somebody named the trigger.
    rounds, best
        The rounds that have cleaned, and the one that is kept.
    proofs
        What the rebound test and the hold-outs came to, where they were run.
    """
    if not rounds:
        yield from reasons(first, rounds, best)
        return
    shown = best or rounds[-1]
    yield about_round(shown)
    if shown.scan is None:
        yield "After cleaning the checkpoint was not scanned: what is left is not known."
    elif shown.outcome == "nothing_found":
        yield "After cleaning the same scan finds nothing."
    else:
        still = "still says" if is_found(shown.scan) else "says"
        yield f"After cleaning the same scan {still}: {about_scan(shown.scan)}"
    if first is not None and shown.scan is not None and _lacks_overlays(first, shown.scan):
        yield (
            "The scan could not search for triggers over the whole picture again: the cleaned "
            "weights are too far from the reference's."
        )
    yield from proofs
    if not called_for(first, named):
        points = round(shown.lost, 1)
        change = f"{'gained' if points < 0 else 'cost'} {abs(points):.1f} points of clean accuracy"
        cost = "" if shown.ca is None else f": it {change}"
        yield f"Nothing called for cleaning{cost}."
    if best is not None and best.outcome != "still_found":
        return
    if best is None:
        yield (
            f"Each round lost more than {MOST_LOST:g} points of clean accuracy: no round is kept, "
            "and the checkpoint is unchanged."
        )
    else:
        yield "What is left could not be cleaned away."
    weights = None if first is None else first.stages.weights
    if weights is not None and is_near(weights.image, weights.text):
        yield "The reference itself is a clean model of the same kind: use it instead."
    else:
        yield "Take another model, or clean again with more pairs of other sources."


def reasons(first: Scan | None, rounds: Sequence[Round], best: Round | None) -> Iterator[str]:
    """What the answer stands on: the scan before cleaning, and which round is kept, and why."""
    if first is None:
        yield "The checkpoint could not be scanned before cleaning."
    else:
        yield f"Before cleaning the scan says: {about_scan(first)}"
    if rounds:
        shown = best or rounds[-1]
        which = f"round {rounds.index(shown) + 1} of {len(rounds)}"
        yield f"{shown.title}, {which}. {shown.why}"


def called_for(first: Scan | None, named: bool) -> bool:
    """Whether anything called for cleaning, by the first scan and whether a trigger was named."""
    return named or first is None or first.judgement.verdict != "nothing"


def _lacks_overlays(first: Scan, last: Scan) -> bool:
    """Whether overlays were searched before cleaning and could not be after it."""
    before, after = first.stages, last.stages
    return bool(before.overlays or before.thorough) and not (after.overlays or after.thorough)
