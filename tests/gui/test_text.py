"""Words and numbers as they are shown; text from a file is no markup."""

import re
from pathlib import Path

from PySide6.QtCore import Qt

import cleanclip_gui
from cleanclip_gui.widgets.controls import Label
from cleanclip_gui.widgets.text import (
    NOT_MEASURED,
    THIN,
    percent,
    percent_range,
    probability_text,
    signed,
    tip,
)


def test_numbers_as_they_are_shown():
    assert [percent(0.978), percent(0.978, unit=THIN)] == ["97.8 %", "97.8\u2009%"]
    assert [percent(0.978, unit=""), percent(0.504, digits=0)] == ["97.8", "50 %"]
    assert [percent(None), percent(None, NOT_MEASURED)] == ["–", "not measured"]
    assert percent_range((0.931, 0.978)) == "93.1 to 97.8 %"
    assert percent_range((0.931, 0.978), unit="", to=" – ") == "93.1 – 97.8"
    assert [percent_range(None), percent_range(None, "")] == ["–", ""]
    # never a false 0 or 100
    shown = [probability_text(p) for p in (0, 0.0004, 0.5, 0.9997, 1)]
    assert shown == ["0.0 %", "<0.1 %", "50.0 %", ">99.9 %", "100.0 %"]
    assert [signed(1.25, 2), signed(-94.2), signed(-0.05, 2)] == ["+1.25", "−94.2", "−0.05"]
    assert [signed(value) for value in (-0.04, 0.04, -0.0)] == ["0.0"] * 3


def test_no_markup_of_a_file_is_read(qapp):
    assert tip("a & b") == "a & b"
    assert tip("<i>a&b</i>") == "<span>&lt;i&gt;a&amp;b&lt;/i&gt;</span>"
    assert Label("<b>x</b>").textFormat() == Qt.TextFormat.PlainText
    for path in Path(cleanclip_gui.__file__).parent.rglob("*.py"):
        assert not re.search(r"\bQLabel\(", path.read_text("utf-8")), path
