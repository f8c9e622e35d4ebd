"""What a job reports to its listener, and how a listener controls it.

Every job is a generator of these frozen records. They travel as JSON lines between the
worker process and the window.
"""

from __future__ import annotations

import copy
import json
import math
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Annotated, Any, Generic, Literal, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from ml_core.reading.errors import CancelledError
from ml_core.reading.strict_json import JsonError, parse_object

_MAX_BYTES = 32 << 20  # of one event
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the current stage is. ``total`` 0 means unknown; ``rate`` is items a second."""

    stage: str
    done: int
    total: int
    rate: float | None = None
    seconds_left: float | None = None

    @classmethod
    def timed(cls, stage: str, done: int, total: int, begin: float, first: int = 0) -> Progress:
        """With rate and time left: at ``begin`` by `time.monotonic` ``first`` items were done."""
        rate = (done - first) / max(time.monotonic() - begin, 1e-6)
        return cls(stage, done, total, rate or None, (total - done) / rate if rate else None)


@dataclass(frozen=True, slots=True)
class Metric:
    """Numbers of one training step: loss parts, ``lr``, ``pairs_per_second``, or an evaluation.

    Keys of an evaluation are ``ca``, ``asr_excl``, ``poisoned_accuracy`` (fractions) and
    ``ca_low``, ``ca_high``, ``asr_low``, ``asr_high`` (95 % intervals).
    """

    step: int
    total_steps: int
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class Message:
    """A sentence for the log."""

    text: str
    level: Literal["info", "warning", "error"] = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a job found on its way: ``kind`` says what, ``values`` are JSON-ready."""

    kind: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Saved:
    """A file that is complete on disk. ``what`` says if it is a resume state or a checkpoint.

    ``step`` is the checkpoint of one evaluation, kept beside the final one.
    """

    path: str
    what: Literal["resume", "step", "checkpoint", "result"]
    step: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """The last event of a job. ``error`` is one plain sentence when ``status`` is failed."""

    status: Literal["finished", "stopped", "cancelled", "failed"]
    result: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    error_code: str = ""
    details: str = ""


Event = Progress | Metric | Message | Finding | Saved | Done
_Step = TypeVar("_Step")
_Result = TypeVar("_Result")
_Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_KINDS: dict[str, type[Event]] = {
    "progress": Progress,
    "metric": Metric,
    "message": Message,
    "finding": Finding,
    "saved": Saved,
    "done": Done,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def finite(value: Any, text: Callable[[str], str] = str) -> Any:
    """A JSON-ready copy in which NaN and infinities, which JSON lacks, are None.

    Parameters
    ----------
    text
        Makes text and keys those that are written: for other programs `printable`, as many read no
        half characters.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {text(str(k)): finite(v, text) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v, text) for v in value]
    return text(value) if isinstance(value, str) else value


def to_json(event: Event) -> str:
    """One line of JSON, without the line end."""
    return json.dumps({"event": _NAMES[type(event)], **finite(asdict(event))})


def from_json(line: str) -> Event:
    """Read one line written by :func:`to_json`.

    Every field is of the type that its record declares, whoever wrote the line.

    Raises
    ------
    ValueError
        If the line is not an event.
    """
    try:
        record = parse_object(
            line.encode("utf-8", "surrogatepass"),
            max_bytes=_MAX_BYTES,
            max_depth=_MAX_DEPTH,
            half_characters=True,  # names of files may hold some
        )
        name = record.pop("event", None)
        kind = _KINDS.get(name) if isinstance(name, str) else None
        if kind is None:
            raise JsonError("it names no event")
        if kind is Metric and isinstance(record.get("values"), dict):
            values = record["values"]
            record["values"] = {k: math.nan if v is None else v for k, v in values.items()}
        checked = _CHECKED[name].model_validate(record)
    except (JsonError, ValidationError) as error:
        raise ValueError(f"Not a job event: {line[:200]!r}") from error
    return kind(**{item.name: getattr(checked, item.name) for item in fields(kind)})


def _checked(kind: type[Event]) -> type[BaseModel]:
    """A record's fields, for what comes from elsewhere."""
    hints = get_type_hints(kind)
    declared: dict[str, Any] = {}
    for item in fields(kind):
        default = ... if item.default is MISSING else item.default
        if item.default_factory is not MISSING:
            default = Field(default_factory=item.default_factory)
        # A step or a total that fits no 64-bit number is none.
        hint = _Whole if hints[item.name] is int else hints[item.name]
        declared[item.name] = (hint, default)
    config = ConfigDict(strict=True, extra="forbid")
    return create_model(kind.__name__, __config__=config, **declared)


_CHECKED = {name: _checked(kind) for name, kind in _KINDS.items()}


@dataclass(frozen=True, eq=False)
class Step(Generic[_Result]):
    """How far work is that is no job; ``result`` comes with the last step."""

    done: int
    total: int
    result: _Result | None = None


def forwarded(
    steps: Generator[_Step, None, _Result], event_of: Callable[[_Step], Event | None]
) -> Generator[Event, None, _Result]:
    """Yield an event for each step, or nothing where ``event_of`` gives None.

    Returns
    -------
    Result
        What the steps return.
    """
    while True:
        try:
            event = event_of(next(steps))
        except StopIteration as end:
            result: _Result = end.value
            return result
        if event is not None:
            yield event


def run_to_end(
    steps: Generator[_Step, None, _Result], each: Callable[[_Step], object] = lambda _: None
) -> _Result:
    """Run steps to their end, giving each to ``each``, and return their result."""
    while True:
        try:
            each(next(steps))
        except StopIteration as end:
            result: _Result = end.value
            return result


class Control:
    """How a listener steers a running job; safe to use from any thread.

    ``cancel`` ends it at once, ``stop`` ends it after the step in flight and keeps the
    result, ``pause`` and ``resume`` hold it between two steps.
    """

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._stopped = threading.Event()
        self._running = threading.Event()
        self._running.set()
        self._stop_cancels = False
        self._whole: Control | None = None

    def ended_by_stop(self) -> Control:
        """The same control for a job that saves nothing on its way: a stop cancels it."""
        other = copy.copy(self)
        other._stop_cancels = True
        return other

    def part(self) -> Control:
        """A control for a part of the job; it shares cancel and pause, but has its own stop."""
        other = Control()
        other._running, other._whole = self._running, self
        return other

    def cancel(self) -> None:
        """Ask the job to end at once; nothing more is saved."""
        self._cancelled.set()
        self._running.set()

    def stop(self) -> None:
        """Ask the job to finish its step, save and end."""
        self._stopped.set()
        self._running.set()

    def pause(self) -> None:
        """Hold the job before its next step."""
        self._running.clear()

    def resume(self) -> None:
        """Let a paused job go on."""
        self._running.set()

    @property
    def cancelled(self) -> bool:
        """Whether the job was asked to end at once."""
        whole = self._whole is not None and self._whole.cancelled
        return whole or self._cancelled.is_set() or (self._stop_cancels and self._stopped.is_set())

    @property
    def stopped(self) -> bool:
        """Whether the job was asked to save and end."""
        return self._stopped.is_set()

    @property
    def paused(self) -> bool:
        """Whether the job is held before its next step."""
        return not self._running.is_set()

    def wait_while_paused(self, timeout: float | None = None) -> bool:
        """Block while paused; return whether the job may go on."""
        return self._running.wait(timeout)

    def ends(self) -> bool:
        """Block while paused; return whether the job was asked to end at once."""
        self.wait_while_paused()
        return self.cancelled

    def watch(self, *_: object) -> None:
        """Block while paused, as a `Watch` that hears how far something is.

        Raises
        ------
        CancelledError
            If the job was asked to end at once.
        """
        if self.ends():
            raise CancelledError
