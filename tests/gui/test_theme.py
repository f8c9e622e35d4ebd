"""Both palettes can be read, icons follow the theme, and the style sheet is whole."""

import re
from itertools import product
from pathlib import Path

import pytest
from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QImage, QPalette
from PySide6.QtWidgets import (
    QApplication,
    QLineEdit,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.theme.look import sized
from cleanclip_gui.widgets.controls import Label

NAMED = (
    "open", "save", "undo", "redo", "brush", "eraser", "stamp", "clear", "upload", "paste", "play",
    "pause", "stop", "cancel", "checkpoint", "studio", "clean", "compare", "demo", "device", "sun",
    "moon", "info", "warning", "target", "zoom-in", "zoom-out", "image", "folder", "next", "back",
    "move", "library",
)  # fmt: skip
PAIRS = [
    ("text", "window"), ("text", "surface"), ("text", "surface_alt"), ("text", "accent_soft"),
    ("muted", "window"), ("muted", "surface"), ("muted", "sunken"),
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
def test_text_and_the_borders_of_controls_stand_out(scheme):
    assert contrast("#ffffff", "#000000") == pytest.approx(21.0)
    named = theme.tokens(scheme)
    least = 7.0 if scheme.startswith("contrast") else 4.5  # WCAG 1.4.6 and 1.4.3
    faint = [pair for pair in PAIRS if contrast(named[pair[0]], named[pair[1]]) < least]
    borders = product(("field", "focus"), ("window", "surface", "surface_alt"))  # WCAG 1.4.11
    faint += [pair for pair in borders if contrast(named[pair[0]], named[pair[1]]) < 3.0]
    assert faint == []


@pytest.mark.parametrize("scheme", theme.SCHEMES)
def test_series_stand_out_from_the_chart_and_from_each_other(scheme):
    colours = theme.series_colours(scheme)
    assert len(set(colours)) == len(colours) >= 4
    for colour in colours:
        least = 4.5 if scheme.startswith("contrast") else 2.5
        assert contrast(colour, theme.tokens(scheme)["surface"]) >= least


@pytest.fixture
def back_to_light(qapp):
    yield qapp
    theme.apply_theme(qapp, "light")


def test_the_theme_switches_while_widgets_are_shown(back_to_light, qtbot):
    widget = QWidget()
    qtbot.addWidget(widget)
    widget.show()
    for name, dark in (
        ("dark", True), ("contrast-dark", True), ("contrast-light", False),
    ):  # fmt: skip
        theme.apply_theme(back_to_light, name)
        assert theme.is_dark() is dark
        assert theme.scheme() == name
        assert theme.is_high_contrast() is name.startswith("contrast")
        assert widget.palette().color(QPalette.ColorRole.Text) == theme.colour("text")
        assert (widget.palette().color(QPalette.ColorRole.Window).lightness() < 128) is dark
    theme.apply_theme(back_to_light, "system")
    assert theme.is_dark() is False  # offscreen names no scheme


def test_every_icon_is_drawn_in_the_colour_of_the_theme(back_to_light):
    icons = {name: theme.icon(name) for name in NAMED}
    for choice in ("dark", "light"):
        theme.apply_theme(back_to_light, choice)
        for name, icon in icons.items():
            image = icon.pixmap(QSize(24, 24)).toImage()
            image = image.convertToFormat(QImage.Format.Format_ARGB32)
            solid = [
                image.pixelColor(x, y)
                for x in range(24)
                for y in range(24)
                if image.pixelColor(x, y).alpha() == 255
            ]
            assert solid, name
            assert {c.name() for c in solid} == {theme.tokens()["text"]}, name


def test_the_style_sheet_has_no_gap_and_its_pictures_exist():
    for scheme, percent in product(theme.SCHEMES, theme.SIZES):
        text = theme.stylesheet(theme.tokens(scheme), percent)
        assert "$" not in text
        assert text.count("{") == text.count("}")
        for path in re.findall(r'url\("([^"]+)"\)', text):
            assert Path(path).is_file()


def test_the_shipped_font_is_in_use(qapp):
    assert qapp.font().family() == theme.load_fonts() == "Inter"
    narrow, wide = theme.figure_font(20), theme.figure_font(20)
    from PySide6.QtGui import QFontMetricsF

    assert QFontMetricsF(narrow).horizontalAdvance("1111") == pytest.approx(
        QFontMetricsF(wide).horizontalAdvance("0000")
    )


def test_no_other_module_sets_a_style_sheet_or_names_a_colour():
    own = Path(theme.__file__).parent
    for path in own.parent.rglob("*.py"):
        if path.parent != own:
            assert "setStyleSheet" not in path.read_text("utf-8"), path


def test_what_is_bold_is_a_font_that_is_shipped():
    """Qt smears a heavier face from the semi-bold one: "helicopter" would read "hellcopter"."""
    shipped = {QFontDatabase.weight(theme.FONT_FAMILY, s) for s in ("Regular", "SemiBold")}
    font = sized(QApplication.font(), 0.9, bold=True)
    assert font.family() == theme.FONT_FAMILY
    assert {int(font.weight()), int(sized(font, 1.0).weight())} == shipped
    source = Path(theme.__file__).parent
    assert [p.name for p in source.rglob("*.py") if "setBold(" in p.read_text("utf-8")] == []


def test_what_is_built_unstyled_looks_like_what_is_built_styled(qtbot, qapp):
    def made():
        page = QWidget()
        QVBoxLayout(page).addWidget(QPushButton("Start"))
        qtbot.addWidget(page)
        return page

    sheet = qapp.styleSheet()
    with theme.styled_afterwards():
        late = made()
        assert qapp.styleSheet() == ""
    assert qapp.styleSheet() == sheet != ""
    early = made()
    assert late.sizeHint() == early.sizeHint()
    assert late.grab().toImage() == early.grab().toImage()
    with pytest.raises(ZeroDivisionError), theme.styled_afterwards():
        1 / 0  # noqa: B018
    assert qapp.styleSheet() == sheet


@pytest.fixture
def pages(qtbot):
    """Two pages, both shown once; the second is hidden."""
    app = QApplication.instance()
    theme.apply_theme(app, "light")
    stack = QStackedWidget()
    qtbot.addWidget(stack)
    for name in ("first", "second"):
        page = QWidget()
        layout = QVBoxLayout(page)
        for role in ("", "heading", "figure"):
            layout.addWidget(Label(f"{name} {role}", role))
        layout.addWidget(QLineEdit(name))
        stack.addWidget(page)
    stack.show()
    stack.setCurrentIndex(1)
    stack.setCurrentIndex(0)
    yield stack
    theme.apply_theme(app, "light")


def text_colours(page):
    colours = [w.palette().color(QPalette.ColorRole.Text) for w in page.findChildren(QLineEdit)]
    role = QPalette.ColorRole.WindowText
    return {
        c.name() for c in (*colours, *(w.palette().color(role) for w in page.findChildren(Label)))
    }


def test_what_is_hidden_is_styled_when_it_is_shown(pages, qapp):
    first, second = pages.widget(0), pages.widget(1)
    polished = Qt.WidgetAttribute.WA_WState_Polished
    for name in ("dark", "light", "dark"):
        theme.apply_theme(qapp, name)
        wanted = {theme.colour("text").name()}
        assert text_colours(first) == wanted, name
        assert all(w.testAttribute(polished) for w in first.findChildren(QWidget))
        assert not any(w.testAttribute(polished) for w in second.findChildren(Label)), name
        pages.setCurrentIndex(1)
        assert text_colours(second) == wanted, name
        assert all(w.testAttribute(polished) for w in second.findChildren(Label))
        assert second.findChild(QLineEdit).grab().toImage().pixelColor(40, 6) == theme.colour(
            "surface"
        )
        pages.setCurrentIndex(0)
    label = first.findChildren(Label)[1]
    label.hide()  # a part alone, over several switches
    for name in ("light", "dark"):
        theme.apply_theme(qapp, name)
    label.show()
    assert (
        label.palette().color(QPalette.ColorRole.WindowText).name() == theme.tokens("dark")["text"]
    )
    assert label.font().weight() == QFont.Weight.DemiBold
