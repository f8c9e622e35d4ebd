"""The gui tests' screen, theme and look for leaks, for the whole window too; and the window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.window.main_window import MainWindow
from tests.gui.conftest import _look, _no_leaks

__all__ = ["_look", "_no_leaks"]


@pytest.fixture
def window(qtbot: QtBot, tmp_path: Path) -> Iterator[MainWindow]:
    """The real window on a small laptop's screen, with settings of its own."""
    window = MainWindow(settings=SettingsStore(tmp_path / "config"))
    window.resize(1366, 768)
    qtbot.addWidget(window)
    window.show()
    qtbot.waitExposed(window)
    yield window
    window.clean.stop()
    window.session.run = None
    window.close()
