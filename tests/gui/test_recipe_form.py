"""The recipe form: built from the record, kept to its ranges, marked where it was changed."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from cleanclip_gui.clean.recipe_form import RecipeForm
from cleanclip_gui.widgets.number_box import number_text, read_number
from ml_core.cleaning.catalogue import METHODS
from ml_core.cleaning.presets import preset, presets
from ml_core.cleaning.recipes import Recipe, fields_of
from ml_core.reading.errors import InputError
from tests.gui.fakes import turn_wheel


@pytest.fixture
def form(qtbot):
    made = RecipeForm()
    qtbot.addWidget(made)
    made.resize(380, 900)
    made.more.click()
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
    assert form.more.text() == "Fewer settings"
    for method in METHODS:
        form.set_method(method)
        shown = {n for n in Recipe.model_fields if n in form.rows and form.row(n).isVisible()}
        assert shown == set(fields_of(method)) - {"method", "preset"}


def test_a_change_is_marked_and_can_be_taken_back(qtbot, form):
    usual = preset(METHODS[0], "default")
    with qtbot.waitSignal(form.changed):
        type_into(form.row("batch_size").editor, "64")
    assert form.changed_fields() == ("batch_size",)
    recipe = form.recipe()
    assert (recipe.batch_size, recipe.preset, recipe.lr) == (64, "custom", usual.lr)
    assert form.difference.text() == "1 change"
    row = form.row("batch_size")
    assert f"The preset has {usual.batch_size} examples." in row.whatsThis()
    assert row.toolTip() == row.editor.accessibleDescription() == row.whatsThis()
    form.row("batch_size")._reset.click()
    assert form.recipe() == usual
    type_into(form.row("pairs").editor, "5x000")
    type_into(form.row("lr").editor, "2e-4")
    assert form.changed_fields() == ("pairs", "lr")
    assert form.recipe().pairs == 5000
    form.reset_all.click()
    assert form.recipe() == usual
    assert not form.reset_all.isVisible()


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
    for steps, limit in ((-1000, box.minimum()), (1000, box.maximum())):
        box.stepBy(steps)
        assert box.value() == limit
    type_into(box, "1.5e-3")
    assert form.recipe().lr == 1.5e-3


def test_the_budget_is_counted_in_steps(form):
    type_into(form.row("pairs").editor, "12 800")
    type_into(form.row("epochs").editor, "20")
    assert form.time.text() == "2\u2009000 steps of 128 examples"
    type_into(form.row("pairs").editor, "64")
    assert form.time.text() == ""


def test_numbers_as_text():
    assert number_text(40_000, "int") == "40\u2009000"
    assert number_text(0.999, "float") == "0.999"
    assert number_text(9.99999e-4, "log") == "1e-3"
    assert number_text(2.15, "log") == "2.15"
    assert number_text(1, "log") == "1"
    assert read_number("40\u2009000") == 40_000
    assert read_number("1e400") is None
    assert read_number("1e") is None


def test_the_wheel_scrolls_the_page_and_changes_nothing(qtbot, form):
    form.method.setFocus()
    box = form.row("pairs").editor
    before = box.value()
    assert turn_wheel(box, 120) is not box
    assert box.value() == before
