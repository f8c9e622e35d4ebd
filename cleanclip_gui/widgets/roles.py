"""What a widget that paints itself is to a screen reader: to Qt it is a box without a meaning."""

from __future__ import annotations

from PySide6.QtCore import QObject
from PySide6.QtGui import QAccessible, QAccessibleInterface
from PySide6.QtWidgets import QAccessibleWidget, QWidget

_ROLE = "accessibleRole"
_made: set[str] = set()


def give_role(widget: QWidget, role: QAccessible.Role) -> None:
    """Let a screen reader call a widget, e.g., a chart; before anything asks for its interface."""
    if not _made:
        _made.add(_ROLE)
        QAccessible.installFactory(_interface)
    widget.setProperty(_ROLE, role.value)


def _interface(_: str, widget: QObject) -> QAccessibleInterface | None:
    """The interface of a widget that was given a role; Qt makes those of all others."""
    if not isinstance(widget, QWidget):
        return None
    role = widget.property(_ROLE)
    return None if role is None else QAccessibleWidget(widget, QAccessible.Role(role))
