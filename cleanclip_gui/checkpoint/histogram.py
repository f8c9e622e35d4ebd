"""How the values of one tensor are spread, painted while they are being counted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QAccessible, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QCheckBox, QFrame, QSizePolicy, QWidget

from cleanclip_gui import theme
from cleanclip_gui.theme import look
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.roles import give_role
from cleanclip_gui.widgets.text import count_text, plain, plural

if TYPE_CHECKING:
    from ml_core.checkpoints.tensor_histogram import Histogram

_AXIS = 20


class _Bars(QWidget):
    """The bars over an axis from the smallest to the largest value."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Histogram")
        give_role(self, QAccessible.Role.Chart)
        self.shown: Histogram | None = None
        self.logarithmic = False
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumHeight(theme.px(84))

    def sizeHint(self) -> QSize:  # noqa: N802
        """Wide and low."""
        return QSize(theme.px(600), theme.px(110))

    def heights(self) -> list[float]:
        """Height of each bar, from 0 to 1."""
        counts = self.shown.counts if self.shown is not None else ()
        scaled = [math.log1p(n) if self.logarithmic else float(n) for n in counts]
        top = max(scaled, default=0.0)
        return [value / top if top else 0.0 for value in scaled]

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw bars, axis, its ends, and zero where it lies between them."""
        painter = QPainter(self)
        area = QRectF(self.rect()).adjusted(0, 2, 0, -theme.px(_AXIS))
        painter.setPen(QPen(theme.colour("border_strong")))
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        shown = self.shown
        if shown is None or math.isnan(shown.low):
            return
        heights = self.heights()
        step = area.width() / len(heights)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(look.clean_colour())
        for number, height in enumerate(heights):
            if height <= 0:
                continue
            tall = max(1.0, height * area.height())  # one value must not vanish
            gap = 1.0 if step > 4 else 0.0
            left = area.left() + number * step
            painter.drawRect(QRectF(left, area.bottom() - tall, max(1.0, step - gap), tall))
        painter.setPen(look.text_colour(self, muted=True))
        painter.setFont(look.sized(self.font(), 0.9))
        words = QRectF(area.left(), area.bottom() + 3, area.width(), theme.px(_AXIS) - 3)
        if shown.low == shown.high:
            text = f"every value is {shown.low:.4g}"
            painter.drawText(words, Qt.AlignmentFlag.AlignCenter, text)
            return
        painter.drawText(words, Qt.AlignmentFlag.AlignLeft, f"{shown.low:.4g}")
        painter.drawText(words, Qt.AlignmentFlag.AlignRight, f"{shown.high:.4g}")
        half = shown.high / 2 - shown.low / 2  # of a range that may exceed float64
        share = -shown.low / 2 / half if half > 0 else 0.0
        if 0.12 < share < 0.88:
            zero = area.left() + share * area.width()
            painter.drawText(
                QRectF(zero - 20, words.top(), 40, words.height()),
                Qt.AlignmentFlag.AlignHCenter,
                "0",
            )
            painter.drawLine(QPointF(zero, area.bottom()), QPointF(zero, area.bottom() + 3))


class HistogramCard(QFrame):
    """Name, counts and bars of the chosen tensor; hidden until one is chosen."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.setAccessibleName("Histogram of the chosen tensor")
        self.setFixedHeight(theme.px(176))
        self.name = Label("", "heading")
        self.name.setMinimumWidth(1)
        self.name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.facts = Label("", "subtle")
        self.log = QCheckBox("Log counts")
        self.log.setToolTip("Show rare values too: each bar's height is the logarithm of its count")
        self.log.toggled.connect(self._on_log_toggled)
        self.bars = _Bars()
        column(
            row((self.name, 1), self.facts, self.log, spacing=theme.SPACE_M), (self.bars, 1),
            of=self, margins=(theme.SPACE_L, theme.SPACE_M, theme.SPACE_L, theme.SPACE_S),
            spacing=theme.SPACE_S,
        )  # fmt: skip
        self.hide()

    def begin(self, name: str) -> None:
        """Show which tensor is being counted."""
        self.name.setText(plain(name, 120))
        self.name.setToolTip("")
        self._show(None, "Counting…")
        self.show()

    def show_counts(self, counted: Histogram) -> None:
        """Show what was counted so far."""
        words = plural(counted.total, "value")
        if counted.seen < counted.total:
            words = f"{count_text(counted.seen)} of {words}"
        if counted.nan or counted.inf:
            words += f", not counted: {count_text(counted.nan)} NaN, {count_text(counted.inf)} Inf"
        self._show(counted, words)

    def show_problem(self, sentence: str) -> None:
        """Say why there is nothing to see."""
        self._show(None, plain(sentence, 160))

    def _show(self, counted: Histogram | None, words: str) -> None:
        self.bars.shown = counted
        self.facts.setText(words)
        bad = counted is not None and bool(counted.nan or counted.inf)
        theme.set_property(self.facts, "role", "error" if bad else "subtle")
        ends = "" if counted is None else f", from {counted.low:.4g} to {counted.high:.4g}"
        for part in (self, self.bars):
            part.setAccessibleDescription(f"{self.name.text()}: {words}{ends}")
        self.bars.update()

    def _on_log_toggled(self, on: bool) -> None:
        self.bars.logarithmic = on
        self.bars.update()
