"""The first page says what the user wants and opens nothing itself."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from cleanclip_gui.window.welcome import WelcomePage


@pytest.fixture
def page(qtbot):
    page = WelcomePage()
    qtbot.addWidget(page)
    page.resize(1200, 700)
    page.show()
    return page


@pytest.mark.parametrize(
    ("button", "signal"),
    [("demo", "demo_requested"), ("open", "open_requested"), ("folder", "folder_requested")],
)
def test_each_button_asks_for_its_act(page, qtbot, button, signal):
    with qtbot.waitSignal(getattr(page, signal), timeout=1000):
        QTest.mouseClick(getattr(page, button), Qt.MouseButton.LeftButton)


def test_recent_files_are_listed_and_chosen_by_mouse_or_key(page, qtbot):
    assert not page.recent.isVisible()
    page.set_recent(["/models/a.safetensors", "/models/b\u202e.safetensors"])
    assert page.recent.isVisible()
    assert "a.safetensors" in page.recent.item(0).text()
    assert "\u202e" not in page.recent.item(1).text()
    assert "\\u202e" in page.recent.item(1).text()
    place = page.recent.visualItemRect(page.recent.item(1)).center()
    with qtbot.waitSignal(page.path_chosen, timeout=1000) as chosen:
        QTest.mouseClick(page.recent.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert chosen.args == ["/models/b\u202e.safetensors"]
    page.recent.setCurrentRow(0)
    with qtbot.waitSignal(page.path_chosen, timeout=1000) as chosen:
        QTest.keyClick(page.recent, Qt.Key.Key_Return)
    assert chosen.args == ["/models/a.safetensors"]


def test_a_file_held_over_the_page_is_shown(page):
    page.set_dropping(True)
    assert page.drop.property("drop") is True
    page.set_dropping(False)
    assert page.drop.property("drop") is False
