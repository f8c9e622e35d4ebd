"""Another file, or the end of the window, ends the process that still reads the last one."""

import sys
import time

import pytest

from cleanclip_gui import threads
from tests.gui.shell_fakes import write_safetensors


@pytest.fixture
def slow_readers(monkeypatch):
    """Readers of files called slow do nothing for a minute; the processes that were started."""
    door = sys.modules["ml_core.reading.examine"]
    start, command, started = door._start, door._command, []

    def start_slowly(path):
        sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
        monkeypatch.setattr(door, "_command", lambda: sleep if "slow" in path.name else command())
        started.append(start(path))
        return started[-1]

    monkeypatch.setattr(door, "_start", start_slowly)
    return started


def test_another_file_ends_the_reading_of_the_last_one(panel, qtbot, tmp_path, slow_readers):
    panel.open(write_safetensors(tmp_path / "slow.safetensors", {"a": [1.0]}))
    qtbot.waitUntil(lambda: len(slow_readers) == 1, timeout=10_000)
    panel.open(write_safetensors(tmp_path / "quick.safetensors", {"a": [1.0]}))
    qtbot.waitUntil(lambda: slow_readers[0].poll() == -9, timeout=10_000)
    qtbot.waitUntil(lambda: panel.inspection is not None, timeout=20_000)
    assert panel.inspection.name == "quick.safetensors"
    assert not panel.inspection.refused


def test_the_end_of_the_window_ends_the_reading(panel, qtbot, tmp_path, slow_readers):
    panel.open(write_safetensors(tmp_path / "slow.safetensors", {"a": [1.0]}))
    qtbot.waitUntil(lambda: len(slow_readers) == 1, timeout=10_000)
    begin = time.monotonic()
    assert threads.close_all()
    assert time.monotonic() - begin < 10
    assert slow_readers[0].poll() == -9
    assert panel.inspection is None
