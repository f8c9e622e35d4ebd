"""What lies under the pointer, and what a drag makes of it: pure functions.

Points and rectangles are in canvas pixels; ``scale`` is screen pixels per canvas pixel, so that
handles are as easy to hit whatever the zoom.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from PySide6.QtCore import QLineF, QPointF, QRect, QRectF, QSize

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
    """The handle of a turned patch at a point; empty where there is none."""
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
