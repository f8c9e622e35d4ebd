"""A talk as a JSON file: what it may show, and the sentences of the tour. It holds no code."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator
from PySide6.QtCore import QObject, QTimer, Signal

from cleanclip_gui.session import Session
from cleanclip_gui.session.records import JobState, RunState, is_live
from cleanclip_gui.widgets.text import NOT_MEASURED, percent, plain
from ml_core.detection.scan.records import TITLES
from ml_core.evaluation.records import Evaluation
from ml_core.paths import resource
from ml_core.reading.errors import InputError
from ml_core.reading.json_file import JsonFile
from ml_core.records import Record

NOT = "not "


def measured(session: Session) -> Evaluation | None:
    """The newest numbers, unless they are of another model than the one on show, or of a trigger
    that is gone: an audience would take them for what it sees."""
    evaluation, shown = session.evaluation, session.shown
    if evaluation is None or (evaluation.trigger is not None and session.trigger is None):
        return None
    sha256 = evaluation.checkpoint_sha256
    other = shown is not None and sha256 not in (None, shown.inspection.sha256)
    return None if other else evaluation


def _has_rate(session: Session) -> bool:
    evaluation = measured(session)
    return evaluation is not None and evaluation.asr_excl is not None


def _flips(session: Session) -> bool:
    evaluation = measured(session)
    return evaluation is not None and evaluation.asr_excl is not None and evaluation.asr_excl >= 0.5


def _has_accuracy(session: Session) -> bool:
    evaluation = measured(session)
    return evaluation is not None and evaluation.ca is not None


def _job(kind: str, has: Callable[[JobState], bool]) -> Callable[[Session], bool]:
    """Whether there is a job of a kind, and one that has something."""
    return lambda session: kind in session.jobs and has(session.jobs[kind])


def run_of(session: Session) -> RunState | None:
    """The newest run, unless it is of another checkpoint than the open one."""
    run, facts = session.run, session.checkpoint
    return run if run and facts and run.source in ("", facts.path) else None


def step_of_run(session: Session) -> Literal["search", "clean", "scan", "test"] | None:
    """What the run at work does at the moment: a chain may search before it cleans."""
    if not is_live(run_of(session)):
        return None
    step = session.run_progress.step if session.run_progress else None
    if step is None or step.kind == "clean":
        return "clean"
    if step.kind == "scan":
        return "scan" if step.round else "search"
    return "test"


def _cleaned(session: Session) -> bool:
    run = run_of(session)
    return run is not None and run.status in ("finished", "stopped")


CONDITIONS: dict[str, Callable[[Session], bool]] = {
    "checkpoint": lambda session: session.checkpoint is not None,
    "accuracy": _has_accuracy,
    "trigger": lambda session: session.trigger is not None,
    "asr": _has_rate,
    "flips": _flips,
    "examining": _job("examination", lambda job: job.status == "running"),
    "scan": _job("scan", lambda job: True),
    "scan_running": _job("scan", lambda job: job.status == "running"),
    "scan_ended": _job("scan", lambda job: job.status != "running"),
    "scan_found": _job("scan", lambda job: job.verdict == "found"),
    "scan_verdict": _job("scan", lambda job: job.verdict is not None),
    "run": lambda session: run_of(session) is not None,
    "run_going": lambda session: is_live(run_of(session)),
    "run_searching": lambda session: step_of_run(session) == "search",
    "run_scanning": lambda session: step_of_run(session) == "scan",
    "run_testing": lambda session: step_of_run(session) == "test",
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
    """A rate of the cleaning run's result, ``before`` or ``after``; None without one."""
    run = run_of(session)
    rates = {} if run is None else run.result.get(when)
    value = rates.get(name) if isinstance(rates, dict) else None
    return float(value) if isinstance(value, int | float) else None


def _target(session: Session) -> str:
    if session.evaluation is not None:
        return plain(session.evaluation.target_name, 60)
    images = session.images
    known = images is not None and 0 <= session.target < len(images.class_names)
    return plain(images.class_names[session.target], 60) if images and known else "the target"


def _scan_verdict(session: Session) -> str:
    scan = session.jobs.get("scan")
    return NOT_MEASURED if scan is None or scan.verdict is None else TITLES[scan.verdict]


def _scan_target(session: Session) -> str:
    scan = session.jobs.get("scan")
    return "" if scan is None else plain(scan.target, 60)


def _run_error(session: Session) -> str:
    run = run_of(session)
    return NOT_MEASURED if run is None else plain(run.error or run.status, 200)


def _run_outcome(session: Session) -> str:
    run = run_of(session)
    return (run.outcome if run else "") or "it was not scanned again"


FIGURES: dict[str, Callable[[Session], str]] = {
    "ca": _of_evaluation("ca"),
    "asr": _of_evaluation("asr_excl"),
    "baseline": _of_evaluation("baseline_target_rate"),
    "target": _target,
    "scan_target": _scan_target,
    "scan_verdict": _scan_verdict,
    "run_error": _run_error,
    "run_outcome": _run_outcome,
    "ca_before": lambda session: _rate(of_result(session, "before", "ca")),
    "ca_after": lambda session: _rate(of_result(session, "after", "ca")),
    "asr_before": lambda session: _rate(of_result(session, "before", "asr_excl")),
    "asr_after": lambda session: _rate(of_result(session, "after", "asr_excl")),
}
"""What stands for ``{name}`` in a sentence; "not measured" where there is no figure."""


FORMAT = "cleanclip-talk-1"
SHIPPED = ("tour", "evidence")
MAY_RUN = frozenset(
    {
        *("trigger.demo", "trigger.measure_all", "trigger.next", "trigger.previous"),
        *("trigger.flip_a", "trigger.flip_b", "edit.clear", "edit.undo", "edit.redo"),
        *("scan.start", "scan.cancel", "scan.try", "scan.clean"),
        *("clean.set_talk", "clean.set_default", "clean.start", "clean.pause", "clean.stop"),
        *("clean.it", "clean.try", "file.examine", "view.trigger", "view.attribution"),
        *("view.map", "view.pair"),
        *("view.classes", "view.text", "view.gallery", "view.numbers", "view.number"),
    }
)
"""Commands of steps: a talk may come from a stranger, so none that opens, saves or deletes."""
_FIGURE = re.compile(r"\{([a-z_]+)\}")
_FILE = JsonFile("a talk", "see docs/talks.md", max_bytes=1 << 20, max_parts=20_000)


def _words(text: str) -> str:
    """Check the figures that a sentence names."""
    for name in _FIGURE.findall(text):
        if name not in FIGURES:
            raise ValueError(
                f"names the unknown figure {{{plain(name, 40)}}}; there are {', '.join(FIGURES)}"
            )
    if set("{}") & set(_FIGURE.sub("", text)):
        raise ValueError("has a brace that is not around the name of a figure, such as {asr}")
    return text


def _condition(name: str) -> str:
    if not is_condition(name):
        known = ", ".join(CONDITIONS)
        raise ValueError(f"names the unknown condition “{plain(name, 40)}”; there are {known}")
    return name


def _command(name: str) -> str:
    if name and name not in MAY_RUN:
        raise ValueError(
            f"names the command “{plain(name, 40)}”, which a talk does not run; "
            f"it runs {', '.join(sorted(MAY_RUN))}"
        )
    return name


def _choices(field: str) -> BeforeValidator:
    """Take the text of the one choice in the place of a list of choices."""
    return BeforeValidator(lambda value: [{field: value}] if isinstance(value, str) else value)


class _Choice(Record):
    when: str = Field(default="always", max_length=60)

    check_when = field_validator("when")(_condition)


class Saying(_Choice):
    """What to say if a condition holds."""

    say: str = Field(max_length=600)

    check_say = field_validator("say")(_words)


class Place(_Choice):
    """What to frame if a condition holds: the object name of a widget."""

    widget: str = Field(max_length=60)


def _names(value: Any) -> Any:
    """One condition in the place of a list of them; checked here, as names are strings anyway."""
    names = [value] if isinstance(value, str) else value
    if isinstance(names, list):
        for name in names:
            _condition(str(name))
    return names


_SOME = Field(min_length=1, max_length=12)


class Recorded(Record):
    """A result of another time: what it was, in a few words and in a sentence, and its origin."""

    figure: str = Field(min_length=1, max_length=40)
    text: str = Field(max_length=600)
    made: str = Field(min_length=1, max_length=200)


class CurvePoint(Record):
    """A number of poisoned pairs and the attack success rate after it, with its interval."""

    pairs: int = Field(ge=1, le=10**12)
    asr: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)


class Step(Record):
    """One stop of a talk.

    The first of ``text`` whose condition holds is on the card, that of ``target`` is in the frame.
    ``run`` is the command that Next does here before it goes on, shown as ``run_text``, while
    ``run_if`` holds and none of ``ready`` does; Next waits for one of ``ready`` otherwise.
    ``prepare`` is the command that sets the station up when the step is shown. ``scene`` is the
    station that an audience sees, if it is another; ``curve`` a chart that it sees instead.
    """

    title: str = Field(min_length=1, max_length=60)
    station: str = Field(max_length=40)
    scene: str = Field(default="", max_length=40)
    curve: tuple[CurvePoint, ...] = Field(default=(), max_length=12)
    text: Annotated[tuple[Saying, ...], _choices("say"), _SOME]
    target: Annotated[tuple[Place, ...], _choices("widget"), _SOME] = (Place(widget=""),)
    ready: Annotated[tuple[str, ...], BeforeValidator(_names), _SOME] = ("always",)
    run: str = Field(default="", max_length=60)
    run_text: str = Field(default="", max_length=40)
    run_if: str = Field(default="always", max_length=60)
    prepare: str = Field(default="", max_length=60)
    notes: str = Field(default="", max_length=8000)
    recorded: Recorded | None = None

    check_condition = field_validator("run_if")(_condition)
    check_commands = field_validator("run", "prepare")(_command)

    def body(self, session: Session) -> str:
        """What to say now, with the session's figures."""
        text = next((variant.say for variant in self.text if holds(variant.when, session)), "")
        return plain(_FIGURE.sub(lambda match: FIGURES[match[1]](session), text), 1500)

    def framed(self, session: Session) -> str:
        """Object name of the widget to frame now; empty: none."""
        return next((target.widget for target in self.target if holds(target.when, session)), "")

    def is_ready(self, session: Session) -> bool:
        """Whether Next may go on."""
        return any(holds(name, session) for name in self.ready)

    def acts(self, session: Session) -> bool:
        """Whether Next does something here first."""
        return bool(self.run) and not self.is_ready(session) and holds(self.run_if, session)


class Talk(Record):
    """Steps in their order."""

    format: str
    title: str = Field(min_length=1, max_length=80)
    steps: tuple[Step, ...] = Field(min_length=1, max_length=60)


def load(path: Path) -> Talk:
    """The talk of a file.

    Raises
    ------
    InputError
        With one sentence that names the step and what is wrong with it.
    """
    name = plain(path.name, 80)
    fields = _FILE.read(path)
    if fields.get("format") != FORMAT:
        raise InputError(f"{name} is not a talk: its format is not “{FORMAT}”.", "damaged")
    steps = fields.get("steps")
    if isinstance(steps, list):
        if len(steps) > 60:
            raise InputError(f"{name} has {len(steps)} steps; a talk has at most 60.", "damaged")
        for number, step in enumerate(steps, start=1):
            _FILE.check(step, Step, f"Step {number} of {name}")
    return _FILE.check(fields, Talk, name)


def shipped(name: str) -> Talk:
    """One of the talks that come with the program, of `SHIPPED`."""
    return load(resource("talks", f"{name}.json"))


def check_names(talk: Talk, stations: Container[str], widgets: Container[str]) -> None:
    """See that a window has what a talk names.

    Raises
    ------
    InputError
        If a step names a station or a widget that does not exist.
    """
    for number, step in enumerate(talk.steps, start=1):
        where = f"Step {number} (“{plain(step.title, 60)}”)"
        for name in (step.station, step.scene or step.station):
            if name not in stations:
                raise InputError(
                    f"{where} names the unknown station “{plain(name, 40)}”.", "damaged"
                )
        for place in step.target:
            if place.widget and place.widget not in widgets:
                name = plain(place.widget, 60)
                raise InputError(
                    f"{where} points at “{name}”, which the window does not have.", "damaged"
                )


_LOOK_EVERY_MS = 20


@dataclass(frozen=True)
class Wait:
    """What to wait for, at most how long, and the sentence if it does not come."""

    until: Callable[[], bool]
    seconds: float
    otherwise: str


class Scenario(QObject):
    """Runs a generator of :class:`Wait` in the event loop; ``ended`` carries an error or None.

    The acts stand between the ``yield``s, so a script reads like what a person does.
    """

    ended = Signal(object)

    def __init__(self, script: Iterator[Wait], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._script = script
        self._wait: Wait | None = None
        self._since = 0.0
        self._timer = QTimer(self, interval=_LOOK_EVERY_MS)
        self._timer.timeout.connect(self._on_timeout)

    def start(self) -> None:
        """Play from the first act."""
        self._next()

    def stop(self) -> None:
        """Play no further act."""
        self._timer.stop()

    def _on_timeout(self) -> None:
        assert self._wait is not None
        try:
            come = self._wait.until()
        except Exception as error:
            self._timer.stop()
            self.ended.emit(error)
            return
        if come:
            self._timer.stop()
            self._next()
        elif time.monotonic() - self._since > self._wait.seconds:
            self._timer.stop()
            self.ended.emit(TimeoutError(self._wait.otherwise))

    def _next(self) -> None:
        try:
            self._wait = next(self._script)
        except StopIteration:
            self.ended.emit(None)
            return
        except Exception as error:
            self.ended.emit(error)
            return
        self._since = time.monotonic()
        self._timer.start()
