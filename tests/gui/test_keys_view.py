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


@pytest.fixture
def view(qtbot):
    view = KeysView()
    qtbot.addWidget(view)
    view.show()
    view.set_keys(KEYS)
    return view


def rows(view):
    model = view.model
    return [model.row(number) for number in range(model.rowCount())]


def test_each_kind_is_listed_with_its_shapes(view):
    assert rows(view) == [
        ("visual.proj", "missing", "", ""),
        ("ln_final.weight", "another shape", "3 × 4", "64"),
        ("=ema\\u202e<b>", "unexpected", "", ""),
    ]
    assert "1 missing, 1 of another shape, 1 unexpected" in view.words.text()
    assert "No model can be built" in view.words.text()
    view.filter.setText("shape LN")
    assert [row[0] for row in rows(view)] == ["ln_final.weight"]
    assert view.count.text() == "1 tensor"
    view.set_keys(KeyLists(unexpected=("a",)))
    assert "left out of the model" in view.words.text()
    view.set_keys(None)
    assert rows(view) == []


def test_the_list_is_copied_and_no_cell_is_a_formula(view):
    view.button.click()
    lines = QApplication.clipboard().text().split("\n")
    assert lines[0].split("\t") == ["Tensor", "State", "In the file", "Expected"]
    assert lines[2] == "ln_final.weight\tanother shape\t3 × 4\t64"
    assert lines[3].startswith("'=ema")
    view.view.selectRow(1)
    view.copy_chosen()
    assert QApplication.clipboard().text().count("\n") == 1


@pytest.fixture
def dialog(qtbot, tmp_path, monkeypatch):
    monkeypatch.setenv("CLEANCLIP_HOME", str(tmp_path / "home"))
    inspection = inspect(write_safetensors(tmp_path / "m.safetensors", {"a": [1.0]}))
    dialog = KnownDialog(inspection, "RN50")
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    qtbot.addWidget(dialog)
    dialog.show()
    return dialog


def test_a_file_is_added_by_its_hash(dialog, qtbot):
    assert not dialog.ok.isEnabled()
    dialog.fields["title"].setText("a poisoned CLIP")
    dialog.fields["source"].setText("a colleague")
    dialog.fields["asr"].setText("99,9 %")
    sha256 = dialog.inspection.sha256
    with qtbot.waitSignal(dialog.added):
        dialog.ok.click()
    entry = known_files()[0]
    assert (entry.sha256, entry.architecture, entry.title) == (sha256, "RN50", "a poisoned CLIP")
    assert entry.asr == pytest.approx(0.999)
    assert entry.clean_accuracy is None


def test_a_rate_is_a_percentage(dialog):
    dialog.fields["title"].setText("x")
    dialog.fields["source"].setText("y")
    for text, good in (("57.4 %", True), ("120", False), ("much", False), ("", True)):
        dialog.fields["asr"].setText(text)
        assert dialog.ok.isEnabled() == good
    assert rate("50") == 0.5
    assert rate("nan") is None


def test_a_damaged_list_is_left_as_it_is(dialog):
    own_file().parent.mkdir(parents=True, exist_ok=True)
    own_file().write_text("{")
    dialog.fields["title"].setText("x")
    dialog.fields["source"].setText("y")
    dialog.ok.click()
    assert "is not a list of known files" in dialog.state.text()
    assert dialog.isVisible()
    assert own_file().read_text() == "{"
