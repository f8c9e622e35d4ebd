"""The gui tests' screen, theme and look for leaks, for the whole window too; and the window."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from cleanclip_gui import threads
from cleanclip_gui.app import make_window
from cleanclip_gui.jobs import runner
from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.station import Context
from cleanclip_gui.window.main_window import MainWindow
from ml_core.paths import cache_dir
from tests.gui.conftest import _look, _no_leaks
from tests.warm import Program, Warm

__all__ = ["_look", "_no_leaks"]


@pytest.fixture(autouse=True)
def _class_texts(shared_folder: Path) -> None:
    """What any of these tests embedded of the demo's classes: each file is known by its content."""
    kept = shared_folder / "class-texts"
    kept.mkdir(exist_ok=True)
    (cache_dir() / kept.name).symlink_to(kept)


@pytest.fixture
def window(qtbot: QtBot, tmp_path: Path) -> Iterator[MainWindow]:
    """The real window on a small laptop's screen, with settings of its own."""
    window = make_window(Context(settings=SettingsStore(tmp_path / "config")))
    window.resize(1366, 768)
    qtbot.addWidget(window)
    window.show()
    qtbot.waitExposed(window)
    yield window
    window.context.shell.closing.emit()
    threads.close_all()
    window.session.run = None
    window.close()


@pytest.fixture
def warm_jobs(warm_torch: Warm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the processes of jobs from an interpreter that has torch loaded."""

    def spawn(command: Sequence[str]) -> Program:
        module, *arguments = command[command.index("-m") + 1 :]
        program = warm_torch.start(
            module,
            *arguments,
            stderr=subprocess.STDOUT,
            text=True,
            session=True,
            environment=runner.environment(command),
        )
        os.setpriority(os.PRIO_PROCESS, program.pid, 10)
        return program

    monkeypatch.setattr(runner, "spawn", spawn)
