"""The gallery of suspicious pairs: picture, caption, rank and score; a click leaves one out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import (
    QAbstractItemModel,
    QAbstractListModel,
    QEvent,
    QPointF,
    QRect,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import QFontMetrics, QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap
from PySide6.QtWidgets import QFrame, QListView, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from cleanclip_gui import theme
from cleanclip_gui.theme import look
from cleanclip_gui.theme.look import sized
from cleanclip_gui.widgets.controls import Label, named
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.painted import Painted
from cleanclip_gui.widgets.pictures import (
    PictureList,
    paint_ground,
    paint_pill,
    paint_thumbnail,
    rgba_to_image,
)
from cleanclip_gui.widgets.rows_table import Cell, Index, Row, RowsTable
from cleanclip_gui.widgets.text import count_text, fitting, plain, tip
from ml_core.detection.records import SCORE, SCORES, Audit, Distribution, SuspectPair

CELL_ROLE = Qt.ItemDataRole.UserRole
EVALUATED, EXCLUDED = "evaluated", "excluded"
_PIXMAPS = 600


@dataclass(frozen=True, eq=False)
class SuspectCell:
    """What is painted of one pair."""

    pixmap: QPixmap | None
    caption: str
    standing: str
    excluded: bool
    evaluated: bool


class SuspectModel(QAbstractListModel):
    """Rows are pairs; a list is that of a score, of `EVALUATED` or of `EXCLUDED` pairs."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.audit: Audit | None = None
        self.list = SCORES[0].name
        self.rows: list[int] = []
        self.known: Mapping[int, SuspectPair] = {}
        self._excluded: frozenset[int] = frozenset()
        self._places: dict[int, int] = {}
        self._thumbnails: NDArray[np.uint8] = np.empty((0, 1, 1, 3), np.uint8)
        self._pixmaps: OrderedDict[int, QPixmap] = OrderedDict()

    @property
    def score(self) -> str:
        """The score that pairs are shown by."""
        return self.list if self.list in SCORE else SCORES[0].name

    def set_audit(self, audit: Audit, thumbnails: NDArray[np.uint8]) -> None:
        """Show another audit; ``thumbnails`` uint8 [m, s, s, 3] of its pairs, in order."""
        self.beginResetModel()
        self.audit = audit
        self.known = {pair.index: pair for pair in audit.pairs}
        self._places = {pair.index: place for place, pair in enumerate(audit.pairs)}
        self._thumbnails = thumbnails
        self._pixmaps.clear()
        self._excluded = frozenset()
        self._take_rows()
        self.endResetModel()

    def set_list(self, name: str) -> None:
        """Show the worst by a score, or one of the other lists."""
        self.beginResetModel()
        self.list = name
        self._take_rows()
        self.endResetModel()

    def set_excluded(self, excluded: Collection[int]) -> None:
        """Mark pairs as left out; the list of them keeps its rows until it is chosen again."""
        self._excluded = frozenset(excluded)
        if self.rows:
            self.dataChanged.emit(self.index(0), self.index(len(self.rows) - 1), [CELL_ROLE])

    def count(self, name: str) -> int:
        """How many pairs a list holds."""
        return len(self._rows_of(name))

    def pair(self, row: int) -> SuspectPair:
        """The pair of a row."""
        return self.known[self.rows[row]]

    def pixmap(self, index: int) -> QPixmap | None:
        """Picture of a pair."""
        place = self._places.get(index, -1)
        if not 0 <= place < len(self._thumbnails):
            return None
        if index not in self._pixmaps:
            image = rgba_to_image(np.asarray(self._thumbnails[place]))
            self._pixmaps[index] = QPixmap.fromImage(image)
            if len(self._pixmaps) > _PIXMAPS:
                self._pixmaps.popitem(last=False)
        self._pixmaps.move_to_end(index)
        return self._pixmaps[index]

    def rowCount(self, parent: Index | None = None) -> int:  # noqa: N802
        """Pairs in the list."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """What the delegate paints, what a screen reader says, and the tool tip."""
        if not index.isValid():
            return None
        pair = self.pair(index.row())
        if role == CELL_ROLE:
            at = pair.standings[self.score]
            return SuspectCell(
                self.pixmap(pair.index),
                plain(pair.caption, 120),
                f"{count_text(at.rank)}.  {at.value:.4g}",
                pair.index in self._excluded,
                pair.evaluated,
            )
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return self._sentence(pair)
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip(self._sentence(pair))
        return None

    def _sentence(self, pair: SuspectPair) -> str:
        """One pair in words."""
        at = pair.standings[self.score]
        parts = [
            plain(pair.name, 120),
            f"caption {plain(pair.caption, 300)}",
            f"{SCORE[self.score].title} {at.value:.4g}, rank {at.rank}, share {at.share:.2g}",
        ]
        parts += ["also an evaluation picture"] if pair.evaluated else []
        parts += ["excluded"] if pair.index in self._excluded else []
        return "; ".join(parts)

    def _take_rows(self) -> None:
        self.rows = self._rows_of(self.list)

    def _rows_of(self, name: str) -> list[int]:
        if self.audit is None:
            return []
        if name in self.audit.worst:
            return [index for index in self.audit.worst[name] if index in self.known]
        score = SCORES[0].name
        chosen = [
            pair
            for pair in self.known.values()
            if (pair.evaluated if name == EVALUATED else pair.index in self._excluded)
        ]
        return [p.index for p in sorted(chosen, key=lambda pair: pair.standings[score].rank)]


CELL = (130, 166)
_PICTURE = 112
_MARK = 24


def mark_rect(cell: QRect) -> QRect:
    """Where the button of a cell is that leaves the pair out or takes it in again."""
    picture = _picture_rect(cell)
    return QRect(
        int(picture.right()) - theme.px(_MARK) - 3,
        int(picture.top()) + 4,
        theme.px(_MARK),
        theme.px(_MARK),
    )


def _picture_rect(cell: QRect) -> QRectF:
    left = cell.left() + (cell.width() - theme.px(_PICTURE)) / 2
    return QRectF(left, cell.top() + 8, theme.px(_PICTURE), theme.px(_PICTURE))


class SuspectDelegate(QStyledItemDelegate):
    """Paints a cell; ``marked(int)`` is the row whose button was clicked."""

    marked = Signal(int)

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:  # noqa: N802
        """All cells are equal."""
        return QSize(*map(theme.px, CELL))

    def editorEvent(  # noqa: N802
        self, event: QEvent, model: QAbstractItemModel, option: QStyleOptionViewItem, index: Index
    ) -> bool:
        """A click on the button does not change the selection."""
        if event.type() not in (QEvent.Type.MouseButtonRelease, QEvent.Type.MouseButtonPress):
            return False
        assert isinstance(event, QMouseEvent)
        inside = mark_rect(option.rect).contains(event.position().toPoint())
        if not inside or event.button() != Qt.MouseButton.LeftButton:
            return False
        if event.type() == QEvent.Type.MouseButtonRelease:
            self.marked.emit(index.row())
        return True

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        """Paint the cell."""
        cell: SuspectCell = index.data(CELL_ROLE)
        painter.save()
        rect = paint_ground(painter, option, focus=True)
        picture = _picture_rect(option.rect)
        edge, opacity = ("danger", 0.3) if cell.excluded else ("border", 1.0)
        paint_thumbnail(painter, picture, cell.pixmap, edge=edge, opacity=opacity)
        if cell.evaluated:
            font = sized(option.font, 0.72, bold=True)
            corner = picture.bottomRight() - QPointF(4, theme.px(20))
            paint_pill(painter, corner, "EVALUATED", font, "warning", "warning", "surface")
        _paint_mark(painter, mark_rect(option.rect), cell.excluded)
        _paint_words(painter, rect, picture, cell, option)
        painter.restore()


class SuspectView(PictureList):
    """Pairs as cells; several can be selected, and arrow keys move between them."""

    def __init__(self, model: SuspectModel) -> None:
        super().__init__("Most suspicious pairs", model, lambda: QSize(*map(theme.px, CELL)))
        self.setSelectionMode(QListView.SelectionMode.ExtendedSelection)
        self.delegate_ = SuspectDelegate(self)
        self.setItemDelegate(self.delegate_)

    def chosen_rows(self) -> Sequence[int]:
        """Selected rows, ascending."""
        return sorted(index.row() for index in self.selectionModel().selectedIndexes())


def _paint_mark(painter: QPainter, place: QRect, excluded: bool) -> None:
    """The round button: a cross to leave the pair out, filled where it is out."""
    painter.setPen(QPen(theme.colour("danger"), 1.4))
    painter.setBrush(theme.colour("danger" if excluded else "surface"))
    painter.drawEllipse(place)
    painter.setPen(
        QPen(
            theme.colour("surface" if excluded else "danger"),
            2,
            Qt.PenStyle.SolidLine,
            Qt.PenCapStyle.RoundCap,
        )
    )
    cross = QRectF(place).adjusted(8, 8, -8, -8)
    painter.drawLine(cross.topLeft(), cross.bottomRight())
    painter.drawLine(cross.topRight(), cross.bottomLeft())


def _paint_words(
    painter: QPainter, rect: QRect, picture: QRectF, cell: SuspectCell, option: QStyleOptionViewItem
) -> None:
    """Caption, and below it rank and score, or that the pair is left out."""
    font = sized(option.font, 0.9)
    metrics = QFontMetrics(font)
    width = rect.width() - 12
    line = QRectF(rect.left() + 6, picture.bottom() + 3, width, metrics.height())
    centre = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignVCenter
    painter.setFont(font)
    painter.setPen(theme.colour("muted" if cell.excluded else "text"))
    words = metrics.elidedText(cell.caption, Qt.TextElideMode.ElideRight, int(width))
    painter.drawText(line, centre, words)
    line.translate(0, metrics.height())
    painter.setPen(theme.colour("danger" if cell.excluded else "muted"))
    painter.drawText(line, centre, "excluded" if cell.excluded else cell.standing)


_AXIS = 34
_COLUMNS = (
    ("Score", "Each score looks for a different sign of poisoning."),
    ("Value", "The value has no unit; only its rank among the other pairs matters."),
    ("Rank", "1 is the most suspicious of all pairs."),
    ("Share", "(1 + pairs at least as suspicious) / (1 + pairs compared with)."),
)


class ScoreSpread(Painted):
    """Histogram of one score over all pairs, with the clean reference and the chosen pair."""

    def __init__(self) -> None:
        super().__init__("Distribution of the score", (320, 110))
        self.shown: Distribution | None = None
        self.marked: float | None = None
        self.setMinimumHeight(theme.px(104))

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
        painter = self.painter()
        area = QRectF(self.rect()).adjusted(1, 14, -1, -theme.px(_AXIS))
        pairs, reference = self.heights()
        step = self.paint_bars(painter, area, pairs)
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
        write = partial(self.write, painter, size=0.9, muted=True)
        words = QRectF(area.left(), area.bottom() + 2, area.width(), theme.px(_AXIS) / 2)
        left, right = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
        low, high = f"{self.shown.edges[0]:.4g}", f"{self.shown.edges[-1]:.4g}"
        write(words, low if score.high else f"{low}, suspicious", left)
        write(words, f"suspicious, {high}" if score.high else high, right)
        legend = "bars: all pairs (square-root scale)"
        legend += "; dashes: clean reference" if reference else ""
        write(words.translated(0, theme.px(_AXIS) / 2), legend, Qt.AlignmentFlag.AlignCenter)


class SuspectDetails(QFrame):
    """Details of one pair; ``standings.row_chosen`` is emitted when a score is chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("card", True)
        self.setAccessibleName("The chosen pair")
        self.picture = named(Label(), "Picture of the chosen pair")
        self.picture.setFixedSize(theme.px(_PICTURE), theme.px(_PICTURE))
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.caption = Label("", "heading", wrap=True, selectable=True)
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
        for number, item in enumerate(each for each in SCORES if each.name in pair.standings):
            at = pair.standings[item.name]
            cells = (
                Cell(item.title, item.title),
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
