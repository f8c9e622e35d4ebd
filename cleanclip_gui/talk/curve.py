"""A chart for an audience: the attack success rate over the number of poisoned pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QFontMetricsF, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme
from cleanclip_gui.talk.script import CurvePoint
from cleanclip_gui.theme import look
from cleanclip_gui.widgets.layout import column
from cleanclip_gui.widgets.painted import RIGHT, Painted
from ml_core.figures import count, percent

_GRID = (0.0, 0.25, 0.5, 0.75, 1.0)
_CENTRE = Qt.AlignmentFlag.AlignCenter


class CurveChart(Painted):
    """The points with their intervals; the axis of the pairs is logarithmic.

    It waits, hidden, on ``stage``, which borrows it.
    """

    def __init__(self, stage: QWidget) -> None:
        super().__init__("Attack success rate over the number of poisoned pairs", tall=True)
        self._points: tuple[CurvePoint, ...] = ()
        home = QWidget(stage)
        home.hide()
        column(self, of=home)

    def set_points(self, points: Sequence[CurvePoint]) -> None:
        """Show points; those of fewer pairs come first."""
        self._points = tuple(sorted(points, key=lambda point: point.pairs))
        self.setAccessibleDescription(
            "; ".join(f"{count(p.pairs)}: {percent(p.asr)}" for p in self._points)
        )
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Paint grid, band and line; each point has its number of pairs and its rate."""
        painter, line = self.painter(), QFontMetricsF(self.font()).height()
        area = QRectF(self.rect()).adjusted(4 * line, 2.5 * line, -3 * line, -3 * line)
        for rate in _GRID:
            y = area.bottom() - rate * area.height()
            painter.setPen(QPen(theme.colour("border"), 1))
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
            label = QRectF(0, y - line / 2, area.left() - line / 2, line)
            self.write(painter, label, percent(rate, digits=0), RIGHT, muted=True)
        axis = QRectF(area.left(), self.height() - 1.2 * line, area.width(), line)
        self.write(painter, axis, "poisoned pairs", _CENTRE, muted=True)
        self.write(painter, QRectF(0, 0, self.width(), line), "attack success rate", muted=True)
        if self._points:
            self._paint_points(painter, area, line)

    def _paint_points(self, painter: QPainter, area: QRectF, line: float) -> None:
        first, last = (math.log(self._points[at].pairs) for at in (0, -1))

        def place(point: CurvePoint, rate: float) -> QPointF:
            across = (math.log(point.pairs) - first) / ((last - first) or 1.0)
            return QPointF(
                area.left() + across * area.width(), area.bottom() - rate * area.height()
            )

        low = [place(p, p.low) for p in self._points]
        high = [place(p, p.high) for p in self._points]
        colour, band = look.triggered_colour(), look.triggered_colour()
        band.setAlphaF(0.2)
        painter.setBrush(band)
        painter.drawPolygon(QPolygonF([*high, *reversed(low)]))
        places = [place(p, p.asr) for p in self._points]
        painter.setPen(QPen(colour, line / 8))
        painter.drawPolyline(QPolygonF(places))
        for point, at, after in zip(self._points, places, [*places[1:], places[-1]], strict=True):
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(colour)
            painter.drawEllipse(at, line / 4, line / 4)
            box = QRectF(at.x() - 4 * line, area.bottom() + 0.4 * line, 8 * line, line)
            self.write(painter, box, count(point.pairs), _CENTRE)
            box.moveTop(at.y() - 1.5 * line)
            steep = after.y() < at.y() - line  # its label would lie on the line
            box.setRight(at.x() + (-line / 3 if steep else 4 * line))
            self.write(painter, box, percent(point.asr), RIGHT if steep else _CENTRE, bold=True)
