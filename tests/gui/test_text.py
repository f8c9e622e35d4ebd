"""Words and numbers as they are shown."""

import pytest

from cleanclip_gui.widgets.controls import ElidedLabel
from cleanclip_gui.widgets.text import (
    NOT_MEASURED,
    THIN,
    percent,
    percent_range,
    probability_text,
    signed,
    tip,
)


def test_rates_are_shown_in_per_cent():
    assert percent(0.978) == "97.8 %"
    assert percent(0.978, unit=THIN) == "97.8\u2009%"
    assert percent(0.978, unit="") == "97.8"
    assert percent(None) == "–"
    assert percent(None, NOT_MEASURED) == "not measured"


def test_intervals_are_shown_in_per_cent():
    assert percent(0.504, digits=0) == "50 %"
    assert percent_range((0.931, 0.978)) == "93.1 to 97.8 %"
    assert percent_range((0.931, 0.978), unit="", to=" – ") == "93.1 – 97.8"
    assert percent_range(None) == "–"
    assert percent_range(None, "") == ""


def test_a_probability_is_never_a_false_0_or_100():
    assert probability_text(0.0004) == "<0.1 %"
    assert probability_text(0.9997) == ">99.9 %"
    assert probability_text(0.5) == "50.0 %"
    assert (probability_text(0), probability_text(1)) == ("0.0 %", "100.0 %")


def test_a_difference_has_its_sign():
    assert signed(1.25, 2) == "+1.25"
    assert signed(-94.2) == "−94.2"


def test_a_difference_that_rounds_to_nothing_has_no_sign():
    assert [signed(value) for value in (-0.04, 0.04, 0.0, -0.0)] == ["0.0"] * 4
    assert signed(-0.004, 2) == "0.00"
    assert signed(-0.05, 2) == "−0.05"


@pytest.mark.usefixtures("styled")
def test_what_an_eliding_label_cuts_off_is_its_tool_tip(qtbot):
    label = ElidedLabel("short")
    qtbot.addWidget(label)
    label.resize(120, 20)
    label.show()
    assert label.toolTip() == ""
    label.setText("a <b>long</b> line of the log that has no room here")
    assert label.toolTip() == tip(label.text()) != label.text()
    label.resize(800, 20)
    assert label.toolTip() == ""


@pytest.mark.usefixtures("styled")
def test_a_label_of_two_lines_elides_each_of_them(qtbot):
    label = ElidedLabel("Predicted as target\nwithout trigger")
    qtbot.addWidget(label)
    label.resize(label.sizeHint())
    label.show()
    assert label.toolTip() == ""
    label.resize(label.fontMetrics().horizontalAdvance("without trigger.."), label.height())
    first, second = label._shown().split("\n")
    assert (first[-1], second) == ("…", "without trigger")
    assert label.toolTip() == tip(label.text())
