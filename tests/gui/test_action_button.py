"""A button shows an action: text, tip, key and enabling are written once."""

import pytest
from PySide6.QtCore import QCoreApplication, QEvent
from PySide6.QtWidgets import QPushButton

from cleanclip_gui.commands import Actions, Command
from cleanclip_gui.widgets.controls import bind


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
