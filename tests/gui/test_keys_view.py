"""Missing, unexpected, wrong shape: listed in full, filtered, copied; and what the station adds."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from cleanclip_gui.checkpoint.keys_view import KeysView
from cleanclip_gui.checkpoint.known_dialog import KnownDialog, rate
from ml_core.checkpoints.known import known_files, own_file
from ml_core.reading import inspect
from ml_core.reading.key_mismatch import KeyLists, WrongShape
from tests.gui.shell_fakes import write_safetensors

KEYS = KeyLists(
    missing=("visual.proj",),
    unexpected=("=ema\u202e<b>",),
    wrong_shape=(WrongShape("ln_final.weight", (3, 4), (64,)),),
)


def rows(view):
    model = view.model
    return [model.row(number) for number in range(model.rowCount())]


def test_each_kind_is_listed_with_its_shapes_and_copied(qtbot):
    view = KeysView()
    qtbot.addWidget(view)
    view.show()
    view.set_keys(KEYS)
    assert rows(view) == [
        ("visual.proj", "missing", "", ""),
        ("ln_final.weight", "another shape", "3 × 4", "64"),
        ("=ema\\u202e<b>", "unexpected", "", ""),
    ]
    assert "1 missing, 1 of another shape, 1 unexpected" in view.words.text()
    view.button.click()
    lines = QApplication.clipboard().text().split("\n")
    assert lines[0].split("\t") == ["Tensor", "State", "In the file", "Expected"]
    assert lines[2] == "ln_final.weight\tanother shape\t3 × 4\t64"
    assert lines[3].startswith("'=ema")  # no formula
    view.view.selectRow(1)
    view.copy_chosen()
    assert QApplication.clipboard().text().count("\n") == 1
    view.filter.setText("shape LN")
    assert [row[0] for row in rows(view)] == ["ln_final.weight"]
    assert view.count.text() == "1 tensor"
    view.set_keys(KeyLists(unexpected=("a",)))
    assert "left out of the model" in view.words.text()
    view.set_keys(None)
    assert rows(view) == []


def test_a_known_file_has_rates_and_a_damaged_list_is_left_as_it_is(qtbot, tmp_path, monkeypatch):
    monkeypatch.setenv("CLEANCLIP_HOME", str(tmp_path / "home"))
    inspection = inspect(write_safetensors(tmp_path / "m.safetensors", {"a": [1.0]}))
    dialog = KnownDialog(inspection, "RN50")
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    qtbot.addWidget(dialog)
    dialog.show()
    assert not dialog.ok.isEnabled()
    dialog.fields["title"].setText("x")
    dialog.fields["source"].setText("y")
    for text, good in (("57.4 %", True), ("120", False), ("much", False), ("99,9 %", True)):
        dialog.fields["asr"].setText(text)
        assert dialog.ok.isEnabled() == good
    assert rate("nan") is None
    own_file().parent.mkdir(parents=True, exist_ok=True)
    own_file().write_text("{")
    dialog.ok.click()
    assert "is not a list of known files" in dialog.state.text()
    assert (dialog.isVisible(), own_file().read_text()) == (True, "{")
    own_file().unlink()
    with qtbot.waitSignal(dialog.added):
        dialog.ok.click()
    assert known_files()[0].sha256 == inspection.sha256
    assert known_files()[0].asr == pytest.approx(0.999)
