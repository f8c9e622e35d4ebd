"""Fields of a recipe, and the form of a run's method, preset and every hyperparameter."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, cast, get_args, get_origin

from pydantic.fields import FieldInfo
from PySide6.QtCore import QSignalBlocker, QSize, Qt, QTimer, Signal
from PySide6.QtWidgets import QToolButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import Label, Note, named, push_button
from cleanclip_gui.widgets.dialog_frame import field_form
from cleanclip_gui.widgets.form import number_box
from cleanclip_gui.widgets.layout import column, reveal, row
from cleanclip_gui.widgets.number_box import Chooser, NumberBox, fill
from cleanclip_gui.widgets.text import count_text, plural, tip
from ml_core.cleaning.catalogue import FACTS, METHODS, Method, method_title, offered
from ml_core.cleaning.presets import (
    about_rate,
    default_preset,
    nearest_preset,
    preset_source,
    preset_title,
    presets,
    warn_of_rate,
)
from ml_core.cleaning.pretraining import DEMO, Pretraining
from ml_core.cleaning.recipes import Recipe, fields_of
from ml_core.reading.errors import InputError

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


class FieldRow(QWidget):
    """Edits one field of a recipe; built from what the field says about itself."""

    edited = Signal()
    corrected = Signal(str)
    reset_requested = Signal()

    def __init__(self, name: str, info: FieldInfo) -> None:
        super().__init__()
        self.name = name
        self.title = info.title or name
        self._help = info.description or ""
        self._quiet = False
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
        parts = (label, 1), (self._mark, Qt.AlignmentFlag.AlignVCenter), self._reset, self.editor
        row(*parts, of=self, spacing=theme.SPACE_XS)
        self.set_changed(False)

    def value(self) -> Any:
        """The value as the recipe holds it."""
        if isinstance(self.editor, NumberBox):
            number = self.editor.number
            if self._given is not None and number == self._given[0]:
                return self._given[1]  # with the digits that the box has no room for
            return number
        return self.editor.currentData()

    def set_value(self, value: Any) -> None:
        """Show a value without saying that the user changed it."""
        self._quiet = True
        if isinstance(self.editor, NumberBox):
            self.editor.setValue(float(value))
            self._given = (self.editor.number, value)
        else:
            self.editor.setCurrentIndex(self.editor.findData(value))
        self._quiet = False

    def set_changed(self, changed: bool, preset_value: str = "") -> None:
        """Mark that the value differs from the preset's."""
        self._mark.setVisible(changed)
        self._reset.setVisible(changed)
        default = f"The preset has {preset_value}." if changed else ""
        explain(self, " ".join(part for part in (self._help, default) if part))
        self.editor.setAccessibleDescription(self.whatsThis())

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
            choices = get_args(info.annotation) if literal else (False, True)
            chooser = fill(Chooser(), [(choice, _choice(choice)) for choice in choices])
            chooser.currentIndexChanged.connect(self._on_edited)
            return chooser
        box = number_box(info)
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


def explain(widget: QWidget, text: str) -> None:
    """Explain a part of the form where the mouse rests on it, and below the form on its focus."""
    widget.setToolTip(tip(text))
    widget.setWhatsThis(text)


class MethodChooser(Chooser):
    """A combo box of methods in the order of the catalogue; its data are their names."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Method")
        for method in METHODS:
            self.addItem("", method)
            self.setItemData(self.count() - 1, FACTS[method].help, Qt.ItemDataRole.ToolTipRole)
        self.setMaxVisibleItems(24)
        self.recommend(METHODS[0])

    @property
    def method(self) -> Method:
        """The method that is chosen."""
        return cast(Method, self.currentData())

    def recommend(self, method: Method) -> None:
        """Tag one method as the one to start with."""
        for number, name in enumerate(METHODS):
            tag = " – start here" if name == method else ""
            self.setItemText(number, f"{method_title(name)}{tag}")


_NOT_ROWS = frozenset({"method", "preset"})
_SENTENCE_MS = 8000


def budget_text(recipe: Recipe) -> str:
    """How long a run is, as far as its recipe says."""
    if not recipe.total_steps:
        return "Nothing is trained."
    return f"{count_text(recipe.total_steps)} steps of {count_text(recipe.batch_size)} examples"


class RecipeForm(QWidget):
    """Shows and edits a :class:`Recipe`.

    ``changed`` comes after every change by the user; :meth:`recipe` gives what is set.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, FieldRow] = {}
        self._presets: dict[str, Recipe] = {}
        self._pretraining = DEMO
        self.method = MethodChooser()
        self.preset = named(Chooser(), "Preset")
        self.time = Label("", wrap=True)
        self.estimate_button = push_button(look="quiet")  # of a command of the station, as below
        self.reset_all = push_button(
            "Reset", self.reset, name="Reset every field to the preset", look="quiet"
        )
        self.difference = Label("", "badge")
        self.difference.setProperty("tone", "info")
        self.sentence = Note("warning")
        self._forget = QTimer(self, singleShot=True, interval=_SENTENCE_MS)
        self._forget.timeout.connect(self._refresh)
        self.more = push_button("All settings", look="quiet flush")
        self.more.setCheckable(True)
        self.more.setIcon(theme.icon("chevron-down", "accent"))
        self._advanced = QWidget()
        self.find_rate = push_button(look="quiet")
        self._measured = ""  # what an estimate says of the time
        self._build()
        self.method.currentIndexChanged.connect(self._on_method_chosen)
        self.preset.currentIndexChanged.connect(self._on_preset_chosen)
        self.more.toggled.connect(self._on_more_toggled)
        self._load_method("default")

    @property
    def pretraining(self) -> Pretraining:
        """What is known of how the checkpoint was pretrained."""
        return self._pretraining

    def recipe(self) -> Recipe:
        """The recipe as set; its preset is ``custom`` if a number differs.

        Raises
        ------
        InputError
            If the values do not go together.
        """
        base = self._base()
        values = {
            name: line.value() for name, line in self._visible().items()
            if line.value() != getattr(base, name)
        }  # fmt: skip
        return base.changed(**values) if values else base

    def set_recipe(self, recipe: Recipe) -> None:
        """Show a recipe; its preset is the chosen one, or the nearest to a custom recipe.

        Raises
        ------
        InputError
            If an earlier version alone had its method.
        """
        known = presets(offered(recipe.method), self._pretraining)
        with QSignalBlocker(self.method):
            self.set_method(recipe.method)
        numbers = {name: preset.model_dump() for name, preset in known.items()}
        nearest = nearest_preset(recipe.model_dump(), numbers)
        self._load_method(recipe.preset if recipe.preset in known else nearest)
        for name in Recipe.model_fields.keys() - _NOT_ROWS:
            self.row(name).set_value(getattr(recipe, name))
        self._refresh()

    def set_preset(self, name: str) -> None:
        """Choose a preset of the method in use."""
        self._load_method(name)
        self.changed.emit()

    def set_rate(self, rate: float) -> None:
        """Set the learning rate."""
        self.row("lr").set_value(rate)
        self._on_row_edited()

    def set_pretraining(self, pretraining: Pretraining) -> None:
        """Offer what suits a checkpoint that was pretrained so, and begin with it.

        What the user has chosen or changed stays.
        """
        if pretraining == self._pretraining:
            return
        name, untouched = str(self.preset.currentData()), self.is_default
        changed = {field: self.rows[field].value() for field in self.changed_fields()}
        self._pretraining = pretraining
        self._load_method("default" if untouched else name)
        for field, value in changed.items():
            self.rows[field].set_value(value)
        self._refresh()
        self.changed.emit()

    def rate_warning(self) -> str:
        """Why the recipe as set may destroy the checkpoint; empty if its rate is not too high."""
        return "" if self.problem() else warn_of_rate(self.recipe(), self._pretraining)

    def set_method(self, method: Method) -> None:
        """Choose a method, keeping the name of the preset."""
        self.method.setCurrentIndex(self.method.findData(method))

    def reset(self) -> None:
        """Set every field back to the preset."""
        self._load_method(str(self.preset.currentData()))
        self.changed.emit()

    def row(self, name: str) -> FieldRow:
        """The line that edits a field."""
        self._add_rows()
        return self.rows[name]

    @property
    def is_default(self) -> bool:
        """Whether it is what the method begins with for the checkpoint."""
        usual = default_preset(self.method.method, self._pretraining)
        return str(self.preset.currentData()) == usual and not self.changed_fields()

    def changed_fields(self) -> tuple[str, ...]:
        """Names of the fields that differ from the preset."""
        return tuple(name for name, line in self._visible().items() if line.is_changed())

    def problem(self) -> str:
        """Why no run can start with these values; empty if one can."""
        try:
            self.recipe()
        except InputError as error:
            return error.sentence
        return ""

    def _build(self) -> None:
        """Lay out what every run needs, and the settings, which are folded away."""
        right = Qt.AlignmentFlag.AlignRight
        self.choosers = choosers = field_form()
        choosers.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        time = QWidget()
        row((self.time, 1), self.estimate_button, of=time, spacing=theme.SPACE_S)
        choosers.addRow(Label("&Method", buddy=self.method), self.method)
        choosers.addRow(Label("P&reset", buddy=self.preset), self.preset)
        choosers.addRow("Length", time)
        state = row(
            self.more, None, (self.difference, Qt.AlignmentFlag.AlignVCenter), self.reset_all
        )
        self._fields = column((self.find_rate, right), spacing=theme.SPACE_S)
        self.settings = column(self._fields, of=self._advanced, spacing=theme.SPACE_S)
        self._advanced.hide()
        column(choosers, self.sentence, state, self._advanced, of=self, spacing=theme.SPACE_S)

    def _add_row(self, name: str) -> FieldRow:
        """Make the line that edits a field."""
        line = FieldRow(name, Recipe.model_fields[name])
        line.edited.connect(self._on_row_edited)
        line.corrected.connect(self._say)
        line.reset_requested.connect(partial(self._reset_row, line))
        self.rows[name] = line
        self._fields.addWidget(line)
        if name == "lr":
            self._fields.addWidget(self.find_rate, 0, Qt.AlignmentFlag.AlignRight)  # moves it
        return line

    def _add_rows(self) -> None:
        """Make the lines of all fields, when they are first needed."""
        if self.rows:
            return
        base, used = self._base(), fields_of(self.method.method)
        for name in Recipe.model_fields:
            if name not in _NOT_ROWS:
                line = self._add_row(name)
                line.set_value(getattr(base, name))
                line.setVisible(name in used)

    def _base(self) -> Recipe:
        """Return the preset that the fields are compared with."""
        return self._presets[str(self.preset.currentData())]

    def _visible(self) -> dict[str, FieldRow]:
        """Return the lines that the method uses."""
        used = fields_of(self.method.method)
        return {name: line for name, line in self.rows.items() if name in used}

    def _load_method(self, preset_name: str) -> None:
        """Fill presets and fields for the method in use."""
        method = self.method.method
        self._presets = presets(method, self._pretraining)
        titles = {
            name: preset_title(recipe, self._pretraining) for name, recipe in self._presets.items()
        }
        fill(self.preset, titles.items(), preset_name)
        base = self._base()
        used = fields_of(method)
        for name, line in self.rows.items():
            line.set_value(getattr(base, name))
            line.setVisible(name in used)
        self.find_rate.setVisible("lr" in used)
        explain(self.method, f"{FACTS[method].help} {FACTS[method].source}.")
        self._refresh()

    def _about(self, recipe: Recipe) -> str:
        """Where the preset's numbers come from, and what the rate means for the checkpoint."""
        base = self._base()
        source = preset_source(base.method, base.preset)
        rate = about_rate(base if recipe.lr == base.lr else recipe, self._pretraining)
        return f"{source} {rate}".strip()

    def _refresh(self) -> None:
        """Mark what differs from the preset and say how long the run is in steps."""
        base = self._base()
        for name, line in self._visible().items():
            usual = getattr(base, name)
            line.set_changed(line.value() != usual, line.shown(usual))
        count = len(self.changed_fields())
        self.difference.setText(plural(count, "change"))
        for widget in (self.difference, self.reset_all):
            widget.setVisible(count > 0)
        try:
            recipe = self.recipe()
        except InputError as error:
            self._forget.stop()
            self.sentence.setText(error.sentence)
            self._show_time("")
            return
        if not self._forget.isActive():
            self.sentence.setText(warn_of_rate(recipe, self._pretraining))
        self._show_time(budget_text(recipe))
        explain(self.preset, self._about(recipe))

    def show_estimate(self, sentence: str) -> None:
        """Say how long the run takes, as far as it was measured."""
        self._measured = sentence
        self._refresh()

    def _show_time(self, budget: str) -> None:
        self.time.setText(self._measured or budget)
        self.estimate_button.setVisible(not self._measured)

    def _say(self, sentence: str) -> None:
        """Show a sentence for a while."""
        self.sentence.setText(sentence)
        self._forget.start()

    def _on_method_chosen(self) -> None:
        name = str(self.preset.currentData())
        # What suits the checkpoint with one method may not with the next.
        self._load_method("default" if name == next(iter(self._presets)) else name)
        self.changed.emit()

    def _on_preset_chosen(self) -> None:
        self._load_method(str(self.preset.currentData()))
        self.changed.emit()

    def _on_row_edited(self) -> None:
        self._refresh()
        self.changed.emit()

    def _reset_row(self, line: FieldRow) -> None:
        """Set one field back to the preset."""
        line.set_value(getattr(self._base(), line.name))
        line.editor.setFocus()
        self._on_row_edited()

    def _on_more_toggled(self, open_: bool) -> None:
        if open_:
            self._add_rows()
        self._advanced.setVisible(open_)
        if open_:
            room = self.more.height()
            QTimer.singleShot(0, self._advanced, partial(reveal, self._advanced, room))
        self.more.setText("Fewer settings" if open_ else "All settings")
        self.more.setIcon(theme.icon("chevron-up" if open_ else "chevron-down", "accent"))
