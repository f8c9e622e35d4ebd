"""The tools of the canvas, and what they paint with."""

from __future__ import annotations

from functools import partial
from typing import Any

from PySide6.QtCore import QPoint, QSignalBlocker, Qt, Signal
from PySide6.QtGui import QColor, QIcon, QPainter, QPen, QPixmap
from PySide6.QtWidgets import (
    QCheckBox,
    QColorDialog,
    QFrame,
    QLineEdit,
    QMenu,
    QSlider,
    QToolButton,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.commands import Actions
from cleanclip_gui.studio.canvas.canvas import TriggerCanvas
from cleanclip_gui.studio.canvas.fitting_bar import FittingBar
from cleanclip_gui.studio.canvas.tools import TOOLS, Tool
from cleanclip_gui.widgets.controls import ElidedLabel, Label, named, push_button, tool_button
from cleanclip_gui.widgets.layout import column, row

COLOURS: tuple[tuple[str, str], ...] = (
    ("Red", "#dc1428"),
    ("White", "#fafafa"),
    ("Black", "#000000"),
    ("Yellow", "#ffff00"),
    ("Green", "#2ca02c"),
    ("Blue", "#1f5fd0"),
    ("Magenta", "#d63fb0"),
)
# Caption, accessible name, range and unit of each number of the ink.
_SLIDERS: dict[str, tuple[str, str, int, int, str]] = {
    "width": ("Size", "Size in pixels of the model's input", 1, 32, "px"),
    "text_height": ("Height", "Height of the letters in pixels", 4, 64, "px"),
    "hardness": ("Hardness", "Hardness of the brush edge in percent", 0, 100, "%"),
    "tolerance": (
        "Tolerance", "How far a colour may differ and still be filled, in percent", 0, 100, "%"
    ),
    "opacity": ("Opacity", "Opacity of the ink in percent", 1, 100, "%"),
}  # fmt: skip
_SWITCHES = {"filled": "Filled", "whole": "Whole canvas", "grey": "Grey"}
# What of the ink each tool uses: in the bar, and below the colours.
_STROKE, _SHAPE = (("width",), ("hardness", "opacity")), (("width", "filled"), ("opacity",))
_OPTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "brush": _STROKE,
    "eraser": _STROKE,
    "line": _STROKE,
    "rectangle": _SHAPE,
    "ellipse": _SHAPE,
    "text": (("text",), ("text_height", "opacity")),
    "fill": (("tolerance",), ("whole", "opacity")),
    "noise": (("tolerance",), ("whole", "grey", "opacity")),
}
_HINTS = {
    "picker": "Picks the colour under the pointer.",
    "move": "Drag it, or a handle.",
    "hand": "Drag to move, click to zoom in.",
}
_SHAPES: tuple[Tool, ...] = ("line", "rectangle", "ellipse")
_MORE: tuple[Tool, ...] = ("fill", "noise", "picker", "hand")
_TOOLS = {name: (icon, text, key) for name, icon, text, key in TOOLS}


class InkSlider(QWidget):
    """A caption, a slider and its value; ``changed`` carries the field's value."""

    changed = Signal(object)

    def __init__(self, field: str) -> None:
        super().__init__()
        caption, name, low, high, self._unit = _SLIDERS[field]
        self.caption = Label(caption, "caption")
        self.slider = named(QSlider(Qt.Orientation.Horizontal), name, name)
        self.slider.setRange(low, high)
        self.slider.setMinimumWidth(theme.px(36))
        self.slider.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._value = Label("", "caption")
        widest = self._value.fontMetrics().horizontalAdvance(f"{high}\u2009{self._unit}")
        self._value.setMinimumWidth(widest + 2)
        self._value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row(self.caption, (self.slider, 1), self._value, of=self, spacing=theme.SPACE_XS)
        self.slider.valueChanged.connect(self._on_value)
        self._on_value(self.slider.value())

    def set_value(self, value: float) -> None:
        """Show a value of the field without emitting a signal."""
        with QSignalBlocker(self):
            self.slider.setValue(round(100 * value if self._unit == "%" else value))

    def _on_value(self, value: int) -> None:
        self._value.setText(f"{value}\u2009{self._unit}")
        self.slider.setToolTip(f"{self.slider.accessibleName()}: {self._value.text()}")
        self.changed.emit(value / 100 if self._unit == "%" else value)


class ColourPopover(QFrame):
    """The palette, any other colour, and what else there is to say of the ink."""

    def __init__(self, canvas: TriggerCanvas, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setObjectName("page")
        self.setAccessibleName("Colour and ink")
        self._canvas = canvas
        self.colours: dict[str, QToolButton] = {}
        for name, value in COLOURS:
            colour = QColor(value)
            button = tool_button("", f"{name}, {colour.name()}")
            button.setIcon(colour_icon(colour))
            button.clicked.connect(partial(self._choose, colour))
            self.colours[name] = button
        self.any_colour = push_button("Any colour…", self._on_any_clicked)
        self.options = column(spacing=theme.SPACE_S)
        column(
            row(*self.colours.values(), spacing=2), self.any_colour, self.options,
            of=self, margins=theme.SPACE_M, spacing=theme.SPACE_S,
        )  # fmt: skip

    def ask_colour(self, colour: QColor) -> QColor:
        """Ask for a colour; tests put another function here."""
        return QColorDialog.getColor(colour, self._canvas, "Brush colour")

    def _on_any_clicked(self) -> None:
        self.hide()  # a popup would take the dialog's clicks
        colour = self.ask_colour(self._canvas.ink.colour)
        if colour.isValid():
            self._choose(colour)

    def _choose(self, colour: QColor, *_: object) -> None:
        self.hide()
        self._canvas.set_colour(colour)


class ToolBar(FittingBar):
    """Tools of a canvas, its colour, and the option that the tool in hand needs most.

    *Shape* is the shape that was used last, and its menu has the others; the menu at the end has
    the tools that are used less. ``actions`` has the commands of the tools, for both menus.
    """

    def __init__(self, canvas: TriggerCanvas, actions: Actions) -> None:
        super().__init__()
        self._canvas = canvas
        self._tool_of: dict[QToolButton, Tool] = {}
        plain = [self._add_tool(name) for name in ("move", "brush", "eraser")]
        self.shape = self._add_tool("rectangle")
        self.shape.setPopupMode(QToolButton.ToolButtonPopupMode.MenuButtonPopup)
        text = self._add_tool("text")
        self.more = self._add_tool("fill")
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        for button, names in ((self.shape, _SHAPES), (self.more, _MORE)):
            menu = QMenu(button)
            menu.aboutToShow.connect(actions.refresh)
            menu.addActions([actions[f"trigger.tool_{name}"] for name in names])
            button.setMenu(menu)
        self.colour = tool_button("", "Colour and ink")
        self.popover = ColourPopover(canvas, self)
        self.colour.clicked.connect(self.show_popover)

        self.sliders = {field: InkSlider(field) for field in _SLIDERS}
        self.switches = {field: QCheckBox(text) for field, text in _SWITCHES.items()}
        self.text = named(QLineEdit("Text"), "Text of the stamp")
        self.text.setMaxLength(60)
        self.text.setMinimumWidth(theme.px(60))
        self.text.setPlaceholderText("Text")
        self.hint = ElidedLabel("", "caption")
        self._options: dict[str, QWidget] = {**self.switches, **self.sliders, "text": self.text}
        below = {field for _, fields in _OPTIONS.values() for field in fields}
        here = [option for field, option in self._options.items() if field not in below]
        for field, option in self._options.items():
            if field in below:
                self.popover.options.addWidget(option)
            else:
                option.setMaximumWidth(theme.px(220))
            if field in below and isinstance(option, InkSlider):
                option.caption.setMinimumWidth(theme.px(60))  # one below the other
        row(
            *plain, self.shape, text, self.more, theme.SPACE_S, self.colour, theme.SPACE_S,
            *((option, 3) for option in here), (self.hint, 9), (None, 1), of=self, spacing=2,
        )  # fmt: skip
        for field, slider in self.sliders.items():
            slider.changed.connect(partial(self._set_ink, field))
        for field, box in self.switches.items():
            box.setAccessibleName(box.text())
            box.toggled.connect(partial(self._set_ink, field))
        self.text.textChanged.connect(partial(self._set_ink, "text"))
        canvas.set_ink(colour=QColor(COLOURS[0][1]))
        canvas.tool_changed.connect(self.show_tool)
        canvas.ink_changed.connect(self.show_ink)
        canvas.document.resized.connect(self._on_document_resized)
        self._on_document_resized(canvas.document.size)
        self.show_ink()
        self.show_tool()

    def _add_tool(self, tool: Tool) -> QToolButton:
        button = tool_button("", "", checkable=True)
        button.setAutoExclusive(True)
        self._give(button, tool)
        button.toggled.connect(partial(self._on_toggled, button))
        return button

    def _give(self, button: QToolButton, tool: Tool) -> None:
        """Let a button stand for a tool."""
        icon, text, key = _TOOLS[tool]
        self._tool_of[button] = tool
        button.setIcon(theme.icon(icon))
        named(button, text, f"{text} ({key})")

    def _on_toggled(self, button: QToolButton, on: bool) -> None:
        if on:
            self._canvas.set_tool(self._tool_of[button])

    def _set_ink(self, field: str, value: Any) -> None:
        self._canvas.set_ink(**{field: value})

    def show_tool(self, *_: object) -> None:
        """Show the tool in hand and its options."""
        tool = self._canvas.tool
        group = self.shape if tool in _SHAPES else self.more if tool in _MORE else None
        if group is not None:
            self._give(group, tool)
        if group is not self.more:
            self.more.setIcon(theme.icon("more"))
            named(self.more, "More tools", "More tools")
        next(b for b, name in self._tool_of.items() if name == tool).setChecked(True)
        here, below = _OPTIONS.get(tool, ((), ()))
        for field, option in self._options.items():
            option.setVisible(field in (*here, *below))
        self.hint.setText(_HINTS.get(tool, ""))
        self.hint.setVisible(tool in _HINTS)
        self.fit()

    def show_ink(self, *_: object) -> None:
        """Show what is painted with."""
        ink = self._canvas.ink
        self.colour.setIcon(colour_icon(ink.colour))
        named(self.colour, f"Colour and ink, {ink.colour.name()}", f"Colour, {ink.colour.name()}")
        for field, slider in self.sliders.items():
            slider.set_value(getattr(ink, field))
        for field, box in self.switches.items():
            with QSignalBlocker(box):
                box.setChecked(getattr(ink, field))
        if self.text.text() != ink.text:
            self.text.setText(ink.text)

    def show_popover(self) -> None:
        """Offer the colours below their button."""
        self.popover.adjustSize()
        self.popover.move(self.colour.mapToGlobal(QPoint(0, self.colour.height() + 2)))
        self.popover.show()
        self.popover.any_colour.setFocus(Qt.FocusReason.PopupFocusReason)

    def _on_document_resized(self, size: int) -> None:
        """Offer brushes up to half the canvas, and letters as tall as it."""
        self.sliders["width"].slider.setMaximum(max(8, size // 2))
        self.sliders["text_height"].slider.setMaximum(max(16, size))

    def set_compact(self, compact: bool) -> None:
        """Leave out the captions of the sliders, which their tool tips say too."""
        for field in ("width", "tolerance"):
            self.sliders[field].caption.setVisible(not compact)


def colour_icon(colour: QColor) -> QIcon:
    """A disc of a colour."""
    side, ratio = theme.ICON_SIZE, 3
    pixmap = QPixmap(side * ratio, side * ratio)
    pixmap.fill(Qt.GlobalColor.transparent)
    pixmap.setDevicePixelRatio(ratio)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(QColor(128, 128, 128), 1))
    painter.setBrush(colour)
    painter.drawEllipse(1, 1, side - 2, side - 2)
    painter.end()
    return QIcon(pixmap)
