"""The methods in groups: headings can be read in both themes, and cannot be chosen."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from cleanclip_gui import theme
from cleanclip_gui.clean.recipe_form import CONTROLS, RECOMMENDED, MethodChooser, grouped
from ml_core.cleaning.catalogue import METHODS
from tests.gui.test_theme import contrast


@pytest.fixture
def chooser(qtbot):
    made = MethodChooser()
    qtbot.addWidget(made)
    made.resize(350, 32)
    made.show()
    qtbot.waitExposed(made)
    return made


def headings(chooser):
    return [row for row in range(chooser.count()) if chooser.itemData(row) is None]


@pytest.mark.usefixtures("styled")
@pytest.mark.parametrize("look", ["light", "dark"])
def test_headings_are_as_plain_as_muted_text(chooser, look):
    theme.apply_theme(QApplication.instance(), look)
    chooser.showPopup()
    view = chooser.view()
    picture = view.viewport().grab().toImage()
    rows = headings(chooser)
    assert len(rows) == len(grouped())
    behind = theme.colour("surface").name()
    wanted = contrast(theme.colour("muted").name(), behind)
    for row in rows:
        rect = view.visualRect(chooser.model().index(row, 0)).intersected(picture.rect())
        pixels = {
            picture.pixelColor(x, y).name()
            for x in range(rect.left(), rect.right())
            for y in range(rect.top(), rect.bottom())
        }
        assert max(contrast(pixel, behind) for pixel in pixels) >= 0.97 * wanted
    chooser.hidePopup()
    theme.apply_theme(QApplication.instance(), "light")


@pytest.mark.usefixtures("styled")
def test_neither_keys_nor_mouse_choose_a_heading(chooser):
    seen = [chooser.method]
    for _ in range(chooser.count()):
        QTest.keyClick(chooser, Qt.Key.Key_Down)
        seen.append(chooser.method)
    assert tuple(dict.fromkeys(seen)) == tuple(m for group in grouped().values() for m in group)
    assert set(seen) == set(METHODS)
    assert "cleanclip" in grouped()[RECOMMENDED]
    assert "mmcl" in grouped()[CONTROLS]
    before = chooser.currentIndex()
    chooser.showPopup()
    view = chooser.view()
    rect = view.visualRect(chooser.model().index(headings(chooser)[1], 0))
    QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=rect.center())
    assert chooser.currentIndex() == before
    chooser.hidePopup()
