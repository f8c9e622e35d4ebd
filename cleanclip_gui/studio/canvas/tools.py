"""The tools of the canvas: what press, move and release do. Points are in canvas pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QPointF, QRect, Qt
from PySide6.QtGui import QColor

from cleanclip_gui.studio.canvas.ink import (
    Ink,
    Mask,
    add_segment,
    flood,
    lay,
    shape_mask,
    text_mask,
)

if TYPE_CHECKING:
    from cleanclip_gui.studio.canvas.canvas import TriggerCanvas


class CanvasTool:
    """One tool; the canvas calls it from press to release, keyboard and tablet included.

    ``drags`` says whether an act goes from one point to another; ``paints`` whether it needs a
    picture to paint on. ``share`` is the pen's pressure as a share of the width.
    """

    drags = False
    paints = True

    def __init__(self, canvas: TriggerCanvas) -> None:
        self.canvas = canvas
        self.document = canvas.document

    @property
    def ink(self) -> Ink:
        """What to paint with."""
        return self.canvas.ink

    def press(self, at: QPointF, *, constrain: bool = False, share: float = 1.0) -> None:
        """Begin."""

    def move(self, at: QPointF, *, constrain: bool = False, share: float = 1.0) -> None:
        """Go on."""

    def release(self) -> None:
        """Finish: one undo step."""
        self.document.commit()

    def cancel(self) -> None:
        """Take it back."""
        self.document.cancel()

    def cursor(self, at: QPointF | None) -> Qt.CursorShape:
        """The mouse cursor at a point."""
        return Qt.CursorShape.CrossCursor


class BrushTool(CanvasTool):
    """Freehand ink, or its removal; pressure swells the line."""

    drags = True

    def __init__(self, canvas: TriggerCanvas, *, erases: bool = False) -> None:
        super().__init__(canvas)
        self._erases = erases
        self._mask: Mask = np.zeros((0, 0), np.float32)
        self._last, self._width = QPointF(), 1.0

    def press(self, at: QPointF, *, constrain: bool = False, share: float = 1.0) -> None:
        """Leave a dab."""
        size = self.document.size
        self.document.begin("Erase" if self._erases else "Brush stroke")
        self._mask = np.zeros((size, size), np.float32)
        self._start = self._last = at
        self._width = self.ink.width * share
        self.move(at, share=share)

    def move(self, at: QPointF, *, constrain: bool = False, share: float = 1.0) -> None:
        """Draw a piece of the line."""
        if constrain:
            at = straightened(self._start, at)
        width = self.ink.width * share
        box = add_segment(self._mask, self._last, at, (self._width, width), self.ink)
        self._last, self._width = at, width
        colour = None if self._erases else rgb(self.ink.colour)
        document = self.document
        lay(
            document.pixels(),
            document.pixels_before(),
            self._mask,
            colour,
            self.ink.opacity,
            box,
        )
        document.touch()

    def cursor(self, at: QPointF | None) -> Qt.CursorShape:
        """None: the canvas draws the brush's rim."""
        return Qt.CursorShape.BlankCursor


class ShapeTool(CanvasTool):
    """Line, rectangle or ellipse; constrained to steps of 45 degrees, a square, a circle."""

    drags = True

    def __init__(self, canvas: TriggerCanvas, shape: str) -> None:
        super().__init__(canvas)
        self._shape = shape
        self._start = QPointF()

    def press(self, at: QPointF, *, constrain: bool = False, share: float = 1.0) -> None:
        """Pin the first corner."""
        self.document.begin(self._shape.capitalize())
        self._start = at
        self.move(at)

    def move(self, at: QPointF, *, constrain: bool = False, share: float = 1.0) -> None:
        """Draw it to the other corner."""
        if constrain:
            bend = straightened if self._shape == "line" else squared
            at = bend(self._start, at)
        document = self.document
        mask = shape_mask(document.size, self._shape, self._start, at, self.ink)
        before = document.pixels_before()
        lay(document.pixels(), before, mask, rgb(self.ink.colour), self.ink.opacity)
        document.touch()


class TextTool(CanvasTool):
    """Stamps a text."""

    drags = True

    def press(self, at: QPointF, *, constrain: bool = False, share: float = 1.0) -> None:
        """Put it down."""
        self.document.begin("Text stamp")
        self.move(at)

    def move(self, at: QPointF, *, constrain: bool = False, share: float = 1.0) -> None:
        """Put it elsewhere."""
        document = self.document
        mask = text_mask(document.size, at, self.ink)
        before = document.pixels_before()
        lay(document.pixels(), before, mask, rgb(self.ink.colour), self.ink.opacity)
        document.touch()


class FillTool(CanvasTool):
    """Fills what joins the point with colour or noise; noise also a rectangle that is dragged."""

    def __init__(self, canvas: TriggerCanvas, *, noise: bool = False) -> None:
        super().__init__(canvas)
        self.drags = noise
        self._noise = noise
        self._start = QPointF()
        self._draw: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None = None

    def press(self, at: QPointF, *, constrain: bool = False, share: float = 1.0) -> None:
        """Fill."""
        document = self.document
        size = document.size
        x, y = int(at.x() // 1), int(at.y() // 1)
        if not (0 <= x < size and 0 <= y < size):
            return
        document.begin("Noise fill" if self._noise else "Fill")
        self._start = at
        if self._noise:
            count = document.stack.index()  # another act, other noise; undone and redone, the same
            random = np.random.default_rng(count)
            shape = (size, size, 1) if self.ink.grey else (size, size, 3)
            drawn = random.integers(0, 256, shape, np.uint8)
            self._draw = np.ascontiguousarray(np.broadcast_to(drawn, (size, size, 3)))
        if self.ink.whole:
            self._lay(np.ones((size, size), np.float32))
        else:
            area = flood(document.pixels_before(), x, y, self.ink.tolerance)
            self._lay(area.astype(np.float32))

    def move(self, at: QPointF, *, constrain: bool = False, share: float = 1.0) -> None:
        """Fill a rectangle instead, once the pointer has left the pixel."""
        if not self._noise or not self.document.acting or self.ink.whole:
            return
        start = self._start
        if max(abs(at.x() - start.x()), abs(at.y() - start.y())) < 1.5:
            return
        end = squared(start, at) if constrain else at
        ink = Ink(self.ink.colour, filled=True, pixel=True)
        self._lay(shape_mask(self.document.size, "rectangle", start, end, ink))

    def _lay(self, mask: Mask) -> None:
        document = self.document
        colour = self._draw if self._noise else rgb(self.ink.colour)
        lay(document.pixels(), document.pixels_before(), mask, colour, self.ink.opacity)
        document.touch()


class PickTool(CanvasTool):
    """Takes a colour from what is seen."""

    drags = True

    def press(self, at: QPointF, *, constrain: bool = False, share: float = 1.0) -> None:
        """Take it."""
        colour = self.canvas.colour_at(at)
        if colour is not None:
            self.canvas.pick(colour)

    def move(self, at: QPointF, *, constrain: bool = False, share: float = 1.0) -> None:
        """Take another."""
        self.press(at)


class HandTool(CanvasTool):
    """Moves the picture when zoomed in; a click zooms in, with Shift out."""

    drags = True
    paints = False

    def __init__(self, canvas: TriggerCanvas) -> None:
        super().__init__(canvas)
        self._start: QPointF | None = None
        self._panned = self._out = False

    def press(self, at: QPointF, *, constrain: bool = False, share: float = 1.0) -> None:
        """Take hold."""
        self._start, self._panned, self._out = at, False, constrain

    def move(self, at: QPointF, *, constrain: bool = False, share: float = 1.0) -> None:
        """Drag; the point taken hold of stays under the pointer."""
        if self._start is None:
            return
        shift = (at - self._start) * self.canvas.scale_now
        if self._panned or max(abs(shift.x()), abs(shift.y())) > 3:
            self._panned = True
            self.canvas.pan(shift.x(), shift.y())

    def release(self) -> None:
        """Zoom, if it was no drag."""
        if self._start is not None and not self._panned:
            self.canvas.zoom_by(0.5 if self._out else 2.0, self._start)
        self._start = None

    def cancel(self) -> None:
        """Let go."""
        self._start = None

    def cursor(self, at: QPointF | None) -> Qt.CursorShape:
        """A hand."""
        held = self._start is not None
        return Qt.CursorShape.ClosedHandCursor if held else Qt.CursorShape.OpenHandCursor


def rgb(colour: QColor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The colour as uint8 [3]."""
    return np.array([colour.red(), colour.green(), colour.blue()], np.uint8)


def straightened(start: QPointF, end: QPointF) -> QPointF:
    """The end on the nearest of eight directions from the start."""
    along = end - start
    angle = round(math.atan2(along.y(), along.x()) / (math.pi / 4)) * (math.pi / 4)
    unit = QPointF(math.cos(angle), math.sin(angle))
    return start + unit * QPointF.dotProduct(along, unit)


def squared(start: QPointF, end: QPointF) -> QPointF:
    """The end that makes the rectangle a square."""
    along = end - start
    side = max(abs(along.x()), abs(along.y()))
    return start + QPointF(math.copysign(side, along.x()), math.copysign(side, along.y()))


def pixel_rect(start: QPointF, end: QPointF, size: int) -> QRect:
    """Whole pixels between two corners, on the canvas."""
    left, right = sorted((math.floor(start.x()), math.floor(end.x())))
    top, bottom = sorted((math.floor(start.y()), math.floor(end.y())))
    rect = QRect(left, top, right - left + 1, bottom - top + 1)
    return rect.intersected(QRect(0, 0, size, size))
