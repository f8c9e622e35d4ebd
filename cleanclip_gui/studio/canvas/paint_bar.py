"""Options of the tool in hand, and undo, redo and clear."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from PySide6.QtCore import QSignalBlocker, Signal, SignalInstance
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QCheckBox, QLineEdit, QWidget

from cleanclip_gui import theme
from cleanclip_gui.studio.canvas.ink import Ink
from cleanclip_gui.studio.canvas.option_slider import CompactBar, OptionSlider
from cleanclip_gui.studio.canvas.tool_strip import action_button
from cleanclip_gui.widgets.controls import Label, named, tool_button
from cleanclip_gui.widgets.layout import row
from cleanclip_gui.widgets.number_box import NumberBox

_OPTIONS: dict[str, tuple[str, ...]] = {
    "brush": ("width", "hardness", "opacity"),
    "eraser": ("width", "hardness", "opacity"),
    "line": ("width", "hardness", "opacity"),
    "rectangle": ("width", "opacity", "filled"),
    "ellipse": ("width", "opacity", "filled"),
    "text": ("text", "text_height", "opacity"),
    "fill": ("tolerance", "opacity", "whole"),
    "noise": ("tolerance", "opacity", "whole", "grey"),
    "picker": ("pick_hint",),
    "move": ("mirror_h", "mirror_v", "rotate", "angle", "move_hint"),
    "hand": ("grid", "hand_hint"),
}


class PaintBar(CompactBar):
    """Options of the tool in hand; ``ink_chosen(dict)`` carries fields of :class:`Ink`.

    ``angle_chosen(float)`` turns the patch, in degrees; ``grid_toggled(bool)`` switches the grid.
    ``actions`` has the actions of the commands that its buttons show, by their id.
    """

    ink_chosen = Signal(object)
    grid_toggled = Signal(bool)
    angle_chosen = Signal(float)

    least = 36

    def __init__(self, actions: Mapping[str, QAction]) -> None:
        super().__init__()
        self.width_slider = OptionSlider("Size", "Size in pixels of the model's input", 1, 32, "px")
        self.hardness = OptionSlider(
            "Hardness", "Hardness of the brush edge in percent", 0, 100, "%"
        )
        self.opacity = OptionSlider("Opacity", "Opacity of the ink in percent", 1, 100, "%")
        self.letters = OptionSlider("Height", "Height of the letters in pixels", 4, 64, "px")
        self.tolerance = OptionSlider(
            "Tolerance", "How far a colour may differ and still be filled, in percent", 0, 100, "%"
        )
        self.text = named(QLineEdit("Text"), "Text of the stamp")
        self.text.setMaxLength(60)
        self.text.setMinimumWidth(theme.px(60))
        self.text.setPlaceholderText("Text")
        self.filled = QCheckBox("Filled")
        self.whole = QCheckBox("Whole canvas")
        self.grey = QCheckBox("Grey")
        for box in (self.filled, self.whole, self.grey):
            box.setAccessibleName(box.text())
            box.setToolTip(box.text())
        self.grid = tool_button("grid", "Grid between pixels", "G", checkable=True)
        self.grid.setChecked(True)
        self.angle = named(
            NumberBox("float", -180, 180, "°"), "Angle of the patch in degrees, clockwise",
            "Angle of the patch, clockwise (, and . on the canvas)",
        )  # fmt: skip
        self.angle.setDecimals(1)
        self.angle.setWrapping(True)
        self.angle.setFixedWidth(theme.px(84))
        self._options: dict[str, QWidget] = {
            "text": self.text,
            "width": self.width_slider,
            "text_height": self.letters,
            "hardness": self.hardness,
            "tolerance": self.tolerance,
            "opacity": self.opacity,
            "filled": self.filled,
            "whole": self.whole,
            "grey": self.grey,
            "mirror_h": action_button(actions["trigger.mirror"]),
            "mirror_v": action_button(actions["trigger.mirror_down"]),
            "rotate": action_button(actions["trigger.rotate"]),
            "angle": self.angle,
            "grid": self.grid,
            "pick_hint": _hint("Picks the colour under the pointer."),
            "move_hint": _hint("Drag the trigger, its corners, or the handle that turns it."),
            "hand_hint": _hint("Drag to move, click to zoom in."),
        }
        self.undo = action_button(actions["edit.undo"])
        self.redo = action_button(actions["edit.redo"])
        self.clear = action_button(actions["edit.clear"])
        self._lay_out()
        self._connect()
        self.set_tool("brush")

    def _lay_out(self) -> None:
        inside = self.row
        inside.setSpacing(theme.SPACE_S)
        sliders = (self.width_slider, self.hardness, self.opacity, self.letters, self.tolerance)
        for option in self._options.values():
            inside.addWidget(option, 1 if option in sliders or option is self.text else 0)
        self._filler = QWidget()
        inside.addWidget(self._filler, 1)
        actions = row(self.undo, self.redo, self.clear, spacing=2)
        inside.addLayout(actions)

    def _connect(self) -> None:
        self._pass_on(self.width_slider.changed, "width", float)
        self._pass_on(self.hardness.changed, "hardness", _fraction)
        self._pass_on(self.opacity.changed, "opacity", _fraction)
        self._pass_on(self.letters.changed, "text_height", int)
        self._pass_on(self.tolerance.changed, "tolerance", _fraction)
        self._pass_on(self.text.textChanged, "text", str)
        self._pass_on(self.filled.toggled, "filled", bool)
        self._pass_on(self.whole.toggled, "whole", bool)
        self._pass_on(self.grey.toggled, "grey", bool)
        self.grid.toggled.connect(self.grid_toggled)
        self.angle.valueChanged.connect(self.angle_chosen)

    def _pass_on(
        self, changed: SignalInstance, field: str, convert: Callable[[Any], object]
    ) -> None:
        """Let a control change a field of the ink."""
        changed.connect(lambda value: self.ink_chosen.emit({field: convert(value)}))

    def set_tool(self, name: str) -> None:
        """Show the options of a tool."""
        shown = self._shown = _OPTIONS[name]
        for key, option in self._options.items():
            option.setVisible(key in shown)
        fills = any(isinstance(self._options[key], OptionSlider | QLineEdit) for key in shown)
        self._filler.setVisible(not fills)
        self.fit()

    def set_compact(self, compact: bool) -> None:
        """Leave out words, or show them again."""
        super().set_compact(compact)
        for key in ("pick_hint", "move_hint", "hand_hint"):
            self._options[key].setVisible(not compact and key in self._shown)
        self.angle.setFixedWidth(theme.px(66 if compact else 84))
        for box in (self.filled, self.whole, self.grey):
            box.setText("" if compact else box.accessibleName())

    def set_ink(self, ink: Ink) -> None:
        """Show what is painted with."""
        self.width_slider.set_value(round(ink.width))
        self.hardness.set_value(round(100 * ink.hardness))
        self.opacity.set_value(round(100 * ink.opacity))
        self.letters.set_value(ink.text_height)
        self.tolerance.set_value(round(100 * ink.tolerance))
        for box, value in (
            (self.filled, ink.filled),
            (self.whole, ink.whole),
            (self.grey, ink.grey),
        ):
            with QSignalBlocker(box):
                box.setChecked(value)
        if self.text.text() != ink.text:
            self.text.setText(ink.text)

    def set_angle(self, degrees: float | None) -> None:
        """Show the patch's angle; None where there is no patch."""
        with QSignalBlocker(self.angle):
            self.angle.setEnabled(degrees is not None)
            self.angle.setValue(degrees or 0.0)

    def set_canvas_size(self, size: int) -> None:
        """Offer brushes up to half the canvas, and letters as tall as it."""
        self.width_slider.slider.setMaximum(max(8, size // 2))
        self.letters.slider.setMaximum(max(16, size))


def _fraction(percent: int) -> float:
    return percent / 100


def _hint(text: str) -> Label:
    """A sentence that says what the tool does."""
    return Label(text, "caption")
