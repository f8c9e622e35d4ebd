"""Names, program code, keys and values of tensors: foreign text is escaped, long texts are cut."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from PySide6.QtCore import QStandardPaths, Qt
from PySide6.QtWidgets import QApplication, QWidget

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.code_view import MAX_CHARACTERS, CodeView
from cleanclip_gui.checkpoint.keys_view import KeysView, NamesView
from cleanclip_gui.checkpoint.known_dialog import KnownDialog, rate
from cleanclip_gui.checkpoint.tensor_page import HistogramCard
from cleanclip_gui.widgets import prompts
from cleanclip_gui.widgets.prompts import file_prompts
from ml_core.checkpoints.known import known_files, own_file
from ml_core.jobs.demo import demo_checkpoint
from ml_core.reading import inspect
from ml_core.reading.key_mismatch import KeyLists, WrongShape


def groups(view):
    tree = view.tree
    return [tree.topLevelItem(number) for number in range(tree.topLevelItemCount())]


def test_unknown_names_come_first_and_are_escaped(qtbot):
    view = NamesView()
    qtbot.addWidget(view)
    view.set_names(
        {"tensors": ("torch.FloatStorage",), "data": (), "unknown": ("os\u202e.system",)}
    )
    titles = [head.text(0).split(":")[0] for head in groups(view)]
    assert titles == ["Foreign code", "Builds tensors"]
    assert groups(view)[0].child(0).text(0) == "os\\u202e.system"
    assert groups(view)[0].foreground(0).color() == theme.colour("danger")
    view.set_names({"unknown": tuple(f"a{n}.b" for n in range(5000))})  # a flood is cut
    (head,) = groups(view)
    assert "5\u2009000 names" in head.text(0)
    assert head.childCount() == 2001
    assert "3\u2009000 more" in head.child(2000).text(0)


def test_code_is_shown_record_by_record(qtbot):
    view = CodeView()
    qtbot.addWidget(view)
    view.set_code([("code/a.py", "def f():\n  return 1\n"), ("code/b\u202e.py", "x\x1b[31m\n")])
    assert view.text.toPlainText() == "def f():\n  return 1\n"
    assert view.text.isReadOnly()
    assert "2 records" in view.words.text()
    view.list.setCurrentIndex(view.list.model().index(1))
    assert view.list.currentIndex().data() == "b\\u202e.py"
    assert "below code/" in view.words.text()
    assert view.text.toPlainText() == "x\\x1b[31m\n"
    view.set_code([("code/a.py", "x" * (MAX_CHARACTERS + 1))])
    shown = view.text.toPlainText()
    assert len(shown) < MAX_CHARACTERS + 200
    assert "Only the beginning is shown: the record has 200\u2009001 characters." in shown
    view.set_code([])
    assert view.text.toPlainText() == ""


def counted(**fields):
    shown = {"low": -2.0, "high": 2.0, "counts": (1, 0, 1000, 10), "nan": 0, "inf": 0}
    return SimpleNamespace(**{"name": "w", "seen": 1011, "total": 1011} | shown | fields)


def painted(card):
    """How many pixels have the colour of the bars, column by column."""
    image = card.bars.grab().toImage()
    colour = theme.series_colours()[0]
    return [
        sum(image.pixelColor(x, y).name() == colour for y in range(image.height()))
        for x in range(image.width())
    ]


def test_a_histogram_is_painted_as_counted(qtbot):
    card = HistogramCard()
    qtbot.addWidget(card)
    card.resize(600, 176)
    card.begin("w\u202e")
    assert card.name.text() == "w\\u202e"
    assert not any(painted(card))
    card.show_counts(counted())
    columns = painted(card)
    quarter = len(columns) // 4
    middles = [columns[n * quarter + quarter // 2] for n in range(4)]
    assert middles[2] == max(middles)
    assert middles[:2] == [1, 0]  # one value of a thousand is still seen
    assert card.facts.text() == "1\u2009011 values"
    card.log.setChecked(True)
    assert painted(card)[quarter // 2] > 5
    card.show_counts(counted(nan=2, inf=1, seen=1014, total=2000))
    assert card.facts.text() == "1\u2009014 of 2\u2009000 values, not counted: 2 NaN, 1 Inf"
    assert card.facts.property("role") == "error"
    card.show_counts(counted(low=math.nan, high=math.nan, counts=(0,), seen=0, total=0))
    card.show_counts(counted(low=0.0, high=5e-324, counts=(2,)))
    card.grab()


def test_nothing_is_saved_among_the_files_of_the_program(qtbot, tmp_path, monkeypatch):
    folders = []
    monkeypatch.setattr(QStandardPaths, "writableLocation", lambda _: str(tmp_path))
    monkeypatch.setattr(
        prompts, "_answer", lambda dialog: folders.append(dialog.directory().path()) or []
    )
    parent = QWidget()
    qtbot.addWidget(parent)
    (tmp_path / "models").mkdir()
    asking = file_prompts(str)
    for path in (demo_checkpoint(), tmp_path / "models" / "m.safetensors"):
        proposed = path.with_suffix(".cleanclip")
        asking.save_file(parent, "Save session", str(proposed), "Sessions (*.cleanclip)")
    assert folders == [str(tmp_path), str(tmp_path / "models")]


def test_dialogs_begin_beside_the_checkpoint_and_then_where_the_last_file_was(
    qtbot, tmp_path, monkeypatch
):
    folders, answers = [], [tmp_path / "data" / "images", tmp_path / "data" / "pairs.csv"]
    for name in ("models", "data/images"):
        (tmp_path / name).mkdir(parents=True)

    def answer(dialog):
        folders.append(Path(dialog.directory().path()).name)
        return [str(answers[len(folders) - 1])] if len(folders) <= len(answers) else []

    monkeypatch.setattr(prompts, "_answer", answer)
    parent = QWidget()
    qtbot.addWidget(parent)
    asking = file_prompts(lambda: str(tmp_path / "models"))
    assert asking.open_folder(parent, "Folder of pictures", "") == str(answers[0])
    assert asking.open_file(parent, "Pairs", str(demo_checkpoint()), "*") == str(answers[1])
    assert asking.open_files(parent, "Patches", "", "*") == []
    asking.save_file(parent, "Save cleaned checkpoint", "m-cleaned.safetensors", "*.safetensors")
    asking.open_file(parent, "Reference", str(tmp_path / "models"), "*")
    assert folders == ["models", "data", "data", "models", "models"]


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
    (tmp_path / "refused.pt").write_bytes(b"nothing")
    inspection = inspect(tmp_path / "refused.pt")
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
