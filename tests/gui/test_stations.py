"""What makes a widget a station, and what the window does for one by itself."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtWidgets import QToolButton, QWidget

from cleanclip_gui.app import STATIONS
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


@pytest.mark.parametrize("name", STATIONS)
def test_every_station_has_the_members_of_the_protocol(name, context, qtbot):
    module = importlib.import_module(f"cleanclip_gui.{name}.station")
    station = getattr(module, f"{name.capitalize()}Station")(context)
    qtbot.addWidget(station)
    assert isinstance(station, Station)
    assert isinstance(station, QWidget)
    assert station.id == name
    assert station.title.count("&") == 1
    known = {command.id for command in context.actions.commands}
    assert {command.id for command in station.commands()} <= known


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


_WITHOUT_SCAN = """
import sys
import time
from pathlib import Path
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
app = QApplication([])
import cleanclip_gui
from cleanclip_gui.app import make_window
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.station import Context
from ml_core.jobs.demo import demo_checkpoint
from tests.gui.shell_fakes import Answers, FakeEngine

settings = SettingsStore(Path(sys.argv[1]))
window = make_window(
    Context(inference=Inference(FakeEngine), settings=settings, prompts=Answers().prompts())
)
window.show()
window.open_path(str(demo_checkpoint()))
end = time.monotonic() + 60
while window.session.checkpoint is None and time.monotonic() < end:
    QTest.qWait(20)
assert list(window.stations) == ["checkpoint", "studio", "clean", "report"]
assert not [name for name in sys.modules if name.startswith("cleanclip_gui.scan")]
assert window.close()
print(Path(cleanclip_gui.__file__).parent, settings.value.model_extra)
"""


def test_the_program_runs_without_the_folder_of_a_station(tmp_path):
    root = Path(__file__).parents[2]
    copy = shutil.copytree(root / "cleanclip_gui", tmp_path / "here" / "cleanclip_gui")
    shutil.rmtree(copy / "scan")
    config = tmp_path / "config"
    config.mkdir()
    (config / "settings.json").write_text('{"scan_columns": [300, 0], "studio_columns": []}')
    paths = os.pathsep.join([str(copy.parent), str(root)])
    env = {**os.environ, "PYTHONPATH": paths, "QT_QPA_PLATFORM": "offscreen"}
    command = [sys.executable, "-P", "-c", _WITHOUT_SCAN, str(config)]
    end = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert end.returncode == 0, end.stderr
    assert "Traceback" not in end.stderr
    assert end.stdout.split(" ", 1)[0] == str(copy)
    assert "'scan_columns': [300, 0]" in end.stdout  # it is there again when the station is
    assert '"scan_columns": [\n    300,\n    0\n  ]' in (config / "settings.json").read_text()
