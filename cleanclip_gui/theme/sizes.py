"""Size of type and of what depends on it, in per cent of the usual, changed at run time.

Code asks :func:`px` for each length in pixels that has to follow, when it sets it or when it
paints; what was set before a change is found here, on the widgets, and set again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from PySide6.QtCore import QSize
from PySide6.QtGui import QFont
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QFormLayout,
    QGridLayout,
    QHeaderView,
    QLayout,
    QListWidget,
    QTableWidget,
    QTreeWidget,
    QTreeWidgetItemIterator,
    QWidget,
)

SIZES = (100, 110, 125, 150, 175, 200)
_NO_LIMIT = 16_777_215  # QWIDGETSIZE_MAX
_HALF = "_grows_half"
_BASE = "_at_100"  # name of the property that keeps what was set
_SIZE_RESOLVED = 2  # QFont::SizeResolved


class _Percent:
    """The size that is on; one object, since a name that is imported would not follow."""

    value = 100


percent = _Percent()


def px(pixels: float) -> int:
    """A length in pixels at the size that is on, of what depends on type."""
    return round(pixels * percent.value / 100)


def space(pixels: float) -> int:
    """A distance between things: it grows half as much, as the room is needed for the words."""
    return _space(pixels, percent.value)


def points(size: float) -> float:
    """A size of type in points at the size that is on."""
    return round(size * percent.value / 100, 4)


def _space(pixels: float, size: float) -> int:
    return round(pixels * (100 + size) / 200)


# Style sheet

_RULE = re.compile(r"\{([^{}]*)\}")
_LENGTH = re.compile(r"(-?\d+(?:\.\d+)?)(px|pt)")


def of_sheet(sheet: str, size: int) -> str:
    """A style sheet with its lengths at a size; lines keep their width."""
    if size == 100:
        return sheet
    return _RULE.sub(lambda rule: "{" + _of_rule(rule.group(1), size) + "}", sheet)


def _of_rule(body: str, size: int) -> str:
    # What has the focus has a line of 2 pixels and a padding less by one: together as before.
    less = 1 if re.search(r"border:\s*2px", body) and "padding" in body else 0
    return ";".join(_of_declaration(declaration, size, less) for declaration in body.split(";"))


def _of_declaration(declaration: str, size: int, less: int) -> str:
    name, colon, value = declaration.partition(":")
    name = name.strip()
    if not colon or (name.startswith("border") and "radius" not in name):
        return declaration
    between = name.startswith(("padding", "margin", "spacing"))

    def larger(match: re.Match[str]) -> str:
        number, unit = float(match[1]), match[2]
        if unit == "pt":
            return f"{number * size / 100:g}pt"
        if between:
            taken = less if name.startswith("padding") else 0
            return f"{_space(number + taken, size) - taken}px"
        return f"{round(number * size / 100) if number > 2 else number:g}px"

    return declaration.replace(value, _LENGTH.sub(larger, value))


# What was set on widgets


class _Length(NamedTuple):
    """A length that was set: what it is now, how to set it, and whether it is a distance."""

    name: str
    now: float
    put: Callable[[Any], object]
    between: bool = False


def rescale(widgets: Iterable[QWidget], old: int, new: int) -> None:
    """Set again what was set on widgets at another size, but for their fonts.

    What it was at 100 % is kept on each object, so that nothing is lost to rounding.
    """
    for widget in widgets:
        _again(widget, _lengths(widget), old, new)
        layout = widget.layout()
        if isinstance(layout, QLayout):
            _rescale_layout(layout, old, new)
        _rescale_items(widget, new / old)
        widget.updateGeometry()
        widget.update()


def rescale_headers(widgets: Iterable[QWidget], old: int, new: int) -> None:
    """Set the widths of columns and the heights of rows again, once the fonts have been set."""
    for widget in widgets:
        if isinstance(widget, QHeaderView):
            _again(widget, _sections(widget), old, new)


def _sections(header: QHeaderView) -> list[_Length]:
    lengths = [_Length("section", header.defaultSectionSize(), header.setDefaultSectionSize)]
    if header.count() and header.sectionResizeMode(0) == QHeaderView.ResizeMode.Interactive:
        lengths += [
            _Length(f"section {n}", header.sectionSize(n), partial(header.resizeSection, n))
            for n in range(min(header.count(), 64))
            if header.sectionSize(n)
        ]
    return lengths


def _again(owner: QWidget | QLayout, lengths: list[_Length], old: int, new: int) -> None:
    known: dict[str, tuple[float, float]] = owner.property(_BASE) or {}
    remembered = dict(known)
    for name, now, put, between in lengths:
        base, was_put = known.get(name, (0.0, None))
        if was_put is None or abs(was_put - now) > 0.01:  # set since, by the code that owns it
            base = now * (200 / (100 + old) if between else 100 / old)
        value = _space(base, new) if between else round(base * new / 100)
        if value != now:
            put(value)
        remembered[name] = (base, value)
    if remembered:
        owner.setProperty(_BASE, remembered)


def least_width(widget: QWidget, pixels: int) -> None:
    """Give a column or a field a least width that grows as distances do, half as much as type."""
    widget.setProperty(_HALF, True)
    widget.setMinimumWidth(space(pixels))


def _lengths(widget: QWidget) -> list[_Length]:
    lengths = []
    half = bool(widget.property(_HALF))
    low, high = widget.minimumSize(), widget.maximumSize()
    if widget.isWindow():
        if low.width() == high.width():  # a dialog of fixed width
            lengths.append(_Length("width", low.width(), widget.setFixedWidth))
    else:
        # Grown from the top and shrunk from below, or one limit would move the other.
        for name, now, put in (
            ("high width", high.width(), widget.setMaximumWidth),
            ("high height", high.height(), widget.setMaximumHeight),
            ("low width", low.width(), widget.setMinimumWidth),
            ("low height", low.height(), widget.setMinimumHeight),
        ):
            if 1 < now < _NO_LIMIT:
                lengths.append(_Length(name, now, put, half))
    if isinstance(widget, (QAbstractButton, QAbstractItemView)) and widget.iconSize().isValid():
        lengths.append(_Length("icon", widget.iconSize().width(), partial(_set_icon, widget)))
    return lengths


def _set_icon(widget: QAbstractButton | QAbstractItemView, side: float) -> None:
    before = widget.iconSize()
    widget.setIconSize(QSize(round(side), round(before.height() * side / before.width())))


def _rescale_layout(layout: QLayout, old: int, new: int) -> None:
    sides = layout.contentsMargins()
    edges = [sides.left(), sides.top(), sides.right(), sides.bottom()]

    def set_edge(number: int, value: int) -> None:
        edges[number] = value
        layout.setContentsMargins(*edges)

    lengths = [
        _Length(f"edge {n}", now, partial(set_edge, n), True) for n, now in enumerate(edges) if now
    ]
    if isinstance(layout, (QGridLayout, QFormLayout)):
        across, down = layout.horizontalSpacing(), layout.verticalSpacing()
        if across > 0:
            lengths.append(_Length("across", across, layout.setHorizontalSpacing, True))
        if down > 0:
            lengths.append(_Length("down", down, layout.setVerticalSpacing, True))
    elif layout.spacing() > 0:
        lengths.append(_Length("spacing", layout.spacing(), layout.setSpacing, True))
    if isinstance(layout, QGridLayout):
        for column in range(layout.columnCount()):
            if now := layout.columnMinimumWidth(column):
                put = partial(layout.setColumnMinimumWidth, column)
                lengths.append(_Length(f"column {column}", now, put))
    _again(layout, lengths, old, new)
    # Not itemAt: a wrapper of an item is deleted a second time by who takes it out of the layout.
    for inner in layout.children():
        if isinstance(inner, QLayout):
            _rescale_layout(inner, old, new)
    layout.invalidate()


def _rescale_items(widget: QWidget, factor: float) -> None:
    """Fonts and heights of single items."""
    if isinstance(widget, QListWidget):
        for row in range(widget.count()):
            item = widget.item(row)
            if item.sizeHint().isValid():
                item.setSizeHint(item.sizeHint() * factor)
            item.setFont(grown(item.font(), factor))
    elif isinstance(widget, QTableWidget):
        for row in range(widget.rowCount()):
            for column in range(widget.columnCount()):
                if (cell := widget.item(row, column)) is not None:
                    cell.setFont(grown(cell.font(), factor))
    elif isinstance(widget, QTreeWidget):
        walk = QTreeWidgetItemIterator(widget)
        while (entry := walk.value()) is not None:
            for column in range(widget.columnCount()):
                entry.setFont(column, grown(entry.font(column), factor))
                if entry.sizeHint(column).isValid():
                    entry.setSizeHint(column, entry.sizeHint(column) * factor)
            walk += 1


def grown(font: QFont, factor: float) -> QFont:
    """A font at another size; one without a size, or with one in pixels, does not change."""
    if not font.resolveMask() & _SIZE_RESOLVED or font.pointSizeF() <= 0:
        return font
    result = QFont(font)
    result.setPointSizeF(round(font.pointSizeF() * factor, 4))
    return result
