"""Each preference is in force and on disk as soon as it is chosen."""

import os
import time

import pytest
from PySide6.QtWidgets import QApplication

from cleanclip_gui import theme
from cleanclip_gui.data.hub_dialog import HubDialog
from cleanclip_gui.jobs.runner import environment
from cleanclip_gui.session.settings import Settings, SettingsStore
from cleanclip_gui.window.preferences_dialog import PreferencesDialog
from ml_core.paths import cache_dir


@pytest.fixture
def dialog(small_window, qtbot, tmp_path, monkeypatch):
    monkeypatch.setenv("CLEANCLIP_HOME", str(tmp_path / "home"))
    small_window.actions_.by_id["edit.preferences"].trigger()
    dialog = small_window.findChild(PreferencesDialog)
    qtbot.waitUntil(lambda: bool(dialog.cache.text()))
    yield dialog
    theme.set_size(100)
    theme.set_motion("system")
    theme.apply_theme(QApplication.instance(), "light")


def choose(combo, value):
    combo.setCurrentIndex(combo.findData(value))
    combo.activated.emit(combo.currentIndex())


def saved(tmp_path):
    return SettingsStore(tmp_path / "config").value


def test_choices_are_in_force_and_kept_at_once_until_the_defaults_are_restored(
    dialog, tmp_path, qapp, monkeypatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # and back afterwards
    dialog._context.settings.add_recent("/models/a.pt")
    choose(dialog.theme, "contrast-dark")
    assert theme.scheme() == saved(tmp_path).theme == "contrast-dark"
    choose(dialog.size_, 125)
    assert theme.size() == saved(tmp_path).size == 125
    choose(dialog.motion, "reduced")
    assert theme.motion_is_reduced()
    assert qapp.cursorFlashTime() == 0
    assert saved(tmp_path).motion == "reduced"
    dialog.threads.setMaximum(8)
    dialog.threads.setValue(3)
    assert environment()["OMP_NUM_THREADS"] == "3"  # of jobs
    choose(dialog.precision, "fp32")
    dialog.hub.click()
    now = saved(tmp_path)
    assert (now.threads, now.precision, now.hub) == (3, "fp32", False)
    dialog.restore_defaults()
    assert saved(tmp_path) == Settings().model_copy(
        update={"recent": ("/models/a.pt",), "last_folder": "/models"}
    )
    assert (theme.size(), theme.motion_is_reduced()) == (100, False)
    assert qapp.cursorFlashTime() > 0
    assert dialog.hub.isChecked()
    assert dialog.size_.currentData() == 100


def test_the_cache_is_cleared_and_says_what_was_freed(dialog, qtbot):
    old, fresh = cache_dir() / "old.bin", cache_dir() / "fresh.bin"
    old.write_bytes(bytes(2048))
    os.utime(old, (time.time() - 3600,) * 2)
    fresh.write_bytes(b"1")
    dialog.clear_cache()
    assert dialog.busy.isVisible()
    qtbot.waitUntil(lambda: not dialog.busy.isVisible())
    assert dialog.note.text() == "2.0 KiB were freed, 1 file. 1 file in use stayed."
    assert not old.exists()
    assert fresh.exists()
    qtbot.waitUntil(lambda: dialog.cache.text().startswith("1 B"))


def test_the_hub_refuses_when_it_is_off(dialog, small_window):
    dialog.hub.click()
    small_window.stations["checkpoint"].choose_repository()
    hub = small_window.stations["checkpoint"].hub
    assert isinstance(hub, HubDialog)
    hub.name.setText("owner/name")
    assert not hub.ok.isEnabled()
    assert "switch it on under Edit, Preferences" in hub.state.text()
    hub.close()
    scan = small_window.stations["scan"].setup.reference
    scan._on_fetch_clicked()
    assert "switched off" in scan.dialog.state.text()
    scan.dialog.close()
