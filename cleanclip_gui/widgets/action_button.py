"""Small buttons, and push buttons that show a ``QAction`` as a ``QToolButton`` does by itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from PySide6.QtCore import QObject, QSize, Qt, SignalInstance
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QAbstractButton, QPushButton, QToolButton

from cleanclip_gui import theme
from cleanclip_gui.widgets.label import named

_Button = TypeVar("_Button", bound=QAbstractButton)


def bind(button: _Button, action: QAction, *, text: bool = False, icon: bool = False) -> _Button:
    """Let a click on ``button`` trigger ``action``, and keep what it shows in step with it.

    Parameters
    ----------
    button
        Gets the action's tool tip with its key, and whether it is enabled, checkable and checked.
    action
        May outlive the button.
    text
        Show the action's text too, without its mnemonic, which belongs to the menu.
    icon
        Show its icon too.
    """
    _Binding(button, action, text, icon)
    return button


def push_button(
    text: str = "",
    clicked: Callable[..., object] | SignalInstance | None = None,
    *,
    icon: str = "",
    name: str = "",
    tip: str = "",
    look: str = "",
) -> QPushButton:
    """Make a push button.

    Parameters
    ----------
    text, clicked
        What it says, and what a click does.
    icon, name, tip
        Of its picture; its accessible name, where the text is none; its tool tip.
    look
        Properties of the style, such as ``"primary large"``.
    """
    button = QPushButton(text)
    for prop in look.split():
        button.setProperty(prop, True)
    if icon:
        button.setIcon(theme.icon(icon, "on_accent" if "primary" in look else "text"))
    if clicked is not None:
        button.clicked.connect(clicked)
    return named(button, name, tip)


def action_tool(action: QAction) -> QToolButton:
    """A button without words that triggers an action and shows its icon and its state."""
    return bind(tool_button("", action.text().replace("&", "")), action, icon=True)


def tool_button(icon: str, text: str, keys: str = "", *, checkable: bool = False) -> QToolButton:
    """A button with icon, tool tip and accessible name."""
    button = QToolButton()
    if icon:
        button.setIcon(theme.icon(icon))
    button.setIconSize(QSize(theme.ICON_SIZE, theme.ICON_SIZE))
    button.setToolTip(f"{text} ({keys})" if keys else text)
    button.setAccessibleName(text)
    button.setCheckable(checkable)
    button.setProperty("quiet", True)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return button


class _Binding(QObject):
    """Lives as a child of its button, so that nothing is shown on a deleted one."""

    def __init__(self, button: QAbstractButton, action: QAction, text: bool, icon: bool) -> None:
        super().__init__(button)
        self._button, self._action = button, action
        self._shows_text, self._shows_icon = text, icon
        action.changed.connect(self._follow)
        button.toggled.connect(self._on_toggled)
        button.clicked.connect(self._on_clicked)
        self._follow()

    def _follow(self) -> None:
        button, action = self._button, self._action
        button.setEnabled(action.isEnabled())
        button.setToolTip(action.toolTip())
        button.setCheckable(action.isCheckable())
        button.setChecked(action.isChecked())
        if self._shows_text:
            button.setText(re.sub("&(&?)", r"\1\1", action.text()))
        if self._shows_icon:
            button.setIcon(action.icon())

    def _on_toggled(self, on: bool) -> None:
        """A click switches the button first; a screen reader switches it without a click."""
        if on != self._action.isChecked():
            self._action.trigger()
            self._follow()  # whatever the action did

    def _on_clicked(self) -> None:
        if not self._action.isCheckable():
            self._action.trigger()
