"""What every grid of thumbnails has: equal cells in a list view, and the ground of a cell."""

from __future__ import annotations

from PySide6.QtCore import QRect, QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPen
from PySide6.QtWidgets import QListView, QStyle, QStyleOptionViewItem

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
    """Paint what lies under a cell; its rectangle.

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
