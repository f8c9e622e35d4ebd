"""Columns, rows, cards and scroll areas, each made in one expression."""

from __future__ import annotations

from typing import Literal

import shiboken6
from PySide6.QtCore import QMargins, QPoint, QRect, Qt
from PySide6.QtWidgets import (
    QBoxLayout,
    QFrame,
    QHBoxLayout,
    QLayout,
    QScrollArea,
    QScrollBar,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui import theme

Part = QWidget | QLayout | int | None | tuple[QWidget | QLayout | None, int | Qt.AlignmentFlag]
Margins = int | tuple[int, int, int, int] | Literal["card"] | None


def _fill(box: QBoxLayout, parts: tuple[Part, ...], margins: Margins, spacing: int | None) -> None:
    if margins == "card":  # spaces follow the size of the theme
        margins = (theme.SPACE_L, theme.SPACE_M, theme.SPACE_L, theme.SPACE_M)
    if margins is not None:
        box.setContentsMargins(QMargins(*((margins,) * 4 if isinstance(margins, int) else margins)))
    if spacing is not None:
        box.setSpacing(spacing)
    for part in parts:
        item, option = part if isinstance(part, tuple) else (part, 0 if part is not None else 1)
        stretch, place = option, Qt.AlignmentFlag(0)
        if isinstance(option, Qt.AlignmentFlag):  # which is a number, too
            stretch, place = 0, option
        if item is None:
            box.addStretch(stretch)
        elif isinstance(item, int):
            box.addSpacing(item)
        elif isinstance(item, QWidget):
            box.addWidget(item, stretch, place)
        else:
            box.addLayout(item, stretch)


def column(
    *parts: Part, of: QWidget | None = None, margins: Margins = 0, spacing: int | None = None
) -> QVBoxLayout:
    """Stack parts from top to bottom.

    Parameters
    ----------
    *parts : QWidget, QLayout, int, None or tuple
        A number is an empty space in pixels. None takes the space that is left. A pair is a part
        with its stretch or alignment.
    of : QWidget, optional
        The widget that gets the layout.
    margins : int, (left, top, right, bottom), 'card' or None, default 0
        None keeps the style's.
    spacing : int, optional
        The style's spacing by default.
    """
    box = QVBoxLayout() if of is None else QVBoxLayout(of)
    _fill(box, parts, margins, spacing)
    return box


def row(
    *parts: Part, of: QWidget | None = None, margins: Margins = 0, spacing: int | None = None
) -> QHBoxLayout:
    """Set parts side by side; parameters as in `column`."""
    box = QHBoxLayout() if of is None else QHBoxLayout(of)
    _fill(box, parts, margins, spacing)
    return box


def card(*parts: Part, margins: Margins = "card", spacing: int | None = None) -> QFrame:
    """A sheet with parts one below the other; parameters as in `column`."""
    frame = QFrame()
    frame.setProperty("card", True)
    column(*parts, of=frame, margins=margins, spacing=theme.SPACE_M if spacing is None else spacing)
    return frame


def rule() -> QFrame:
    """A thin line."""
    line = QFrame()
    line.setProperty("rule", True)
    return line


def above_foot(widget: QWidget, *foot: Part) -> QFrame:
    """A sheet in which a widget scrolls above parts that always show."""
    below = column(*foot, margins="card", spacing=theme.SPACE_S)
    return card((scrolling(widget), 1), rule(), below, margins=1, spacing=0)


def page(*parts: Part, margins: Margins = 0, spacing: int | None = None) -> QWidget:
    """A page to be put into a scroll area; parameters as in `column`."""
    widget = QWidget()
    widget.setObjectName("page")  # the style makes its ground transparent
    column(*parts, of=widget, margins=margins, spacing=spacing)
    return widget


def scrolling(widget: QWidget) -> QScrollArea:
    """A scroll area that a widget fills, without a horizontal bar."""
    widget.setObjectName(widget.objectName() or "page")  # the style makes its ground transparent
    area = QScrollArea(widgetResizable=True)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(widget)
    return area


def reveal(widget: QWidget, margin: int = 0) -> dict[QScrollBar, int]:
    """Scroll all areas around a widget until it, or at least its beginning, is seen.

    Returns
    -------
    dict
        Where the bars of these areas are now.
    """
    places: dict[QScrollBar, int] = {}
    area = widget.parentWidget()
    while area is not None:
        inside = area.widget() if isinstance(area, QScrollArea) else None
        if isinstance(area, QScrollArea) and inside is not None and inside.isAncestorOf(widget):
            place = QRect(widget.mapTo(inside, QPoint()), widget.size())
            place.adjust(-margin, -margin, margin, margin)
            room = area.viewport().size()
            for bar, first, length, page in (
                (area.horizontalScrollBar(), place.x(), place.width(), room.width()),
                (area.verticalScrollBar(), place.y(), place.height(), room.height()),
            ):
                bar.setValue(max(min(bar.value(), first), min(first, first + length - page)))
                places[bar] = bar.value()
        area = area.parentWidget()
    return places


def is_untouched(places: dict[QScrollBar, int]) -> bool:
    """Whether all bars still are where `reveal` left them: nobody has scrolled since."""
    return all(shiboken6.isValid(bar) and bar.value() == at for bar, at in places.items())
