"""What is drawn above the picture, in screen pixels: grid, handles, brush, message, focus."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from PySide6.QtCore import QLineF, QPointF, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPen, QTransform

from cleanclip_gui.studio.canvas.ink import Ink
from cleanclip_gui.studio.canvas.scene import MIN_PATCH, FloatingPatch, moved, turned

Handle = Literal["", "body", "rotate", "nw", "ne", "sw", "se"]

HANDLE_RADIUS = 5.0  # screen pixels
ROTATE_HANDLE_DISTANCE = 18.0  # screen pixels above the frame
MAX_SCALE = 64.0
_HIT_MARGIN = 4.0  # screen pixels around a handle that still hit it
_ANGLE_STEP = 15.0  # degrees, while Shift is held
_OPPOSITE: dict[Handle, Handle] = {"nw": "se", "ne": "sw", "sw": "ne", "se": "nw"}


def corners(rect: QRectF) -> dict[Handle, QPointF]:
    """Corners by compass point."""
    return {
        "nw": rect.topLeft(),
        "ne": rect.topRight(),
        "sw": rect.bottomLeft(),
        "se": rect.bottomRight(),
    }


def patch_handle_at(patch: FloatingPatch, at: QPointF, canvas: int, scale: float) -> Handle:
    """The handle of a turned patch at a point; empty if no handle is there."""
    inverse, _ = patch.turn(canvas).inverted()
    at, rect, scale = inverse.map(at), patch.rect(canvas), max(scale, 1e-6)
    rotate = QPointF(rect.center().x(), rect.top() - ROTATE_HANDLE_DISTANCE / scale)
    if QLineF(at, rotate).length() <= (HANDLE_RADIUS + _HIT_MARGIN) / scale:
        return "rotate"
    # A small rectangle keeps a middle that can be taken hold of.
    reach = min(
        (HANDLE_RADIUS + _HIT_MARGIN) / scale, max(rect.width(), rect.height()) / 3 + 2 / scale
    )
    for name, corner in corners(rect).items():
        offset = at - corner
        if max(abs(offset.x()), abs(offset.y())) <= reach:
            return name
    return "body" if rect.contains(at) else ""


@dataclass(frozen=True, eq=False)
class PatchDrag:
    """The start of a drag: the handle, the point, and the patch as it was."""

    handle: Handle
    start: QPointF
    patch: FloatingPatch


def dragged_patch(
    drag: PatchDrag, at: QPointF, canvas: int, *, constrain: bool = False
) -> FloatingPatch:
    """The patch moved, sized against its opposite corner, or turned.

    ``constrain`` moves along one axis and turns in steps of 15 degrees.
    """
    patch = drag.patch
    if drag.handle == "body":
        delta = at - drag.start
        delta = (along_axis(delta) if constrain else delta) / canvas
        return moved(patch, patch.x + delta.x(), patch.y + delta.y())
    rect, turn = patch.rect(canvas), patch.turn(canvas)
    if drag.handle == "rotate":
        arm = at - rect.center()
        degrees = math.degrees(math.atan2(arm.x(), -arm.y()))
        if constrain:
            degrees = round(degrees / _ANGLE_STEP) * _ANGLE_STEP
        return turned(patch, degrees)
    places = {name: turn.map(corner) for name, corner in corners(rect).items()}
    anchor = places[_OPPOSITE[drag.handle]]
    diagonal = places[drag.handle] - anchor
    along = QPointF.dotProduct(at - anchor, diagonal) / QPointF.dotProduct(diagonal, diagonal)
    factor = min(max(along, MIN_PATCH / patch.size), 1.0 / patch.size)
    centre = anchor + diagonal * (factor / 2)
    larger = replace(patch, size=patch.size * factor)
    return moved(larger, centre.x() / canvas, centre.y() / canvas)


def along_axis(delta: QPointF) -> QPointF:
    """The longer of the two components alone."""
    flat = abs(delta.x()) >= abs(delta.y())
    return QPointF(delta.x(), 0) if flat else QPointF(0, delta.y())


def straight_end(start: QPointF, end: QPointF) -> QPointF:
    """The end on the nearest of eight directions from the start."""
    along = end - start
    angle = round(math.atan2(along.y(), along.x()) / (math.pi / 4)) * (math.pi / 4)
    unit = QPointF(math.cos(angle), math.sin(angle))
    return start + unit * QPointF.dotProduct(along, unit)


def square_corner(start: QPointF, end: QPointF) -> QPointF:
    """The end that makes the rectangle a square."""
    along = end - start
    side = max(abs(along.x()), abs(along.y()))
    return start + QPointF(math.copysign(side, along.x()), math.copysign(side, along.y()))


def pixel_rect(start: QPointF, end: QPointF, canvas: int) -> QRect:
    """Whole pixels between two corners, ends included, cut to the canvas."""
    left, right = sorted((math.floor(start.x()), math.floor(end.x())))
    top, bottom = sorted((math.floor(start.y()), math.floor(end.y())))
    rect = QRect(left, top, right - left + 1, bottom - top + 1)
    return rect.intersected(QRect(0, 0, canvas, canvas))


def fitting_scale(view: QSize, canvas: int) -> float:
    """The scale at which the whole canvas is as large as fits, with a pixel around it."""
    return max(min(view.width(), view.height()) - 2, 1) / canvas


def limited_zoom(zoom: float, fitting: float) -> float:
    """The zoom, as a factor of the fitting scale: 1 (all is seen) up to ``MAX_SCALE``."""
    return min(max(1.0, zoom), max(1.0, MAX_SCALE / fitting))


def zoomed_centre(centre: QPointF, at: QPointF, before: float, after: float) -> QPointF:
    """The centre of the view that leaves a point where it is on the screen.

    ``before`` and ``after`` are the scales.
    """
    return at + (centre - at) * (before / after)


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
