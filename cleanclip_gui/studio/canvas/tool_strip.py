"""The tools and colours beside the canvas, and what lies under the pointer."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QSignalBlocker, QSize, Qt, Signal
from PySide6.QtGui import QAction, QColor, QIcon, QPainter, QPen, QPixmap, QResizeEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QColorDialog,
    QGridLayout,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.studio.canvas.tools import TOOLS
from cleanclip_gui.widgets.controls import Label, bind, tool_button
from cleanclip_gui.widgets.layout import column, row

_COLUMNS, _ZOOM = (2, 3, 4), 24
SWATCHES: tuple[tuple[str, str], ...] = (
    ("Red", "#dc1428"),
    ("White", "#fafafa"),
    ("Black", "#000000"),
    ("Yellow", "#ffff00"),
    ("Green", "#2ca02c"),
    ("Blue", "#1f5fd0"),
    ("Magenta", "#d63fb0"),
)


def action_button(action: QAction, *, text: bool = False) -> QToolButton:
    """A button with the icon of an action; with its text beside it, if there is to be one."""
    button = bind(tool_button("", action.iconText()), action, text=text, icon=True)
    return button


class Swatch(QToolButton):
    """A colour to paint with."""

    def __init__(self, name: str, colour: QColor) -> None:
        super().__init__()
        self.colour = colour
        self.setCheckable(True)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setFixedSize(theme.px(30), theme.px(24))
        self.setIconSize(QSize(theme.px(16), theme.px(16)))
        self.set_colour(name, colour)

    def set_colour(self, name: str, colour: QColor) -> None:
        """Show another colour."""
        self.colour = colour
        self.setToolTip(f"{name}, {colour.name()}")
        self.setAccessibleName(f"Colour {name}, {colour.name()}")
        ratio = 3
        pixmap = QPixmap(16 * ratio, 16 * ratio)
        pixmap.fill(Qt.GlobalColor.transparent)
        pixmap.setDevicePixelRatio(ratio)
        painter = QPainter(pixmap)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(128, 128, 128), 1))
        painter.setBrush(colour)
        painter.drawEllipse(1, 1, 14, 14)
        painter.end()
        self.setIcon(QIcon(pixmap))


class ToolStrip(QWidget):
    """Eleven tools, eight colours and the pointer's place, in two columns, or more if it is low.

    The last colour is the user's own; a click on it while it is in use asks for another one.
    """

    tool_chosen = Signal(str)
    colour_chosen = Signal(object)
    picture_toggled = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self._columns = 0
        self.tools: dict[str, QToolButton] = {}
        tools = self._tools_grid = QGridLayout()
        tools.setSpacing(1)
        group = QButtonGroup(self)
        for name, icon, text, key in TOOLS:
            button = tool_button(icon, text, key, checkable=True)
            button.setProperty("toolName", name)
            group.addButton(button)
            self.tools[name] = button
        self.tools["brush"].setChecked(True)
        self.picture = tool_button("eye", "Show the picture under the trigger", checkable=True)
        self.picture.setChecked(True)
        group.buttonToggled.connect(self._on_tool_toggled)
        self.picture.toggled.connect(self.picture_toggled)

        colours = self._colours_grid = QGridLayout()
        colours.setSpacing(2)
        self.swatches = [Swatch(name, QColor(value)) for name, value in SWATCHES]
        self.own = Swatch("of your own", QColor("#ff7f0e"))
        self._colours = QButtonGroup(self)
        for swatch in (*self.swatches, self.own):
            self._colours.addButton(swatch)
        self.swatches[0].setChecked(True)
        self._pressed_in_use = False  # whether the swatch was in use when a click on it began
        self._colours.buttonPressed.connect(self._on_swatch_pressed)
        self._colours.buttonToggled.connect(self._on_swatch_toggled)
        self._colours.buttonClicked.connect(self._on_swatch_clicked)

        self.place = Label("", "caption")
        self.shade = Label("", "caption")
        self.scale = Label("", "caption")
        for label, accessible_name in (
            (self.place, "Pixel under the pointer"),
            (self.shade, "Colour under the pointer"),
            (self.scale, "Zoom"),
        ):
            label.setAccessibleName(accessible_name)
            label.setFont(theme.figure_font(9))
        zoom = row(spacing=0)
        self.zoom_out = tool_button("zoom-out", "Zoom out", "-")
        self.fit_picture = tool_button("fit", "Show the whole picture", "0")
        self.zoom_in = tool_button("zoom-in", "Zoom in", "+")
        for button in (self.zoom_out, self.fit_picture, self.zoom_in):
            button.setProperty("small", True)
            button.setFixedSize(theme.px(_ZOOM), theme.px(_ZOOM))
            zoom.addWidget(button)
        readout = self._readout = QGridLayout()
        readout.setSpacing(0)
        readout.addLayout(zoom, 0, 0)
        readout.addWidget(self.place, 2, 0, 1, 2)
        readout.addWidget(self.shade, 3, 0, 1, 2)
        column(tools, colours, None, readout, of=self, spacing=theme.SPACE_XS)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Preferred)
        self._place(_COLUMNS[0])

    def _place(self, columns: int) -> None:
        """Put tools and colours into so many columns."""
        if columns == self._columns:
            return
        self._columns = columns
        for grid, buttons in (
            (self._tools_grid, (*self.tools.values(), self.picture)),
            (self._colours_grid, (*self.swatches, self.own)),
        ):
            for number, button in enumerate(buttons):
                grid.addWidget(button, number // columns, number % columns)
        beside = columns > _COLUMNS[0]
        self._readout.addWidget(self.scale, 0 if beside else 1, int(beside))
        self._measure()

    def _measure(self) -> None:
        """Be as wide as what stands there."""
        widest = self.place.fontMetrics().horizontalAdvance("x 000  y 000")
        layout = self.layout()
        assert layout is not None
        layout.invalidate()
        self.setFixedWidth(max(widest, layout.sizeHint().width()) + 2)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Measure again after the theme's last event of a change of size."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and self._columns:
            self._measure()

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """As high as in the most columns."""
        hint = super().minimumSizeHint()
        return QSize(hint.width(), min(hint.height(), self._height_in(_COLUMNS[-1])))

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Take the fewest columns that fit into the new height."""
        super().resizeEvent(event)
        fitting = (n for n in _COLUMNS if self._height_in(n) <= self.height())
        self._place(next(fitting, _COLUMNS[-1]))

    def _height_in(self, columns: int) -> int:
        """What it needs in so many columns, in pixels."""
        tools = -(-(len(self.tools) + 1) // columns) * (self.picture.sizeHint().height() + 1)
        colours = -(-(len(self.swatches) + 1) // columns) * (self.own.height() + 2)
        lines = 3 if columns == _COLUMNS[0] else 2
        readout = theme.px(_ZOOM) + lines * self.place.fontMetrics().height()
        return tools + colours + readout + 3 * theme.SPACE_XS

    @property
    def colour(self) -> QColor:
        """The colour in use."""
        return next(swatch for swatch in (*self.swatches, self.own) if swatch.isChecked()).colour

    def set_tool(self, name: str) -> None:
        """Show which tool is in hand."""
        self.tools[name].setChecked(True)

    def set_colour(self, colour: QColor) -> None:
        """Show a colour that the picker found: one of the swatches, or one of one's own."""
        for swatch in (*self.swatches, self.own):
            if swatch.colour.rgb() == colour.rgb():
                break
        else:
            swatch = self.own
            swatch.set_colour("of your own", colour)
        with QSignalBlocker(self._colours):
            swatch.setChecked(True)

    def show_pointer(self, where: tuple[int, int, QColor | None] | None) -> None:
        """Say where the pointer is, and the colour there."""
        if where is None:
            self.place.setText("")
            self.shade.setText("")
            return
        x, y, colour = where
        self.place.setText(f"x {x}  y {y}")
        self.shade.setText(colour.name() if colour is not None else "empty")

    def show_scale(self, scale: float) -> None:
        """Say how large a pixel is shown."""
        self.scale.setText(f"{round(100 * scale)}\u2009%")
        self.scale.setToolTip(f"A pixel of the model's input is {scale:.1f} pixels on the screen.")

    def ask_colour(self, colour: QColor) -> QColor:
        """Ask for a colour; tests put another function here."""
        return QColorDialog.getColor(colour, self, "Brush colour")

    def _on_tool_toggled(self, button: QToolButton, on: bool) -> None:
        if on:
            self.tool_chosen.emit(button.property("toolName"))

    def _on_swatch_toggled(self, button: Swatch, on: bool) -> None:
        if on:  # by a screen reader too, which does not click
            self.colour_chosen.emit(button.colour)

    def _on_swatch_pressed(self, button: Swatch) -> None:
        self._pressed_in_use = button.isChecked()

    def _on_swatch_clicked(self, button: Swatch) -> None:
        """Take the clicked colour; a click on the present one may mean to take the brush again."""
        if not self._pressed_in_use:
            return
        if button is self.own:
            chosen = self.ask_colour(button.colour)
            if chosen.isValid():
                button.set_colour("of your own", chosen)
        self.colour_chosen.emit(button.colour)
