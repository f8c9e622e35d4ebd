"""What a station is, and what it is given.

A station is a folder with a widget that answers one question. It gets a :class:`Context`, owns its
commands, and asks the window around it through the signals of a :class:`Shell`; it knows neither
the window nor another station.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from cleanclip_gui.commands import Actions, Command
from cleanclip_gui.inference.inference import Inference, StudioDevice
from cleanclip_gui.jobs.runner import NewRunner, WaitingChild, new_runner
from cleanclip_gui.session import Session
from cleanclip_gui.session.answer import AnswerKeeper
from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.ticket import call
from cleanclip_gui.widgets.picture_grid import ScenePicture
from cleanclip_gui.widgets.prompts import Prompts

Kind = Literal[
    "checkpoint", "donor", "checkpoints", "reference", "trusted", "cleaned", "images", "run",
    "scan", "scan_made", "scan_event", "scan_reference", "auto", "trigger", "snapshot", "target",
    "role", "image", "stamped",
]  # fmt: skip
"""What a station may have opened; see :class:`Shell`."""


class Shell(QObject):
    """What a station asks of the window around it; a test takes the same requests and signals.

    :meth:`open` asks for something to be opened or put on show, by its kind:

    - ``checkpoint`` (path), ``donor`` (path, path of who gives the encoder that it lacks, asked
      before), ``checkpoints`` (paths): to be opened; each to be checked
    - ``reference``, ``trusted`` (path): what Studio compares with, and what cleaning trusts
    - ``cleaned`` (OpenCheckpoint, whether Studio looks at it): the cleaned one, open again
    - ``images`` (ImageSpec, label set, templates or None): to be evaluated on
    - ``run``, ``scan`` (folder): to be shown
    - ``scan_made`` (folder), ``scan_event`` (Event): a scan that another station made, or makes
    - ``auto`` (function): gets the `AutoSpec` that *Clean it* would start with now
    - ``scan_reference`` (path): what a scan compares with
    - ``stamped`` (folder, picture cells): pictures with what a scan found on them
    - ``trigger`` (Trigger or None, target), ``snapshot`` (OtherSnapshot), ``target`` (int),
      ``role`` (Role), ``image`` (int): what Studio has on its canvas, and looks at

    Signals
    -------
    failed, logged, job_logged
        An InputError or Failed to show; what has just happened, in a sentence; a line of a job,
        which only the log has.
    station_wanted
        The id of the station to show.
    header_changed
        Title, subtitle and reason above it.
    interrupted
        A sentence on a run that can be continued; empty without one.
    state_changed
        What :meth:`Keeps.state` gives differs from before.
    commands_changed
        Something can be done now that could not be done before, or the other way round.
    demo_opening, suspect_changing
        The demo begins, and an ended run is forgotten; another suspect checkpoint comes, and what
        was cleaned from the one before goes.
    computing_changed
        The settings of threads or precision have changed.
    ready, closing
        The window is complete; the window closes for good.
    """

    failed = Signal(object)
    logged = Signal(str)
    job_logged = Signal(str)
    station_wanted = Signal(str)
    header_changed = Signal(str, str, str)
    interrupted = Signal(str)
    state_changed = Signal()
    commands_changed = Signal()
    demo_opening = Signal()
    suspect_changing = Signal()
    computing_changed = Signal()
    ready = Signal()
    closing = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._takers: dict[Kind, list[Callable[..., object]]] = {}

    def takes(self, kind: Kind, taker: Callable[..., object]) -> None:
        """Register the function that opens things of a kind."""
        self._takers.setdefault(kind, []).append(taker)

    def opens(self, kind: Kind) -> bool:
        """Whether anybody takes a kind."""
        return kind in self._takers

    def open(self, kind: Kind, *what: object) -> None:
        """Let the function that takes this kind open or show something."""
        for taker in self._takers.get(kind, ()):
            call(taker, *what)


@dataclass(frozen=True, eq=False)
class Context:
    """What stations work with; a test makes one with what it needs."""

    session: Session = field(default_factory=Session)
    inference: Inference = field(default_factory=Inference)
    settings: SettingsStore = field(default_factory=SettingsStore)
    prompts: Prompts = field(default_factory=Prompts)
    shell: Shell = field(default_factory=Shell)
    actions: Actions = field(default_factory=Actions)
    new_runner: NewRunner = new_runner
    waiting_child: Callable[[str], WaitingChild | None] = lambda kind: None
    device: StudioDevice = field(init=False)
    answers: AnswerKeeper = field(init=False)

    def __post_init__(self) -> None:
        """What follows from the session: where Studio computes, and the answer."""
        object.__setattr__(self, "device", StudioDevice(self.session, self.inference))
        object.__setattr__(self, "answers", AnswerKeeper(self.session, self.settings))
        self.shell.commands_changed.connect(self.actions.refresh)


class Page(QWidget):
    """The widget of a station: its names, what it is given, and what most stations answer."""

    id: str
    title: str

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(self.id)
        self.setAccessibleName(self.title.replace("&", ""))
        self.context = context
        self.session, self.shell = context.session, context.shell

    def is_available(self) -> bool:
        """Always: there is something to see without a checkpoint, and what to open is said."""
        return True

    def may_close(self) -> bool:
        """Nothing here is unsaved."""
        return True


@dataclass(frozen=True)
class AtWork:
    """Something that goes on and that closing the window would cut off.

    ``what`` and ``kept`` are sentences: what goes on, and what is kept of it. ``cancel`` ends it;
    with ``waits`` the window stays until ``session.run`` has ended.
    """

    what: str
    kept: str
    cancel: Callable[[], object]
    waits: bool = False


class Part(Protocol):
    """A part with its own commands and work: a station, or the bar of the data in use.

    It adds its commands to the actions of its context itself, before it makes the buttons that
    show them.
    """

    def commands(self) -> Sequence[Command]:
        """What the user can do here."""

    def at_work(self) -> Sequence[AtWork]:
        """What goes on here."""

    def take_file(self, path: Path) -> bool:
        """Open a file that was dropped on the window; False if it is not for this part."""

    def may_close(self) -> bool:
        """Whether nothing unsaved would be lost; asks the user if something would."""


@runtime_checkable
class Keeps(Protocol):
    """A part that keeps its own fields of `SavedSession`."""

    def state(self) -> Mapping[str, object]:
        """What a session keeps; ``shell.state_changed`` is emitted when it has changed."""

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take over the state of a session whose checkpoint comes next; if empty, begin anew."""


@runtime_checkable
class Station(Part, Protocol):
    """A page of the window. ``title`` has its mnemonic; the rail shows it with ``icon``."""

    id: str
    title: str
    question: str
    icon: str

    def is_available(self) -> bool:
        """Whether there is something to show here."""


@dataclass(frozen=True)
class Scene:
    """What an audience sees of a station: ``main`` large, ``side`` small at its right.

    A widget is lent as long as it is on show, and lies in a layout of the station's.
    """

    main: QWidget | tuple[ScenePicture, ...] = ()
    side: tuple[ScenePicture, ...] = ()


@runtime_checkable
class OnStage(Protocol):
    """A station with something to show to an audience; it is asked several times a second."""

    def scene(self) -> Scene:
        """What it shows now."""
