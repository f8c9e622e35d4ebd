"""The first page says what the user wants and opens nothing itself."""

from functools import partial

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from cleanclip_gui.commands import Actions, Command
from cleanclip_gui.window.welcome import WelcomePage

COMMANDS = {
    "demo": ("file.demo", "Try the &demo"),
    "open": ("file.open", "&Open checkpoint…"),
    "folder": ("file.open_folder", "Open checkpoint &folder…"),
    "hub": ("file.hub", "Open from the &Hub…"),
}


@pytest.fixture
def done():
    return []


@pytest.fixture
def page(qtbot, done):
    actions = Actions()
    for name, text in COMMANDS.values():
        actions.add([Command(name, text, "&File", partial(done.append, name), "Do.", "", "Ctrl+J")])
    page = WelcomePage(actions)
    page.actions_ = actions  # they live as long as the page
    qtbot.addWidget(page)
    page.resize(1200, 700)
    page.show()
    return page


@pytest.mark.parametrize("button", COMMANDS)
def test_each_button_shows_and_does_its_command(page, done, button):
    name, text = COMMANDS[button]
    shown = getattr(page, button)
    words = {"open": "Open file…", "folder": "Open folder…", "hub": "From the Hub…"}
    assert shown.text() == words.get(button, text.replace("&", ""))
    assert shown.toolTip() == "Do. (Ctrl+J)"
    QTest.mouseClick(shown, Qt.MouseButton.LeftButton)
    assert done == [name]


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
