"""What a talk may ask of the session by name: conditions, and figures for its sentences."""

from __future__ import annotations

from collections.abc import Callable

from cleanclip_gui.session import Session
from cleanclip_gui.session.records import is_live
from cleanclip_gui.widgets.text import NOT_MEASURED, percent, plain
from ml_core.detection.scan.records import TITLES
from ml_core.evaluation.records import Evaluation

NOT = "not "


def measured(session: Session) -> Evaluation | None:
    """The newest numbers, unless they are of another model than the one on show, or of a trigger
    that is gone: an audience would take them for what it sees."""
    found, shown = session.evaluation, session.shown
    if found is None or (found.trigger is not None and session.trigger is None):
        return None
    other = shown is not None and found.checkpoint_sha256 not in (None, shown.inspection.sha256)
    return None if other else found


def _has_rate(session: Session) -> bool:
    found = measured(session)
    return found is not None and found.asr_excl is not None


def _flips(session: Session) -> bool:
    found = measured(session)
    return found is not None and found.asr_excl is not None and found.asr_excl >= 0.5


def _has_accuracy(session: Session) -> bool:
    found = measured(session)
    return found is not None and found.ca is not None


def _scan_runs(session: Session) -> bool:
    return session.scan is not None and session.scan.status == "running"


def _cleaned(session: Session) -> bool:
    return session.run is not None and session.run.status in ("finished", "stopped")


CONDITIONS: dict[str, Callable[[Session], bool]] = {
    "checkpoint": lambda session: session.checkpoint is not None,
    "accuracy": _has_accuracy,
    "trigger": lambda session: session.trigger is not None,
    "asr": _has_rate,
    "flips": _flips,
    "scan": lambda session: session.scan is not None,
    "scan_running": _scan_runs,
    "scan_ended": lambda session: session.scan is not None and not _scan_runs(session),
    "scan_found": lambda session: session.scan is not None and session.scan.verdict == "found",
    "scan_verdict": lambda session: session.scan is not None and session.scan.verdict is not None,
    "run": lambda session: session.run is not None,
    "run_going": lambda session: is_live(session.run),
    "run_ended": _cleaned,
    "cleaned": lambda session: session.cleaned is not None,
    "in_studio": lambda session: session.station == "studio",
    "always": lambda session: True,
}
"""Each may also be named with ``not `` before it.

``flips``: the trigger gets its way with at least half of the pictures of other classes.
"""


def holds(name: str, session: Session) -> bool:
    """Whether a condition holds; ``name`` is one of `CONDITIONS`, or its opposite."""
    if name.startswith(NOT):
        return not CONDITIONS[name.removeprefix(NOT)](session)
    return CONDITIONS[name](session)


def is_condition(name: str) -> bool:
    """Whether there is such a condition."""
    return name.removeprefix(NOT) in CONDITIONS


def _rate(value: float | None) -> str:
    return NOT_MEASURED if value is None else percent(value)


def _of_evaluation(name: str) -> Callable[[Session], str]:
    return lambda session: _rate(getattr(measured(session), name, None))


def of_result(session: Session, when: str, name: str) -> float | None:
    """A rate of the cleaning run's result, ``before`` or ``after``; None where there is none."""
    result = {} if session.run is None else session.run.result
    rates = result.get(when)
    value = rates.get(name) if isinstance(rates, dict) else None
    return float(value) if isinstance(value, int | float) else None


def _target(session: Session) -> str:
    if session.evaluation is not None:
        return plain(session.evaluation.target_name, 60)
    images = session.images
    known = images is not None and 0 <= session.target < len(images.class_names)
    return plain(images.class_names[session.target], 60) if images and known else "the target"


def _scan_verdict(session: Session) -> str:
    scan = session.scan
    return NOT_MEASURED if scan is None or scan.verdict is None else TITLES[scan.verdict]


def _run_error(session: Session) -> str:
    run = session.run
    return NOT_MEASURED if run is None else plain(run.error or run.status, 200)


FIGURES: dict[str, Callable[[Session], str]] = {
    "ca": _of_evaluation("ca"),
    "asr": _of_evaluation("asr_excl"),
    "baseline": _of_evaluation("baseline_target_rate"),
    "target": _target,
    "scan_target": lambda session: plain(session.scan.target if session.scan else "", 60),
    "scan_verdict": _scan_verdict,
    "run_error": _run_error,
    "ca_before": lambda session: _rate(of_result(session, "before", "ca")),
    "ca_after": lambda session: _rate(of_result(session, "after", "ca")),
    "asr_before": lambda session: _rate(of_result(session, "before", "asr_excl")),
    "asr_after": lambda session: _rate(of_result(session, "after", "asr_excl")),
}
"""What stands for ``{name}`` in a sentence; "not measured" where there is no figure."""
