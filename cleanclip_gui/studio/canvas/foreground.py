"""What is drawn above the picture, in screen pixels: grid, handles, brush, message, focus."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PySide6.QtCore import QLineF, QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen, QTransform

from cleanclip_gui.studio.canvas.geometry import HANDLE_RADIUS, ROTATE_HANDLE_DISTANCE, corners
from cleanclip_gui.studio.canvas.ink import Ink
from cleanclip_gui.studio.canvas.scene import FloatingPatch


@dataclass(frozen=True, eq=False)
class Foreground:
    """All that the foreground shows.

    ``to_view`` maps canvas pixels to pixels of the viewport ``view``; ``canvas`` is the canvas
    pixels a side. ``patch`` gets handles; ``brush`` its outline and
    ``crosshair`` a cross about the ``pointer`` (canvas pixels).
    """

    to_view: QTransform
    view: QRect
    canvas: int
    highlight: QColor
    message_colour: QColor
    message: str = ""
    grid: bool = False
    patch: FloatingPatch | None = None
    pointer: QPointF | None = None
    brush: Ink | None = None
    crosshair: bool = False
    focused: bool = False


def paint_foreground(painter: QPainter, shown: Foreground) -> None:
    """Draw it all; whatever transform the painter has is left as it was."""
    painter.save()
    painter.resetTransform()
    if shown.grid:
        _paint_grid(painter, shown)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    if shown.patch is not None:
        _paint_patch_handles(painter, shown.patch, shown)
    if shown.pointer is not None:
        if shown.brush is not None:
            _paint_brush(painter, shown.brush, shown.pointer, shown.to_view)
        if shown.crosshair:
            _paint_crosshair(painter, shown.to_view.map(shown.pointer))
    if shown.message:
        painter.setPen(shown.message_colour)
        flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
        painter.drawText(shown.view, flags, shown.message)
    if shown.focused:
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(shown.highlight, 2))
        area = shown.to_view.mapRect(QRectF(0, 0, shown.canvas, shown.canvas))
        painter.drawRect(area.intersected(QRectF(shown.view)).adjusted(1, 1, -1, -1))
    painter.restore()


def _paint_grid(painter: QPainter, shown: Foreground) -> None:
    """Lines between the pixels that are on the screen."""
    to_view, size = shown.to_view, shown.canvas
    inverse, _ = to_view.inverted()
    seen = inverse.mapRect(QRectF(shown.view))
    left, right = max(0, math.floor(seen.left())), min(size, math.ceil(seen.right()))
    top, bottom = max(0, math.floor(seen.top())), min(size, math.ceil(seen.bottom()))
    lines = [to_view.map(QLineF(x, top, x, bottom)) for x in range(left, right + 1)]
    lines += [to_view.map(QLineF(left, y, right, y)) for y in range(top, bottom + 1)]
    painter.setPen(QPen(QColor(128, 128, 128, 90), 1))
    painter.drawLines(lines)


def _paint_patch_handles(painter: QPainter, patch: FloatingPatch, shown: Foreground) -> None:
    """The turned frame, its corners and the handle that rotates it."""
    frame = shown.to_view.mapRect(patch.rect(shown.canvas))
    painter.save()
    painter.translate(frame.center())
    painter.rotate(patch.rotation)
    painter.translate(-frame.center())
    top = QPointF(frame.center().x(), frame.top())
    rotate = top - QPointF(0, ROTATE_HANDLE_DISTANCE)
    painter.setPen(QPen(QColor(255, 255, 255, 200), 3))
    painter.drawLine(top, rotate)
    painter.setPen(QPen(shown.highlight, 1.5))
    painter.drawLine(top, rotate)
    _paint_handles(painter, frame, shown.highlight)
    painter.drawEllipse(rotate, HANDLE_RADIUS, HANDLE_RADIUS)
    painter.restore()


def _paint_handles(painter: QPainter, frame: QRectF, colour: QColor) -> None:
    """A frame and its corners."""
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(QColor(255, 255, 255, 200), 3))
    painter.drawRect(frame)
    painter.setPen(QPen(colour, 1.5, Qt.PenStyle.DashLine))
    painter.drawRect(frame)
    painter.setPen(QPen(colour, 1.5))
    painter.setBrush(QColor(255, 255, 255))
    for corner in corners(frame).values():
        painter.drawEllipse(corner, HANDLE_RADIUS, HANDLE_RADIUS)


def _paint_brush(painter: QPainter, ink: Ink, at: QPointF, to_view: QTransform) -> None:
    """What a dot of the brush would cover."""
    painter.setBrush(Qt.BrushStyle.NoBrush)
    radius, middle = max(ink.width * to_view.m11() / 2, 2.0), to_view.map(at)
    for pen in _contrasting_pens():
        painter.setPen(pen)
        painter.drawEllipse(middle, radius, radius)


def _paint_crosshair(painter: QPainter, at: QPointF) -> None:
    arms = [
        QLineF(at + QPointF(dx * 4, dy * 4), at + QPointF(dx * 11, dy * 11))
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))
    ]
    for pen in _contrasting_pens():
        painter.setPen(pen)
        painter.drawLines(arms)


def _contrasting_pens() -> tuple[QPen, QPen]:
    """Dark below light: seen on any ground."""
    return QPen(QColor(0, 0, 0, 170), 3), QPen(QColor(255, 255, 255), 1.3)
