"""Pictures between arrays and Qt."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PySide6.QtGui import QImage


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
