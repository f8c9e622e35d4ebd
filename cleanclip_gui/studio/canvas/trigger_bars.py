"""Toolbars around the canvas: where the trigger comes from, and where it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PySide6.QtCore import QMimeData, Qt, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QLineEdit, QSizePolicy, QToolButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.studio.canvas.option_slider import CompactBar, OptionSlider
from cleanclip_gui.studio.canvas.scene import SLOTS
from cleanclip_gui.studio.canvas.tool_strip import action_button
from cleanclip_gui.studio.trigger_chip import TriggerChip
from cleanclip_gui.widgets.action_button import bind, tool_button
from cleanclip_gui.widgets.combo_box import ElidingComboBox
from cleanclip_gui.widgets.label import ElidedLabel, Label, named, spoken_name
from cleanclip_gui.widgets.text import plain, tip

PLACEMENTS: tuple[tuple[str, str], ...] = (
    ("fixed", "Where painted"),
    ("random", "Random place"),
    ("four_corners", "Four corners"),
    ("center", "Centre"),
)


class SourceBar(CompactBar):
    """Where a trigger comes from: the library, a file, the clipboard; and the two snapshots.

    ``actions`` has the actions of the commands that its buttons show, by their id; ``make_mime``
    gives the trigger as it is dragged out of the window, None where there is none.
    """

    def __init__(
        self,
        actions: Mapping[str, QAction],
        make_mime: Callable[[], QMimeData | None],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        row = self.row
        self.library = action_button(actions["trigger.library"], text=True)
        self.library.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.upload = action_button(actions["trigger.upload"])
        self.paste = action_button(actions["edit.paste"])
        self.save = action_button(actions["trigger.save"])
        self.parameters = action_button(actions["trigger.parameters"])
        self.chip = bind(TriggerChip(make_mime), actions["edit.copy"])
        row.addWidget(self.library)
        for button in (self.upload, self.paste, self.save, self.parameters, self.chip):
            row.addWidget(button)
        row.addSpacing(theme.SPACE_S)
        self.slots: dict[str, QToolButton] = {}
        for slot in SLOTS:
            button = named(QToolButton(), f"Snapshot {slot}")
            button.setText(slot)
            button.setFixedWidth(theme.px(30))
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            bind(button, actions[f"trigger.flip_{slot.lower()}"])
            self.slots[slot] = button
            row.addWidget(button)
        row.addSpacing(theme.SPACE_S)
        self.name = ElidedLabel("", "subtle")
        self.name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.name.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.standing = Label("", "badge")
        self.standing.hide()
        row.addWidget(self.name, 1)
        row.addSpacing(theme.SPACE_XS)
        row.addWidget(self.standing)

    def set_name(self, name: str, standing: str = "") -> None:
        """Say what the trigger is, and whether it is the published one."""
        words = plain(standing, 200)
        self.name.setText(plain(name, 80))
        self.standing.setText("rescaled" if words.startswith("rescaled") else words)
        self.standing.setVisible(bool(words))
        self.standing.setToolTip(tip(words))
        theme.set_property(self.standing, "tone", "caution" if "not" in words else "ok")

    def set_compact(self, compact: bool) -> None:
        """Leave out words, or show them again."""
        super().set_compact(compact)
        style = Qt.ToolButtonStyle
        self.library.setToolButtonStyle(
            style.ToolButtonIconOnly if compact else style.ToolButtonTextBesideIcon
        )


class PlacementBar(CompactBar):
    """Place, size and opacity of the trigger, its word for prompts, and its scope."""

    placement_chosen = Signal(str)
    size_chosen = Signal(float)
    opacity_chosen = Signal(float)
    text_chosen = Signal(str)
    scope_chosen = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        row = self.row
        row.setSpacing(theme.SPACE_S)
        self.placement = named(ElidingComboBox(), "Place of the trigger")
        self.placement.setMinimumContentsLength(8)
        for key, text in PLACEMENTS:
            self.placement.addItem(text, key)
        self.size_slider = OptionSlider(
            "Size", "Size of the trigger in percent of the image", 1, 100, "%"
        )
        self.opacity_slider = OptionSlider(
            "Opacity", "Opacity of the trigger in percent", 0, 100, "%"
        )
        self.opacity_slider.set_value(100)
        self.text = named(
            QLineEdit(), "Word for the prompts",
            "Word added to every prompt (dual-key attacks); see Parameters",
        )  # fmt: skip
        self.text.setPlaceholderText("Prompt word")
        self.text.setMaxLength(200)
        self.text.setMinimumWidth(theme.px(34))
        self.text.setMaximumWidth(theme.px(106))
        self.one = tool_button("image", "This image only, not the whole set", "", checkable=True)
        spoken_name("Place of the trigger", self.placement).setParent(self)
        row.addWidget(self.placement)
        for option in (self.size_slider, self.opacity_slider):
            option.setMaximumWidth(theme.px(240))  # 160 of them the slider's
            row.addWidget(option, 1)
        row.addWidget(self.text)
        row.addWidget(self.one)
        row.addStretch()
        self.placement.activated.connect(self._on_placement)
        self.size_slider.changed.connect(self._on_size)
        self.opacity_slider.changed.connect(self._on_opacity)
        self.text.textEdited.connect(self.text_chosen)
        self.one.toggled.connect(self.scope_chosen)

    def set_placement(self, placement: str) -> None:
        """Show a place."""
        self.placement.setCurrentIndex(max(0, self.placement.findData(placement)))

    def set_placeable(self, placeable: bool) -> None:
        """Whether a place can be chosen at all."""
        self.placement.setEnabled(placeable)

    def set_size(self, size: float | None) -> None:
        """Show the patch's size; None where the size is what is painted."""
        self.size_slider.set_value(None if size is None else round(100 * size))

    def set_opacity(self, opacity: float) -> None:
        """Show an opacity."""
        self.opacity_slider.set_value(round(100 * opacity))

    def set_text(self, text: str) -> None:
        """Show the word for the prompts."""
        if text != self.text.text():
            self.text.setText(text)

    def _on_placement(self) -> None:
        self.placement_chosen.emit(str(self.placement.currentData()))

    def _on_size(self, value: int) -> None:
        self.size_chosen.emit(value / 100)

    def _on_opacity(self, value: int) -> None:
        self.opacity_chosen.emit(value / 100)
