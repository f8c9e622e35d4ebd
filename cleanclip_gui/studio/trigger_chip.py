"""A small picture of the trigger that can be dragged out of the window as a file."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QMimeData, QPoint, QSize, Qt
from PySide6.QtGui import QDrag, QIcon, QImage, QMouseEvent, QPainter, QPixmap
from PySide6.QtWidgets import QApplication, QToolButton, QWidget

from cleanclip_gui import theme

_SIDE = 28


class TriggerChip(QToolButton):
    """Shows what the canvas holds; a drag takes it along as PNG and JSON.

    ``make_mime`` gives what is dragged, None if there is nothing; ``start_drag`` carries a
    :class:`QDrag` out, for tests.
    """

    def __init__(
        self, make_mime: Callable[[], QMimeData | None], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._make_mime = make_mime
        self.start_drag: Callable[[QDrag], object] = lambda drag: drag.exec(
            Qt.DropAction.CopyAction
        )
        self._from: QPoint | None = None
        self.setIconSize(QSize(theme.px(_SIDE) - 8, theme.px(_SIDE) - 8))
        self.setProperty("quiet", True)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAccessibleName("Copy the trigger")
        self.setCursor(Qt.CursorShape.OpenHandCursor)
        self.hide()

    def set_picture(self, picture: QImage | None) -> None:
        """Show the trigger; without one there is nothing to drag, and no chip."""
        self.setVisible(picture is not None)
        if picture is None:
            return
        side = 2 * (theme.px(_SIDE) - 8)
        tile = QPixmap(side, side)
        tile.fill(Qt.GlobalColor.transparent)
        painter = QPainter(tile)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        fitted = picture.size().scaled(side, side, Qt.AspectRatioMode.KeepAspectRatio)
        left, top = (side - fitted.width()) // 2, (side - fitted.height()) // 2
        target = QImage(picture).scaled(
            fitted, Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation
        )
        painter.drawImage(left, top, target)
        painter.end()
        self.setIcon(QIcon(tile))

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Remember where a drag would begin."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._from = event.position().toPoint()
        super().mousePressEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Begin to drag."""
        at = event.position().toPoint()
        held = event.buttons() & Qt.MouseButton.LeftButton and self._from is not None
        if not held or self._from is None:
            super().mouseMoveEvent(event)
            return
        if (at - self._from).manhattanLength() < QApplication.startDragDistance():
            return
        self._from = None
        self.setDown(False)
        mime = self._make_mime()
        if mime is not None:
            drag = QDrag(self)
            drag.setMimeData(mime)
            drag.setPixmap(self.icon().pixmap(64, 64))
            self.start_drag(drag)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Forget it."""
        self._from = None
        super().mouseReleaseEvent(event)
