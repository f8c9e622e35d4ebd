"""Pictures between numpy and Qt, grids of thumbnails, and the roles of their rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QAbstractListModel, QObject, QPointF, QRect, QRectF, QSize, Qt
from PySide6.QtGui import (
    QAccessible,
    QAccessibleInterface,
    QFont,
    QFontMetrics,
    QImage,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPalette,
    QPen,
    QPixmap,
)
from PySide6.QtWidgets import (
    QAbstractItemView,
    QAccessibleWidget,
    QListView,
    QStyle,
    QStyleOptionViewItem,
    QWidget,
)

from cleanclip_gui import theme


class PictureList(theme.Themed, QListView):
    """A grid of equal cells, which Qt then needs not measure one by one.

    ``cell`` gives their size, ``empty_text`` is what stands there while there is none.
    """

    empty_text = ""

    def __init__(self, name: str, model: QAbstractListModel, cell: Callable[[], QSize]) -> None:
        super().__init__()
        self._cell = cell
        self.setAccessibleName(name)
        self.setObjectName("gallery")
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setUniformItemSizes(True)
        self.setGridSize(cell())
        self.setLayoutMode(QListView.LayoutMode.Batched)
        self.setBatchSize(500)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFrameShape(QListView.Shape.NoFrame)
        self.setMouseTracking(True)
        self.setModel(model)

    def dress(self) -> None:
        """Cells are as large as type and pictures are now."""
        self.setGridSize(self._cell())

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Paint the cells, or say that there are none."""
        super().paintEvent(event)
        paint_empty(self, self.empty_text)


def paint_empty(view: QAbstractItemView, text: str) -> None:
    """Say in the middle of a view without rows why there are none."""
    if text and view.model().rowCount() == 0:
        painter = QPainter(view.viewport())
        painter.setPen(view.palette().color(QPalette.ColorRole.PlaceholderText))
        flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
        painter.drawText(view.viewport().rect().adjusted(20, 20, -20, -20), flags, text)


def paint_ground(painter: QPainter, option: QStyleOptionViewItem, *, focus: bool = False) -> QRect:
    """Paint what lies under a cell; return its rectangle.

    Parameters
    ----------
    focus
        Whether the cell with the keyboard's focus has a thin frame though it is not selected.
    """
    rect: QRect = option.rect.adjusted(2, 2, -2, -2)
    selected = bool(option.state & QStyle.StateFlag.State_Selected)
    focused = focus and bool(option.state & QStyle.StateFlag.State_HasFocus)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    if selected or option.state & QStyle.StateFlag.State_MouseOver:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.colour("accent_soft" if selected else "sunken"))
        painter.drawRoundedRect(rect, 8, 8)
    if selected or focused:
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(theme.colour("focus"), 2 if selected else 1))
        painter.drawRoundedRect(QRectF(rect).adjusted(1, 1, -1, -1), 8, 8)
    return rect


def paint_thumbnail(
    painter: QPainter,
    frame: QRectF,
    pixmap: QPixmap | None,
    *,
    edge: str = "border",
    opacity: float = 1.0,
) -> None:
    """Paint a picture with round corners and an edge in a colour of the theme; None: its place."""
    path = QPainterPath()
    path.addRoundedRect(frame, 6, 6)
    painter.fillPath(path, theme.colour("sunken"))
    if pixmap is not None:
        painter.save()
        painter.setClipPath(path)
        painter.setOpacity(opacity)
        painter.drawPixmap(frame, pixmap, QRectF(pixmap.rect()))
        painter.restore()
    painter.setPen(QPen(theme.colour(edge), 1.25 if edge == "border" else 2.5))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawPath(path)


def paint_pill(
    painter: QPainter, corner: QPointF, text: str, font: QFont, edge: str, ground: str, ink: str
) -> None:
    """Paint a word in a pill whose upper right corner is given; the colours are the theme's."""
    metrics = QFontMetrics(font)
    width, height = metrics.horizontalAdvance(text) + 14, metrics.height() + 2
    pill = QRectF(corner.x() - width, corner.y(), width, height)
    painter.setPen(QPen(theme.colour(edge), 1.2))
    painter.setBrush(theme.colour(ground))
    painter.drawRoundedRect(pill, height / 2, height / 2)
    painter.setFont(font)
    painter.setPen(theme.colour(ink))
    painter.drawText(pill, Qt.AlignmentFlag.AlignCenter, text)


def rgba_to_image(pixels: NDArray[np.uint8]) -> QImage:
    """A QImage that owns a copy of uint8 [h, w, 4] (straight alpha) or [h, w, 3] pixels."""
    pixels = np.ascontiguousarray(pixels)
    height, width, channels = pixels.shape
    kind = QImage.Format.Format_RGBA8888 if channels == 4 else QImage.Format.Format_RGB888
    return QImage(pixels.data, width, height, width * channels, kind).copy()


def image_to_rgba(image: QImage) -> NDArray[np.uint8]:
    """A copy of the pixels as uint8 [h, w, 4], straight alpha."""
    straight = image.convertToFormat(QImage.Format.Format_RGBA8888)
    rows = np.frombuffer(straight.constBits(), np.uint8)
    rows = rows.reshape(straight.height(), straight.bytesPerLine())
    return rows[:, : straight.width() * 4].reshape(straight.height(), -1, 4).copy()


_ROLE = "accessibleRole"
_made: set[str] = set()


def give_role(widget: QWidget, role: QAccessible.Role) -> None:
    """Let a screen reader call a widget, e.g., a chart; before anything asks for its interface."""
    if not _made:
        _made.add(_ROLE)
        QAccessible.installFactory(_interface)
    widget.setProperty(_ROLE, role.value)


def _interface(_: str, widget: QObject) -> QAccessibleInterface | None:
    """The interface of a widget that was given a role; Qt makes those of all others."""
    if not isinstance(widget, QWidget):
        return None
    role = widget.property(_ROLE)
    return None if role is None else QAccessibleWidget(widget, QAccessible.Role(role))
