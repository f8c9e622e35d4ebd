"""Class probabilities of one image, clean against triggered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QBrush, QColor, QPainter, QPaintEvent

from cleanclip_gui import theme
from cleanclip_gui.theme import look
from cleanclip_gui.widgets.painted import WRAPPED, Painted
from cleanclip_gui.widgets.text import probability_text

_TOP = 5
_EMPTY = "Select an image to see what the model says about it."
_ROWS = 7
_BAR, _ROW, _LEGEND = 9, 34, 24


class ProbabilityBars(Painted):
    """The five likeliest classes of both; triggered bars are hatched as well as coloured."""

    def __init__(self) -> None:
        name, wants = "Class probabilities of the selected image", (320, _LEGEND + _ROWS * _ROW)
        super().__init__(name, wants, tall=True, focus=True)
        self.setObjectName("probabilityBars")
        self._names: tuple[str, ...] = ()
        self._clean: NDArray[np.float32] | None = None
        self._triggered: NDArray[np.float32] | None = None
        self._rows: tuple[int, ...] = ()
        self._target = -1
        self._empty_text = _EMPTY
        self._describe()

    def set_empty_text(self, text: str) -> None:
        """What to say when there is nothing to show; empty: what to do about it."""
        self._empty_text = text or _EMPTY
        self.update()

    def set_probabilities(
        self,
        names: Sequence[str],
        clean: NDArray[np.float32] | None,
        triggered: NDArray[np.float32] | None,
        target: int = -1,
    ) -> None:
        """Show probabilities, float32 [C] each; None where nothing was asked."""
        self._names = tuple(names)
        self._clean = clean
        self._triggered = triggered
        self._target = target
        self._rows = rows_of(clean, triggered)
        self.stale = False
        self._describe()
        self.update()

    @property
    def rows(self) -> tuple[int, ...]:
        """Classes shown, the likeliest first."""
        return self._rows

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Room for the likeliest class; where it is tight, the figure above comes first."""
        return QSize(theme.px(220), theme.px(_LEGEND) + theme.px(_ROW))

    def _describe(self) -> None:
        """Say the rows for a screen reader."""
        if self._clean is None:
            self.setAccessibleDescription("Nothing predicted yet.")
            return
        sentences = []
        for row in self._rows:
            part = f"{self._names[row]}: clean {probability_text(self._clean[row])}"
            if self._triggered is not None:
                part += f", triggered {probability_text(self._triggered[row])}"
            sentences.append(part)
        self.setAccessibleDescription("; ".join(sentences))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Paint legend and rows."""
        painter = self.painter()
        if self._clean is None:
            painter.setPen(look.text_colour(self, muted=True))
            painter.drawText(QRectF(self.rect()), int(WRAPPED), self._empty_text)
            self.paint_focus(painter)
            return
        x = self._paint_name(painter, 2, "Clean", hatched=False)
        if self._triggered is not None:
            self._paint_name(painter, x, "Triggered", hatched=True)
        room = max(1, (self.height() - theme.px(_LEGEND)) // theme.px(_ROW))
        for number, row in enumerate(self._rows[:room]):
            self._paint_row(painter, row, theme.px(_LEGEND) + number * theme.px(_ROW))
        self.paint_focus(painter)

    def _paint_name(self, painter: QPainter, x: float, text: str, *, hatched: bool) -> float:
        """Paint an entry of the legend; return where the next one begins."""
        bar = QRectF(x, theme.px(5), theme.px(18), theme.px(_BAR))
        _paint_bar(painter, bar, self._colour(hatched), hatched)
        box = QRectF(x + theme.px(24), 0, theme.px(120), theme.px(19))
        return x + theme.px(42) + self.write(painter, box, text, size=0.9, muted=True)

    def _paint_row(self, painter: QPainter, row: int, top: float) -> None:
        """Name on the left, two bars, two numbers on the right."""
        x = min(theme.px(120), self.width() * 0.34)
        box = QRectF(2, top, x - 8, theme.px(_ROW) - 6)
        self.write(painter, box, self._names[row], size=0.95, bold=row == self._target)
        width, high = max(10.0, self.width() - x - theme.px(52)), theme.px(_BAR)
        both = self._triggered is not None
        first = top + (3 if both else 3 + (high + 3) / 2)
        self._paint_value(painter, QRectF(x, first, width, high), self._clean, row, False)
        if both:
            track = QRectF(x, top + 6 + high, width, high)
            self._paint_value(painter, track, self._triggered, row, True)

    def _paint_value(
        self,
        painter: QPainter,
        track: QRectF,
        values: NDArray[np.float32] | None,
        row: int,
        hatched: bool,
    ) -> None:
        if values is None:
            return
        value = float(values[row])
        _paint_bar(painter, track, look.track_colour(self), False)
        if value > 0:
            bar = QRectF(track)
            bar.setWidth(max(3.0, track.width() * value))
            _paint_bar(painter, bar, self._colour(hatched), hatched)
        box = QRectF(
            track.right() + 4, track.center().y() - theme.px(8), theme.px(46), theme.px(16)
        )
        self.write_number(painter, box, probability_text(value))

    def _colour(self, hatched: bool) -> QColor:
        return look.faded(look.triggered_colour() if hatched else look.clean_colour(), self.stale)


def rows_of(
    clean: NDArray[np.float32] | None, triggered: NDArray[np.float32] | None
) -> tuple[int, ...]:
    """Union of the five likeliest classes of both, by the larger probability."""
    if clean is None:
        return ()
    best = clean if triggered is None else np.maximum(clean, triggered)
    rows = set(np.argsort(-clean, kind="stable")[:_TOP].tolist())
    if triggered is not None:
        rows |= set(np.argsort(-triggered, kind="stable")[:_TOP].tolist())
    return tuple(sorted(rows, key=lambda row: (-float(best[row]), row)))


def _paint_bar(painter: QPainter, rect: QRectF, colour: QColor, hatched: bool) -> None:
    """A rounded bar, hatched where it means triggered."""
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(colour)
    radius = min(3.0, rect.width() / 2)
    painter.drawRoundedRect(rect, radius, radius)
    if hatched:
        stripes = QColor(255, 255, 255, 110)
        painter.setBrush(QBrush(stripes, Qt.BrushStyle.BDiagPattern))
        painter.drawRoundedRect(rect, radius, radius)
