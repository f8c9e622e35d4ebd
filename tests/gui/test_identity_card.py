"""Which CLIP is this: the card, and where it leads."""

import sqlite3

import pytest

import ml_core.checkpoints.known_tensors as database
from cleanclip_gui.checkpoint.known_dialog import KnownDialog
from cleanclip_gui.checkpoint.station import _COMPARISON
from ml_core.checkpoints.known import KnownFile, add_known, own_files
from ml_core.checkpoints.known_tensors import known_tensors
from ml_core.jobs.demo import demo_checkpoint
from tests.gui.shell_fakes import write_safetensors

WAIT = 20_000


@pytest.fixture
def card(panel):
    panel.failures = []
    panel.shell.failed.connect(panel.failures.append)
    return panel.facts.identification


def opened(panel, qtbot, path):
    panel.open(path)
    ready = panel.facts.identification.identify_button
    qtbot.waitUntil(lambda: panel._model is not None and ready.isEnabled(), timeout=WAIT)


def add_to_known(panel, qtbot, title):
    qtbot.waitUntil(panel.actions_["file.known"].isEnabled, timeout=WAIT)  # all is read
    enter_known(panel, title)
    qtbot.waitUntil(lambda: f"known from now on, as {title}" in text(panel), timeout=WAIT)


def enter_known(panel, title):
    panel.actions_["file.known"].trigger()
    dialog = panel.window().findChildren(KnownDialog)[-1]
    dialog.fields["title"].setText(title)
    dialog.fields["source"].setText("me")
    dialog.ok.click()


def text(panel):
    return panel.facts.identification.text.text().replace("\u200b", "")


def test_what_differs_leads_to_compare(panel, card, qtbot):
    twin = demo_checkpoint(twin=True)
    opened(panel, qtbot, twin)
    assert "Compare every tensor with those of the files" in text(panel)
    card.identify_button.click()
    qtbot.waitUntil(lambda: "No tensors are known" in text(panel), timeout=WAIT)
    add_to_known(panel, qtbot, "the <b>twin</b>")
    assert len(known_tensors()) == 1
    qtbot.waitUntil(card.identify_button.isEnabled, timeout=WAIT)
    card.identify_button.click()
    qtbot.waitUntil(lambda: "it is the same file" in text(panel), timeout=WAIT)
    assert card.compare.isHidden()

    opened(panel, qtbot, demo_checkpoint())
    assert "same file" not in text(panel)
    card.identify_button.click()
    assert card.busy.isVisible()
    qtbot.waitUntil(card.compare.isVisible, timeout=WAIT)
    assert "Image encoder: has the shapes of the <b>twin</b>; differs in all its" in text(panel)
    card.compare.click()
    assert panel.tabs.currentIndex() == _COMPARISON
    qtbot.waitUntil(panel.comparison.strips.isVisible, timeout=WAIT)
    assert panel.comparison.title.text() == f"Compared with {twin.name}"
    assert panel.failures == []


def test_what_cannot_be_stored_is_listed_nowhere_and_can_be_added_again(
    panel, card, qtbot, tmp_path, monkeypatch
):
    opened(panel, qtbot, demo_checkpoint())
    monkeypatch.setattr(database, "_PATIENCE_SECONDS", 0.05)
    database.database().parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(database.database(), isolation_level=None) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        enter_known(panel, "demo")
        qtbot.waitUntil(lambda: bool(panel.failures), timeout=WAIT)
    holder.close()
    assert "Another program is writing" in panel.failures.pop().sentence
    assert own_files() == ()
    add_known(KnownFile(title="by its hash", sha256=panel.inspection.sha256))
    enter_known(panel, "demo")
    listed = "known from now on, as by its hash"
    qtbot.waitUntil(lambda: listed in text(panel), timeout=WAIT)
    assert len(known_tensors()) == 1


def test_it_is_cancelled_and_hidden_for_what_has_no_tensors(panel, card, qtbot, tmp_path):
    path = write_safetensors(tmp_path / "m.safetensors", {"a": [1.0]})
    panel.open(path)
    qtbot.waitUntil(card.identify_button.isEnabled, timeout=WAIT)
    card.identify_button.click()
    card.busy.cancel.click()
    assert card.busy.isHidden()
    assert card.can_identify()
    (tmp_path / "refused.pt").write_bytes(b"nothing")
    panel.open(tmp_path / "refused.pt")
    qtbot.waitUntil(lambda: panel.assessment is not None, timeout=WAIT)
    assert card.isHidden()
    assert not panel.actions_["file.identify"].isEnabled()
