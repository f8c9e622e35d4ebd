"""Each preference is in force and on disk as soon as it is chosen."""

import os
import time

import pytest
from PySide6.QtCore import QUrl
from PySide6.QtWidgets import QApplication, QPushButton

from cleanclip_gui import theme
from cleanclip_gui.data.hub_dialog import HubDialog
from cleanclip_gui.inference.questions import SetThreads
from cleanclip_gui.jobs.runner import environment
from cleanclip_gui.session.settings import Settings, SettingsStore
from cleanclip_gui.window.preferences_dialog import PreferencesDialog
from ml_core.paths import cache_dir
from tests.gui.layout_faults import lasting_faults


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
    dialog, tmp_path, qapp
):
    dialog._context.settings.add_recent("/models/a.pt")
    choose(dialog.theme, "contrast-dark")
    assert theme.scheme() == saved(tmp_path).theme == "contrast-dark"
    choose(dialog.size_, 125)
    assert theme.size() == saved(tmp_path).size == 125
    choose(dialog.motion, "reduced")
    assert theme.motion_is_reduced()
    assert qapp.cursorFlashTime() == 0
    assert saved(tmp_path).motion == "reduced"
    dialog.hub.click()
    assert saved(tmp_path).hub is False
    dialog.restore_defaults()
    assert saved(tmp_path) == Settings().model_copy(
        update={"recent": ("/models/a.pt",), "last_folder": "/models"}
    )
    assert (theme.size(), theme.motion_is_reduced()) == (100, False)
    assert qapp.cursorFlashTime() > 0
    assert dialog.hub.isChecked()
    assert dialog.size_.currentData() == 100


def test_threads_and_precision_are_in_force_for_studio_and_for_jobs(
    dialog, small_window, qtbot, tmp_path, monkeypatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # and back afterwards
    told = []
    monkeypatch.setattr(
        type(small_window.inference), "ask", lambda _, asked, *__: told.append(asked)
    )
    dialog.threads.setMaximum(8)
    dialog.threads.setValue(3)
    assert isinstance(told[-1], SetThreads)
    assert environment()["OMP_NUM_THREADS"] == "3"
    assert saved(tmp_path).threads == 3
    choose(dialog.precision, "fp32")
    assert saved(tmp_path).precision == "fp32"
    dialog.restore_defaults()
    assert (dialog.threads.value(), dialog.precision.currentData()) == (0, "auto")
    assert os.environ.get("OMP_NUM_THREADS") != "3"


def test_the_device_is_chosen_among_those_found(dialog, small_window, qtbot, tmp_path):
    qtbot.waitUntil(lambda: bool(small_window.session.devices), timeout=10_000)
    dialog._fill()
    devices = small_window.session.devices
    assert [dialog.device.itemData(n) for n in range(dialog.device.count())] == ["", *devices]
    choose(dialog.device, devices[-1])
    assert saved(tmp_path).device == devices[-1]
    qtbot.waitUntil(lambda: small_window.session.device == devices[-1])
    choose(dialog.device, "")
    assert saved(tmp_path).device == ""
    qtbot.waitUntil(lambda: small_window.session.device == devices[0])


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


def test_folders_are_shown_and_opened(dialog, monkeypatch, tmp_path):
    opened = []
    monkeypatch.setattr(
        "cleanclip_gui.window.preferences_dialog.QDesktopServices.openUrl", opened.append
    )
    for button in dialog.findChildren(QPushButton):
        if button.text() == "Open folder":
            button.click()
    home = tmp_path / "home"
    folders = (home / "data", tmp_path / "config", home / "cache")
    assert opened == [QUrl.fromLocalFile(str(folder)) for folder in folders]


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
    dialog.hub.click()
    small_window.stations["checkpoint"].choose_repository()
    hub = small_window.stations["checkpoint"].hub
    hub.name.setText("owner/name")
    assert hub.ok.isEnabled()
    hub.close()


def test_its_words_fit_at_every_size(dialog, qtbot):
    for percent in (100, 150, 200):
        choose(dialog.size_, percent)
        assert lasting_faults(dialog, qtbot) == []
