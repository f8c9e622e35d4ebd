"""The view under the painting tools: pictures, zoom, checkerboard, drops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QBrush,
    QColor,
    QDragEnterEvent,
    QDragMoveEvent,
    QDropEvent,
    QImage,
    QPainter,
    QPalette,
    QPixmap,
    QResizeEvent,
    QShowEvent,
)
from PySide6.QtWidgets import QFrame, QGraphicsScene, QGraphicsView, QWidget

from cleanclip_gui.studio.canvas.document import PaintDocument
from cleanclip_gui.studio.canvas.scene import paint_patch, painted_rect, rgba_to_image

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".json")
_TENSORS = (".npy", ".npz", ".pt", ".pth")
_TENSOR_BYTES = 64 * 2**20  # what is larger is a checkpoint, and the window's
_SQUARE = 8  # of the checkerboard, in screen pixels
MAX_SCALE = 64.0  # screen pixels a canvas pixel
GRID_SCALE = 9.0  # from here on single pixels can be told apart


class CanvasView(QGraphicsView):
    """Shows an image of the model's input size under the paint and patch of a document.

    While the document changes it shows the clean image under paint and patch; once a triggered
    image is given it shows what the model sees. ``dropped(QMimeData)`` hands on unread what was
    dropped; ``zoomed(float)`` tells screen pixels a canvas pixel.
    """

    dropped = Signal(object)
    zoomed = Signal(float)
    grid_changed = Signal(bool)

    def __init__(self, document: PaintDocument, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.document = document
        self._zoom = 1.0
        self._clean: QPixmap | None = None
        self._triggered: QPixmap | None = None
        self._picture = True
        self.grid = True

        self.setScene(QGraphicsScene(self))
        self._base = self.scene().addPixmap(QPixmap())
        self._overlay = self.scene().addPixmap(QPixmap())
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setBackgroundBrush(Qt.BrushStyle.NoBrush)
        self.viewport().setBackgroundRole(QPalette.ColorRole.Window)
        self.setViewportUpdateMode(QGraphicsView.ViewportUpdateMode.FullViewportUpdate)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.viewport().setMouseTracking(True)
        self.setAcceptDrops(True)
        document.changed.connect(self.forget_triggered)
        document.resized.connect(self._on_document_resized)
        self._on_document_resized(document.size)
        self.forget_triggered()

    def set_images(
        self, clean: NDArray[np.uint8] | None, triggered: NDArray[np.uint8] | None
    ) -> None:
        """Show an image, uint8 [S, S, 3], and, if known, how the model sees it triggered."""
        self._clean = None if clean is None else QPixmap.fromImage(rgba_to_image(clean))
        self._triggered = None
        if triggered is not None and not self.busy:
            self._triggered = QPixmap.fromImage(rgba_to_image(triggered))
        self.refresh()

    def set_picture_visible(self, visible: bool) -> None:
        """Show the picture, or the trigger alone on a checkerboard."""
        self._picture = visible
        self.refresh()

    def set_grid(self, on: bool) -> None:
        """Draw lines between the pixels where they are large enough."""
        if on != self.grid:
            self.grid = on
            self.grid_changed.emit(on)
            self.viewport().update()

    @property
    def busy(self) -> bool:
        """Whether an act is under way."""
        return self.document.acting

    @property
    def has_image(self) -> bool:
        """Whether there is a picture to paint on."""
        return self._clean is not None

    @property
    def shows_triggered(self) -> bool:
        """Whether the picture shown is the one that the model sees."""
        return self._triggered is not None

    def forget_triggered(self) -> None:
        """Show paint and patch on the clean image again: what was given is out of date."""
        self._triggered = None
        self.refresh()

    def refresh(self) -> None:
        """Draw the present state."""
        alone = not self._picture
        showing = self._triggered if self._triggered is not None else self._clean
        self._base.setPixmap(showing if showing is not None and not alone else QPixmap())
        if showing is not None and showing.width():
            self._base.setScale(self.document.size / showing.width())
        painted = self._triggered is None or alone
        self._overlay.setVisible(painted)
        if painted:
            self._overlay.setPixmap(QPixmap.fromImage(self.painted()))
        self.viewport().update()

    def painted(self) -> QImage:
        """Overlay, paint and patch as they lie on the canvas, at their strengths."""
        document, scene = self.document, self.document.scene
        top = document.layer.copy()
        if scene.patch is not None:
            painter = QPainter(top)
            paint_patch(painter, scene.patch, document.size)
            painter.end()
        if scene.overlay is None and scene.opacity == 1:
            return top
        image = QImage(top.size(), top.format())
        image.fill(Qt.GlobalColor.transparent)
        painter = QPainter(image)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        if scene.overlay is not None:
            painter.setOpacity(scene.overlay.strength)
            painter.drawImage(QRectF(image.rect()), scene.overlay.image)
        painter.setOpacity(scene.opacity)
        painter.drawImage(0, 0, top)
        painter.end()
        return image

    def cut_out(self) -> QImage:
        """What :meth:`painted` holds, without the transparent edges."""
        image = self.painted()
        rect = painted_rect(image)
        return image if rect.isEmpty() else image.copy(rect)

    def seen(self) -> QImage:
        """The canvas as it is seen, at the document's resolution, opaque where a picture is."""
        image = QImage(self.document.layer.size(), QImage.Format.Format_RGBA8888_Premultiplied)
        image.fill(Qt.GlobalColor.transparent)
        painter = QPainter(image)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        if not self._base.pixmap().isNull():
            painter.drawPixmap(image.rect(), self._base.pixmap())
        if self._overlay.isVisible():
            painter.drawPixmap(0, 0, self._overlay.pixmap())
        painter.end()
        return image

    def colour_at(self, at: QPointF) -> QColor | None:
        """The colour seen at a canvas point; None beside the canvas or where nothing is."""
        x, y = int(at.x() // 1), int(at.y() // 1)
        if not (0 <= x < self.document.size and 0 <= y < self.document.size):
            return None
        colour = self.seen().pixelColor(x, y)
        return QColor(colour.red(), colour.green(), colour.blue()) if colour.alpha() else None

    @property
    def scale_now(self) -> float:
        """Screen pixels a canvas pixel."""
        return self.transform().m11()

    def _on_document_resized(self, size: int) -> None:
        self.setSceneRect(0, 0, size, size)
        self._zoom = 1.0
        self._fit()

    def _fit(self) -> None:
        """Scale the image to the view, times the zoom."""
        area, size = self.viewport().rect(), self.document.size
        fitting = max(min(area.width(), area.height()) - 2, 1) / size
        centre = self.mapToSceneF(QPointF(area.center()))
        self._zoom = min(max(1.0, self._zoom), max(1.0, MAX_SCALE / fitting))
        scale = fitting * self._zoom
        self.resetTransform()
        self.scale(scale, scale)
        if self._zoom > 1:
            self.centerOn(centre)
        smooth = scale < 3.0
        mode = (
            Qt.TransformationMode.SmoothTransformation
            if smooth
            else Qt.TransformationMode.FastTransformation
        )
        self._base.setTransformationMode(mode)
        self._overlay.setTransformationMode(mode)
        self.zoomed.emit(scale)

    def zoom_by(self, factor: float, at: QPointF | None = None) -> None:
        """Zoom about a canvas point, which stays where it is on the screen if it can."""
        middle = self.mapToSceneF(QPointF(self.viewport().rect().center()))
        at = middle if at is None else at
        before = self.scale_now
        self._zoom *= factor
        self._fit()
        if self._zoom > 1:
            self.centerOn(at + (middle - at) * (before / self.scale_now))

    def zoom_to_fit(self) -> None:
        """Show the whole picture."""
        self._zoom = 1.0
        self._fit()

    @property
    def zoomed_in(self) -> bool:
        """Whether less than the whole picture is shown."""
        return self._zoom > 1

    def pan(self, dx: float, dy: float) -> None:
        """Move the picture by screen pixels."""
        across, down = self.horizontalScrollBar(), self.verticalScrollBar()
        across.setValue(across.value() - round(dx))
        down.setValue(down.value() - round(dy))

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Keep the image as large as fits."""
        super().resizeEvent(event)
        self._fit()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Fit once the size is known."""
        super().showEvent(event)
        self._fit()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Ask for a large square."""
        return QSize(520, 520)

    def mapToSceneF(self, at: QPointF) -> QPointF:  # noqa: N802
        """Scene point of a viewport point, without rounding to whole pixels."""
        inverse, _ = self.viewportTransform().inverted()
        return inverse.map(at)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Take pictures and trigger files; what else is dropped is the window's."""
        mime = event.mimeData()
        if mime.hasImage() or any(_is_trigger(url.toLocalFile()) for url in mime.urls()):
            event.acceptProposedAction()
        else:
            event.ignore()

    def dragMoveEvent(self, event: QDragMoveEvent) -> None:  # noqa: N802
        """Take them anywhere."""
        event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Hand them on unread."""
        event.acceptProposedAction()
        self.dropped.emit(event.mimeData())

    def drawBackground(self, painter: QPainter, rect: QRectF | QRect) -> None:  # noqa: N802
        """Draw a checkerboard where the canvas is transparent."""
        if self._picture and self._clean is not None:
            return
        painter.save()
        painter.resetTransform()
        area = self.viewportTransform().mapRect(self.sceneRect())
        painter.setBrushOrigin(area.topLeft())
        painter.fillRect(area, QBrush(_checkerboard(self.palette())))
        painter.restore()


def _is_trigger(path: str) -> bool:
    """Whether a file may be a trigger: a picture, a trigger file, a small tensor."""
    name = path.lower()
    if name.endswith(_TENSORS):
        file = Path(path)
        return file.is_file() and file.stat().st_size <= _TENSOR_BYTES
    return name.endswith(_SUFFIXES)


def _checkerboard(palette: QPalette) -> QPixmap:
    """Two squares of each of two greys of the theme."""
    tile = QPixmap(2 * _SQUARE, 2 * _SQUARE)
    tile.fill(palette.color(QPalette.ColorRole.Base))
    painter = QPainter(tile)
    dark = palette.color(QPalette.ColorRole.Mid)
    painter.fillRect(0, 0, _SQUARE, _SQUARE, dark)
    painter.fillRect(_SQUARE, _SQUARE, _SQUARE, _SQUARE, dark)
    painter.end()
    return tile
