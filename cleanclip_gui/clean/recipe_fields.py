"""One line of the recipe form: name, editor with unit, help, and the way back to the preset."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QComboBox, QGridLayout, QSizePolicy, QToolButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.number_box import Kind, NumberBox

EDITOR_WIDTH = 152
_CHOICES = {
    "none": "None",
    "flip": "Flip",
    "autoaugment": "AutoAugment",
    "zero-shot": "Zero-shot",
    "random": "Random",
    "auto": "Automatic",
    "fp32": "float32",
    "bf16": "bfloat16",
    "noise-erase": "Noise, erase",
    "noise-erase-code": "Noise, erase (code)",
    "cosine": "Cosine",
    "two-phase": "Two-phase",
    "adamw": "AdamW",
    "sgd": "SGD",
    "train": "Train",
    "frozen": "Frozen",
    "given": "Given",
    "False": "Off",
    "True": "On",
}
# A range that excludes its end stops this far before it.
_OPEN_END = 1e-6


class Chooser(QComboBox):
    """A combo box that leaves the wheel to the page unless it has the focus."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        """Scroll the page, not the choice."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class FieldRow(QWidget):
    """Edits one field of a recipe; built from what the field says about itself."""

    edited = Signal()
    corrected = Signal(str)
    reset_requested = Signal()

    def __init__(self, name: str, info: FieldInfo, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.name = name
        self.title = info.title or name
        self._help = info.description or ""
        self._quiet = False
        self._is_int = info.annotation is int
        self._given: tuple[float, Any] | None = None
        self.editor = self._make_editor(info)
        self.editor.setMinimumWidth(theme.px(EDITOR_WIDTH))
        self.editor.setMaximumWidth(theme.px(EDITOR_WIDTH))
        self.editor.setAccessibleName(self.title)
        # Beside the mark of a changed field there is little room.
        label = Label(self.title, wrap=True, buddy=self.editor)
        self._mark = Label("changed", "badge")
        self._mark.setProperty("tone", "info")
        self._reset = QToolButton()
        self._reset.setIcon(theme.icon("undo", "muted"))
        self._reset.setIconSize(QSize(theme.px(14), theme.px(14)))
        self._reset.setProperty("quiet", True)
        self._reset.setToolTip("Back to the preset's value")
        self._reset.setAccessibleName(f"Reset {self.title}")
        self._reset.clicked.connect(self.reset_requested)
        self.caption = caption = Label(self._help, "caption", wrap=True)
        caption.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(theme.SPACE_XS)
        grid.setVerticalSpacing(2)
        grid.addWidget(label, 0, 0)
        grid.addWidget(self._mark, 0, 1, Qt.AlignmentFlag.AlignVCenter)
        grid.addWidget(self._reset, 0, 2)
        grid.addWidget(self.editor, 0, 3)
        grid.addWidget(caption, 1, 0, 1, 4)
        grid.setColumnStretch(0, 1)
        self.set_changed(False)

    def value(self) -> Any:
        """The value as the recipe holds it."""
        if isinstance(self.editor, NumberBox):
            number = self.editor.value()
            if self._given is not None and number == self._given[0]:
                return self._given[1]  # with the digits that the box has no room for
            return round(number) if self._is_int else number
        return self.editor.currentData()

    def set_value(self, value: Any) -> None:
        """Show a value without saying that the user changed it."""
        self._quiet = True
        if isinstance(self.editor, NumberBox):
            self.editor.setValue(float(value))
            self._given = (self.editor.value(), value)
        else:
            self.editor.setCurrentIndex(self.editor.findData(value))
        self._quiet = False

    def set_changed(self, changed: bool, preset_value: str = "") -> None:
        """Mark that the value differs from the preset's."""
        self._mark.setVisible(changed)
        self._reset.setVisible(changed)
        default = f"The preset has {preset_value}." if changed else ""
        text = " ".join(part for part in (self._help, default) if part)
        self.caption.setText(text)
        self.editor.setAccessibleDescription(text)

    def is_changed(self) -> bool:
        """Whether the mark is on."""
        return not self._mark.isHidden()

    def shown(self, value: Any) -> str:
        """A value of this field in words."""
        if isinstance(self.editor, NumberBox):
            return self.editor.textFromValue(float(value)) + self.editor.suffix()
        return _choice(value)

    def _make_editor(self, info: FieldInfo) -> NumberBox | Chooser:
        """Return the editor for the field's type and range."""
        literal = get_origin(info.annotation) is Literal
        if literal or info.annotation is bool:
            chooser = Chooser()
            for choice in get_args(info.annotation) if literal else (False, True):
                chooser.addItem(_choice(choice), choice)
            chooser.currentIndexChanged.connect(self._on_edited)
            return chooser
        low, high, open_low = limits(info)
        kind: Kind = "int" if self._is_int else "log" if open_low and low < _OPEN_END else "float"
        box = NumberBox(kind, low, high, unit_of(info))
        box.setToolTip(f"{box.range_text()}")
        box.valueChanged.connect(self._on_edited)
        box.corrected.connect(self._on_corrected)
        return box

    def _on_edited(self) -> None:
        if not self._quiet:
            self.edited.emit()

    def _on_corrected(self, typed: float, value: float) -> None:
        box = self.editor
        if isinstance(box, NumberBox):
            self.corrected.emit(
                f"{self.title} takes {box.range_text()}; {typed:g} was set to "
                f"{box.textFromValue(value)}."
            )


def _choice(value: Any) -> str:
    return _CHOICES.get(str(value), str(value))


def unit_of(info: FieldInfo) -> str:
    """The field's unit, or nothing."""
    extra = info.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def limits(info: FieldInfo) -> tuple[float, float, bool]:
    """Smallest and largest value of a number field, and whether its lower end is excluded."""
    low, high, open_low = -1e12, 1e12, False
    for rule in info.metadata:
        if getattr(rule, "ge", None) is not None:
            low = float(rule.ge)
        if getattr(rule, "gt", None) is not None:
            low, open_low = float(rule.gt) + 1e-12, True
        if getattr(rule, "le", None) is not None:
            high = float(rule.le)
        if getattr(rule, "lt", None) is not None:
            high = float(rule.lt) - _OPEN_END
    return low, high, open_low
