"""Geometry and looks of the handles with which a patch is moved and resized."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen

from cleanclip_gui.widgets.paint_document import MIN_PATCH, FloatingPatch, moved

_RADIUS = 5.0


@dataclass(frozen=True, eq=False)
class Drag:
    """A drag under way: what was taken hold of, where, and the patch at its start.

    ``before`` is what undo brings back.
    """

    part: str
    start: QPointF
    base: FloatingPatch
    before: FloatingPatch


def part_at(patch: FloatingPatch, at: QPointF, canvas: int, scale: float) -> str:
    """A corner (nw, ne, sw, se), ``body`` or nothing; ``scale`` is screen pixels a pixel."""
    rect = patch.rect(canvas)
    reach = (_RADIUS + 4) / max(scale, 1e-6)
    # A small patch keeps a middle that can be taken hold of.
    reach = min(reach, max(rect.width(), rect.height()) / 3 + 2 / max(scale, 1e-6))
    corners = {
        "nw": rect.topLeft(),
        "ne": rect.topRight(),
        "sw": rect.bottomLeft(),
        "se": rect.bottomRight(),
    }
    for name, corner in corners.items():
        offset = at - corner
        if max(abs(offset.x()), abs(offset.y())) <= reach:
            return name
    return "body" if rect.contains(at) else ""


def dragged(patch: FloatingPatch, drag: Drag, at: QPointF, canvas: int) -> FloatingPatch:
    """Move the patch with the mouse, or resize it against the corner that lies opposite."""
    if drag.part == "body":
        delta = (at - drag.start) / canvas
        return moved(patch, patch.x + delta.x(), patch.y + delta.y())
    rect = patch.rect(canvas)
    corner, anchor = {
        "nw": (rect.topLeft(), rect.bottomRight()),
        "ne": (rect.topRight(), rect.bottomLeft()),
        "sw": (rect.bottomLeft(), rect.topRight()),
        "se": (rect.bottomRight(), rect.topLeft()),
    }[drag.part]
    diagonal = corner - anchor
    along = QPointF.dotProduct(at - anchor, diagonal) / QPointF.dotProduct(diagonal, diagonal)
    factor = min(max(along, MIN_PATCH / patch.size), 1.0 / patch.size)
    centre = anchor + diagonal * (factor / 2)
    resized = replace(patch, size=patch.size * factor)
    return moved(resized, centre.x() / canvas, centre.y() / canvas)


def draw_handles(painter: QPainter, frame: QRectF, colour: QColor) -> None:
    """Draw the frame and its corners, in screen pixels."""
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(QColor(255, 255, 255, 200), 3))
    painter.drawRect(frame)
    painter.setPen(QPen(colour, 1.5, Qt.PenStyle.DashLine))
    painter.drawRect(frame)
    painter.setPen(QPen(colour, 1.5))
    painter.setBrush(QColor(255, 255, 255))
    for corner in (frame.topLeft(), frame.topRight(), frame.bottomLeft(), frame.bottomRight()):
        painter.drawEllipse(corner, _RADIUS, _RADIUS)


def cursor_of(part: str) -> Qt.CursorShape:
    """The mouse cursor over a part of the patch."""
    if part in ("nw", "se"):
        return Qt.CursorShape.SizeFDiagCursor
    if part in ("ne", "sw"):
        return Qt.CursorShape.SizeBDiagCursor
    return Qt.CursorShape.SizeAllCursor if part else Qt.CursorShape.ArrowCursor
