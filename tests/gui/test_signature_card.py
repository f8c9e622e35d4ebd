"""Who signed the file on show, told beside the window, and how a key comes to be trusted."""

import pytest

from cleanclip_gui.checkpoint.signature_card import TrustDialog
from ml_core.signing import new_key, sign_path, trusted_keys
from ml_core.signing.curve import new_private_key
from tests.gui.shell_fakes import Answers, write_safetensors

WAIT = 20_000


@pytest.fixture(scope="module")
def ada():
    return new_private_key("Ada")


@pytest.fixture
def public(ada, tmp_path):
    path = tmp_path / "ada.pub"
    path.write_text(ada.public.pem)
    return path


def opened(panel, qtbot, path):
    panel.open(path)
    qtbot.waitUntil(lambda: panel.assessment is not None, timeout=WAIT)


def test_a_strangers_key_becomes_a_friends(panel, qtbot, ada, public, tmp_path):
    path = write_safetensors(tmp_path / "m.safetensors", {"a": [1.0]})
    sign_path(path, ada)
    opened(panel, qtbot, path)
    card = panel.facts.signature
    qtbot.waitUntil(card.isVisible, timeout=WAIT)
    assert f"Signed by {ada.public.key_id[:16]}" in card.text.text().replace("\u200b", "")
    assert "a key you do not know" in card.text.text()
    assert not card.property("tone")
    qtbot.waitUntil(card.trust.isEnabled, timeout=WAIT)
    card.trust.click()
    dialog = panel.trust
    panel.answers.path = str(public)
    dialog.choose.click()
    assert not dialog.ok.isEnabled()
    dialog.name.setText("Ada Lovelace")
    dialog.ok.click()
    qtbot.waitUntil(lambda: "whom you trust (Ada Lovelace)" in card.text.text(), timeout=WAIT)
    assert card.property("tone") != "ok"  # it does not praise the model
    assert not card.trust.isVisible()
    qtbot.waitUntil(lambda: not panel.actions_["file.trust"].isEnabled(), timeout=WAIT)
    assert [key.name for key in trusted_keys()] == ["Ada Lovelace"]
    (tmp_path / "other").mkdir()
    other = write_safetensors(tmp_path / "other" / "m.safetensors", {"a": [1.0]})
    opened(panel, qtbot, other)
    assert not card.isVisible()
    write_safetensors(path, {"a": [2.0]})
    opened(panel, qtbot, path)
    qtbot.waitUntil(card.isVisible, timeout=WAIT)
    assert card.text.text().startswith("The signature does not fit this file")
    assert card.property("tone") == "danger"


def test_another_key_is_not_taken_for_the_one_that_signed(qtbot, ada, public, tmp_path):
    answers = Answers()
    dialog = TrustDialog("e845" * 16, "", answers.prompts())
    qtbot.addWidget(dialog)
    dialog.name.setText("Ada")
    dialog.take(public)
    assert "is not the key that the signature names" in dialog.state.text()
    assert not dialog.ok.isEnabled()
    dialog.take(tmp_path)
    assert "is a folder" in dialog.state.text()
    public.write_bytes(ada.to_pem())
    dialog.take(public)
    assert "nobody should hand out" in dialog.state.text()
    assert trusted_keys() == ()


def test_a_name_that_is_taken_is_told(qtbot, ada, public, tmp_path):
    new_key("Ada")
    dialog = TrustDialog(ada.public.key_id, "", Answers().prompts())
    qtbot.addWidget(dialog)
    dialog.take(public)
    dialog.name.setText("ada")
    dialog.ok.click()
    assert "already" in dialog.state.text()
    dialog.name.setText("\N{CYRILLIC CAPITAL LETTER A}da")
    assert "looks like 'Ada', the name of your own key" in dialog.state.text()
    assert dialog.ok.isEnabled()
    dialog.name.setText("Ada L.")
    assert not dialog.state.text()
    with qtbot.waitSignal(dialog.trusted):
        dialog.ok.click()
