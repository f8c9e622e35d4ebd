"""Small pictures in cells, each with a few lines of words: patches, and stamped pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QRect, QRectF, QSize, Qt
from PySide6.QtGui import QAccessible, QImage, QPainter, QPaintEvent, QPen, QResizeEvent

from cleanclip_gui import theme
from cleanclip_gui.theme import look
from cleanclip_gui.widgets.painted import Painted
from cleanclip_gui.widgets.pictures import rgba_to_image
from cleanclip_gui.widgets.text import plain

_LINE, _GAP = 17, 8


@dataclass(frozen=True)
class ScenePicture:
    """A picture for an audience, and lines below it; ``alarming``: the last one is bad news."""

    image: QImage | None
    lines: tuple[str, ...] = ()
    alarming: bool = False


@dataclass(frozen=True, eq=False)
class PictureCell:
    """Pictures uint8 [h, w, 3] side by side, a few lines below, and whether it is marked.

    Without pictures its frame keeps their place.
    """

    pictures: tuple[NDArray[np.uint8], ...] = ()
    lines: tuple[str, ...] = ()
    marked: bool = False


class PictureGrid(Painted):
    """Cells of one size in as many columns as fit; pixels stay pixels.

    Parameters
    ----------
    name
        For a screen reader.
    side
        Side of a picture on the screen, in pixels at 100 %.
    lines
        Of words below each.
    abreast
        Pictures of a cell. Where it has a line for each, they stand side by side, too.
    """

    def __init__(self, name: str, side: int, lines: int, abreast: int = 1) -> None:
        super().__init__(name, role=QAccessible.Role.Graphic)
        self._at_100, self._lines, self._abreast = side, lines, abreast
        self.cells: tuple[PictureCell, ...] = ()
        self._images: list[list[QImage]] = []

    @property
    def _side(self) -> int:
        return theme.space(self._at_100)

    def show_cells(self, cells: Sequence[PictureCell]) -> None:
        """Show others."""
        self.cells = tuple(cells)
        self._images = [[rgba_to_image(picture) for picture in cell.pictures] for cell in cells]
        sentences = ["; ".join(line for line in cell.lines if line) for cell in self.cells]
        self.setAccessibleDescription(plain(". ".join(filter(None, sentences)), 2000))
        self._fit()
        self.update()

    def image(self, number: int) -> QImage:
        """The first picture of a cell."""
        return self._images[number][0]

    def for_audience(self, lines: int) -> tuple[ScenePicture, ...]:
        """The last picture of each cell, with so many of its lines."""
        return tuple(
            ScenePicture(
                images[-1] if images else None, (*cell.lines, *[""] * lines)[:lines], cell.marked
            )
            for cell, images in zip(self.cells, self._images, strict=True)
        )

    def sizeHint(self) -> QSize:  # noqa: N802
        """All cells in the width that there is."""
        return QSize(self._cell().width() * 3, self._height(max(self.width(), 1)))

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """One column wide."""
        return QSize(self._cell().width(), self.minimumHeight())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Lay the cells out anew."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        self.setFixedHeight(self._height(self.width()))
        self.updateGeometry()

    def _cell(self) -> QSize:
        wide = self._side * self._abreast + 4 * (self._abreast - 1)
        return QSize(
            max(wide, theme.px(96)) + _GAP, self._side + theme.px(_LINE) * self._lines + _GAP
        )

    def _columns(self, width: int) -> int:
        rows = -(-len(self.cells) // max(1, width // self._cell().width()))
        return -(-len(self.cells) // max(1, rows))  # no cell alone in the last row

    def _height(self, width: int) -> int:
        return -(-len(self.cells) // max(1, self._columns(width))) * self._cell().height()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw pictures, enlarged without smoothing, and their words."""
        painter = QPainter(self)
        size, columns = self._cell(), self._columns(self.width())
        for number, cell in enumerate(self.cells):
            left = number % columns * size.width()
            top = number // columns * size.height()
            self._paint_cell(painter, cell, self._images[number], left, top)

    def _paint_cell(
        self, painter: QPainter, cell: PictureCell, images: Sequence[QImage], left: int, top: int
    ) -> None:
        for place in range(len(images) or self._abreast):
            rect = QRect(left + place * (self._side + 4), top, self._side, self._side)
            if images:
                painter.drawImage(rect, images[place])
            painter.setBrush(Qt.BrushStyle.NoBrush)
            marked = cell.marked and place == len(images) - 1
            colour = look.triggered_colour() if marked else theme.colour("border")
            painter.setPen(QPen(colour, 2 if marked else 1))
            painter.drawRect(rect.adjusted(0, 0, -1, -1))
        each = 1 < self._abreast == len(cell.lines)
        room = self._side if each else self._cell().width() - _GAP
        for place, line in enumerate(cell.lines[: None if each else self._lines]):
            across, down = (place * (self._side + 4), 0) if each else (0, place * theme.px(_LINE))
            box = QRectF(left + across, top + self._side + 3 + down, room, theme.px(_LINE))
            first = place == (len(cell.lines) - 1 if each else 0)
            self.write(painter, box, plain(line, 100), size=0.92, bold=first, muted=not first)
