"""Colours of the widgets that paint themselves, taken from theme and palette."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QPalette, QPen
from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme


def series() -> tuple[QColor, ...]:
    """Colours of the series of the theme in use, safe for the colour-blind."""
    return tuple(QColor(c) for c in theme.series_colours())


def clean_colour() -> QColor:
    """The colour of what the model says without the trigger."""
    return series()[0]


def triggered_colour() -> QColor:
    """The colour of what the model says with the trigger."""
    return series()[1]


def text_colour(widget: QWidget, *, stale: bool = False, muted: bool = False) -> QColor:
    """The palette's text colour; muted for what explains, fainter for what is out of date."""
    colour = QColor(widget.palette().color(QPalette.ColorRole.WindowText))
    strong = theme.is_high_contrast()
    if stale:
        colour.setAlphaF(0.62 if strong else 0.38)
    elif muted:
        colour.setAlphaF(0.85 if strong else 0.68)
    return colour


def thin_pen(name: str, width: float = 1.0, *, dashed: bool = False) -> QPen:
    """A pen in one of the theme's colours that is equally wide at any zoom."""
    pen = QPen(theme.colour(name), width)
    pen.setCosmetic(True)
    if dashed:
        pen.setStyle(Qt.PenStyle.DashLine)
    return pen


def track_colour(widget: QWidget) -> QColor:
    """The colour of an empty bar."""
    colour = QColor(widget.palette().color(QPalette.ColorRole.WindowText))
    colour.setAlphaF(0.25 if theme.is_high_contrast() else 0.10)
    return colour


def faded(colour: QColor, stale: bool) -> QColor:
    """The colour, or a faint version of it."""
    result = QColor(colour)
    if stale:
        result.setAlphaF(0.35)
    return result


def sized(font: QFont, factor: float, *, bold: bool = False) -> QFont:
    """The font at ``factor`` times its size; bold is the semi-bold that is shipped.

    A bolder one would be smeared from it, and small letters would lose their dots.
    """
    result = QFont(font)
    if font.pointSizeF() > 0:
        result.setPointSizeF(font.pointSizeF() * factor)
    else:
        result.setPixelSize(max(1, round(font.pixelSize() * factor)))
    result.setWeight(QFont.Weight.DemiBold if bold else QFont.Weight.Normal)
    return result
