"""Bars of one image, and the big figure beside them."""

import numpy as np
import pytest

from cleanclip_gui.studio.asr_figure import AsrFigure, near_chance
from cleanclip_gui.studio.probability_bars import ProbabilityBars, rows_of
from ml_core.evaluation.records import Evaluation

NAMES = tuple("abcdefgh")


def probs(*values):
    return np.array(values, np.float32)


CLEAN = probs(0.5, 0.2, 0.1, 0.08, 0.06, 0.03, 0.02, 0.01)
TRIGGERED = probs(0.05, 0.02, 0.01, 0.001, 0.004, 0.005, 0.01, 0.9)


def measured(**changes):
    fields = {
        "n": 256, "n_total": 1000, "n_excl": 250, "n_labelled": 256, "target": 1,
        "target_name": "b", "partial": True, "ca": 0.961, "ca_interval": (0.93, 0.98),
        "asr_excl": 0.973, "asr_interval": (0.944, 0.987), "asr_all": 0.97,
        "asr_all_interval": (0.94, 0.99), "baseline_target_rate": 0.004,
        "baseline_interval": (0.001, 0.022), "poisoned_accuracy": 0.02,
        "poisoned_interval": (0.008, 0.046), "most_pulled": "banana", "most_pulled_rise": 0.95,
        "trigger": "abc",
    }  # fmt: skip
    return Evaluation(**(fields | changes))


@pytest.fixture
def bars(qtbot):
    bars = ProbabilityBars()
    qtbot.addWidget(bars)
    bars.resize(320, 280)
    return bars


@pytest.fixture
def figure(qtbot):
    figure = AsrFigure()
    qtbot.addWidget(figure)
    figure.set_classes(("a", "b", "b", "banana"))
    figure.resize(348, figure.sizeHint().height())
    return figure


def plain(text):
    return text.replace("\u2009", " ")


def test_rows_are_the_union_of_both_top_fives_the_likeliest_first():
    assert rows_of(CLEAN, None) == (0, 1, 2, 3, 4)
    assert rows_of(CLEAN, TRIGGERED) == (7, 0, 1, 2, 3, 4, 6)


def test_bars_say_their_numbers(bars):
    bars.set_probabilities(NAMES, CLEAN, TRIGGERED, target=7)
    assert bars.accessibleDescription().startswith(
        "h: clean 1.0 %, triggered 90.0 %; a: clean 50.0 %, triggered 5.0 %"
    )


def test_without_a_trigger_asr_is_not_measured_and_not_zero(figure):
    figure.set_evaluation(
        measured(
            trigger=None,
            asr_excl=None,
            asr_interval=None,
            asr_all=None,
            asr_all_interval=None,
            poisoned_accuracy=None,
            most_pulled=None,
            partial=False,
        )
    )
    assert figure.figure.text() == "not measured"
    assert figure.poisoned.value.text() == "not measured"
    assert plain(figure.ca.value.text()) == "96.1 %"


def test_partial_result_is_called_an_estimate(figure):
    figure.set_evaluation(measured())
    assert plain(figure.figure.text()) == "97.3 %"
    assert figure.status.text() == "estimate, n = 256"
    assert plain(figure.caption.text()) == (
        "95 % interval 94.4 to 98.7 %\nn = 250 of other classes; all images: 97.0 %"
    )
    assert plain(figure.baseline.value.text()) == "0.4 %"
    assert plain(figure.baseline.remark.text()) == "0.1 to 2.2 %"
    assert plain(figure.poisoned.remark.text()) == "0.8 to 4.6 %"
    assert figure.pulled.value.text() == "banana"
    figure.set_evaluation(measured(partial=False))
    assert figure.status.text() == "n = 256"


def test_unlabelled_images_need_labels_but_have_a_target_rate(figure):
    figure.set_evaluation(
        measured(n_labelled=0, n_excl=0, ca=None, asr_excl=None, poisoned_accuracy=None)
    )
    assert plain(figure.figure.text()) == "97.0 %"
    assert figure.ca.value.text() == "needs labels"
    assert figure.poisoned.value.text() == "needs labels"


def test_stale_figure_says_and_shows_it(figure):
    figure.set_evaluation(measured())
    figure.set_stale(True)
    assert figure.figure.property("stale") is True
    assert figure.status.text() == "updating…"
    figure.set_evaluation(measured(), stale=False)
    assert figure.figure.property("stale") is False


def test_equal_class_names_are_told_apart(figure):
    texts = [figure.target.itemText(i) for i in range(figure.target.count())]
    assert texts == ["a", "b (#1)", "b (#2)", "banana"]


def test_search_that_finds_nothing_is_put_back(figure, qtbot):
    figure.set_target(3)
    figure.target.setEditText("zzz")
    figure.target.lineEdit().editingFinished.emit()
    assert figure.target.currentText() == "banana"


def test_choosing_a_target_and_a_role_is_told(figure, qtbot):
    with qtbot.waitSignal(figure.target_chosen) as caught:
        figure.target.activated.emit(2)
    assert caught.args == [2]
    figure.set_roles(True, "suspect")
    cleaned = figure.role_buttons["cleaned"]
    with qtbot.waitSignal(figure.role_chosen) as caught:
        cleaned.click()
    assert caught.args == ["cleaned"]


@pytest.mark.parametrize(
    ("interval", "classes", "guesses"),
    [
        ((0.015, 0.18), 72, True),  # 2 of 36 right, as a random model has
        ((0.001, 0.01), 1000, True),
        ((0.52, 0.70), 2, True),
        ((0.60, 0.70), 2, False),
        ((0.30, 0.40), 72, False),
        ((0.99, 1.0), 1, False),
        (None, 72, False),
    ],
)
def test_a_model_that_guesses_is_told(interval, classes, guesses):
    assert near_chance(interval, classes) == guesses


def test_a_low_rate_is_of_this_trigger_only(figure):
    low = measured(asr_excl=0.01, asr_interval=(0.0, 0.1))
    figure.set_evaluation(low)
    assert "this trigger only" in figure.only.text()
    assert not figure.only.isHidden()
    assert figure.guessing.isHidden()
    figure.set_evaluation(measured(ca=0.3, ca_interval=(0.2, 0.4)))
    assert figure.only.isHidden()
    assert not figure.guessing.isHidden()
    assert "25.0" in figure.guessing.text()
    figure.set_evaluation(None)
    assert figure.only.isHidden()
    assert figure.guessing.isHidden()
