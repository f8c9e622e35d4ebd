"""The window opens at once, torch is imported beside it, and what cannot start says why."""

import subprocess
import sys

import pytest

from cleanclip_gui import app
from cleanclip_gui.inference.inference import load_unlocked
from cleanclip_gui.window.system_libraries import pyside_problem


def python(code):
    command = [sys.executable, "-u", "-c", code]  # the program may end without a flush
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_program_shows_a_splash_screen_then_its_window_and_ends_while_torch_is_loading():
    code = (
        "import sys; from PySide6.QtCore import QTimer\n"
        "import cleanclip_gui.window.splash as s\n"
        "enter = s.Splash.__enter__\n"
        "def splash(self):\n"
        "    entered = enter(self)\n"
        "    visible = [widget.isVisible() for widget in s.QApplication.topLevelWidgets()]\n"
        "    print(visible, {'numpy', 'pydantic'} & set(sys.modules))\n"
        "    import cleanclip_gui.window.main_window as m\n"
        "    shown = m.MainWindow.showEvent\n"
        "    m.MainWindow.showEvent = lambda self, event: show(self, event, shown)\n"
        "    return entered\n"
        "s.Splash.__enter__ = splash\n"
        "def show(self, event, shown):\n"
        "    shown(self, event); QTimer.singleShot(300, self, self.close)\n"
        "    heavy = {'torch', 'open_clip', 'torchvision', 'sklearn', 'scipy', 'pyqtgraph'}\n"
        "    print(sorted(heavy & set(sys.modules)))\n"
        "from cleanclip_gui.app import main; sys.exit(main([]))"
    )
    run = python(code)
    assert run.returncode == 0, run.stderr
    # How long it takes is a benchmark's to say: the splash screen comes before what costs most.
    assert run.stdout.splitlines() == ["[True] set()", "[]"]


def test_the_version_guard_knows_the_bad_pairs():
    for pyside, python, fine in (
        ("6.12.0", (3, 11), False), ("6.12.0", (3, 12), True), ("6.12.1", (3, 11), False),
        ("6.11.3", (3, 11), True), ("6.11.0", (3, 13), False), ("6.11.1", (3, 11), False),
        ("6.8.1", (3, 12), False), ("6.8.2", (3, 11), True),
    ):  # fmt: skip
        problem = pyside_problem(pyside, python)
        assert (problem == "") is fine
        assert fine or "pip install" in problem


def test_without_a_display_the_command_line_is_named(monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert not app.has_display()
    assert app.main([]) == 3
    assert "cleanclip --help" in capsys.readouterr().out
    monkeypatch.setenv("DISPLAY", ":0")
    assert app.has_display()
    monkeypatch.delenv("DISPLAY")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert app.has_display()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_a_library_is_loaded_and_one_that_is_none_is_not(tmp_path):
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"no library")
    assert not load_unlocked(broken)
    assert not load_unlocked(tmp_path / "missing.so")
    code = (
        "import sys; from pathlib import Path\n"
        "from cleanclip_gui.inference.inference import load_unlocked, torch_library\n"
        "assert 'torch' not in sys.modules\n"
        "assert load_unlocked(torch_library())\n"
        "assert 'libtorch_cpu' in Path('/proc/self/maps').read_text()\n"
        "assert 'torch' not in sys.modules\n"
    )
    run = python(code)
    assert run.returncode == 0, run.stderr
