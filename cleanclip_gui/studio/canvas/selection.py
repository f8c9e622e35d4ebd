"""A marked rectangle of paint, and what is done to the paint in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PySide6.QtCore import QObject, QPoint, QRect, Qt, Signal
from PySide6.QtGui import QImage, QPainter, QTransform

from cleanclip_gui.studio.canvas.document import PaintDocument
from cleanclip_gui.studio.canvas.geometry import scaled_rect
from cleanclip_gui.studio.canvas.scene import painted_rect


@dataclass(frozen=True, eq=False)
class _CutPiece:
    """The marked pixels, and the layer that they were cut out of."""

    pixels: QImage
    layer: QImage


class Selection(QObject):
    """Marks a rectangle of a document's layer; moves, scales, transforms and erases its paint.

    The paint is cut out once and then floats until another rectangle is marked or the document
    is changed by something else, so that moving it twice leaves what it covered in between, and
    scaling it twice loses no more than scaling it once. ``changed`` comes when another
    rectangle is marked, or none.
    """

    changed = Signal()

    def __init__(self, document: PaintDocument, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._document = document
        self._rect: QRect | None = None
        self._piece: _CutPiece | None = None
        self._committing = False
        document.stack.indexChanged.connect(self._on_history_changed)
        document.resized.connect(self._on_history_changed)

    @property
    def rect(self) -> QRect | None:
        """What is marked, in canvas pixels."""
        return self._rect

    def mark(self, rect: QRect | None) -> None:
        """Mark a rectangle, or none."""
        self._piece = None
        self._rect = rect
        self.changed.emit()

    def mark_painted(self) -> None:
        """Mark all that is painted."""
        rect = painted_rect(self._document.layer)
        self.mark(None if rect.isEmpty() else rect)

    def unmark(self) -> bool:
        """Mark nothing; return whether anything was marked."""
        marked = self._rect is not None
        self.mark(None)
        return marked

    def begin(self, text: str) -> None:
        """Begin to change the marked paint, as an undo step of that name."""
        assert self._rect is not None
        self._document.begin(text)
        if self._piece is None:
            layer = self._document.layer
            self._piece = _CutPiece(layer.copy(self._rect), _erased(layer, self._rect))

    def place(self, rect: QRect, *, smooth: bool = False) -> None:
        """Show the paint in another rectangle; ``smooth`` interpolates if the size differs."""
        assert self._piece is not None
        layer = self._piece.layer.copy()
        painter = QPainter(layer)
        smooth = smooth and rect.size() != self._piece.pixels.size()
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, smooth)
        painter.drawImage(rect, self._piece.pixels)
        painter.end()
        self._rect = rect
        self._document.layer = layer
        self._document.touch()

    def commit(self, *, merges: bool = False) -> None:
        """Finish the undo step that :meth:`begin` began; the rectangle stays marked."""
        self._committing = True
        self._document.commit(merges=merges)
        self._committing = False

    def cancel(self, rect: QRect) -> None:
        """Take back what was done since :meth:`begin`, and mark the rectangle of that time."""
        self.mark(rect)
        self._document.cancel()

    def move_by(self, dx: int, dy: int) -> None:
        """Move the paint by pixels; moves in a row are one undo step."""
        if self._rect is not None:
            self.begin("Move selection")
            self.place(self._rect.translated(dx, dy))
            self.commit(merges=True)

    def scale_by(self, factor: float, *, smooth: bool = False) -> None:
        """Scale the paint about its centre; scalings in a row are one undo step."""
        if self._rect is not None:
            self.begin("Scale selection")
            self.place(scaled_rect(self._rect, factor), smooth=smooth)
            self.commit(merges=True)

    def transform(self, change: QTransform, text: str) -> None:
        """Mirror the paint or turn it by right angles, about its centre."""
        if self._rect is None:
            return
        self.begin(text)
        assert self._piece is not None
        pixels = self._piece.pixels.transformed(change)
        self._piece = replace(self._piece, pixels=pixels)
        rect = QRect(QPoint(0, 0), pixels.size())
        rect.moveCenter(self._rect.center())
        self.place(rect)
        self.commit()

    def erase(self) -> None:
        """Remove the paint; nothing is marked then."""
        if self._rect is not None:
            self._document.begin("Delete selection")
            self._document.layer = _erased(self._document.layer, self._rect)
            self._document.touch()
            self._document.commit()

    def _on_history_changed(self, _: int) -> None:
        """Paint that anything else changed, undo included, is no longer what was marked."""
        if not self._committing:
            self.mark(None)


def _erased(layer: QImage, rect: QRect) -> QImage:
    """A copy of the layer with a transparent rectangle."""
    result = layer.copy()
    painter = QPainter(result)
    painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_Clear)
    painter.fillRect(rect, Qt.GlobalColor.transparent)
    painter.end()
    return result
