"""Two checkpoints side by side: where they differ is seen, read and sorted."""

import math
import time
from dataclasses import dataclass

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.comparison import ComparisonView, HeatStrip
from cleanclip_gui.checkpoint.station import _COMPARISON
from cleanclip_gui.widgets.text import change_text
from ml_core.checkpoints.compare import TensorChange
from tests.gui.shell_fakes import write_safetensors

WAIT = 20_000


@dataclass
class Layer:
    name: str
    relative: float
    tensors: int = 2
    changed: int = 1


@pytest.fixture
def strip(qtbot):
    strip = HeatStrip("Image encoder")
    qtbot.addWidget(strip)
    strip.resize(400, 34)
    strip.show()
    layers = [Layer("visual.a", 0.0, changed=0), Layer("visual.b", 0.01), Layer("visual.c", 0.04)]
    strip.set_layers([*layers, Layer("visual.d\u202e", math.inf)], 0.04)
    return strip


def test_what_became_nan_is_sorted_first_and_says_so(qtbot):
    view = ComparisonView()
    qtbot.addWidget(view)
    view.begin("other.pt", 4)
    view.add([TensorChange("zero", "changed", 1.0, 0.0), TensorChange("<i>d", "other shape")])
    view.add([TensorChange("nan", "changed", 0.0, 1.0, 3), TensorChange("new", "only second")])
    assert "2 changed, 1 another shape, 1 only in the other" in view.words.text()
    view.end()
    texts = [change_text(change) for change in (0, 0.0312, 1e-5, 2.0, 50.0, math.inf)]
    assert texts == ["0 %", "3.1 %", "0.001 %", "200 %", "50 times", "from zero"]
    model = view.table.rows
    cells = [[model.index(row, column).data() for column in (0, 2)] for row in range(2)]
    assert cells == [["nan", "not a number"], ["zero", "from zero"]]
    view.table.sortByColumn(2, Qt.SortOrder.AscendingOrder)
    view.add([TensorChange("least", "changed", 0.1, 1000.0)])
    view.end()  # in the order that was chosen
    order = [model.index(row, 0).data() for row in range(5)]
    assert order[2:] == ["least", "zero", "nan"]
    tip = model.index(order.index("<i>d"), 0).data(Qt.ItemDataRole.ToolTipRole)
    assert tip == "<span>&lt;i&gt;d</span>"


def test_a_layer_is_read_by_mouse_and_keys(strip, qtbot):
    told = []
    strip.pointed.connect(told.append)
    QTest.mouseMove(strip, QPoint(150, 10))
    assert told[-1] == "visual.b: 1 % (1 of 2 tensors differ)"
    for _ in range(3):
        QTest.keyClick(strip, Qt.Key.Key_Right)
    assert told[-1] == "visual.d\\u202e: from zero (1 of 2 tensors differ)"
    for _ in range(5):
        QTest.keyClick(strip, Qt.Key.Key_Left)
    assert told[-1] == "visual.a: 0 % (equal)"
    assert "from zero" in strip.accessibleDescription()
    strip.set_layers([Layer("visual.a", math.nan), Layer("visual.b", math.inf)], 0.0)
    assert strip.colour(0).name() == theme.series_colours()[1]
    assert strip.accessibleDescription().startswith("Most: visual.a: not a number")


@pytest.fixture
def panel(panel, qtbot, tmp_path):
    """With a file that is open, and another beside it."""
    tensors = {"visual.l.0.w": [3.0, 4.0], "visual.l.1.w": [1.0], "text.w": [1.0]}
    panel.open(write_safetensors(tmp_path / "a.safetensors", tensors))
    qtbot.waitUntil(lambda: panel.tensors.complete, timeout=WAIT)
    write_safetensors(tmp_path / "b.safetensors", tensors | {"visual.l.0.w": [3.0, 4.5]})
    return panel


def compare(panel, path):
    panel.answers.path = str(path)
    panel.actions_["file.compare"].trigger()


def test_another_checkpoint_is_compared_in_its_own_tab(panel, qtbot, tmp_path):
    assert not panel.tabs.isTabVisible(_COMPARISON)
    compare(panel, tmp_path / "b.safetensors")
    assert panel.tabs.currentWidget() is panel.comparison
    view = panel.comparison
    qtbot.waitUntil(lambda: view.strips.isVisible(), timeout=WAIT)
    assert view.title.text() == "Compared with b.safetensors"
    assert "2 equal, 1 changed" in view.words.text()
    assert view.table.rows.index(0, 0).data() == "visual.l.0.w"
    assert view.table.rows.index(0, 2).data() == "10 %"
    assert view.read_out.text().startswith("Largest layer change: 10 % (single tensors may")
    assert not view.busy.isVisible()
    panel.open(tmp_path / "b.safetensors")
    qtbot.waitUntil(lambda: panel.tensors.complete, timeout=WAIT)
    assert not panel.tabs.isTabVisible(_COMPARISON)
    assert panel.tabs.currentIndex() != _COMPARISON


def test_a_refused_file_is_not_compared(panel, qtbot, tmp_path):
    path = tmp_path / "bad.pt"
    path.write_bytes(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.")
    with qtbot.waitSignal(panel.comparison.failed, timeout=WAIT) as failed:
        compare(panel, path)
    assert "os.system" in failed.args[0].sentence
    assert panel.comparison.words.text() == "The comparison did not finish."


def test_a_comparison_can_be_cancelled(panel, qtbot, tmp_path, monkeypatch):
    def slow(first, second, cancelled):
        yield TensorChange("visual.l.0.w", "equal", 0.0, 1.0)
        while not cancelled():
            time.sleep(0.01)
            yield TensorChange("more", "equal", 0.0, 1.0)

    monkeypatch.setattr("ml_core.checkpoints.compare.compare_checkpoints", slow)
    compare(panel, tmp_path / "b.safetensors")
    qtbot.waitUntil(lambda: panel.comparison.table.rows.rowCount() > 0, timeout=WAIT)
    panel.comparison.busy.cancel.click()
    rows = panel.comparison.table.rows.rowCount()
    assert "Cancelled" in panel.comparison.words.text()
    qtbot.wait(200)
    assert panel.comparison.table.rows.rowCount() == rows
