"""Paints one cell of the gallery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QObject, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPalette, QPixmap
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem

from cleanclip_gui import theme
from cleanclip_gui.theme.look import sized
from cleanclip_gui.widgets.pictures import paint_ground, paint_thumbnail
from cleanclip_gui.widgets.rows_table import Index

THUMBNAIL = 96
CELL_WIDTH = 116
_AROUND, _LINES = 18, 36  # pixels beside the picture: above and between, and of two labels
# Which checkpoint a label is of, where two are compared: the other one, and the one in use.
FIRST_MARK, SECOND_MARK = "Other →", "This →"


def cell_size() -> QSize:
    """Size of a cell. Pictures grow half as much as labels, so that more of them are seen."""
    high = theme.space(THUMBNAIL + _AROUND) + theme.px(_LINES)
    return QSize(theme.space(CELL_WIDTH), high)


@dataclass(frozen=True, eq=False)
class GalleryCell:
    """What is known of one image; names are empty where nothing is known yet.

    ``other`` is what a second checkpoint makes of the triggered image, where two are compared and
    differ: it stands where the clean label stands otherwise.
    """

    pixmap: QPixmap | None
    clean: str
    triggered: str
    label: str
    badge: Literal["", "flip", "hit"]
    fresh: bool = True
    other: str = ""


_EDGES = {"": "", "flip": "warning", "hit": "danger"}


class GalleryDelegate(QStyledItemDelegate):
    """Thumbnail, clean label and triggered label, in a colour of their own when it changed."""

    def __init__(self, role: int, parent: QObject) -> None:
        super().__init__(parent)
        self._role = role

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:  # noqa: N802
        """All cells are equal."""
        return cell_size()

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        """Paint the cell."""
        cell: GalleryCell = index.data(self._role)
        painter.save()
        rect = paint_ground(painter, option)
        side = theme.space(THUMBNAIL)
        frame = QRectF(rect.center().x() - side / 2 + 0.5, rect.top() + 7, side, side)
        edge = _EDGES[cell.badge] if cell.fresh else ""
        paint_thumbnail(painter, frame, cell.pixmap, edge=edge or "border")
        _paint_labels(painter, rect, frame, cell, option)
        painter.restore()


def _paint_labels(
    painter: QPainter, rect: QRect, frame: QRectF, cell: GalleryCell, option: QStyleOptionViewItem
) -> None:
    """Draw the clean label, and below it the triggered one."""
    font = sized(option.font, 0.9)
    metrics = QFontMetrics(font)
    text = QColor(option.palette.color(QPalette.ColorRole.Text))
    muted = theme.colour("muted")
    width = rect.width() - 12
    line = QRectF(rect.left() + 6, frame.bottom() + 3, width, metrics.height())
    elide = Qt.TextElideMode.ElideRight
    centre = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignVCenter
    painter.setFont(font)
    wrong = bool(cell.clean and cell.label) and cell.clean != cell.label and not cell.other
    painter.setPen(theme.colour("warning") if wrong else text if cell.clean else muted)
    first = f"✗ {cell.clean}" if wrong else cell.clean or cell.label
    if cell.other:
        first = f"{FIRST_MARK} {cell.other}"
    painter.drawText(line, centre, metrics.elidedText(first, elide, int(width)))
    if not cell.triggered:
        return
    line.translate(0, metrics.height())
    painter.setOpacity(1.0 if cell.fresh else 0.4)
    mark = SECOND_MARK if cell.other else "→"
    second = metrics.elidedText(f"{mark} {cell.triggered}", elide, int(width))
    if cell.badge:
        painter.setFont(sized(option.font, 0.9, bold=True))
        metrics = QFontMetrics(painter.font())
        second = metrics.elidedText(f"{mark} {cell.triggered}", elide, int(width))
    painter.setPen(theme.colour(_EDGES[cell.badge] or "muted"))
    painter.drawText(line, centre, second)
