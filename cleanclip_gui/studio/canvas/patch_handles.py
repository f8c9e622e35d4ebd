"""Geometry and looks of the handles with which a patch or a selection is moved, sized, turned."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from PySide6.QtCore import QLineF, QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen, QTransform

from cleanclip_gui.studio.canvas.scene import MIN_PATCH, FloatingPatch, moved, turned

_RADIUS = 5.0
_STALK = 18.0  # screen pixels from the frame to the handle that turns
_STEP = 15.0  # degrees, with Shift


@dataclass(frozen=True, eq=False)
class Drag:
    """A drag under way: what was taken hold of, where, and the patch at its start."""

    part: str
    start: QPointF
    base: FloatingPatch


def part_at(patch: FloatingPatch, at: QPointF, canvas: int, scale: float) -> str:
    """A corner (nw, ne, sw, se), ``turn``, ``body`` or nothing.

    ``scale`` is screen pixels a canvas pixel.
    """
    inverse, _ = patch.turn(canvas).inverted()
    at, rect, scale = inverse.map(at), patch.rect(canvas), max(scale, 1e-6)
    stalk = QPointF(rect.center().x(), rect.top() - _STALK / scale)
    if QLineF(at, stalk).length() <= (_RADIUS + 4) / scale:
        return "turn"
    return part_of_rect(rect, at, scale)


def part_of_rect(rect: QRectF, at: QPointF, scale: float) -> str:
    """A corner of an upright rectangle, its ``body`` or nothing."""
    reach = (_RADIUS + 4) / max(scale, 1e-6)
    # A small patch keeps a middle that can be taken hold of.
    reach = min(reach, max(rect.width(), rect.height()) / 3 + 2 / max(scale, 1e-6))
    for name, corner in corners(rect).items():
        offset = at - corner
        if max(abs(offset.x()), abs(offset.y())) <= reach:
            return name
    return "body" if rect.contains(at) else ""


def corners(rect: QRectF) -> dict[str, QPointF]:
    """Corners by compass point."""
    return {
        "nw": rect.topLeft(),
        "ne": rect.topRight(),
        "sw": rect.bottomLeft(),
        "se": rect.bottomRight(),
    }


OPPOSITE = {"nw": "se", "ne": "sw", "sw": "ne", "se": "nw"}


def dragged(drag: Drag, at: QPointF, canvas: int, *, constrain: bool = False) -> FloatingPatch:
    """Move the patch, size it against the corner that lies opposite, or turn it."""
    patch = drag.base
    if drag.part == "body":
        delta = at - drag.start
        if constrain:
            flat = abs(delta.x()) >= abs(delta.y())
            delta = QPointF(delta.x(), 0) if flat else QPointF(0, delta.y())
        delta = delta / canvas
        return moved(patch, patch.x + delta.x(), patch.y + delta.y())
    rect, turn = patch.rect(canvas), patch.turn(canvas)
    if drag.part == "turn":
        arm = at - rect.center()
        degrees = math.degrees(math.atan2(arm.x(), -arm.y()))
        return turned(patch, round(degrees / _STEP) * _STEP if constrain else degrees)
    places = {name: turn.map(corner) for name, corner in corners(rect).items()}
    anchor = places[OPPOSITE[drag.part]]
    diagonal = places[drag.part] - anchor
    along = QPointF.dotProduct(at - anchor, diagonal) / QPointF.dotProduct(diagonal, diagonal)
    factor = min(max(along, MIN_PATCH / patch.size), 1.0 / patch.size)
    centre = anchor + diagonal * (factor / 2)
    larger = replace(patch, size=patch.size * factor)
    return moved(larger, centre.x() / canvas, centre.y() / canvas)


def draw_patch_handles(
    painter: QPainter, patch: FloatingPatch, canvas: int, to_view: QTransform, colour: QColor
) -> None:
    """Draw the turned frame, its corners and the handle that turns, in screen pixels."""
    frame = to_view.mapRect(patch.rect(canvas))
    painter.save()
    painter.translate(frame.center())
    painter.rotate(patch.rotation)
    painter.translate(-frame.center())
    top = QPointF(frame.center().x(), frame.top())
    stalk = top - QPointF(0, _STALK)
    painter.setPen(QPen(QColor(255, 255, 255, 200), 3))
    painter.drawLine(top, stalk)
    painter.setPen(QPen(colour, 1.5))
    painter.drawLine(top, stalk)
    draw_handles(painter, frame, colour)
    painter.drawEllipse(stalk, _RADIUS, _RADIUS)
    painter.restore()


def draw_handles(painter: QPainter, frame: QRectF, colour: QColor) -> None:
    """Draw a frame and its corners, in screen pixels."""
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(QColor(255, 255, 255, 200), 3))
    painter.drawRect(frame)
    painter.setPen(QPen(colour, 1.5, Qt.PenStyle.DashLine))
    painter.drawRect(frame)
    painter.setPen(QPen(colour, 1.5))
    painter.setBrush(QColor(255, 255, 255))
    for corner in corners(frame).values():
        painter.drawEllipse(corner, _RADIUS, _RADIUS)


def cursor_of(part: str) -> Qt.CursorShape:
    """The mouse cursor over a part."""
    if part in ("nw", "se"):
        return Qt.CursorShape.SizeFDiagCursor
    if part in ("ne", "sw"):
        return Qt.CursorShape.SizeBDiagCursor
    if part == "turn":
        return Qt.CursorShape.PointingHandCursor
    return Qt.CursorShape.SizeAllCursor if part else Qt.CursorShape.ArrowCursor
