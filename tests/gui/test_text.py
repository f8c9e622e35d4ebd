"""Words and numbers as they are shown; text from a file is no markup."""

import re
from pathlib import Path

from PySide6.QtCore import Qt

import cleanclip_gui
from cleanclip_gui.widgets.controls import ElidedLabel, Label
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
    assert [signed(value) for value in (-0.04, 0.04, 0.0, -0.0)] == ["0.0"] * 4
    assert signed(-0.05, 2) == "−0.05"


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


def test_a_tool_tip_escapes_what_looks_like_markup():
    assert tip("a & b") == "a & b"
    assert tip("<i>a&b</i>") == "<span>&lt;i&gt;a&amp;b&lt;/i&gt;</span>"


def test_every_label_is_the_plain_one(qapp):
    root = Path(cleanclip_gui.__file__).parent
    found = {
        path.name
        for path in root.rglob("*.py")
        if re.search(r"\bQLabel\(", path.read_text(encoding="utf-8"))
    }
    assert not found
    assert Label("<b>x</b>").textFormat() == Qt.TextFormat.PlainText
