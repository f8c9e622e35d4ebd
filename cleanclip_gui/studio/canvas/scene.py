"""What a trigger has besides painted pixels: patch, overlay, placement, the other snapshot.

Also how these are put together with the painted layer, and images turned into arrays and back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QRect, QRectF, Qt
from PySide6.QtGui import QImage, QPainter, QTransform

LAYER_FORMAT = QImage.Format.Format_RGBA8888_Premultiplied
MIN_PATCH = 0.03
SLOTS = ("A", "B")


@dataclass(frozen=True, eq=False)
class FloatingPatch:
    """An uploaded or stamped picture above the painted layer.

    ``x`` and ``y`` are its centre and ``size`` its longer side, in fractions of the canvas;
    ``rotation`` is in degrees, clockwise as Qt turns. ``overlay`` covers the whole canvas and
    cannot be moved; ``strength`` is its weight, 0 to 1. ``source`` is the trigger that it shows,
    or whatever else its maker needs to recognise it.
    """

    image: QImage
    name: str
    x: float = 0.5
    y: float = 0.5
    size: float = 0.2
    rotation: float = 0.0
    overlay: bool = False
    strength: float = 1.0
    source: object = None

    def rect(self, canvas: int) -> QRectF:
        """Where it lies on a canvas of that many pixels, before rotation."""
        longer = max(self.image.width(), self.image.height(), 1)
        width = self.image.width() / longer * self.size * canvas
        height = self.image.height() / longer * self.size * canvas
        return QRectF(self.x * canvas - width / 2, self.y * canvas - height / 2, width, height)

    def turn(self, canvas: int) -> QTransform:
        """How the canvas is turned about the patch's centre."""
        centre = self.rect(canvas).center()
        turned = QTransform().translate(centre.x(), centre.y()).rotate(self.rotation)
        return turned.translate(-centre.x(), -centre.y())


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Layer and scene of the snapshot that is not on the canvas."""

    layer: QImage
    scene: Scene


@dataclass(frozen=True, eq=False)
class Scene:
    """All of a trigger besides its painted pixels.

    ``slot`` is the snapshot on the canvas, A or B; ``other`` the one that is not, None while it
    was never used. ``text`` is a word put into every prompt; ``trigger_fields`` are names and
    values of fields that cannot be seen on the canvas, such as the levels that pixels are
    rounded to.
    """

    patch: FloatingPatch | None = None
    overlay: FloatingPatch | None = None
    placement: str = "fixed"
    opacity: float = 1.0
    text: str = ""
    trigger_fields: tuple[tuple[str, Any], ...] = ()
    slot: str = "A"
    other: Snapshot | None = None


def blank(size: int) -> QImage:
    """A transparent layer."""
    layer = QImage(size, size, LAYER_FORMAT)
    layer.fill(Qt.GlobalColor.transparent)
    return layer


def scaled(layer: QImage, size: int) -> QImage:
    """A layer for a canvas of another size."""
    if layer.width() == size:
        return layer.copy()
    return layer.scaled(
        size, size, Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation
    ).convertToFormat(LAYER_FORMAT)


def layer_pixels(layer: QImage) -> NDArray[np.uint8]:
    """The layer's own pixels, uint8 [S, S, 4], premultiplied; not to be written to."""
    return np.frombuffer(layer.constBits(), np.uint8).reshape(layer.height(), layer.width(), 4)


def painted_rect(layer: QImage) -> QRect:
    """The smallest rectangle that holds all that is not transparent; empty if nothing is."""
    alpha = layer_pixels(layer)[..., 3] > 0
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    if not rows.size:
        return QRect()
    left, top = int(columns[0]), int(rows[0])
    return QRect(left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1)


def moved(patch: FloatingPatch, x: float, y: float) -> FloatingPatch:
    """The patch with its centre at (x, y), kept on the canvas."""
    return replace(patch, x=min(1.0, max(0.0, x)), y=min(1.0, max(0.0, y)))


def resized(patch: FloatingPatch, factor: float) -> FloatingPatch:
    """The patch ``factor`` times as large about its centre."""
    return replace(patch, size=min(1.0, max(MIN_PATCH, patch.size * factor)))


def turned(patch: FloatingPatch, degrees: float) -> FloatingPatch:
    """The patch turned clockwise to an angle, kept in (-180, 180]."""
    return replace(patch, rotation=180 - (180 - degrees) % 360)


def paint_patch(painter: QPainter, patch: FloatingPatch, canvas: int) -> None:
    """Draw the patch where it lies on a canvas of that many pixels."""
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    painter.setTransform(patch.turn(canvas), True)
    painter.drawImage(patch.rect(canvas), patch.image)
    painter.restore()


def rendered(layer: QImage, scene: Scene) -> QImage:
    """Overlay, paint and patch as they lie on the canvas, at their strengths."""
    top = layer.copy()
    if scene.patch is not None:
        painter = QPainter(top)
        paint_patch(painter, scene.patch, layer.width())
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
