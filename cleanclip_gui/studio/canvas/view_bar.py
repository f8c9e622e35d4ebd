"""Below the canvas: what lies under the pointer, and how large a pixel is shown."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtGui import QAction, QColor
from PySide6.QtWidgets import QMenu, QToolButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.studio.canvas.canvas import TriggerCanvas
from cleanclip_gui.widgets.controls import ElidedLabel, named, tool_button
from cleanclip_gui.widgets.layout import row


class ViewBar(QWidget):
    """The pointer's place and colour, and a menu of all that changes the view alone."""

    def __init__(self, canvas: TriggerCanvas) -> None:
        super().__init__()
        self.pointer = named(ElidedLabel("", "caption"), "Pixel under the pointer")
        self.pointer.setFont(theme.figure_font(9))
        self.zoom = tool_button("", "Zoom")
        self.zoom.setProperty("menu", True)
        self.zoom.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self.zoom)
        menu.addAction("Zoom &in\t+", lambda: canvas.zoom_by(2.0))
        menu.addAction("Zoom &out\t-", lambda: canvas.zoom_by(0.5))
        menu.addAction("&Whole picture\t0", canvas.zoom_to_fit)
        menu.addSeparator()
        self.grid = _switch(menu, "Pixel &grid\tG", canvas.set_grid)
        self.picture = _switch(menu, "&Picture under the trigger", canvas.set_picture_visible)
        self.zoom.setMenu(menu)
        row((self.pointer, 1), self.zoom, of=self)
        canvas.pointed.connect(self.show_pointer)
        canvas.zoomed.connect(self.show_scale)
        canvas.grid_changed.connect(self.grid.setChecked)

    def show_pointer(self, where: tuple[int, int, QColor | None] | None) -> None:
        """Say where the pointer is, and the colour there."""
        text = ""
        if where is not None:
            x, y, colour = where
            text = f"x {x}  y {y}  {colour.name() if colour is not None else 'empty'}"
        self.pointer.setText(text)

    def show_scale(self, scale: float) -> None:
        """Say how large a pixel is shown."""
        self.zoom.setText(f"{round(100 * scale)}\u2009%")
        pixels = f"A pixel of the model's input is {scale:.1f} pixels on the screen."
        self.zoom.setToolTip(f"{pixels} Ctrl with the wheel zooms.")


def _switch(menu: QMenu, text: str, switched: Callable[[bool], object]) -> QAction:
    """An entry that is on at first."""
    action = menu.addAction(text)
    action.setCheckable(True)
    action.setChecked(True)
    action.toggled.connect(switched)
    return action
