"""A repository of the Hub: its name, how far it is, why not, and then the same reader."""

import threading
from types import SimpleNamespace

import pytest
import shiboken6
from PySide6.QtWidgets import QWidget

from cleanclip_gui import threads
from cleanclip_gui.checkpoint.facts import hub_origin
from cleanclip_gui.data.hub_dialog import HubDialog
from ml_core.reading.errors import CancelledError, InputError

WAIT = 10_000


@pytest.fixture
def dialog(qtbot):
    parent = QWidget()
    qtbot.addWidget(parent)
    dialog = HubDialog(parent)
    dialog.open()
    yield dialog
    assert threads.close_all()


def ask(dialog, name, revision=""):
    dialog.name.setText(name)
    dialog.revision.setText(revision)
    dialog.ok.click()


def test_the_folder_is_told_once_it_is_there(dialog, qtbot, monkeypatch, tmp_path):
    asked = []

    def fetch(name, report, cancelled):
        asked.append(name)
        report(10, 10)
        return SimpleNamespace(path=tmp_path, revision="abc")

    monkeypatch.setattr("ml_core.checkpoints.hub.fetch", fetch)
    with qtbot.waitSignal(dialog.fetched, timeout=WAIT) as told:
        ask(dialog, "hf-hub:owner/name", "v1")
    assert told.args == [str(tmp_path)]
    assert asked == ["hf-hub:owner/name@v1"]
    assert not shiboken6.isValid(dialog) or dialog.isHidden()


def test_without_a_connection_there_is_a_sentence(dialog, qtbot, monkeypatch):
    def fetch(name, report, cancelled):
        raise InputError("The repository owner/<b>name cannot be reached.", "usage")

    monkeypatch.setattr("ml_core.checkpoints.hub.fetch", fetch)
    for text, good in (("", False), ("owner", False), ("owner/", False), ("owner/name", True)):
        dialog.name.setText(text)
        assert dialog.ok.isEnabled() == good
    ask(dialog, "owner/name")
    assert dialog.busy.isVisible()
    qtbot.waitUntil(lambda: dialog.busy.isHidden(), timeout=WAIT)
    assert dialog.state.text() == "The repository owner/<b>name cannot be reached."
    assert dialog.ok.isEnabled()


def test_progress_is_shown_and_cancel_is_acknowledged_at_once(dialog, qtbot, monkeypatch):
    ended = threading.Event()

    def fetch(name, report, cancelled):
        report(1 << 20, 4 << 20)
        while not cancelled():
            ended.wait(0.01)
        ended.set()
        raise CancelledError

    monkeypatch.setattr("ml_core.checkpoints.hub.fetch", fetch)
    ask(dialog, "owner/name")
    qtbot.waitUntil(lambda: dialog.state.text() == "1.0 MiB of 4.0 MiB", timeout=WAIT)
    assert dialog.busy.bar.value() == 250
    dialog.busy.cancel.click()
    assert dialog.busy.isHidden()
    assert dialog.state.text().startswith("Cancelled")
    assert ended.wait(5)
    assert dialog.state.text().startswith("Cancelled"), "a late answer changes nothing"


def test_a_folder_of_the_cache_tells_repository_and_revision(tmp_path):
    folder = tmp_path / "models--laion--CLIP-ViT-B-32" / "snapshots" / "0123abc"
    assert hub_origin(folder) == ("laion/CLIP-ViT-B-32", "0123abc")
    assert hub_origin(folder / "model.safetensors") == ("laion/CLIP-ViT-B-32", "0123abc")
    assert hub_origin(tmp_path / "snapshots" / "x") is None
    assert hub_origin(tmp_path) is None
