"""Pictures between numpy and Qt, grids of thumbnails, and the roles of their rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QAccessible, QAccessibleInterface, QImage, QPainter, QPen
from PySide6.QtWidgets import QAccessibleWidget, QListView, QStyle, QStyleOptionViewItem, QWidget

from cleanclip_gui import theme


def as_grid(view: QListView, cell: QSize) -> None:
    """Lay a view's items out as equal cells, which Qt then needs not measure one by one."""
    view.setObjectName("gallery")
    view.setViewMode(QListView.ViewMode.IconMode)
    view.setUniformItemSizes(True)
    view.setGridSize(cell)
    view.setLayoutMode(QListView.LayoutMode.Batched)
    view.setBatchSize(500)
    view.setResizeMode(QListView.ResizeMode.Adjust)
    view.setMovement(QListView.Movement.Static)
    view.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
    view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    view.setFrameShape(QListView.Shape.NoFrame)
    view.setMouseTracking(True)


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
