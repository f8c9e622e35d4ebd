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


@pytest.fixture
def button(qtbot):
    button = QPushButton("Light")
    qtbot.addWidget(button)
    return button


def test_a_click_does_the_act_and_the_tip_names_the_key(button, actions, lamp):
    bind(button, actions["lamp.switch"])
    assert button.toolTip() == "Switch the lamp. (Ctrl+J)"
    assert button.text() == "Light"
    assert button.icon().isNull()
    button.click()
    assert lamp.on
    assert button.isChecked()
    button.toggle()  # as a screen reader does it, without a click
    assert not lamp.on
    assert not button.isChecked()
    bind(button, actions["lamp.switch"], text=True, icon=True)
    assert button.text() == "Switch && shine"
    assert not button.icon().isNull()


def test_it_is_enabled_and_checked_as_the_action_is(button, actions, lamp):
    bind(button, actions["lamp.switch"])
    lamp.on = True
    actions.refresh()
    assert button.isChecked()
    actions.run("lamp.lock")
    assert not button.isEnabled()
    button.click()
    assert lamp.on


def test_a_switch_that_did_not_move_is_shown_so(button, actions, lamp):
    """A checkable button moves by itself when it is clicked."""
    lamp.switch = lambda: None
    actions.by_id["lamp.switch"].triggered.connect(actions.refresh)
    bind(button, actions["lamp.switch"])
    lamp.locked = True  # nobody has asked the predicate again yet
    button.click()
    assert not lamp.on
    assert not button.isChecked()


def test_an_action_may_outlive_its_button(qapp, actions, lamp):
    button = QPushButton()
    bind(button, actions["lamp.switch"])
    button.deleteLater()
    del button
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    actions["lamp.switch"].trigger()
    assert lamp.on
