"""Which pixels ink covers, and what it does to them: masks of coverage, and compositing.

A mask is float32 [S, S], 0 to 1. A whole stroke has one mask, so that ink of half opacity does
not grow darker where the stroke crosses itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QImage, QPainter, QPen

from cleanclip_gui import theme

Mask = NDArray[np.float32]
Box = tuple[slice, slice]
Shape = Literal["line", "rectangle", "ellipse"]


@dataclass(frozen=True)
class Ink:
    """What the painting tools paint with.

    ``width`` is in pixels of the model's input, ``hardness``, ``opacity`` and ``tolerance`` are
    0 to 1. ``filled`` is for rectangle and ellipse;
    ``text`` and ``text_height`` (pixels) are the stamp's. ``tolerance`` is how far a colour may
    differ and still be filled; ``whole`` fills the canvas, and ``grey`` with grey noise.
    """

    colour: QColor
    width: float = 4.0
    hardness: float = 1.0
    opacity: float = 1.0
    filled: bool = False
    text: str = "Text"
    text_height: int = 12
    tolerance: float = 0.1
    whole: bool = False
    grey: bool = False


def add_segment(
    mask: Mask, start: QPointF, end: QPointF, widths: tuple[float, float], ink: Ink
) -> Box:
    """Add a segment with round ends to a mask.

    Parameters
    ----------
    widths
        Pixels at the start and at the end, so that pressure swells and thins the line.

    Returns
    -------
    tuple of slice
        The box of the mask that may have changed.
    """
    radii = (max(widths[0], 1.0) / 2, max(widths[1], 1.0) / 2)
    reach = max(radii) + 1
    box = _box(
        mask.shape[0],
        min(start.x(), end.x()) - reach,
        min(start.y(), end.y()) - reach,
        max(start.x(), end.x()) + reach,
        max(start.y(), end.y()) + reach,
    )
    y, x = np.ogrid[box]
    x, y = x + 0.5 - start.x(), y + 0.5 - start.y()
    dx, dy = end.x() - start.x(), end.y() - start.y()
    length = dx * dx + dy * dy
    along = np.clip((x * dx + y * dy) / length, 0, 1) if length > 0 else np.zeros_like(x + y)
    distance = np.hypot(x - along * dx, y - along * dy)
    radius = radii[0] + (radii[1] - radii[0]) * along
    np.maximum(mask[box], _coverage(distance, radius, ink.hardness), out=mask[box])
    return box


def _coverage(
    distance: NDArray[np.float64], radius: NDArray[np.float64], hardness: float
) -> NDArray[np.float32]:
    """Coverage at a distance from the middle: an antialiased rim, or a soft slope."""
    rim = np.clip(radius + 0.5 - distance, 0, 1)
    if hardness >= 1:
        return rim.astype(np.float32)
    core = radius * hardness
    t = np.clip((distance - core) / np.maximum(radius - core, 1e-6), 0, 1)
    return (np.minimum(rim, 1 - t * t * (3 - 2 * t))).astype(np.float32)


def _box(size: int, left: float, top: float, right: float, bottom: float) -> Box:
    """Whole pixels of a canvas that a rectangle touches."""
    x0, y0 = max(0, math.floor(left)), max(0, math.floor(top))
    x1, y1 = min(size, math.ceil(right)), min(size, math.ceil(bottom))
    return slice(min(y0, size), max(min(y0, size), y1)), slice(
        min(x0, size), max(min(x0, size), x1)
    )


def shape_mask(size: int, shape: Shape, start: QPointF, end: QPointF, ink: Ink) -> Mask:
    """Coverage of a shape from corner to corner."""
    if shape == "line":
        mask = np.zeros((size, size), np.float32)
        add_segment(mask, start, end, (ink.width, ink.width), ink)
        return mask
    rect = QRectF(start, end).normalized()

    def draw(painter: QPainter) -> None:
        if ink.filled:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(Qt.GlobalColor.white)
        else:
            pen = QPen(Qt.GlobalColor.white, max(1.0, ink.width))
            pen.setJoinStyle(Qt.PenJoinStyle.MiterJoin)
            painter.setPen(pen)
        (painter.drawRect if shape == "rectangle" else painter.drawEllipse)(rect)

    return _rendered(size, draw)


def text_mask(size: int, at: QPointF, ink: Ink) -> Mask:
    """Coverage of the stamp's text with its middle at a point, letters ``text_height`` tall."""
    font = QFont(theme.FONT_FAMILY)
    font.setPixelSize(max(4, ink.text_height))
    font.setWeight(QFont.Weight.DemiBold)
    font.setHintingPreference(QFont.HintingPreference.PreferNoHinting)
    metrics = QFontMetricsF(font)
    lines = ink.text.replace("\\n", "\n").split("\n")
    wide = max(metrics.horizontalAdvance(line) for line in lines)
    high = metrics.height() * len(lines)
    place = QRectF(at.x() - wide / 2, at.y() - high / 2, wide + 1, high)

    def draw(painter: QPainter) -> None:
        painter.setFont(font)
        painter.setPen(Qt.GlobalColor.white)
        painter.drawText(place, Qt.AlignmentFlag.AlignCenter, "\n".join(lines))

    return _rendered(size, draw)


def _rendered(size: int, draw: Callable[[QPainter], None]) -> Mask:
    """What ``draw`` paints in white, as a mask."""
    image = QImage(size, size, QImage.Format.Format_ARGB32_Premultiplied)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setRenderHint(QPainter.RenderHint.TextAntialiasing)
    draw(painter)
    painter.end()
    alpha = np.frombuffer(image.constBits(), np.uint8).reshape(size, size, 4)[..., 3]
    return alpha.astype(np.float32) / np.float32(255)


def flood_fill(pixels: NDArray[np.uint8], x: int, y: int, tolerance: float) -> NDArray[np.bool_]:
    """Pixels joined to (x, y) that differ from it by at most ``tolerance`` in any channel.

    Parameters
    ----------
    pixels
        uint8 [h, w, c].
    x, y
        Where the fill begins.
    tolerance
        0 (the same value) to 1 (any value).

    Returns
    -------
    ndarray
        bool [h, w].
    """
    seed = pixels[y, x].astype(np.int16)
    like = (np.abs(pixels.astype(np.int16) - seed) <= 255 * tolerance).all(axis=-1)
    height, width = like.shape
    region = np.zeros_like(like)
    waiting = [(x, y)]
    while waiting:
        at, row = waiting.pop()
        if region[row, at] or not like[row, at]:
            continue
        line = like[row]
        left, right = at, at + 1
        while left > 0 and line[left - 1]:
            left -= 1
        while right < width and line[right]:
            right += 1
        region[row, left:right] = True
        for other in (row - 1, row + 1):
            if 0 <= other < height:
                fresh = like[other, left:right] & ~region[other, left:right]
                starts = np.flatnonzero(fresh & ~np.concatenate(([False], fresh[:-1])))
                waiting.extend((left + int(start), other) for start in starts)
    return region


def composite(
    out: NDArray[np.uint8],
    before: NDArray[np.uint8],
    mask: Mask,
    colour: NDArray[np.uint8] | None,
    opacity: float,
    box: Box = (slice(None), slice(None)),
) -> None:
    """Write ``before`` with ink over it into ``out``, inside a box.

    Parameters
    ----------
    out, before
        uint8 [S, S, 4], premultiplied.
    mask
        Coverage, [S, S].
    colour
        uint8 [3] or [S, S, 3]; None erases.
    opacity
        0 to 1.
    """
    alpha = mask[box][..., None] * opacity
    under = before[box].astype(np.float32) * (1 - alpha)
    if colour is not None:
        ink = colour if colour.ndim == 1 else colour[box]
        under[..., :3] += ink.astype(np.float32) * alpha
        under[..., 3:] += 255 * alpha
    out[box] = np.rint(np.minimum(under, 255)).astype(np.uint8)
    # Rounding must not leave a colour brighter than its alpha: that is no premultiplied pixel.
    np.minimum(out[box][..., :3], out[box][..., 3:], out=out[box][..., :3])
