"""Fields of a recipe, and the form of a run's method, preset and every hyperparameter."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Literal, cast, get_args, get_origin

from pydantic.fields import FieldInfo
from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QPalette, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import (
    QFormLayout,
    QGridLayout,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QToolButton,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import Label, push_button
from cleanclip_gui.widgets.form import number_box
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.number_box import Chooser, NumberBox
from cleanclip_gui.widgets.text import count_text, plural
from ml_core.cleaning.catalogue import FACTS, METHODS, Method, MethodFacts, offered
from ml_core.cleaning.presets import (
    about_rate,
    default_preset,
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


# Headings in the order they are shown.
RECOMMENDED, REFERENCE, CONTROLS = (
    "Recommended: clean data is enough",
    "Need a clean reference",
    "Controls, to compare with",
)


def group_of(facts: MethodFacts) -> str:
    """The heading under which a method stands."""
    if facts.control:
        return CONTROLS
    if "reference" in facts.needs:
        return REFERENCE
    return RECOMMENDED


def grouped(methods: Iterable[Method] = METHODS) -> dict[str, list[Method]]:
    """Methods by heading; headings without a method are left out."""
    groups: dict[str, list[Method]] = {name: [] for name in (RECOMMENDED, REFERENCE, CONTROLS)}
    for method in methods:
        groups[group_of(FACTS[method])].append(method)
    return {name: options for name, options in groups.items() if options}


class _Headings(QStyledItemDelegate):
    """Draws headings in a muted colour; styles would draw them as faint as disabled entries."""

    def initStyleOption(  # noqa: N802
        self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Read as text, though the item stays one that neither mouse nor keys can choose."""
        super().initStyleOption(option, index)
        if not index.flags() & Qt.ItemFlag.ItemIsEnabled:
            option.state |= QStyle.StateFlag.State_Enabled
            option.state &= ~QStyle.StateFlag.State_MouseOver
            option.palette.setColor(QPalette.ColorRole.Text, theme.colour("muted"))


class MethodChooser(Chooser):
    """A combo box whose headings cannot be chosen; its data are the methods' names."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Method")
        self.setItemDelegate(_Headings(self))
        model = cast(QStandardItemModel, self.model())
        for heading, methods in grouped().items():
            item = QStandardItem(heading)
            item.setFlags(Qt.ItemFlag.NoItemFlags)
            item.setFont(theme.figure_font(theme.FONT_POINTS - 1, bold=True))
            model.appendRow(item)
            for method in methods:
                self.addItem(FACTS[method].title, method)
                self.setItemData(self.count() - 1, FACTS[method].help, Qt.ItemDataRole.ToolTipRole)
        self.setMaxVisibleItems(24)
        self.setCurrentIndex(self.findData(METHODS[0]))

    @property
    def method(self) -> Method:
        """The method that is chosen."""
        return cast(Method, self.currentData())


# Always in sight; the others are behind "All settings".
BASIC = ("pairs", "epochs", "batch_size", "lr", "alpha", "alpha_choice")
_NOT_ROWS = frozenset({"method", "preset"})
_SENTENCE_MS = 8000


def budget_text(recipe: Recipe) -> str:
    """How long a run is, as far as its recipe says."""
    if not recipe.total_steps:
        return "Nothing is trained."
    batch = count_text(recipe.batch_size)
    return f"{count_text(recipe.total_steps)} steps of {batch} examples"


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
        self.preset = Chooser()
        self.preset.setAccessibleName("Preset")
        self._about_method = Label("", "caption", wrap=True)
        self._about_preset = Label("", "caption", wrap=True)
        self.reset_all = push_button(
            "Reset", self.reset, name="Reset every field to the preset", look="quiet"
        )
        self.difference = Label("", "badge")
        self.difference.setProperty("tone", "info")
        self.budget = Label("", "caption")
        self.sentence = Label("", "warning")
        self.sentence.setWordWrap(True)
        self.sentence.hide()
        self._forget = QTimer(self)
        self._forget.setSingleShot(True)
        self._forget.setInterval(_SENTENCE_MS)
        self._forget.timeout.connect(self.sentence.hide)
        self.more = QPushButton("All settings")
        self.more.setCheckable(True)
        self.more.setIcon(theme.icon("chevron-down", "accent"))
        self.more.setProperty("quiet", True)
        self._advanced = QWidget()
        self.find_rate = push_button(look="quiet")  # of a command of the station, which binds it
        # What else the method takes has its place between the choosers and the fields.
        self.below_choosers = column(spacing=theme.SPACE_S)
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
        """Show a recipe; its preset is the chosen one, or the default for a custom recipe.

        Raises
        ------
        InputError
            If an earlier version alone had its method.
        """
        known = presets(offered(recipe.method), self._pretraining)
        self._choose(self.method, recipe.method)
        self._load_method(recipe.preset if recipe.preset in known else "default")
        self._add_rest()
        for name, line in self.rows.items():
            line.set_value(getattr(recipe, name))
        self._refresh()

    def set_preset(self, name: str) -> None:
        """Choose a preset of the method in use."""
        self._load_method(name)
        self.changed.emit()

    def set_rate(self, rate: float) -> None:
        """Set the learning rate."""
        self.rows["lr"].set_value(rate)
        self._on_row_edited()

    def set_pretraining(self, pretraining: Pretraining) -> None:
        """Offer what suits a checkpoint that was pretrained so, and begin with it.

        What the user has chosen or changed stays.
        """
        if pretraining == self._pretraining:
            return
        method, name = self.method.method, str(self.preset.currentData())
        changed = {field: self.rows[field].value() for field in self.changed_fields()}
        untouched = name == default_preset(method, self._pretraining) and not changed
        self._pretraining = pretraining
        self._load_method("default" if untouched else name)
        for field, value in changed.items():
            self.rows[field].set_value(value)
        self._refresh()
        self.changed.emit()

    def set_budget(self, recipe: Recipe) -> None:
        """Take examples, epochs and warm-up of a recipe of the same method."""
        for name in ("pairs", "epochs", "warmup_steps"):
            self.row(name).set_value(getattr(recipe, name))
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
        self._add_rest()
        return self.rows[name]

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
        """Lay out choosers, basic fields and the collapsed rest."""
        choosers = QFormLayout()
        choosers.setContentsMargins(0, 0, 0, 0)
        choosers.setHorizontalSpacing(theme.SPACE_M)
        choosers.setVerticalSpacing(theme.SPACE_XS)
        choosers.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        choosers.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        choosers.addRow(Label("&Method", buddy=self.method), self.method)
        choosers.addRow(self._about_method)
        choosers.addRow(Label("P&reset", buddy=self.preset), self.preset)
        choosers.addRow(self._about_preset)
        state = row(
            (self.budget, 1), (self.difference, Qt.AlignmentFlag.AlignVCenter), self.reset_all,
        )  # fmt: skip
        self._basic_box = column(spacing=theme.SPACE_M)
        self._rest_box = column(of=self._advanced, spacing=theme.SPACE_M)
        self._advanced.hide()
        column(
            choosers, self.below_choosers, state, self._basic_box, self.sentence,
            (self.more, Qt.AlignmentFlag.AlignLeft), self._advanced, None, of=self,
            spacing=theme.SPACE_M,
        )  # fmt: skip
        for name in BASIC:
            self._add_row(name)

    def _add_row(self, name: str) -> FieldRow:
        """Make the line that edits a field."""
        line = FieldRow(name, Recipe.model_fields[name])
        line.edited.connect(self._on_row_edited)
        line.corrected.connect(self._say)
        line.reset_requested.connect(partial(self._reset_row, line))
        self.rows[name] = line
        (self._basic_box if name in BASIC else self._rest_box).addWidget(line)
        if name == "lr":
            self._basic_box.addWidget(self.find_rate, 0, Qt.AlignmentFlag.AlignRight)
        return line

    def _add_rest(self) -> None:
        """Make the lines that are collapsed at first, when they are first needed."""
        if len(self.rows) > len(BASIC):
            return
        base, used = self._base(), fields_of(self.method.method)
        for name in Recipe.model_fields:
            if name not in BASIC and name not in _NOT_ROWS:
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
        self.preset.blockSignals(True)
        self.preset.clear()
        for name, recipe in self._presets.items():
            self.preset.addItem(preset_title(recipe, self._pretraining), name)
        self.preset.blockSignals(False)
        self._choose(self.preset, preset_name)
        base = self._base()
        used = fields_of(method)
        for name, line in self.rows.items():
            line.set_value(getattr(base, name))
            line.setVisible(name in used)
        self.find_rate.setVisible("lr" in used)
        self._about_method.setText(f"{FACTS[method].help} {FACTS[method].source}.")
        self._refresh()

    def _about(self, recipe: Recipe) -> str:
        """Where the preset's numbers come from, and what the rate means for the checkpoint."""
        base = self._base()
        source = preset_source(base.method, base.preset)
        rate = about_rate(base if recipe.lr == base.lr else recipe, self._pretraining)
        return f"{source} {rate}".strip()

    @staticmethod
    def _choose(chooser: Chooser, data: Any) -> None:
        """Select an entry without a signal; the first one if it is missing."""
        chooser.blockSignals(True)
        chooser.setCurrentIndex(max(0, chooser.findData(data)))
        chooser.blockSignals(False)

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
            self._show_sentence(error.sentence)
            self.budget.setText("")
            return
        if not self._forget.isActive():
            self.sentence.hide()
        self.budget.setText(budget_text(recipe))
        self._about_preset.setText(self._about(recipe))

    def _say(self, sentence: str) -> None:
        """Show a sentence for a while."""
        self._show_sentence(sentence)
        self._forget.start()

    def _show_sentence(self, sentence: str) -> None:
        self.sentence.setText(sentence)
        self.sentence.show()

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
            self._add_rest()
        self._advanced.setVisible(open_)
        self.more.setText("Fewer settings" if open_ else "All settings")
        self.more.setIcon(theme.icon("chevron-up" if open_ else "chevron-down", "accent"))
