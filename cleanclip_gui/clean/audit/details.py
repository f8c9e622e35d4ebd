"""One suspicious pair: its picture, its caption, and where it stands by every score."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QAccessible, QPainter, QPaintEvent, QPen, QPixmap
from PySide6.QtWidgets import QFrame, QSizePolicy, QWidget

from cleanclip_gui import theme
from cleanclip_gui.theme import look
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.roles import give_role
from cleanclip_gui.widgets.rows_table import Cell, Row, RowsTable
from cleanclip_gui.widgets.text import count_text, fitting, plain, tip
from ml_core.detection.records import SCORE, SCORES, Distribution, SuspectPair

_AXIS = 34
_PICTURE = 112
_COLUMNS = (
    ("Score", "Each score looks for a different sign of poisoning."),
    ("Value", "The value has no unit; only its rank among the other pairs matters."),
    ("Rank", "1 is the most suspicious of all pairs."),
    ("Share", "(1 + pairs at least as suspicious) / (1 + pairs compared with)."),
)


class ScoreSpread(QWidget):
    """Histogram of one score over all pairs, with the clean reference and the chosen pair."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: Distribution | None = None
        self.marked: float | None = None
        self.setMinimumHeight(theme.px(104))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Distribution of the score")
        give_role(self, QAccessible.Role.Chart)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Wide and low."""
        return QSize(theme.px(320), theme.px(110))

    def show_spread(self, shown: Distribution | None, marked: float | None) -> None:
        """Show a distribution, and where the chosen pair is in it."""
        self.shown, self.marked = shown, marked
        if shown is not None:
            at = "" if marked is None else f"; the chosen pair has {marked:.4g}"
            self.setAccessibleDescription(
                f"{SCORE[shown.score].title} of {count_text(shown.n)} pairs from {shown.low:.4g} "
                f"to {shown.high:.4g}, median {shown.percentiles[3]:.4g}{at}"
            )
        self.update()

    def heights(self) -> tuple[list[float], list[float]]:
        """Bars of the pairs and of the reference, 0 to 1; the root of the share shows the few."""
        if self.shown is None:
            return [], []
        both = []
        for counts in (self.shown.counts, self.shown.reference_counts or ()):
            total = max(sum(counts), 1)
            both.append([(count / total) ** 0.5 for count in counts])
        top = max([*both[0], *both[1]], default=0.0) or 1.0
        return [h / top for h in both[0]], [h / top for h in both[1]]

    def place(self, value: float) -> float:
        """Where a value lies between the ends of the axis, 0 to 1."""
        assert self.shown is not None
        low, high = self.shown.edges[0], self.shown.edges[-1]
        return min(1.0, max(0.0, (value - low) / (high - low)))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw bars, the reference's outline, the mark, and the ends of the axis."""
        if self.shown is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        area = QRectF(self.rect()).adjusted(1, 14, -1, -theme.px(_AXIS))
        pairs, reference = self.heights()
        step = area.width() / len(pairs)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(look.clean_colour())
        for number, height in enumerate(pairs):
            if height > 0:
                tall = max(1.5, height * area.height())
                left = area.left() + number * step
                painter.drawRect(QRectF(left, area.bottom() - tall, max(1.0, step - 1), tall))
        if reference:
            painter.setPen(QPen(look.series()[2], 2, Qt.PenStyle.DashLine))
            points = [
                QPointF(area.left() + (n + 0.5) * step, area.bottom() - h * area.height())
                for n, h in enumerate(reference)
            ]
            painter.drawPolyline(points)
        painter.setPen(QPen(theme.colour("border_strong")))
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        if self.marked is not None:
            across = area.left() + self.place(self.marked) * area.width()
            painter.setPen(QPen(theme.colour("danger"), 2))
            painter.drawLine(QPointF(across, area.top() - 8), QPointF(across, area.bottom()))
        self._paint_axis(painter, area, bool(reference))

    def _paint_axis(self, painter: QPainter, area: QRectF, reference: bool) -> None:
        """Ends, which of them is suspicious, and what the dashes are."""
        assert self.shown is not None
        score = SCORE[self.shown.score]
        painter.setPen(look.text_colour(self, muted=True))
        painter.setFont(look.sized(self.font(), 0.9))
        words = QRectF(area.left(), area.bottom() + 2, area.width(), theme.px(_AXIS) / 2)
        left, right = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
        low, high = f"{self.shown.edges[0]:.4g}", f"{self.shown.edges[-1]:.4g}"
        painter.drawText(words, left, low if score.high else f"{low}, suspicious")
        painter.drawText(words, right, f"suspicious, {high}" if score.high else high)
        legend = "bars: all pairs (square-root scale)"
        legend += "; dashes: clean reference" if reference else ""
        painter.drawText(
            words.translated(0, theme.px(_AXIS) / 2), Qt.AlignmentFlag.AlignCenter, legend
        )


class SuspectDetails(QFrame):
    """Shows what it is told; ``standings.row_chosen`` tells another score that was chosen."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.setAccessibleName("The chosen pair")
        self.picture = Label()
        self.picture.setFixedSize(theme.px(_PICTURE), theme.px(_PICTURE))
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.picture.setAccessibleName("Picture of the chosen pair")
        self.caption = Label("", "heading", wrap=True)
        self.caption.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.name = Label("", "caption", wrap=True)
        self.looks_for = Label("", "caption", wrap=True)
        self.spread = ScoreSpread()
        self.standings = RowsTable("Where the chosen pair stands", _COLUMNS)
        self.standings.set_widths((72, 64, 72))
        self.standings.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.standings.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.standings.setFixedHeight(self.standings.horizontalHeader().sizeHint().height() + 190)
        head = row(self.picture, (column(self.caption, self.name, None), 1), spacing=theme.SPACE_M)
        column(
            head, self.looks_for, self.spread, None, self.standings, of=self,
            margins=theme.SPACE_M, spacing=theme.SPACE_S,
        )  # fmt: skip

    def show_score(self, name: str, spread: Distribution | None) -> None:
        """Show how a score is spread, with what it looks for."""
        score = SCORE[name]
        end = "high" if score.high else "low"
        self.looks_for.setText(f"{score.title}, {end} is suspicious. {score.says}")
        self.looks_for.setToolTip(score.source)
        self.spread.show_spread(spread, None)

    def show_pair(self, pair: SuspectPair | None, pixmap: QPixmap | None, score: str) -> None:
        """Show a pair; None shows none."""
        for part in (self.picture, self.looks_for, self.spread, self.standings):
            part.setVisible(pair is not None)
        if pair is None:
            self.caption.setText("No pair is chosen")
            self.name.setText("")
            self.picture.clear()
            self.standings.set_rows([])
            self.spread.show_spread(self.spread.shown, None)
            return
        caption = plain(pair.caption, 400)
        self.caption.setText(fitting(caption if len(caption) <= 110 else f"{caption[:110]}…", 22))
        self.caption.setToolTip(tip(caption))
        also = " · also an evaluation picture" if pair.evaluated else ""
        self.name.setText(fitting(plain(pair.name, 160) + also, 30))
        if pixmap is not None:
            keep, smooth = (
                Qt.AspectRatioMode.KeepAspectRatio,
                Qt.TransformationMode.SmoothTransformation,
            )
            self.picture.setPixmap(
                pixmap.scaled(theme.px(_PICTURE), theme.px(_PICTURE), keep, smooth)
            )
        rows = []
        for number, one in enumerate(SCORES):
            at = pair.standings[one.name]
            cells = (
                Cell(one.title, one.title),
                Cell(_short(at.value), at.value),
                Cell(count_text(at.rank), at.rank),
                Cell(f"{_short(100 * at.share)} %", at.share),
            )
            rows.append(Row(number, cells))
        self.standings.set_rows(rows)
        self.spread.show_spread(self.spread.shown, pair.standings[score].value)


def _short(value: float) -> str:
    """A number in a narrow column."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.{3 if abs(value) >= 0.1 else 2}g}"
