"""What the canvas draws above the picture: grid, handles, brush, focus; in screen pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PySide6.QtCore import QLineF, QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPalette, QPen

from cleanclip_gui.studio.canvas.patch_handles import draw_handles, draw_patch_handles
from cleanclip_gui.studio.canvas.view import GRID_SCALE

if TYPE_CHECKING:
    from cleanclip_gui.studio.canvas.canvas import TriggerCanvas


def draw_foreground(canvas: TriggerCanvas, painter: QPainter) -> None:
    """Draw it all; the painter is in canvas coordinates and is left so."""
    painter.save()
    painter.resetTransform()
    highlight = canvas.palette().color(QPalette.ColorRole.Highlight)
    if canvas.grid and canvas.zoomed_in and canvas.scale_now >= GRID_SCALE:
        _draw_grid(canvas, painter)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    _draw_handles(canvas, painter, highlight)
    _draw_pointer(canvas, painter)
    if not canvas.has_image:
        painter.setPen(canvas.palette().color(QPalette.ColorRole.PlaceholderText))
        painter.drawText(
            canvas.viewport().rect(),
            Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap,
            canvas.empty_text,
        )
    if canvas.hasFocus():
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(highlight, 2))
        area = canvas.viewportTransform().mapRect(canvas.sceneRect())
        painter.drawRect(area.intersected(QRectF(canvas.viewport().rect())).adjusted(1, 1, -1, -1))
    painter.restore()


def _draw_grid(canvas: TriggerCanvas, painter: QPainter) -> None:
    """Lines between the pixels that are on the screen."""
    to_view, size = canvas.viewportTransform(), canvas.document.size
    shown = canvas.mapToScene(canvas.viewport().rect()).boundingRect()
    left, right = max(0, math.floor(shown.left())), min(size, math.ceil(shown.right()))
    top, bottom = max(0, math.floor(shown.top())), min(size, math.ceil(shown.bottom()))
    lines = [to_view.map(QLineF(x, top, x, bottom)) for x in range(left, right + 1)]
    lines += [to_view.map(QLineF(left, y, right, y)) for y in range(top, bottom + 1)]
    painter.setPen(QPen(QColor(128, 128, 128, 90), 1))
    painter.drawLines(lines)


def _draw_handles(canvas: TriggerCanvas, painter: QPainter, colour: QColor) -> None:
    """The patch's handles and the marked rectangle, while the select tool is in hand."""
    if canvas.tool != "move":
        return
    document, to_view = canvas.document, canvas.viewportTransform()
    patch = document.patch
    if patch is not None and document.scene.placement == "fixed":
        draw_patch_handles(painter, patch, document.size, to_view, colour)
    if canvas.selection is not None:
        draw_handles(painter, to_view.mapRect(QRectF(canvas.selection)), colour)


def _draw_pointer(canvas: TriggerCanvas, painter: QPainter) -> None:
    """The brush's rim under the mouse; with the keyboard a cross as well."""
    at = canvas.pointer
    if at is None or not canvas.has_image:
        return
    to_view, scale = canvas.viewportTransform(), canvas.scale_now
    if canvas.tool in ("brush", "eraser"):
        if canvas.ink.pixel:
            side = max(1, round(canvas.ink.width))
            before = (side - 1) // 2
            x, y = math.floor(at.x()) - before, math.floor(at.y()) - before
            _double(painter, to_view.mapRect(QRectF(x, y, side, side)), round_=False)
        else:
            radius = max(canvas.ink.width * scale / 2, 2.0)
            middle = to_view.map(at)
            frame = QRectF(middle.x() - radius, middle.y() - radius, 2 * radius, 2 * radius)
            _double(painter, frame, round_=True)
    if canvas.keyboard:
        _draw_cross(painter, to_view.map(at))


def _draw_cross(painter: QPainter, at: QPointF) -> None:
    """The keyboard's cursor."""
    arms = [
        QLineF(at + QPointF(dx * 4, dy * 4), at + QPointF(dx * 11, dy * 11))
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))
    ]
    for pen in (QPen(QColor(0, 0, 0, 170), 3), QPen(QColor(255, 255, 255), 1.3)):
        painter.setPen(pen)
        painter.drawLines(arms)


def _double(painter: QPainter, frame: QRectF, *, round_: bool) -> None:
    """An outline that is seen on any ground."""
    painter.setBrush(Qt.BrushStyle.NoBrush)
    draw = painter.drawEllipse if round_ else painter.drawRect
    for pen in (QPen(QColor(0, 0, 0, 170), 3), QPen(QColor(255, 255, 255), 1.3)):
        painter.setPen(pen)
        draw(frame)
