"""A row of cells, one a layer, the warmer the more the layer has changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QAccessible, QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from cleanclip_gui import theme
from cleanclip_gui.theme import look
from cleanclip_gui.widgets.roles import give_role
from cleanclip_gui.widgets.text import change_text, plain

if TYPE_CHECKING:
    from ml_core.checkpoints.compare import LayerChange


class HeatStrip(QWidget):
    """``pointed(str)`` tells in words what the pointer or the arrow keys are at."""

    pointed = Signal(str)

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title = title
        self._layers: list[LayerChange] = []
        self._top = 0.0
        self._at = -1
        self._most = ""
        self.setAccessibleName(f"{title}: change of each layer")
        give_role(self, QAccessible.Role.Chart)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Wide and low."""
        return QSize(theme.px(600), theme.px(34))

    def set_layers(self, layers: Sequence[LayerChange], top: float) -> None:
        """Show other layers; ``top`` is the change that gets the warmest colour."""
        self._layers, self._top, self._at = list(layers), top, -1
        worst = max(
            self._layers,
            key=lambda layer: (math.isnan(layer.relative), layer.relative),
            default=None,
        )
        self._most = "" if worst is None else f"Most: {words(worst)}"
        self.setAccessibleDescription(self._most)
        self.update()

    def colour(self, number: int) -> QColor:
        """Colour of a cell: the root of its share of the top, so that small changes show."""
        layer = self._layers[number]
        if math.isnan(layer.relative):  # became NaN: nothing is further away
            share = 1.0
        else:
            share = min(1.0, layer.relative / self._top) if self._top > 0 else 0.0
        if layer.changed == 0:
            return theme.colour("sunken")
        warm, cold = look.triggered_colour(), theme.colour("surface")
        part = 0.15 + 0.85 * math.sqrt(share)
        red, green, blue = (
            round(part * one(warm) + (1 - part) * one(cold))
            for one in (QColor.red, QColor.green, QColor.blue)
        )
        return QColor(red, green, blue)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the cells; the one pointed at has a frame."""
        painter = QPainter(self)
        for number in range(len(self._layers)):
            cell = self._cell(number)
            painter.fillRect(cell, self.colour(number))
            if number == self._at:
                painter.setPen(QPen(theme.colour("text"), 2))
                painter.drawRect(cell.adjusted(1, 1, -1, -1))
        if self.hasFocus() and self._at < 0:
            painter.setPen(QPen(theme.colour("focus"), 2))
            painter.drawRect(QRectF(self.rect()).adjusted(1, 1, -1, -1))

    def _cell(self, number: int) -> QRectF:
        step = self.width() / max(1, len(self._layers))
        gap = 1.0 if step > 4 else 0.0
        return QRectF(number * step, 0.0, max(1.0, step - gap), float(self.height()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Point at the cell under the mouse."""
        if self._layers:
            step = self.width() / len(self._layers)
            self._point(int(event.position().x() / step))

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Go from cell to cell."""
        steps = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}
        if event.key() in steps and self._layers:
            self._point(self._at + steps[Qt.Key(event.key())])
        else:
            super().keyPressEvent(event)

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802
        """Point at nothing."""
        self._at = -1
        self.update()
        super().leaveEvent(event)

    def _point(self, number: int) -> None:
        self._at = min(max(number, 0), len(self._layers) - 1)
        here = words(self._layers[self._at])
        self.setAccessibleDescription(f"{here}. {self._most}")
        self.pointed.emit(here)
        self.update()


def words(layer: LayerChange) -> str:
    """A layer and how much it has changed."""
    changed = f"{layer.changed} of {layer.tensors} tensors differ"
    if layer.changed == 0:
        changed = "equal"
    return f"{plain(layer.name, 80)}: {change_text(layer.relative)} ({changed})"
