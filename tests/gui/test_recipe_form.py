"""The recipe form: built from the record, kept to its ranges, marked where it was changed."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QComboBox

from cleanclip_gui.clean.recipe_form import (
    CONTROLS,
    RECOMMENDED,
    MethodChooser,
    RecipeForm,
    grouped,
)
from cleanclip_gui.widgets.number_box import number_text, read_number
from ml_core.cleaning.catalogue import METHODS
from ml_core.cleaning.presets import preset, presets
from ml_core.cleaning.pretraining import DEMO, UNKNOWN, Pretraining
from ml_core.cleaning.recipes import Recipe, fields_of
from ml_core.reading.errors import InputError
from tests.gui.fakes import turn_wheel

CLIP = Pretraining(5e-4, "RN50: Radford et al. 2021, table 19", "architecture")


@pytest.fixture
def form(qtbot):
    made = RecipeForm()
    qtbot.addWidget(made)
    made.resize(380, 900)
    made.show()
    qtbot.waitExposed(made)
    return made


def type_into(box, text):
    box.setFocus()
    box.selectAll()
    QTest.keyClicks(box, text)
    QTest.keyClick(box, Qt.Key.Key_Return)


def test_every_preset_of_every_method_comes_out_as_it_went_in(form):
    for method in METHODS:
        for name, recipe in presets(method).items():
            form.set_method(method)
            form.set_preset(name)
            assert form.recipe() == recipe
            assert form.changed_fields() == ()
            form.set_recipe(recipe)
            assert form.recipe() == recipe


def test_only_the_fields_of_the_method_are_shown(form):
    assert form.row("lr").isVisible()
    assert not form.row("weight_decay").isVisible()
    form.more.click()
    assert form.more.text() == "Fewer settings"
    for method in METHODS:
        form.set_method(method)
        shown = {n for n in Recipe.model_fields if n in form.rows and form.row(n).isVisible()}
        unused = {"pairs"} if form.recipe().draws_shots else set()
        assert shown == set(fields_of(method)) - {"method", "preset"} - unused


def test_a_change_is_marked_and_can_be_taken_back(qtbot, form):
    usual = preset("cleanclip", "default")
    with qtbot.waitSignal(form.changed):
        type_into(form.row("batch_size").editor, "64")
    assert form.changed_fields() == ("batch_size",)
    recipe = form.recipe()
    assert (recipe.batch_size, recipe.preset, recipe.lr) == (64, "custom", usual.lr)
    assert form.difference.text() == "1 change"
    row = form.row("batch_size")
    assert f"The preset has {usual.batch_size} examples." in row.caption.text()
    assert row.editor.accessibleDescription() == row.caption.text()
    form.row("batch_size")._reset.click()
    assert form.recipe() == usual
    type_into(form.row("pairs").editor, "5x000")
    type_into(form.row("lr").editor, "2e-4")
    assert form.changed_fields() == ("pairs", "lr")
    assert form.recipe().pairs == 5000
    form.reset_all.click()
    assert form.recipe() == usual
    assert not form.reset_all.isVisible()


def test_the_seed_alone_keeps_the_presets_name(form):
    form.more.setChecked(True)
    type_into(form.row("seed").editor, "4294967295")
    assert (form.recipe().seed, form.recipe().preset) == (2**32 - 1, "quick")


def test_a_number_beyond_its_range_is_set_to_the_limit_and_said(form):
    type_into(form.row("batch_size").editor, "1")
    assert form.recipe().batch_size == 2
    assert form.sentence.isVisible()
    assert form.sentence.text() == ("Batch size takes 2 to 65\u2009536 examples; 1 was set to 2.")


def test_what_does_not_go_together_is_a_sentence(form):
    type_into(form.row("pairs").editor, "10")
    assert "10 training examples for batches of 128" in form.problem()
    assert form.sentence.isVisible()
    with pytest.raises(InputError, match="raise the examples"):
        form.recipe()
    type_into(form.row("batch_size").editor, "10")
    assert form.problem() == ""
    assert not form.sentence.isVisible()


def test_the_learning_rate_reads_and_steps_in_scientific_notation(form):
    box = form.row("lr").editor
    type_into(box, "0.0005")
    assert box.text() == "5e-4"
    for key, shown in ((Qt.Key.Key_Up, "1e-3"), (Qt.Key.Key_Up, "2e-3"),
                       (Qt.Key.Key_Down, "1e-3"), (Qt.Key.Key_Down, "5e-4")):  # fmt: skip
        QTest.keyClick(box, key)
        assert box.text() == shown
    type_into(box, "1.5e-3")
    assert form.recipe().lr == 1.5e-3


def test_the_budget_is_counted_in_steps(form):
    type_into(form.row("pairs").editor, "12 800")
    type_into(form.row("epochs").editor, "20")
    assert form.budget.text() == "2\u2009000 steps of 128 examples"
    type_into(form.row("pairs").editor, "64")
    assert form.budget.text() == ""


def test_images_of_each_class_are_the_budget_where_they_are_drawn(form):
    form.set_method("rvpt")
    assert form.budget.text() == "20 epochs of 16 images a class"
    assert not form.row("pairs").isVisibleTo(form)
    assert form.row("shots").isVisibleTo(form)
    type_into(form.row("shots").editor, "0")
    assert form.row("pairs").isVisibleTo(form)
    assert form.budget.text() == "2\u2009560 steps of 32 examples"
    form.set_method("mmcl")
    assert not form.row("shots").isVisibleTo(form)


def test_numbers_as_text():
    assert number_text(40_000, "int") == "40\u2009000"
    assert number_text(0.999, "float") == "0.999"
    assert number_text(9.99999e-4, "log") == "1e-3"
    assert number_text(2.15, "log") == "2.15"
    assert number_text(1, "log") == "1"
    assert read_number("40\u2009000") == 40_000
    assert read_number("1e400") is None
    assert read_number("1e") is None


def test_every_choice_is_in_words_and_a_switch_is_one(form):
    form.more.setChecked(True)
    for name in Recipe.model_fields:
        editor = form.row(name).editor if name not in ("method", "preset") else None
        if isinstance(editor, QComboBox):
            shown = [editor.itemText(place) for place in range(editor.count())]
            assert all(text != editor.itemData(place) for place, text in enumerate(shown)), name
    row = form.row("checkpoint_activations")
    assert row.editor.currentText() == "Off"
    row.editor.setCurrentIndex(1)
    assert form.recipe().checkpoint_activations is True
    assert form.changed_fields() == ("checkpoint_activations",)
    assert "The preset has Off." in row.caption.text()


def test_the_wheel_scrolls_the_page_and_changes_nothing(qtbot, form):
    form.method.setFocus()
    box = form.row("pairs").editor
    before = box.value()
    assert turn_wheel(box, 120) is not box
    assert box.value() == before


def titles(form):
    return [form.preset.itemText(row) for row in range(form.preset.count())]


def test_another_checkpoint_than_the_demo_begins_with_what_suits_it(form):
    assert form.recipe().preset == "quick"
    form.set_pretraining(CLIP)
    assert form.recipe() == preset("cleanclip", "paper")
    assert titles(form)[:2] == ["Paper", "Quick (chosen on the demo)"]
    said = form._about_preset.text()
    assert "1e-5 is the published one: 1/50 of the peak of 5e-4" in said
    assert "Radford et al. 2021, table 19" in said
    form.set_preset("quick")
    assert "which was chosen on the demo, is" in form._about_preset.text()
    assert "times the peak of 5e-4" in form._about_preset.text()
    form.set_preset("default")
    form.set_method("unlearn")  # which nobody has published
    assert form.recipe() == preset("unlearn", "adapted", CLIP)
    assert titles(form)[0] == "Adapted to this checkpoint"
    assert "This method has no published recipe" in form._about_preset.text()
    form.set_pretraining(DEMO)
    assert form.recipe() == preset("unlearn", "quick")
    assert titles(form) == ["Quick", "Talk", "Thorough"]
    assert "learning rate" not in form._about_preset.text()


def test_what_the_user_has_set_outlasts_another_checkpoint(form):
    form.set_preset("talk")
    form.set_pretraining(CLIP)
    assert form.recipe() == preset("cleanclip", "talk")
    form.set_preset("paper")
    form.set_pretraining(DEMO)
    assert form.recipe() == preset("cleanclip", "quick")  # what the other began with is no choice
    type_into(form.row("lr").editor, "0.0005")
    form.set_pretraining(CLIP)
    assert form.recipe().lr == 0.0005
    assert form.changed_fields() == ("lr",)


def test_with_another_method_the_form_begins_with_what_suits_that(form):
    form.set_pretraining(CLIP)
    form.set_method("linear-probe")
    assert form.recipe().preset == "quick"  # its rate is that of a head
    form.set_method("mmcl")
    assert form.recipe().preset == "paper"
    form.set_preset("talk")
    form.set_method("cleanclip")
    assert form.recipe().preset == "talk"


def test_an_adapted_rate_follows_the_checkpoint(form):
    form.set_pretraining(CLIP)
    form.set_method("tbar")
    assert form.recipe() == preset("tbar", "adapted", CLIP)
    form.set_pretraining(UNKNOWN)
    assert form.recipe() == preset("tbar", "adapted", UNKNOWN)
    shared = preset("tbar", "adapted", CLIP)
    form.set_recipe(shared)
    assert (form.recipe().lr, form.changed_fields()) == (shared.lr, ("lr",))


def test_too_high_a_rate_is_said_as_soon_as_it_is_typed(form):
    form.set_pretraining(CLIP)
    assert form.rate_warning() == ""
    type_into(form.row("lr").editor, "1e-3")
    assert "is 2 times the peak of 5e-4" in form.rate_warning()
    assert form.rate_warning() in form._about_preset.text()
    type_into(form.row("lr").editor, "5e-5")
    assert form.rate_warning() == ""
    form.set_pretraining(DEMO)
    type_into(form.row("lr").editor, "1e-3")
    assert form.rate_warning() == ""


@pytest.mark.usefixtures("styled")
def test_neither_keys_nor_mouse_choose_a_heading(qtbot):
    chooser = MethodChooser()
    qtbot.addWidget(chooser)
    chooser.resize(350, 32)
    chooser.show()
    qtbot.waitExposed(chooser)
    seen = [chooser.method]
    for _ in range(chooser.count()):
        QTest.keyClick(chooser, Qt.Key.Key_Down)
        seen.append(chooser.method)
    assert tuple(dict.fromkeys(seen)) == tuple(m for group in grouped().values() for m in group)
    assert set(seen) == set(METHODS)
    assert "cleanclip" in grouped()[RECOMMENDED]
    assert "mmcl" in grouped()[CONTROLS]
    headings = [row for row in range(chooser.count()) if chooser.itemData(row) is None]
    assert len(headings) == len(grouped())
    before = chooser.currentIndex()
    chooser.showPopup()
    view = chooser.view()
    rect = view.visualRect(chooser.model().index(headings[1], 0))
    QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=rect.center())
    assert chooser.currentIndex() == before
    chooser.hidePopup()
