"""Every palette can be read, the style sheet is whole, and sizes follow at once."""

import re
from itertools import product
from pathlib import Path

import pytest
from PySide6.QtCore import QSize
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QLabel, QLineEdit, QPushButton, QTableWidget, QVBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import Label

PAIRS = [
    ("text", "window"), ("text", "surface"), ("text", "surface_alt"), ("text", "accent_soft"),
    ("muted", "window"), ("muted", "surface"), ("muted", "sunken"), ("hint", "surface"),
    ("accent_text", "surface"), ("accent_text", "window"), ("accent_text", "accent_soft"),
    ("on_accent", "accent"), ("on_accent", "accent_hover"), ("on_accent", "accent_pressed"),
    ("danger", "surface"), ("danger", "danger_soft"), ("text", "danger_soft"),
    ("warning", "surface"), ("warning", "warning_soft"), ("text", "warning_soft"),
    ("success", "surface"), ("success", "success_soft"), ("text", "success_soft"),
]  # fmt: skip


def luminance(name):
    def linear(c):
        return c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4

    colour = QColor(name)
    channels = (colour.redF(), colour.greenF(), colour.blueF())
    return sum(w * linear(c) for w, c in zip((0.2126, 0.7152, 0.0722), channels, strict=True))


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", theme.SCHEMES)
def test_text_borders_and_series_stand_out(scheme):
    assert contrast("#ffffff", "#000000") == pytest.approx(21.0)
    named, high = theme.tokens(scheme), scheme.startswith("contrast")
    least = 7.0 if high else 4.5  # WCAG 1.4.6 and 1.4.3
    faint = [pair for pair in PAIRS if contrast(named[pair[0]], named[pair[1]]) < least]
    borders = product(("field", "focus"), ("window", "surface", "surface_alt"))  # WCAG 1.4.11
    faint += [pair for pair in borders if contrast(named[pair[0]], named[pair[1]]) < 3.0]
    assert faint == []
    colours = theme.series_colours(scheme)
    assert len(set(colours)) == len(colours) >= 4
    assert min(contrast(colour, named["surface"]) for colour in colours) >= (4.5 if high else 2.5)


def test_the_style_sheet_has_no_gap_and_its_pictures_exist():
    for scheme, percent in product(theme.SCHEMES, theme.SIZES):
        text = theme.stylesheet(theme.tokens(scheme), percent)
        assert "$" not in text
        assert text.count("{") == text.count("}")
        for path in re.findall(r'url\("([^"]+)"\)', text):
            assert Path(path).is_file()


def test_no_other_module_sets_a_style_sheet():
    own = Path(theme.__file__).parent
    for path in own.parent.rglob("*.py"):
        if path.parent != own:
            assert "setStyleSheet" not in path.read_text("utf-8"), path


class Page(QWidget):
    """What a station is made of, with lengths as its code sets them."""

    def __init__(self):
        super().__init__()
        self.role, self.figure = Label("12", "figure"), QLabel("0.5")
        self.figure.setFont(theme.figure_font(17, bold=True))
        self.button, self.field, self.table = QPushButton("Start"), QLineEdit(), QTableWidget(2, 2)
        self.button.setIconSize(QSize(theme.ICON_SIZE, theme.ICON_SIZE))
        self.field.setFixedWidth(theme.px(113))
        self.table.setColumnWidth(0, theme.px(71))
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(*[theme.SPACE_L] * 4)
        for part in (self.role, self.figure, self.button, self.field, self.table):
            self.column.addWidget(part)

    def measures(self):
        return {
            "points": [w.font().pointSizeF() for w in (self.role, self.figure, self.button)],
            "field": self.field.minimumWidth(),
            "column": self.table.columnWidth(0),
            "icon": self.button.iconSize().toTuple(),
            "margin": self.column.contentsMargins().top(),
            "button": self.button.sizeHint().toTuple(),
        }


def test_shown_and_hidden_widgets_follow_the_size(qtbot):
    def shown():
        page = Page()
        qtbot.addWidget(page)
        page.show()
        return page

    page = shown()
    usual = page.measures()
    page.figure.hide()
    try:
        theme.set_size(200)
        page.figure.show()
        assert page.measures() == shown().measures()
        assert page.measures()["points"] == pytest.approx([2 * p for p in usual["points"]])
        assert page.field.minimumWidth() == 226
    finally:
        theme.set_size(100)
    assert page.measures() == usual
    with pytest.raises(ValueError, match="between 100 and 200 %"):
        theme.set_size(201)
    assert theme.size() == 100
