"""What is wrong with a layout on the screen: parts that overlap, are cut off or lose words."""

from __future__ import annotations

import re
from itertools import combinations

from PySide6.QtCore import QRect, QSize, Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractScrollArea,
    QAbstractSpinBox,
    QComboBox,
    QLabel,
    QLayout,
    QScrollArea,
    QTabBar,
    QToolButton,
    QWidget,
)
from pytestqt.qtbot import QtBot

from cleanclip_gui.widgets.controls import ElidedLabel
from cleanclip_gui.widgets.number_box import ElidingComboBox

_SLACK = 1  # pixels that rounding may cost
_WORDS = (QLabel, QAbstractButton, QComboBox, QAbstractSpinBox, QTabBar)


def faults(root: QWidget) -> list[str]:
    """One sentence for each fault of what ``root`` shows; what scrolls may be out of sight."""
    found = []
    for widget in (root, *root.findChildren(QWidget)):
        if not widget.isVisible() or widget.window() is not root.window():
            continue
        found += _overlaps(widget)
        if widget is not root:
            found += _cut(widget) + _words(widget)
    return found


def lasting_faults(root: QWidget, qtbot: QtBot, patience: int = 20) -> list[str]:
    """The faults that stay: a layout asked for is done a few turns of the event loop later."""
    found = []
    for _ in range(patience):
        qtbot.wait(30)
        if not (found := faults(root)):
            break
    return found


def _overlaps(widget: QWidget) -> list[str]:
    layout = widget.layout()
    shown = [] if layout is None else [w for w in _laid_out(layout) if w.isVisible()]
    found = []
    for one, other in combinations(shown, 2):
        shared = one.geometry() & other.geometry()
        if shared.width() > _SLACK and shared.height() > _SLACK:
            found.append(f"{named(one)} and {named(other)} overlap by {shared.size().toTuple()}")
    return found


def _laid_out(layout: QLayout) -> list[QWidget]:
    """Not by itemAt: what it returns outlives the item, and is taken for what comes after it."""
    host = layout.parentWidget()
    layouts = [layout, *layout.findChildren(QLayout)]
    inside = host.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly)
    return [w for w in inside if any(one.indexOf(w) >= 0 for one in layouts)]


def _cut(widget: QWidget) -> list[str]:
    """Whether the parent ends before the widget does, in a direction in which nothing scrolls."""
    parent = widget.parentWidget()
    if parent is None or widget.isWindow():
        return []
    room, place = parent.rect(), widget.geometry()
    area = parent.parentWidget()
    if isinstance(area, QAbstractScrollArea) and parent is area.viewport():
        off = Qt.ScrollBarPolicy.ScrollBarAlwaysOff
        if not isinstance(area, QScrollArea):
            return []
        across = area.horizontalScrollBarPolicy() == off and place.width() > room.width()
        down = area.verticalScrollBarPolicy() == off and place.height() > room.height()
    elif isinstance(parent, QAbstractScrollArea):
        return []
    else:
        across = place.right() > room.right() + _SLACK or place.left() < -_SLACK
        down = place.bottom() > room.bottom() + _SLACK or place.top() < -_SLACK
    if not across and not down:
        return []
    return [f"{named(widget)} {_size(place)} sticks out of {named(parent)} {_size(room)}"]


def _words(widget: QWidget) -> list[str]:
    """Whether a widget is smaller than its words."""
    if not isinstance(widget, _WORDS):
        return []
    if isinstance(widget, (ElidedLabel, ElidingComboBox)):
        return []
    least = widget.minimumSizeHint()
    if isinstance(widget, QLabel):
        if widget.wordWrap():
            if widget.height() + _SLACK < widget.heightForWidth(widget.width()):
                return [f"{named(widget)} {_size(widget)} is too low for its lines"]
            words = re.split(r"[\s/-]", widget.text())  # where a line may be broken
            widest = max(map(widget.fontMetrics().horizontalAdvance, words), default=0)
            if "\u2026" not in widget.text() and widest > widget.width() + _SLACK:
                return [f"{named(widget)} {_size(widget)} is narrower than a word of it"]
            return []
        least = widget.sizeHint() if widget.text() else least
    elif isinstance(widget, QToolButton):
        least = _needed_by_tool(widget)
    high = widget.fontMetrics().height() if widget.layout() is None else 0
    if least.width() > widget.width() + _SLACK or high > widget.height() + _SLACK:
        return [f"{named(widget)} {_size(widget)} needs {least.toTuple()}"]
    return []


def _needed_by_tool(button: QToolButton) -> QSize:
    """Room of words and icon; the hint has more around them than a style sheet leaves."""
    style, icon = button.toolButtonStyle(), button.iconSize()
    ways = Qt.ToolButtonStyle
    text = button.text().replace("&", "")
    words = button.fontMetrics().size(Qt.TextFlag.TextShowMnemonic, text)
    if style == ways.ToolButtonIconOnly or not text:
        return QSize() if button.icon().isNull() else icon
    if style == ways.ToolButtonTextBesideIcon and not button.icon().isNull():
        return QSize(words.width() + icon.width(), max(words.height(), icon.height()))
    return words


def named(widget: QWidget) -> str:
    """What a widget is called in a message."""
    text = getattr(widget, "text", None)
    words = text() if callable(text) else ""
    said = words or widget.accessibleName() or widget.objectName()
    return f"{type(widget).__name__} “{str(said)[:60]}”"


def _size(of: QWidget | QRect) -> str:
    return f"({of.width()} x {of.height()})"
