"""What the user can do: one command a thing, one ``QAction`` a command."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from PySide6.QtCore import QObject, QTimer
from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QAbstractSpinBox, QApplication

from cleanclip_gui import theme

MENUS = {
    "&File": "", "Sessio&n": "&File", "&Edit": "", "&View": "", "Tal&k": "&View",
    "&Trigger": "studio", "&Paint": "studio", "&Scan": "scan", "&Clean": "clean",
    "Rep&ort": "report", "&Help": "",
}  # fmt: skip
"""Titles of menus, each with its place: the menu bar, another menu, or the menu of a station, which
shows while that station does."""
INSIDE = "&Inside the station"
"""Menu in View, of the parts of stations."""


@dataclass(frozen=True)
class Command:
    """One thing the user can do, with all that menus, buttons and the palette show of it.

    ``menu`` is a title of :data:`MENUS`, or empty for a command without a menu; commands of
    another ``group`` stand beyond a line. With ``checked`` the command is a switch, exclusive
    among those of the same ``choice``. ``repeats`` lets a key that is held do it again and again.
    ``rail`` puts it on the left rail. ``needs`` says what is missing if it cannot be done.
    ``submenu`` is the title of a menu in ``menu`` that it stands in.
    ``other_keys`` do it as well: on other keyboards they lie in the place of ``shortcut``.
    """

    id: str
    text: str
    menu: str
    act: Callable[[], object]
    help: str
    icon: str = ""
    shortcut: str = ""
    group: int = 0
    enabled: Callable[[], bool] | None = None
    checked: Callable[[], bool] | None = None
    choice: str = ""
    rail: bool = False
    repeats: bool = True
    needs: str = ""
    other_keys: tuple[str, ...] = ()
    submenu: str = ""

    def is_enabled(self) -> bool:
        """Whether it can be done now."""
        return self.enabled is None or self.enabled()


@dataclass(frozen=True)
class KeyTable:
    """Keys that a part of the window takes while it has the focus, without commands for them.

    Each of ``rows`` is what happens, its keys, and a remark.
    """

    title: str
    rows: tuple[tuple[str, str, str], ...]


def _tip_of(command: Command) -> str:
    keys = QKeySequence(command.shortcut).toString(QKeySequence.SequenceFormat.NativeText)
    return f"{command.help} ({keys})" if keys else command.help


class Actions(QObject):
    """One ``QAction`` for each command, in ``by_id``.

    :meth:`refresh` asks the commands again whether they can be used. :meth:`refresh_soon` does so
    once for all changes in one turn of the event loop. ``key_tables`` has the keys that parts of
    the window handle themselves, for the list of all keys.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.commands: list[Command] = []
        self.key_tables: list[KeyTable] = []
        self.by_id: dict[str, QAction] = {}
        self._choices: dict[str, QActionGroup] = {}
        self._soon = QTimer(self, singleShot=True, interval=0)
        self._soon.timeout.connect(self.refresh)

    def add(self, commands: Iterable[Command]) -> None:
        """Make the actions of some commands."""
        for command in commands:
            self.commands.append(command)
            self.by_id[command.id] = self._action(command)

    def __getitem__(self, name: str) -> QAction:
        """The action of the command of that id."""
        return self.by_id[name]

    def in_menu(self, title: str) -> Sequence[Command]:
        """Commands of a menu, group by group, each group in the order in which it was added."""
        return sorted((c for c in self.commands if c.menu == title), key=lambda c: c.group)

    def refresh(self) -> None:
        """Enable and check every action as its command says, now."""
        self._soon.stop()
        for command in self.commands:
            action = self.by_id[command.id]
            enabled = command.is_enabled()
            action.setEnabled(enabled)
            if command.needs:
                action.setToolTip(_tip_of(command) if enabled else command.needs)
            if command.checked is not None:
                action.setChecked(command.checked())

    def refresh_soon(self, *_: object) -> None:
        """Do so when the event loop is next idle, however often it is asked for before."""
        self._soon.start()

    def run(self, name: str) -> None:
        """Do what the command of that id does, if it can be done now."""
        self._run(next(command for command in self.commands if command.id == name))

    def _action(self, command: Command) -> QAction:
        action = QAction(command.text, self)
        action.setObjectName(command.id)
        keys = QKeySequence(command.shortcut)
        action.setShortcuts([keys, *map(QKeySequence, command.other_keys)])
        action.setAutoRepeat(command.repeats)
        action.setToolTip(_tip_of(command))
        action.setStatusTip(command.help)
        if command.icon:
            action.setIcon(theme.icon(command.icon))
        if command.checked is not None:
            action.setCheckable(True)
        if command.choice:
            group = self._choices.setdefault(command.choice, QActionGroup(self))
            group.setExclusionPolicy(QActionGroup.ExclusionPolicy.ExclusiveOptional)
            group.addAction(action)
        action.triggered.connect(partial(self._run, command))
        return action

    def _run(self, command: Command, *_: object) -> None:
        """Do it, if it is enabled now, with the number that is being typed."""
        typing = QApplication.focusWidget()
        if isinstance(typing, QAbstractSpinBox):
            typing.interpretText()
        if command.is_enabled():
            command.act()
        self.refresh()
