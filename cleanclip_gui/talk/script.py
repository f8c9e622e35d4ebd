"""A talk as a JSON file: steps with words, and names of what the window has. Nothing of it runs."""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from cleanclip_gui.session import Session
from cleanclip_gui.talk.knowledge import CONDITIONS, FIGURES, holds, is_condition
from cleanclip_gui.widgets.text import plain
from ml_core.paths import resource
from ml_core.reading.errors import InputError
from ml_core.reading.json_file import JsonFile

FORMAT = "cleanclip-talk-1"
SHIPPED = ("tour", "evidence")
MAY_RUN = frozenset(
    {
        *("trigger.demo", "trigger.measure_all", "trigger.next", "trigger.previous"),
        *("trigger.flip_a", "trigger.flip_b", "edit.clear", "edit.undo", "edit.redo"),
        *("scan.set_demo", "scan.start", "scan.cancel", "scan.try", "scan.clean"),
        *("clean.set_talk", "clean.set_default", "clean.start", "clean.pause", "clean.stop"),
        *("clean.try", "view.trigger", "view.attribution", "view.map", "view.pair"),
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


def _sentences(value: Any) -> Any:
    """One sentence in the place of a list of choices."""
    return [{"say": value}] if isinstance(value, str) else value


def _widgets(value: Any) -> Any:
    """One name in the place of a list of choices."""
    return [{"widget": value}] if isinstance(value, str) else value


class Saying(BaseModel):
    """What to say if a condition holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    say: str = Field(max_length=600)
    when: str = Field(default="always", max_length=60)

    check_when = field_validator("when")(_condition)
    check_say = field_validator("say")(_words)


class Place(BaseModel):
    """What to frame if a condition holds: the object name of a widget."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widget: str = Field(max_length=60)
    when: str = Field(default="always", max_length=60)

    check_when = field_validator("when")(_condition)


def _names(value: Any) -> Any:
    """One condition in the place of a list of them; checked here, as names are strings anyway."""
    names = [value] if isinstance(value, str) else value
    if isinstance(names, list):
        for name in names:
            _condition(str(name))
    return names


_SOME = Field(min_length=1, max_length=12)


class Recorded(BaseModel):
    """A result of another time: what it was, in a few words and in a sentence, and its origin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    figure: str = Field(min_length=1, max_length=40)
    text: str = Field(max_length=600)
    made: str = Field(min_length=1, max_length=200)


class Step(BaseModel):
    """One stop of a talk.

    The first of ``text`` whose condition holds is on the card, that of ``target`` is in the frame.
    ``run`` is the command that Next does here before it goes on, shown as ``run_text``, while
    ``run_if`` holds and none of ``ready`` does; Next waits for one of ``ready`` otherwise.
    ``prepare`` is the command that sets the station up when the step is shown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field(min_length=1, max_length=60)
    station: str = Field(max_length=40)
    text: Annotated[tuple[Saying, ...], BeforeValidator(_sentences), _SOME]
    target: Annotated[tuple[Place, ...], BeforeValidator(_widgets), _SOME] = (Place(widget=""),)
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
        said = next((one.say for one in self.text if holds(one.when, session)), "")
        return plain(_FIGURE.sub(lambda found: FIGURES[found[1]](session), said), 1500)

    def framed(self, session: Session) -> str:
        """Object name of the widget to frame now; empty: none."""
        return next((one.widget for one in self.target if holds(one.when, session)), "")

    def is_ready(self, session: Session) -> bool:
        """Whether Next may go on."""
        return any(holds(name, session) for name in self.ready)

    @property
    def prepares_always(self) -> bool:
        """Whether the station is set up each time, as nothing says that it is no longer needed."""
        return bool(self.prepare) and "always" in self.ready

    def acts(self, session: Session) -> bool:
        """Whether Next does something here first."""
        return bool(self.run) and not self.is_ready(session) and holds(self.run_if, session)


class Talk(BaseModel):
    """Steps in their order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
        If a step names a station or a widget that is not there.
    """
    for number, step in enumerate(talk.steps, start=1):
        where = f"Step {number} (“{plain(step.title, 60)}”)"
        if step.station not in stations:
            raise InputError(
                f"{where} names the unknown station “{plain(step.station, 40)}”.", "damaged"
            )
        for place in step.target:
            if place.widget and place.widget not in widgets:
                name = plain(place.widget, 60)
                raise InputError(
                    f"{where} points at “{name}”, which the window does not have.", "damaged"
                )
