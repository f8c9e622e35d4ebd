"""A form for the parameters of a trigger, made from descriptions of its fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Literal, get_args, get_type_hints

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QGridLayout,
    QLineEdit,
    QScrollArea,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.studio.canvas.scene import Scene
from cleanclip_gui.widgets.controls import Label, Note, named, push_button
from cleanclip_gui.widgets.dialog_frame import resize_within
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.number_box import NumberBox, fill
from cleanclip_gui.widgets.text import plain
from ml_core.triggers import Trigger
from ml_core.triggers.checks import RANGES
from ml_core.triggers.descriptions import (
    CANVAS_NAMES,
    FIELDS,
    KIND_NAMES,
    LEVEL_NAMES,
    TEXT_PLACE_NAMES,
)

Kind = Literal["int", "float", "choice", "switch", "text", "quality"]


@dataclass(frozen=True)
class FormField:
    """One field: its name in the record, its caption, and what it may be.

    ``low`` and ``high`` are for numbers, ``choices`` (value, words) for choices; ``unit`` stands
    after the editor. A ``quality`` is a whole number or none.
    """

    name: str
    caption: str
    kind: Kind
    value: Any
    low: float = 0.0
    high: float = 0.0
    unit: str = ""
    choices: tuple[tuple[Any, str], ...] = ()


@dataclass(frozen=True)
class FormSection:
    """Fields under a title; ``key`` comes back with every change."""

    key: str
    title: str
    fields: tuple[FormField, ...]


class QualityBox(QWidget):
    """A whole number that can be switched off."""

    changed = Signal(object)

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        self.on = QCheckBox("Save as JPEG")
        self.box = named(NumberBox("int", low, high), "JPEG quality")
        self.box.setValue(95)
        row(self.on, (self.box, 1), of=self)
        self.on.toggled.connect(self._on_changed)
        self.box.valueChanged.connect(self._on_changed)

    def set_value(self, value: int | None) -> None:
        """Show a value, or that it is not set."""
        with QSignalBlocker(self):
            self.on.setChecked(value is not None)
            if value is not None:
                self.box.setValue(value)
            self.box.setEnabled(value is not None)

    def _on_changed(self, *_: object) -> None:
        self.box.setEnabled(self.on.isChecked())
        self.changed.emit(int(self.box.value()) if self.on.isChecked() else None)


class TriggerForm(QDialog):
    """Shows sections of fields; ``field_changed(section key, field name, value)``."""

    field_changed = Signal(str, str, object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Parameters of the trigger")
        self.editors: dict[tuple[str, str], QWidget] = {}
        self._shape: tuple[object, ...] = ()
        self.title = Label("", "title")
        self.lead = Note("subtle")
        self.problem = Note("error")
        self._area = QScrollArea(widgetResizable=True)
        self._area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        close = push_button("Close", self.accept)
        close.setDefault(True)
        column(
            self.title, self.lead, (self._area, 1), self.problem, row(None, close),
            of=self, margins=theme.SPACE_XL, spacing=theme.SPACE_M,
        )  # fmt: skip
        resize_within(self, 480, 600)  # so that it leaves the picture and its numbers in sight

    def show_sections(self, title: str, lead: str, sections: tuple[FormSection, ...]) -> None:
        """Show what there is; editors stay while the fields are the same."""
        self.title.setText(plain(title, 80))
        self.lead.setText(plain(lead, 500))
        self.problem.setText("")
        shape = tuple((s.key, s.title, *((f.name, f.kind) for f in s.fields)) for s in sections)
        if shape != self._shape:
            self._shape = shape
            self._rebuild(sections)
        for section in sections:
            for field in section.fields:
                _show(self.editors[section.key, field.name], field)

    def show_problem(self, sentence: str) -> None:
        """Say why a value was not taken."""
        self.problem.setText(plain(sentence, 300))

    def _rebuild(self, sections: tuple[FormSection, ...]) -> None:
        self.editors.clear()
        page = QWidget()
        page.setObjectName("page")
        grid = QGridLayout(page)
        grid.setContentsMargins(0, 0, theme.SPACE_M, 0)
        grid.setHorizontalSpacing(theme.SPACE_M)
        grid.setVerticalSpacing(theme.SPACE_S)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(2, 1)
        row = 0
        for section in sections:
            grid.addWidget(Label(plain(section.title, 80), "heading"), row, 0, 1, 3)
            row += 1
            for field in section.fields:
                tell = partial(self.field_changed.emit, section.key, field.name)
                editor = make_editor(field, tell)
                grid.addWidget(Label(field.caption, "field", buddy=editor), row, 0)
                remark = _range(field)
                grid.addWidget(editor, row, 1, 1, 1 if remark else 2)  # choices are long
                if remark:
                    grid.addWidget(Label(remark, "caption", wrap=True), row, 2)
                self.editors[section.key, field.name] = editor
                row += 1
            grid.setRowMinimumHeight(row, theme.SPACE_S)
            row += 1
        grid.setRowStretch(row, 1)
        self._area.setWidget(page)


def make_editor(field: FormField, tell: Callable[[Any], object]) -> QWidget:
    """The widget of a field; ``tell`` gets each value that the user gives it."""
    widget: QWidget
    if field.kind == "choice":
        widget = combo = fill(QComboBox(), field.choices)
        combo.activated.connect(lambda _: tell(combo.currentData()))
    elif field.kind == "switch":
        widget = switch = QCheckBox("Yes")
        switch.toggled.connect(lambda on: tell(on))
    elif field.kind == "text":
        widget = line = QLineEdit()
        line.setMaxLength(200)
        line.editingFinished.connect(lambda: tell(line.text()))
    elif field.kind == "quality":
        widget = quality = QualityBox(int(field.low), int(field.high))
        quality.changed.connect(lambda value: tell(value))
    else:
        widget = box = NumberBox(field.kind, field.low, min(field.high, 2.0**53))
        whole = field.kind == "int"
        box.valueChanged.connect(lambda value: tell(int(value) if whole else value))
    widget.setAccessibleName(field.caption)
    widget.setMinimumWidth(theme.px(120))
    return widget


def _show(editor: QWidget, field: FormField) -> None:
    """Show a value, unless the user is typing another."""
    with QSignalBlocker(editor):
        if isinstance(editor, QComboBox):
            editor.setCurrentIndex(max(0, editor.findData(field.value)))
        elif isinstance(editor, QCheckBox):
            editor.setChecked(bool(field.value))
        elif isinstance(editor, QLineEdit):
            if not editor.hasFocus():
                editor.setText(field.value)
        elif isinstance(editor, QualityBox):
            editor.set_value(field.value)
        elif isinstance(editor, NumberBox) and abs(editor.value() - field.value) > 1e-6:
            editor.setValue(field.value)


def _range(field: FormField) -> str:
    """Range and unit in words."""
    if field.kind not in ("int", "float"):
        return field.unit
    low = "above 0" if 0 < field.low < 1e-4 else f"{field.low:g}"
    ends = f"{low} to {field.high:g}" if field.high < 1e4 else ""
    return ", ".join(filter(None, (field.unit, ends)))


PLACEMENTS: tuple[tuple[str, str], ...] = (
    ("fixed", "Where painted"),
    ("random", "Random place"),
    ("four_corners", "Four corners"),
    ("center", "Centre"),
)
_PLACES = ("placement", "x", "y", "spare", "size")
_WHOLE = ("canvas", "levels", "jpeg", "text_place")
_CAPTIONS = {
    "x": "Centre x",
    "y": "Centre y",
    "spare": "Margin",
    "rotation": "Rotation",
    "mirrored": "Mirrored",
    "where": "Mixed where",
    "stripe": "Stripe width",
    "mix": "Mixed by",
    "grid_size": "Grid",
    "strength": "Strength s",
    "grid_rescale": "Grid rescale",
    "canvas": "Acts on",
    "levels": "Levels",
    "jpeg": "JPEG quality",
    "text_place": "Word goes",
}
_WORDS: dict[str, Mapping[Any, str]] = {
    "noise": {"per_image": "new for each image", "fixed": "once, from the seed"},
    "where": {"everywhere": "everywhere", "nonzero": "where the pattern is not 0"},
    "mix": {"blend": "weighing it against the picture", "add": "adding it to the picture"},
    "canvas": CANVAS_NAMES,
    "levels": LEVEL_NAMES,
    "text_place": TEXT_PLACE_NAMES,
}


def sections(scene: Scene, trigger: Trigger | None) -> tuple[FormSection, ...]:
    """Sections for the place, for patch and overlay, and for the whole where there is one."""
    groups = [FormSection("scene", "The trigger", _scene_fields(scene, trigger))]
    places = (("patch", "Patch", scene.patch), ("overlay", "Overlay", scene.overlay))
    for key, title, part in places:
        source = None if part is None else part.source
        if not isinstance(source, Trigger):
            continue
        shown = _of_kind(trigger, source)
        names = _names(source, movable=key == "patch")
        if key == "patch" and scene.placement == "random":  # each picture has its own
            names = [name for name in names if name not in ("x", "y")]
        if names:
            section = tuple(_field(shown, name) for name in names)
            heading = source.name or KIND_NAMES[source.kind]
            groups.append(FormSection(key, f"{title}: {heading}", section))
    if trigger is not None:
        whole = tuple(_field(trigger, name) for name in _WHOLE)
        groups.append(FormSection("whole", "How it is applied", whole))
    return tuple(groups)


def _scene_fields(scene: Scene, trigger: Trigger | None) -> tuple[FormField, ...]:
    """What holds for paint and patch, and the word for the prompts."""
    covers = scene.overlay is not None and scene.patch is None  # and cannot be moved
    fields = [FormField("text", "Prompt word", "text", scene.text, unit="added to every prompt")]
    if scene.patch is not None:
        size, unit = 100 * scene.patch.size, "% of the picture's shorter side"
        fields.insert(0, FormField("size", "Size", "float", size, 1, 100, unit))
    if not covers or (trigger is not None and trigger.kind == "combined"):
        opacity = FormField("opacity", "Opacity", "float", 100 * scene.opacity, 0, 100, "%")
        fields.insert(-1, opacity)
        place = FormField("placement", "Place", "choice", scene.placement, choices=PLACEMENTS)
        fields.insert(0, place)
    return tuple(fields)


def _names(source: Trigger, *, movable: bool) -> list[str]:
    """Fields of a part; place, size and opacity of a patch are those of the scene."""
    hidden = ("placement", "size") if movable else _PLACES
    names = [name for name in FIELDS[source.kind] if name not in hidden]
    if "noise" in names:
        names.append("seed")
    if not movable and source.kind not in ("combined", "prompt"):
        names.append("opacity")
    return names


def _of_kind(trigger: Trigger | None, source: Trigger) -> Trigger:
    """The part of the present trigger that was made of ``source``."""
    parts = () if trigger is None else (trigger, *trigger.parts)
    alike = [part for part in parts if part.kind == source.kind]
    same = [part for part in alike if part.name == source.name]
    return (same or alike or [source])[-1]


def _field(trigger: Trigger, name: str) -> FormField:
    """A field of the record as the form wants it."""
    caption = _CAPTIONS.get(name, name.replace("_", " ").capitalize())
    value: Any = getattr(trigger, name)
    if name == "jpeg":
        return FormField(name, caption, "quality", value, 1, 100)
    if name in RANGES:
        low, high, unit = RANGES[name]
        default = next(field.default for field in fields(Trigger) if field.name == name)
        whole = isinstance(default, int)
        return FormField(name, caption, "int" if whole else "float", value, low, high, unit)
    hint = get_type_hints(Trigger)[name]
    if hint is bool:
        return FormField(name, caption, "switch", value)
    if choices := get_args(hint):
        words = _WORDS.get(name, {})
        named = tuple((choice, words.get(choice, choice)) for choice in choices)
        return FormField(name, caption, "choice", value, choices=named)
    return FormField(name, caption, "text", value)
