"""Where Studio's widgets stand: gallery, canvas with its toolbars, numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.studio.pages.pages import StudioPages

if TYPE_CHECKING:
    from cleanclip_gui.studio.station import StudioStation

_RIGHT = 348
_MIDDLE = 300  # in the smallest window the bars leave out words


def lay_out(panel: StudioStation) -> None:
    """Three columns; the canvas takes what is left."""
    canvas_page = QWidget()
    middle = QVBoxLayout(canvas_page)
    middle.setContentsMargins(0, theme.SPACE_S, 0, 0)
    middle.setSpacing(theme.SPACE_S)
    middle.addWidget(panel.source_bar)
    middle.addWidget(panel.paint_bar)
    painting = QHBoxLayout()
    painting.setSpacing(theme.SPACE_S)
    painting.addWidget(panel.tool_strip)
    painting.addWidget(panel.canvas, 1)
    middle.addLayout(painting, 1)
    middle.addWidget(panel.placement_bar)
    panel.pages = StudioPages(canvas_page)
    panel.pages.setMinimumWidth(_MIDDLE)
    layout = QHBoxLayout(panel)
    layout.setContentsMargins(theme.SPACE_M, theme.SPACE_M, theme.SPACE_M, theme.SPACE_M)
    layout.setSpacing(theme.SPACE_L)
    layout.addWidget(panel.gallery)
    layout.addWidget(panel.pages, 1)
    layout.addWidget(_numbers(panel))


def _numbers(panel: StudioStation) -> QWidget:
    """The right column: the figure, and the bars of the selected image."""
    bars_card = QFrame()
    bars_card.setProperty("card", True)
    inside = QVBoxLayout(bars_card)
    inside.setContentsMargins(theme.SPACE_L, theme.SPACE_M, theme.SPACE_L, theme.SPACE_S)
    inside.setSpacing(theme.SPACE_S)
    inside.addWidget(panel.image_title)
    inside.addWidget(panel.bars, 1)
    side = QWidget()
    side.setFixedWidth(_RIGHT)
    column = QVBoxLayout(side)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(theme.SPACE_M)
    column.addWidget(panel.figure)
    panel.measured = QPushButton("How this was measured…")
    panel.measured.setProperty("quiet", True)
    column.addWidget(panel.measured, 0, Qt.AlignmentFlag.AlignLeft)
    column.addWidget(bars_card, 1)
    return side
