"""Names, program code and a tensor's values: foreign text is escaped, long texts are cut."""

import math
from types import SimpleNamespace

from PySide6.QtCore import QStandardPaths
from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.code_view import MAX_CHARACTERS, CodeView
from cleanclip_gui.checkpoint.keys_view import NamesView
from cleanclip_gui.checkpoint.tensor_page import HistogramCard
from cleanclip_gui.widgets import prompts
from cleanclip_gui.widgets.prompts import Prompts
from ml_core.jobs.demo import demo_checkpoint


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
    assert titles == ["Unknown code", "Builds tensors"]
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
    for path in (demo_checkpoint(), tmp_path / "models" / "m.safetensors"):
        proposed = path.with_suffix(".cleanclip")
        Prompts().save_file(parent, "Save session", str(proposed), "Sessions (*.cleanclip)")
    assert folders == [str(tmp_path), str(tmp_path / "models")]
