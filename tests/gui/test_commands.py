"""Every command once: unique, described, reachable, and each one does something."""

from collections import Counter

import pytest
from PySide6.QtCore import QCoreApplication, QEvent
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QDialog,
    QLabel,
    QMenu,
    QPushButton,
)

from cleanclip_gui.commands import MENUS, Actions, Command
from cleanclip_gui.widgets.controls import bind
from ml_core.paths import resource


@pytest.fixture
def window(window, qtbot, checkpoint, monkeypatch):
    monkeypatch.setattr(
        "cleanclip_gui.window.main_window.QDesktopServices.openUrl",
        lambda url: opened_urls.append(url),
    )
    window.open_path(str(checkpoint))
    qtbot.waitUntil(lambda: window.session.images is not None, timeout=10_000)
    return window


# Opening the demo and quitting have their tests in test_main_window; running a job in the e2e.
_ELSEWHERE = ("file.quit", "file.demo", "clean.start", "clean.estimate", "scan.start")
_WITHOUT_MENU = (  # of the welcome page and the guided run
    "clean.resume_last", "clean.set_talk", "clean.set_default",
)  # fmt: skip
LOOK = (
    *("view.system", "view.light", "view.dark", "view.contrast-light", "view.contrast-dark"),
    *("view.switch_theme", "view.larger", "view.smaller", "view.usual_size"),
)
opened_urls: list[object] = []


def in_menus(window) -> list[Command]:
    """The commands that the user sees."""
    return [c for c in window.actions_.commands if c.id not in _WITHOUT_MENU]


def test_each_command_is_unique_described_and_lies_in_a_menu(window):
    commands = window.actions_.commands
    keys = [QKeySequence(c.shortcut).toString() for c in commands if c.shortcut]
    for names in ([c.id for c in commands], [c.text for c in commands], keys):
        assert twice(names) == []
    for command in in_menus(window):
        assert command.menu in MENUS, command.id
        assert command.help.endswith((".", "?")), command.id
        assert "&" in command.text, command.id
        if command.icon:
            assert resource("icons", f"{command.icon}.svg").is_file(), command.id
        if command.shortcut:
            assert QKeySequence(command.shortcut)[0].key(), command.id
    for menu in MENUS:
        commands = window.actions_.in_menu(menu)
        inner = {command.submenu for command in commands}
        for place in inner:
            texts = [c.text for c in commands if c.submenu == place]
            texts += [title for title in inner if title and not place]
            assert twice(text[text.index("&") + 1].lower() for text in texts) == [], (menu, place)
    for station in ("welcome", *window.stations):
        window.show_station(station)
        buttons = [b.text() for b in window.findChildren(QAbstractButton) if b.isVisible()]
        labels = [o.text() for o in window.findChildren(QLabel) if o.isVisible() and o.buddy()]
        menus = [a.text() for a in window.menuBar().actions() if a.isVisible()]
        assert len(menus) == (4 if station in ("welcome", "checkpoint") else 5)
        mnemonics = (QKeySequence.mnemonic(text) for text in (*menus, *buttons, *labels))
        assert twice(key.toString() for key in mnemonics if not key.isEmpty()) == []


def twice(names):
    """What occurs more than once."""
    return [name for name, number in Counter(names).items() if number > 1]


def test_every_command_is_in_its_menu_and_can_be_run(window):
    menus = {menu.title(): menu for menu in window.menuBar().findChildren(QMenu)}
    for command in in_menus(window):
        action = window.actions_.by_id[command.id]
        menu = menus[command.menu]
        if command.submenu:
            menu = next(a.menu() for a in menu.actions() if a.text() == command.submenu)
        assert action in menu.actions()
        assert action.statusTip() == command.help
    for station in ("studio", "clean"):
        window.show_station(station)
        for command in in_menus(window):
            action = window.actions_.by_id[command.id]
            if command.id in _ELSEWHERE or not action.isEnabled():
                continue
            if station == "clean" and command.id in LOOK:
                continue  # of the whole window, and each takes a second
            action.trigger()
            for widget in QApplication.topLevelWidgets():
                if isinstance(widget, QDialog) and widget.isVisible():
                    widget.reject()
            QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
            if window.isFullScreen():
                window.toggle_full_screen()
            window.show_station(station)
    window.actions_.run("view.light")
    window.actions_.run("view.usual_size")
    assert len(opened_urls) >= 1


class Lamp:
    """Something that can be switched, and locked."""

    def __init__(self):
        self.on = self.locked = False

    def switch(self):
        self.on = not self.on


@pytest.fixture
def lamp():
    return Lamp()


@pytest.fixture
def actions(qapp, lamp):
    actions = Actions()
    actions.add(
        [
            Command(
                "lamp.switch", "S&witch && shine", "&View", lamp.switch, "Switch the lamp.", "sun",
                "Ctrl+J", enabled=lambda: not lamp.locked, checked=lambda: lamp.on,
            ),
            Command("lamp.lock", "&Lock", "", lambda: setattr(lamp, "locked", True), "Lock it."),
        ]
    )  # fmt: skip
    return actions


def test_a_button_follows_its_action(qapp, qtbot, actions, lamp):
    button = QPushButton("Light")
    qtbot.addWidget(button)
    bind(button, actions["lamp.switch"])
    assert button.toolTip() == "Switch the lamp. (Ctrl+J)"
    assert button.text() == "Light"
    assert button.icon().isNull()
    button.click()
    assert (lamp.on, button.isChecked()) == (True, True)
    button.toggle()  # as a screen reader does it, without a click
    assert (lamp.on, button.isChecked()) == (False, False)
    bind(button, actions["lamp.switch"], text=True, icon=True)
    assert button.text() == "Switch && shine"
    assert not button.icon().isNull()
    actions.run("lamp.lock")
    assert not button.isEnabled()


def test_a_switch_that_did_not_move_is_shown_so(qtbot, actions, lamp):
    """A checkable button moves by itself when it is clicked; and its action may outlive it."""
    button = QPushButton("Light")
    lamp.switch = lambda: None
    actions.by_id["lamp.switch"].triggered.connect(actions.refresh)
    bind(button, actions["lamp.switch"])
    lamp.locked = True  # nobody has asked the predicate again yet
    button.click()
    assert not button.isChecked()
    button.deleteLater()
    del button
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    actions["lamp.switch"].trigger()
