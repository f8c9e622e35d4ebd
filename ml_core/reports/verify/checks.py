"""What a verification says: one check after the other, and the line that adds them up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ml_core.reading.errors import InputError

State = Literal["holds", "fails", "not checked", "recorded"]
LEVELS: tuple[str, ...] = ("intact", "arithmetic", "identity", "inference")
DAMAGED, DOES_NOT_HOLD, HOLDS = 2, 1, 0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    level
        0 intact, 1 arithmetic, 2 identity, 3 inference (`LEVELS`).
    subject
        Claim, file, checkpoint or measurement.
    state
        ``recorded`` is what nobody can check: seconds, hardware, notes.
    sentence
        What was found.
    reason
        Why something is not checked, in a few words for the last line: ``no images given``.
    """

    level: int
    subject: str
    state: State
    sentence: str
    reason: str = ""


def looked_at(
    level: int, subject: str, faults: Iterable[str], sentence: str, before: str = ""
) -> Check:
    """A check that holds with this sentence unless there is a fault.

    Parameters
    ----------
    faults
        Sentences; the first one counts, and an `InputError` while looking is one.
    before
        Stands before a fault's sentence.
    """
    try:
        fault = next(iter(faults), "")
    except InputError as error:
        fault = error.sentence
    if fault:
        return Check(level, subject, "fails", f"{before}{fault}")
    return Check(level, subject, "holds", sentence)


def summary(checks: Iterable[Check]) -> str:
    """The last line: ``Checks: 31 hold, 0 fail, 4 not made (no images given)``."""
    listed = list(checks)
    count = {state: sum(check.state == state for check in listed) for state in _STATES}
    reasons = dict.fromkeys(check.reason for check in listed if check.reason)
    why = f" ({', '.join(reasons)})" if reasons and count["not checked"] else ""
    line = f"Checks: {count['holds']} hold, {count['fails']} fail, {count['not checked']} not made"
    recorded = f", {count['recorded']} recorded only" if count["recorded"] else ""
    return f"{line}{why}{recorded}"


def exit_status(checks: Iterable[Check], *, strict: bool = False) -> int:
    """0 if everything that was checked holds, 2 if the bundle is damaged, 1 if a claim fails.

    ``strict``: what was not checked counts as a claim that fails.
    """
    missing = ("fails", "not checked") if strict else ("fails",)
    checks = list(checks)
    if any(check.level == 0 and check.state == "fails" for check in checks):
        return DAMAGED
    return DOES_NOT_HOLD if any(check.state in missing for check in checks) else HOLDS


_STATES: tuple[State, ...] = ("holds", "fails", "not checked", "recorded")
