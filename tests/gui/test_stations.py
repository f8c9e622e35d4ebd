"""What makes a widget a station, and what the window does for one by itself."""

import pytest
from PySide6.QtWidgets import QToolButton, QWidget

from cleanclip_gui.commands import Command
from cleanclip_gui.data.data_bar import DataBar
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.station import Context, Station
from cleanclip_gui.window.main_window import MainWindow
from tests.gui.shell_fakes import Answers, FakeEngine


@pytest.fixture
def context(tmp_path):
    return Context(
        inference=Inference(FakeEngine),
        settings=SettingsStore(tmp_path / "config"),
        prompts=Answers().prompts(),
    )


class EmptyStation(QWidget):
    """A station with one command, and nothing on its page."""

    id = "notes"
    title = "&Notes"
    question = "What was seen?"
    icon = "text"
    shortcut = "Ctrl+9"

    def __init__(self, context):
        super().__init__()
        self.shell = context.shell
        self.offered, self.pressed, self.available = [], 0, False
        context.actions.add(self.commands())

    def is_available(self):
        return self.available

    def commands(self):
        return (Command("notes.press", "&Press", "&Edit", self.press, "Count a press.", "check"),)

    def press(self):
        self.pressed += 1

    def at_work(self):
        return ()

    def take_file(self, path):
        self.offered.append(path)
        return path.suffix == ".note"

    def may_close(self):
        return True


def test_a_new_station_is_on_the_rail_in_the_menu_and_offered_files(context, qtbot, tmp_path):
    station = EmptyStation(context)
    assert isinstance(station, Station)
    window = MainWindow(context, [station], DataBar(context))
    qtbot.addWidget(window)
    window.show()
    action = window.actions_["view.notes"]
    named = [b for b in window.rail.findChildren(QToolButton) if b.accessibleName() == "Notes"]
    assert len(named) == 1
    menus = {a.text(): a.menu() for a in window.menuBar().actions()}
    assert action in menus["&View"].actions()
    assert window.actions_["notes.press"] in menus["&Edit"].actions()
    assert not action.isEnabled()

    station.available = True
    context.shell.commands_changed.emit()
    qtbot.waitUntil(action.isEnabled)
    action.trigger()
    assert window.station == "notes"
    assert station.isVisible()
    window.actions_["notes.press"].trigger()
    assert station.pressed == 1

    wanted = []
    context.shell.takes("checkpoint", wanted.append)
    window.take_file(tmp_path / "a.note")
    window.take_file(tmp_path / "b.odd")
    assert station.offered == [tmp_path / "a.note", tmp_path / "b.odd"]
    assert wanted == [str(tmp_path / "b.odd")]
    assert window.close()
