"""Makes the window's actions and menus from the list of commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Slot
from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QAbstractSpinBox, QApplication

from cleanclip_gui import theme
from cleanclip_gui.window.commands import COMMANDS, MENUS, Command

if TYPE_CHECKING:
    from cleanclip_gui.window.main_window import MainWindow
    from cleanclip_gui.window.rail import Rail


class Actions(QObject):
    """One ``QAction`` a command, in ``by_id``; :meth:`refresh` asks their predicates again."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window = window
        self.by_id: dict[str, QAction] = {}
        self._groups: dict[str, QActionGroup] = {}
        for command in COMMANDS:
            self.by_id[command.id] = self._action(command)
        self._fill_menus()

    def _action(self, command: Command) -> QAction:
        action = QAction(command.text, self._window)
        action.setObjectName(command.id)
        keys = QKeySequence(command.shortcut)
        action.setShortcut(keys)
        # A key that is held undoes step by step, but starts one run.
        action.setAutoRepeat(command.menu != "&Clean")
        native = keys.toString(QKeySequence.SequenceFormat.NativeText)
        action.setToolTip(f"{command.help} ({native})" if native else command.help)
        action.setStatusTip(command.help)
        if command.icon:
            action.setIcon(theme.icon(command.icon))
        if command.checked is not None:
            action.setCheckable(True)
        if command.choice:
            group = self._groups.setdefault(command.choice, QActionGroup(self))
            group.setExclusionPolicy(QActionGroup.ExclusionPolicy.ExclusiveOptional)
            group.addAction(action)
        action.triggered.connect(_Run(command, self).run)
        return action

    def _fill_menus(self) -> None:
        bar = self._window.menuBar()
        for title in MENUS:
            commands = [command for command in COMMANDS if command.menu == title]
            if not commands:
                continue
            menu = bar.addMenu(title)
            menu.aboutToShow.connect(self.refresh)
            for before, command in zip([None, *commands], commands, strict=False):
                if before is not None and before.group != command.group:
                    menu.addSeparator()
                menu.addAction(self.by_id[command.id])

    def fill_rail(self, rail: Rail) -> None:
        """Put stations and tools on the rail."""
        for command in COMMANDS:
            if command.rail:
                add = rail.add_station if command.choice else rail.add_tool
                add(self.by_id[command.id])

    @Slot()
    def refresh(self) -> None:
        """Enable and check every action as its command says."""
        for command in COMMANDS:
            action = self.by_id[command.id]
            action.setEnabled(command.enabled is None or command.enabled(self._window))
            if command.checked is not None:
                action.setChecked(command.checked(self._window))

    def run(self, command: Command) -> None:
        """Do it, if it is enabled now, with the number that is being typed."""
        typing = QApplication.focusWidget()
        if isinstance(typing, QAbstractSpinBox):
            typing.interpretText()
        if command.enabled is None or command.enabled(self._window):
            command.act(self._window)
        self.refresh()


class _Run(QObject):
    """Binds an action to its command."""

    def __init__(self, command: Command, actions: Actions) -> None:
        super().__init__(actions)
        self._command = command
        self._actions = actions

    @Slot()
    def run(self) -> None:
        self._actions.run(self._command)
