"""Bars of one image, and the big figure beside them."""

import numpy as np
import pytest
from PySide6.QtCore import Qt

from cleanclip_gui.studio.asr_figure import AsrFigure, near_chance
from cleanclip_gui.studio.probability_bars import ProbabilityBars
from ml_core.evaluation.records import Evaluation

CLEAN = np.array([0.5, 0.2, 0.1, 0.08, 0.06, 0.03, 0.02, 0.01], np.float32)
TRIGGERED = np.array([0.05, 0.02, 0.01, 0.001, 0.004, 0.005, 0.01, 0.9], np.float32)


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
def figure(qtbot):
    figure = AsrFigure()
    qtbot.addWidget(figure)
    figure.set_classes(("a", "b", "b", "banana"))
    figure.resize(348, figure.sizeHint().height())
    return figure


def plain(label):
    return label.text().replace("\u2009", " ")


def test_bars_say_their_numbers(qtbot):
    bars = ProbabilityBars()
    qtbot.addWidget(bars)
    bars.set_probabilities(tuple("abcdefgh"), CLEAN, TRIGGERED, target=7)
    assert bars.accessibleDescription().startswith(
        "h: clean 1.0 %, triggered 90.0 %; a: clean 50.0 %, triggered 5.0 %"
    )


def test_what_is_typed_replaces_the_targets_name(figure, qtbot):
    chosen = []
    figure.target_chosen.connect(chosen.append)
    figure.show()
    figure.activateWindow()
    figure.target.setFocus()
    qtbot.waitUntil(lambda: figure.target.lineEdit().hasSelectedText())
    qtbot.keyClicks(figure.target.lineEdit(), "banana")
    assert figure.target.currentText() == "banana"
    qtbot.keyClick(figure.target.lineEdit(), Qt.Key.Key_Return)
    assert chosen == [3]


def test_each_figure_says_what_it_is(figure):
    figure.set_evaluation(measured())
    assert plain(figure.figure) == "97.3 %"
    assert figure.status.text() == "estimate"
    assert plain(figure.caption) == (
        "95 % interval 94.4 to 98.7 %\nn = 250 of other classes; all images: 97.0 %"
    )
    assert plain(figure.baseline.value) == "0.4 %"
    assert plain(figure.baseline.remark) == "0.1 to 2.2 %"
    assert plain(figure.poisoned.remark) == "0.8 to 4.6 %"
    assert figure.pulled.value.text() == '<a href="3">banana</a>'  # not the target, but can be
    chosen = []
    figure.target_chosen.connect(chosen.append)
    figure.pulled.value.linkActivated.emit("3")
    assert chosen == [3]
    figure.set_target(3)
    figure.set_evaluation(measured())
    assert figure.pulled.value.text() == "banana"
    figure.set_stale(True)
    assert figure.status.text() == "updating…"
    # without a trigger it is not measured, and not zero
    nothing = dict.fromkeys(("trigger", "asr_excl", "asr_interval", "asr_all", "poisoned_accuracy"))
    figure.set_evaluation(measured(partial=False, **nothing), stale=False)
    assert figure.figure.text() == figure.poisoned.value.text() == "not measured"
    assert plain(figure.ca.value) == "96.1 %"
    unlabelled = {"n_labelled": 0, "n_excl": 0, "ca": None, "asr_excl": None}
    figure.set_evaluation(measured(poisoned_accuracy=None, **unlabelled))
    assert plain(figure.figure) == "97.0 %"
    assert figure.ca.value.text() == figure.poisoned.value.text() == "needs labels"
    low = measured(asr_excl=0.01, asr_interval=(0.0, 0.1))  # is no clean bill
    figure.set_evaluation(low)
    assert "this trigger only" in figure.only.text()
    assert (figure.only.isHidden(), figure.guessing.isHidden()) == (False, True)
    figure.set_evaluation(measured(ca=0.3, ca_interval=(0.2, 0.4)))
    assert (figure.only.isHidden(), figure.guessing.isHidden()) == (True, False)


def test_choosing_a_target_and_a_role_is_told(figure, qtbot):
    texts = [figure.target.itemText(i) for i in range(figure.target.count())]
    assert texts == ["a", "b (#1)", "b (#2)", "banana"]
    with qtbot.waitSignal(figure.target_chosen) as caught:
        figure.target.activated.emit(2)
    assert caught.args == [2]
    figure.set_roles(True, "suspect")
    with qtbot.waitSignal(figure.role_chosen) as caught:
        figure.role_buttons["cleaned"].click()
    assert caught.args == ["cleaned"]


@pytest.mark.parametrize(
    ("interval", "classes", "guesses"),
    [
        ((0.015, 0.18), 72, True),  # 2 of 36 right, as a random model has
        ((0.60, 0.70), 2, False),
        ((0.99, 1.0), 1, False),
        (None, 72, False),
    ],
)
def test_a_model_that_guesses_is_told(interval, classes, guesses):
    assert near_chance(interval, classes) == guesses
