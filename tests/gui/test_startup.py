"""The window opens without torch, on a PySide6 that does not crash."""

import subprocess
import sys

import pytest
from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from cleanclip_gui.app import has_display
from cleanclip_gui.window.system_libraries import pyside_problem

_BUILD = """
import sys
from pathlib import Path
from PySide6.QtWidgets import QApplication
from cleanclip_gui import theme
from cleanclip_gui.app import make_window
from cleanclip_gui.station import Context
app = QApplication([])
theme.apply_theme(app, "light")
window = make_window(Context())
heavy = {"torch", "open_clip", "torchvision", "transformers", "sklearn", "scipy"}
print(sorted(heavy & set(sys.modules)))
"""


def _run(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_building_the_window_imports_no_torch():
    run = subprocess.run(
        [sys.executable, "-c", _BUILD], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"


def test_the_program_shows_its_window_at_once_and_ends_while_torch_is_loading():
    code = (
        "import sys; from PySide6.QtCore import QTimer\n"
        "import cleanclip_gui.window.main_window as m\n"
        "shown = m.MainWindow.showEvent\n"
        "def show(self, event):\n"
        "    shown(self, event); QTimer.singleShot(300, self, self.close)\n"
        "    print('torch' in sys.modules)\n"
        "m.MainWindow.showEvent = show\n"
        "from cleanclip_gui.app import main; sys.exit(main([]))"
    )
    run = _run(code)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["False"]  # how long it takes is a benchmark's to say


@pytest.mark.parametrize(
    ("pyside", "python", "fine"),
    [
        ("6.12.0", (3, 11), False),
        ("6.12.0", (3, 12), True),
        ("6.12.1", (3, 11), False),
        ("6.11.3", (3, 11), True),
        ("6.11.0", (3, 13), False),
        ("6.11.1", (3, 11), False),
        ("6.8.1", (3, 12), False),
        ("6.8.2", (3, 11), True),
    ],
)
def test_the_version_guard_knows_the_bad_pairs(pyside, python, fine):
    problem = pyside_problem(pyside, python)
    assert (problem == "") is fine
    assert fine or "pip install" in problem


class _Canvas(QWidget):
    painted = Signal(object)

    def paintEvent(self, event):  # noqa: N802
        self.painted.emit(None)


class _Listener(QObject):
    count = 0

    def hear(self, value):
        self.count += value is None


def test_repaints_and_signals_leave_the_reference_counts_of_none_alone(qtbot):
    canvas, listener = _Canvas(), _Listener()
    qtbot.addWidget(canvas)
    canvas.painted.connect(listener.hear)
    with qtbot.waitExposed(canvas):
        canvas.show()
    before = sys.getrefcount(None), sys.getrefcount(True)
    for _ in range(1000):
        canvas.repaint()
    after = sys.getrefcount(None), sys.getrefcount(True)
    assert listener.count >= 1000
    # Immortal since Python 3.12; before that a leak of either sign shows as thousands.
    assert all(abs(a - b) < 500 for a, b in zip(after, before, strict=True))


def test_a_display_is_asked_for_on_linux_only(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert not has_display()
    monkeypatch.setenv("DISPLAY", ":0")
    assert has_display()
    monkeypatch.delenv("DISPLAY")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert has_display()


def test_no_display_names_the_command_line(monkeypatch, capsys):
    from cleanclip_gui import app

    monkeypatch.setattr(app, "has_display", lambda: False)
    assert app.main([]) == 3
    assert "cleanclip --help" in capsys.readouterr().out
