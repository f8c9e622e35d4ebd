"""A bar a class: how much it draws pictures that do not show it, with the reference behind."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QAccessible, QFontMetrics, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from cleanclip_gui import theme
from cleanclip_gui.theme import look
from cleanclip_gui.widgets.pictures import give_role
from cleanclip_gui.widgets.text import plain
from ml_core.detection.scan.records import ClassPull, PullRow

MOST = 20
_ROW, _LEGEND, _NUMBER = 21, 26, 92


class PullChart(QWidget):
    """The strongest classes, at most twenty; the reference's bar is wider and pale."""

    def __init__(self, parent: QWidget | None = None, most: int = MOST) -> None:
        super().__init__(parent)
        self._most = most
        self.rows: tuple[PullRow, ...] = ()
        self.setAccessibleName("Classes that draw pictures")
        give_role(self, QAccessible.Role.Chart)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
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
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        values = [row.suspect for row in self.rows]
        values += [row.reference for row in self.rows if row.reference is not None]
        top = max(*values, 1e-6)
        self._paint_legend(painter)
        for number, row in enumerate(self.rows):
            self._paint_row(painter, row, theme.px(_LEGEND) + number * theme.px(_ROW), top)

    def _paint_legend(self, painter: QPainter) -> None:
        painter.setFont(look.sized(self.font(), 0.9))
        metrics, x = QFontMetrics(painter.font()), 0.0
        named = [("This checkpoint", look.triggered_colour(), 6.0)]
        if any(row.reference is not None for row in self.rows):
            named.append(("Reference", look.faded(look.clean_colour(), True), 14.0))
        for text, colour, height in named:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(colour)
            painter.drawRoundedRect(QRectF(x, theme.px(9) - height / 2, 18, height), 2, 2)
            painter.setPen(look.text_colour(self, muted=True))
            width = metrics.horizontalAdvance(text) + 4
            painter.drawText(
                QRectF(x + 24, 0, width, theme.px(18)), Qt.AlignmentFlag.AlignVCenter, text
            )
            x += 24 + width + 14

    def _paint_row(self, painter: QPainter, row: PullRow, top: int, most: float) -> None:
        names = min(theme.px(130), self.width() * 0.32)
        painter.setFont(look.sized(self.font(), 0.95))
        painter.setPen(look.text_colour(self))
        name = QFontMetrics(painter.font()).elidedText(
            plain(row.target, 80), Qt.TextElideMode.ElideRight, int(names - 8)
        )
        painter.drawText(
            QRectF(0, top, names - 8, theme.px(_ROW)), Qt.AlignmentFlag.AlignVCenter, name
        )
        room, middle = max(10.0, self.width() - names - theme.px(_NUMBER)), top + theme.px(_ROW) / 2
        painter.setPen(Qt.PenStyle.NoPen)
        bars = [(row.suspect, look.triggered_colour(), 6.0)]
        if row.reference is not None:
            bars.insert(0, (row.reference, look.faded(look.clean_colour(), True), 14.0))
        for value, colour, height in bars:
            width = room * min(max(value / most, 0.0), 1.0)
            painter.setBrush(colour)
            painter.drawRoundedRect(QRectF(names, middle - height / 2, width, height), 2, 2)
        painter.setFont(theme.figure_font(theme.FONT_POINTS * 0.88))
        painter.setPen(look.text_colour(self, muted=True))
        number = f"{row.suspect:.3f}"
        number += "" if row.reference is None else f" | {row.reference:.3f}"
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        painter.drawText(
            QRectF(self.width() - theme.px(_NUMBER), top, theme.px(_NUMBER), theme.px(_ROW)),
            right,
            number,
        )
