"""Every command once: unique, described, reachable, and each one does something."""

from collections import Counter

import pytest
from cleanclip_gui.window.commands import COMMANDS, MENUS
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QAbstractButton, QApplication, QDialog, QLabel

from cleanclip_gui.app import make_window
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.station import Context
from ml_core.paths import resource
from tests.gui.shell_fakes import Answers, FakeEngine, write_safetensors


@pytest.fixture
def window(qtbot, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "cleanclip_gui.window.main_window.QDesktopServices.openUrl",
        lambda url: opened_urls.append(url),
    )
    window = make_window(
        Context(
            inference=Inference(FakeEngine),
            settings=SettingsStore(tmp_path / "config"),
            prompts=Answers().prompts(),
        )
    )
    window.stations["studio"].prompts = Answers().prompts()
    window.stations["studio"].ask_name = lambda name: ""
    qtbot.addWidget(window)
    window.show()
    path = write_safetensors(tmp_path / "m.safetensors", {"a": [1.0]})
    window.open_path(str(path))
    qtbot.waitUntil(lambda: window.session.images is not None, timeout=10_000)
    yield window
    window.close()


# Opening the demo and quitting have their tests in test_main_window; running a job in the e2e.
_ELSEWHERE = ("file.quit", "file.demo", "clean.start", "clean.estimate")
opened_urls: list[object] = []


def test_ids_texts_and_shortcuts_are_unique():
    assert not [k for k, n in Counter(c.id for c in COMMANDS).items() if n > 1]
    assert not [k for k, n in Counter(c.text for c in COMMANDS).items() if n > 1]
    keys = Counter(QKeySequence(c.shortcut).toString() for c in COMMANDS if c.shortcut)
    assert not [k for k, n in keys.items() if n > 1]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.id)
def test_each_is_described_and_lies_in_a_menu(command):
    assert command.menu in MENUS
    assert command.help.endswith((".", "?"))
    assert "&" in command.text
    if command.icon:
        assert resource("icons", f"{command.icon}.svg").is_file()
    if command.shortcut:
        assert QKeySequence(command.shortcut)[0].key()


@pytest.mark.parametrize("menu", MENUS)
def test_mnemonics_of_a_menu_do_not_clash(menu):
    letters = [c.text[c.text.index("&") + 1].lower() for c in COMMANDS if c.menu == menu]
    assert not [k for k, n in Counter(letters).items() if n > 1]


@pytest.mark.parametrize("station", ["welcome", "checkpoint", "studio", "clean"])
def test_mnemonics_that_are_seen_together_do_not_clash(window, station):
    window.show_station(station)
    buttons = [b.text() for b in window.findChildren(QAbstractButton) if b.isVisible()]
    labels = [o.text() for o in window.findChildren(QLabel) if o.isVisible() and o.buddy()]
    keys = Counter(
        key
        for text in (*MENUS, *buttons, *labels)
        if (key := QKeySequence.mnemonic(text).toString())
    )
    assert len(keys) >= len(MENUS)
    assert not [k for k, n in keys.items() if n > 1]


def test_every_command_is_in_its_menu_and_can_be_run(window, qtbot):
    menus = {action.text(): action.menu() for action in window.menuBar().actions()}
    assert tuple(menus) == tuple(m for m in MENUS if any(c.menu == m for c in COMMANDS))
    for command in COMMANDS:
        action = window.actions_.by_id[command.id]
        assert action in menus[command.menu].actions()
        assert action.statusTip() == command.help
    for station in ("studio", "clean"):
        window.show_station(station)
        for command in COMMANDS:
            action = window.actions_.by_id[command.id]
            if command.id in _ELSEWHERE or not action.isEnabled():
                continue
            action.trigger()
            for widget in QApplication.topLevelWidgets():
                if isinstance(widget, QDialog) and widget.isVisible():
                    widget.reject()
            if window.isFullScreen():
                window.toggle_full_screen()
            window.show_station(station)
    window.set_theme("light")
    assert len(opened_urls) >= 1


def test_undo_is_enabled_only_when_there_is_something_to_undo(window):
    window.show_station("studio")
    undo = window.actions_.by_id["edit.undo"]
    assert not undo.isEnabled()
    window.stations["studio"].use_demo_trigger()
    assert undo.isEnabled()
    undo.trigger()
    assert window.stations["studio"].current_trigger() is None
    assert window.actions_.by_id["edit.redo"].isEnabled()


def test_a_command_that_is_not_enabled_does_nothing_even_when_asked(window):
    window.show_station("checkpoint")
    command = next(c for c in COMMANDS if c.id == "trigger.demo")
    window.actions_.run(command)
    assert window.stations["studio"].current_trigger() is None
