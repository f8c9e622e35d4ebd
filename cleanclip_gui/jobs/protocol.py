"""How the window reads a child's lines and its end: plain functions, no Qt."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Sequence
from typing import Any

from ml_core.events import Done, Event, Finding, Message, Metric, Progress, Saved, from_json

_STATUSES = frozenset({"finished", "stopped", "cancelled", "failed"})
# What Windows returns for a process that died of a memory fault.
_ACCESS_VIOLATION = 0xC0000005
# How torchrun's last lines tell of the process that a signal ended first.
_FIRST_KILLED = re.compile(r"Root Cause.*?Signal \d+ \((\w+)\) received", re.DOTALL)
INTERRUPTED = frozenset({"killed", "crashed", "no_result", "protocol"})
"""Codes of a child that was ended before its last word: its run stands as interrupted."""


class MalformedEventError(ValueError):
    """The child sent something that looks like an event and is none."""


def read_event(line: str) -> Event | None:
    """Read one line of the child; None if it is ordinary output, which belongs in the log.

    Raises
    ------
    MalformedEventError
        If the line is meant as an event and cannot be read as one.
    """
    text = line.strip()
    if not text.startswith("{"):
        return None
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.startswith('{"event"'):
            raise MalformedEventError(text[:200]) from error
        return None
    if not isinstance(fields, dict) or "event" not in fields:
        return None
    try:
        event = from_json(text)
    except (ValueError, TypeError, AttributeError) as error:
        raise MalformedEventError(text[:200]) from error
    if not _well_formed(event):
        raise MalformedEventError(text[:200])
    return event


def _guess(name: str) -> str:
    """What a signal mostly means, and what helps."""
    advice = ", probably out of memory: close other programs or use a smaller batch"
    return advice if name == "SIGKILL" else ""


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _well_formed(event: Event) -> bool:
    """Whether the fields have the types that the widgets rely on."""
    if isinstance(event, Progress):
        optional = (event.rate, event.seconds_left)
        return (
            isinstance(event.stage, str)
            and _number(event.done)
            and _number(event.total)
            and all(value is None or _number(value) for value in optional)
        )
    if isinstance(event, Metric):
        return _number(event.step) and _number(event.total_steps)
    if isinstance(event, Message):
        return isinstance(event.text, str)
    if isinstance(event, Finding):
        return isinstance(event.kind, str) and isinstance(event.values, dict)
    if isinstance(event, Saved):
        return isinstance(event.path, str) and _number(event.step)
    return (
        event.status in _STATUSES
        and isinstance(event.result, dict)
        and isinstance(event.error, str)
        and isinstance(event.details, str)
    )


def explain_exit(returncode: int, tail: Sequence[str], *, job: str = "cleaning job") -> Done:
    """Say why a child ended without a last word.

    Parameters
    ----------
    returncode
        Of ``Popen``: the negative signal number if a signal ended the child.
    tail
        The child's last lines of ordinary output.
    job
        What to call it in the sentence.
    """
    details = "\n".join(tail)
    if returncode < 0:
        try:
            name = signal.Signals(-returncode).name
        except ValueError:
            name = f"signal {-returncode}"
        sentence = f"The {job} was killed by {name}{_guess(name)}."
        return Done("failed", {}, sentence, "killed", details)
    killed = _FIRST_KILLED.search(details)
    if killed is not None:
        name = killed[1]
        sentence = f"A process of the {job} was killed by {name}{_guess(name)}."
        return Done("failed", {}, sentence, "killed", details)
    if returncode & 0xFFFFFFFF == _ACCESS_VIOLATION:
        return Done("failed", {}, f"The {job} crashed in native code.", "killed", details)
    if returncode == 0:
        return Done("failed", {}, f"The {job} ended without a result.", "no_result", details)
    return Done(
        "failed",
        {},
        f"The {job} ended with exit code {returncode} before it was done.",
        "crashed",
        details,
    )
