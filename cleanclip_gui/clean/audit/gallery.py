"""The gallery of suspicious pairs: picture, caption, rank and score; a click leaves one out."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import (
    QAbstractItemModel,
    QEvent,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import (
    QFontMetrics,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPalette,
    QPen,
)
from PySide6.QtWidgets import QListView, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.audit.model import CELL_ROLE, SuspectCell, SuspectModel
from cleanclip_gui.theme.look import sized
from cleanclip_gui.widgets.cell_grid import as_grid, paint_ground

CELL = (130, 166)
_PICTURE = 112
_MARK = 24
_Index = QModelIndex | QPersistentModelIndex


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

    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:  # noqa: N802
        """All cells are equal."""
        return QSize(*map(theme.px, CELL))

    def editorEvent(  # noqa: N802
        self,
        event: QEvent,
        model: QAbstractItemModel,
        option: QStyleOptionViewItem,
        index: _Index,
    ) -> bool:
        """A click on the button, which leaves the selection as it is."""
        if event.type() not in (QEvent.Type.MouseButtonRelease, QEvent.Type.MouseButtonPress):
            return False
        assert isinstance(event, QMouseEvent)
        inside = mark_rect(option.rect).contains(event.position().toPoint())
        if not inside or event.button() != Qt.MouseButton.LeftButton:
            return False
        if event.type() == QEvent.Type.MouseButtonRelease:
            self.marked.emit(index.row())
        return True

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        """Paint the cell."""
        cell: SuspectCell = index.data(CELL_ROLE)
        painter.save()
        rect = paint_ground(painter, option, focus=True)
        picture = _picture_rect(option.rect)
        _paint_picture(painter, picture, cell)
        if cell.evaluated:
            _paint_pill(painter, picture, "EVALUATED", option)
        _paint_mark(painter, mark_rect(option.rect), cell.excluded)
        _paint_words(painter, rect, picture, cell, option)
        painter.restore()


class SuspectView(QListView):
    """A grid of equal cells, several of which can be selected; arrow keys walk it."""

    def __init__(self, model: SuspectModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Most suspicious pairs")
        as_grid(self, QSize(*map(theme.px, CELL)))
        self.setSelectionMode(QListView.SelectionMode.ExtendedSelection)
        self.delegate_ = SuspectDelegate(self)
        self.setItemDelegate(self.delegate_)
        self.setModel(model)
        self.empty_text = ""

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Cells are as large as type and pictures are now."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.setGridSize(QSize(*map(theme.px, CELL)))

    def chosen_rows(self) -> Sequence[int]:
        """Selected rows, ascending."""
        return sorted(index.row() for index in self.selectionModel().selectedIndexes())

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Paint the cells, or say that there are none."""
        super().paintEvent(event)
        if self.model().rowCount() == 0:
            painter = QPainter(self.viewport())
            painter.setPen(self.palette().color(QPalette.ColorRole.PlaceholderText))
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            room = self.viewport().rect().adjusted(24, 24, -24, -24)
            painter.drawText(room, flags, self.empty_text)


def _paint_picture(painter: QPainter, frame: QRectF, cell: SuspectCell) -> None:
    """Draw the picture with round corners, faded where the pair is left out."""
    path = QPainterPath()
    path.addRoundedRect(frame, 6, 6)
    painter.fillPath(path, theme.colour("sunken"))
    if cell.pixmap is not None:
        painter.save()
        painter.setClipPath(path)
        painter.setOpacity(0.3 if cell.excluded else 1.0)
        painter.drawPixmap(frame, cell.pixmap, QRectF(cell.pixmap.rect()))
        painter.restore()
    painter.setPen(QPen(theme.colour("danger" if cell.excluded else "border"), 1.5))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawPath(path)


def _paint_pill(painter: QPainter, frame: QRectF, text: str, option: QStyleOptionViewItem) -> None:
    """A pill at the foot of the picture."""
    font = sized(option.font, 0.72, bold=True)
    metrics = QFontMetrics(font)
    width, height = metrics.horizontalAdvance(text) + 12, metrics.height() + 2
    pill = QRectF(frame.left() + 4, frame.bottom() - height - 4, width, height)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(theme.colour("warning"))
    painter.drawRoundedRect(pill, height / 2, height / 2)
    painter.setFont(font)
    painter.setPen(theme.colour("surface"))
    painter.drawText(pill, Qt.AlignmentFlag.AlignCenter, text)


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
    painter: QPainter,
    rect: QRect,
    picture: QRectF,
    cell: SuspectCell,
    option: QStyleOptionViewItem,
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
