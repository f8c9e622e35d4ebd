"""Class probabilities of one image, clean against triggered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QAccessible, QBrush, QColor, QFontMetrics, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from cleanclip_gui import theme
from cleanclip_gui.theme.look import (
    clean_colour,
    faded,
    sized,
    text_colour,
    track_colour,
    triggered_colour,
)
from cleanclip_gui.widgets.pictures import give_role
from cleanclip_gui.widgets.text import probability_text

_TOP = 5
_EMPTY = "Select an image to see what the model says about it."
_ROWS = 7
_BAR = 9.0
_ROW = 34.0
_LEGEND = 24.0


class ProbabilityBars(QWidget):
    """The five likeliest classes of both; triggered bars are hatched as well as coloured."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("probabilityBars")
        self.setAccessibleName("Class probabilities of the selected image")
        give_role(self, QAccessible.Role.Chart)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._names: tuple[str, ...] = ()
        self._clean: NDArray[np.float32] | None = None
        self._triggered: NDArray[np.float32] | None = None
        self._rows: tuple[int, ...] = ()
        self._target = -1
        self.stale = False
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

    def set_stale(self, stale: bool) -> None:
        """Fade the bars while a newer trigger is asked about."""
        if stale != self.stale:
            self.stale = stale
            self.update()

    @property
    def rows(self) -> tuple[int, ...]:
        """Classes shown, the likeliest first."""
        return self._rows

    def sizeHint(self) -> QSize:  # noqa: N802
        """Room for all rows."""
        return QSize(theme.px(320), int(theme.px(_LEGEND) + _ROWS * theme.px(_ROW)))

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Room for the likeliest class; where it is tight, the figure above comes first."""
        return QSize(theme.px(220), int(theme.px(_LEGEND) + theme.px(_ROW)))

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
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self._clean is None:
            painter.setPen(text_colour(self, muted=True))
            painter.drawText(
                self.rect(),
                Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap,
                self._empty_text,
            )
            self._paint_focus(painter)
            return
        self._paint_legend(painter)
        room = max(1, int((self.height() - theme.px(_LEGEND)) // theme.px(_ROW)))
        top = theme.px(_LEGEND)
        for row in self._rows[:room]:
            self._paint_row(painter, row, top)
            top += theme.px(_ROW)
        self._paint_focus(painter)

    def _paint_focus(self, painter: QPainter) -> None:
        """A frame while it has the focus."""
        if self.hasFocus():
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(theme.colour("focus"), 2))
            painter.drawRoundedRect(QRectF(self.rect()).adjusted(1, 1, -1, -1), 6, 6)

    def _paint_legend(self, painter: QPainter) -> None:
        painter.setFont(sized(self.font(), 0.9))
        metrics = QFontMetrics(painter.font())
        x = 2.0
        named = [("Clean", clean_colour(), False)]
        if self._triggered is not None:
            named.append(("Triggered", triggered_colour(), True))
        for text, colour, hatched in named:
            _paint_bar(
                painter,
                QRectF(x, theme.px(5), theme.px(18), theme.px(_BAR)),
                faded(colour, self.stale),
                hatched,
            )
            painter.setPen(text_colour(self, muted=True))
            painter.drawText(
                QRectF(x + theme.px(24), 0, theme.px(120), theme.px(19)),
                Qt.AlignmentFlag.AlignVCenter,
                text,
            )
            x += theme.px(24) + metrics.horizontalAdvance(text) + theme.px(18)

    def _paint_row(self, painter: QPainter, row: int, top: float) -> None:
        """Name on the left, two bars, two numbers on the right."""
        name_width = min(theme.px(120), self.width() * 0.34)
        number_width = theme.px(52)
        is_target = row == self._target
        painter.setFont(sized(self.font(), 0.95, bold=is_target))
        metrics = QFontMetrics(painter.font())
        name = metrics.elidedText(
            self._names[row], Qt.TextElideMode.ElideRight, int(name_width - 8)
        )
        painter.setPen(text_colour(self, stale=self.stale))
        painter.drawText(
            QRectF(2, top, name_width - 8, theme.px(_ROW) - 6), Qt.AlignmentFlag.AlignVCenter, name
        )
        x = name_width
        width = max(10.0, self.width() - name_width - number_width)
        both = self._triggered is not None
        first = top + (3 if both else 3 + (theme.px(_BAR) + 3) / 2)
        self._paint_value(painter, QRectF(x, first, width, theme.px(_BAR)), self._clean, row, False)
        if both:
            second = QRectF(x, top + 3 + theme.px(_BAR) + 3, width, theme.px(_BAR))
            self._paint_value(painter, second, self._triggered, row, True)

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
        _paint_bar(painter, track, track_colour(self), False)
        if value > 0:
            bar = QRectF(track)
            bar.setWidth(max(3.0, track.width() * value))
            colour = triggered_colour() if hatched else clean_colour()
            _paint_bar(painter, bar, faded(colour, self.stale), hatched)
        painter.setFont(theme.figure_font(theme.FONT_POINTS * 0.85))
        painter.setPen(text_colour(self, stale=self.stale))
        right = QRectF(
            track.right() + 4, track.center().y() - theme.px(8), theme.px(46), theme.px(16)
        )
        painter.drawText(
            right,
            Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter,
            probability_text(value),
        )


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
