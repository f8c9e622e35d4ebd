"""A bar a class: how much it draws pictures that do not show it, with the reference behind."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize
from PySide6.QtGui import QColor, QPainter, QPaintEvent

from cleanclip_gui import theme
from cleanclip_gui.theme import look
from cleanclip_gui.widgets.painted import Painted
from cleanclip_gui.widgets.text import plain
from ml_core.detection.scan.records import ClassPull, PullRow

MOST = 20
_ROW, _LEGEND, _NUMBER = 21, 26, 92
_LEAST = 0.05  # where the longest bar would be a difference of nothing
_THIN, _WIDE = 6.0, 14.0  # bars


class PullChart(Painted):
    """The strongest classes, at most twenty; the reference's bar is wider and pale."""

    def __init__(self, most: int = MOST) -> None:
        super().__init__("Classes the model leans to")
        self._most = most
        self.rows: tuple[PullRow, ...] = ()
        self.show_pull(None)

    def show_pull(self, pull: ClassPull | None) -> None:
        """Show a scan; None shows nothing."""
        self.rows = () if pull is None else pull.rows[: self._most]
        sentences = [
            f"{plain(row.target, 60)}: {row.suspect:.3f}"
            + ("" if row.reference is None else f", reference {row.reference:.3f}")
            for row in self.rows
        ]
        self.setAccessibleDescription("; ".join(sentences))
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """A row a class, below the legend."""
        return QSize(420, theme.px(_LEGEND) + theme.px(_ROW) * len(self.rows))

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """As high, and narrower."""
        return QSize(240, self.sizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw legend and rows."""
        if not self.rows:
            return
        painter = self.painter()
        others = [row.reference for row in self.rows if row.reference is not None]
        most = max(*(row.suspect for row in self.rows), *others, _LEAST)
        mine, other = look.triggered_colour(), look.faded(look.clean_colour(), True)
        x = self._paint_name(painter, 0, "Scanned checkpoint", mine, _THIN)
        if others:
            self._paint_name(painter, x, "Reference", other, _WIDE)
        names = min(theme.px(130), self.width() * 0.32)
        room = max(10.0, self.width() - names - theme.px(_NUMBER))
        high = theme.px(_ROW)
        for number, row in enumerate(self.rows):
            top = theme.px(_LEGEND) + number * high
            self.write(painter, QRectF(0, top, names - 8, high), plain(row.target, 80), size=0.95)
            figures, bars = f"{row.suspect:.3f}", [(row.suspect, mine, _THIN)]
            if row.reference is not None:
                figures += f" | {row.reference:.3f}"
                bars.insert(0, (row.reference, other, _WIDE))
            for value, colour, thick in bars:
                _paint_bar(painter, names, top + high / 2, room * value / most, colour, thick)
            box = QRectF(self.width() - theme.px(_NUMBER), top, theme.px(_NUMBER), high)
            self.write_number(painter, box, figures, muted=True)

    def _paint_name(
        self, painter: QPainter, x: float, text: str, colour: QColor, high: float
    ) -> float:
        """Paint an entry of the legend; return where the next one begins."""
        _paint_bar(painter, x, theme.px(9), 18, colour, high)
        box = QRectF(x + 24, 0, self.width(), theme.px(18))
        return x + 42 + self.write(painter, box, text, size=0.9, muted=True)


def _paint_bar(
    painter: QPainter, x: float, middle: float, wide: float, colour: QColor, high: float
) -> None:
    painter.setBrush(colour)
    painter.drawRoundedRect(QRectF(x, middle - high / 2, max(0.0, wide), high), 2, 2)
