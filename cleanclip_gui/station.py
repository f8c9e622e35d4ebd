"""What a station is, and what it is given.

A station is a folder with a widget that answers one question. It gets a :class:`Context`, owns its
commands, and asks the window around it through the signals of a :class:`Shell`; it knows neither
the window nor another station.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from PySide6.QtCore import QObject, Signal

from cleanclip_gui.commands import Actions, Command
from cleanclip_gui.inference.device import StudioDevice
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.jobs.children import WaitingChild
from cleanclip_gui.jobs.runner import NewRunner, new_runner
from cleanclip_gui.session import Session
from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.widgets.prompts import Prompts


class Shell(QObject):
    """What a station asks of the window around it; a test connects to the same signals.

    ``failed(InputError or Failed)`` is to be shown, ``logged(str)`` to be put into the log,
    ``station_wanted(str)`` another station to be shown, ``header_changed(title, subtitle, why)``
    to be put above it. ``checkpoint_wanted(path)`` is to be opened, each of
    ``checkpoints_wanted(paths)`` is to be checked, and ``images_wanted(ImageSpec,
    label set, templates)`` to be evaluated on. ``trigger_wanted(Trigger or None, target)`` is to be
    on Studio's canvas, with the class that it aims at; ``target_wanted(int)`` and
    ``role_wanted(Role)`` change only the target, or the checkpoint that Studio looks at, and
    ``image_wanted(int)`` the picture;
    ``snapshot_wanted(OtherSnapshot)`` is to be what Studio's canvas flips to.
    ``trusted_wanted(path)`` is to be the clean reference of cleaning methods, and
    ``reference_wanted(path)`` to be open as the one that Studio compares with.
    ``donor_known(path, donor)`` tells who gives the encoder that a checkpoint lacks which is wanted
    next. ``cleaned_wanted(OpenCheckpoint, bool)`` is to be open as the cleaned one again, and to be
    the one that Studio looks at.
    ``run_wanted(str)`` is the folder of a run to be shown, ``scan_wanted(str)`` that of a scan,
    ``interrupted(str)`` tells in a sentence of a run that can go on, or by no words that there is
    none.
    ``commands_changed`` tells that something can be done now that could not be done before, or
    the other way round; ``demo_opening`` that the demo is begun, and a run that has ended is to be
    forgotten; ``computing_changed`` that the settings of threads or precision are others now;
    ``suspect_changing`` that another suspect checkpoint comes now, and what was cleaned
    from the one before is to go; ``ready`` that the window is made and shows what is told;
    ``closing`` that it goes, and nothing keeps it any more.
    """

    failed = Signal(object)
    logged = Signal(str)
    station_wanted = Signal(str)
    header_changed = Signal(str, str, str)
    checkpoint_wanted = Signal(str)
    checkpoints_wanted = Signal(object)
    images_wanted = Signal(object, str, object)
    trigger_wanted = Signal(object, int)
    target_wanted = Signal(int)
    role_wanted = Signal(str)
    image_wanted = Signal(int)
    snapshot_wanted = Signal(object)
    trusted_wanted = Signal(str)
    reference_wanted = Signal(str)
    donor_known = Signal(str, str)
    cleaned_wanted = Signal(object, bool)
    run_wanted = Signal(str)
    scan_wanted = Signal(str)
    interrupted = Signal(str)
    commands_changed = Signal()
    demo_opening = Signal()
    suspect_changing = Signal()
    computing_changed = Signal()
    ready = Signal()
    closing = Signal()


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

    def __post_init__(self) -> None:
        """Where Studio computes follows from the session and its models."""
        object.__setattr__(self, "device", StudioDevice(self.session, self.inference))
        self.shell.commands_changed.connect(self.actions.refresh)


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
    """Something with commands and work of its own: a station, or the bar of the data in use.

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
class Station(Part, Protocol):
    """A page of the window. ``title`` has its mnemonic; the rail shows it with ``icon``."""

    id: str
    title: str
    question: str
    icon: str
    shortcut: str

    def is_available(self) -> bool:
        """Whether there is something to show here."""
