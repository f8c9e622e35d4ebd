"""Verdict first, facts when the model is there, statistics after; foreign text made harmless."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel, QToolButton

from cleanclip_gui.jobs.inference import Inference
from cleanclip_gui.panels.checkpoint import CheckpointPanel
from cleanclip_gui.session import Session
from cleanclip_gui.text import bytes_text, count_text, plain
from cleanclip_gui.widgets.tensor_table import TensorModel
from ml_core.reading import TensorInfo
from tests.gui.shell_fakes import FakeEngine, write_safetensors


@pytest.fixture
def panel(qtbot):
    inference = Inference(FakeEngine)
    panel = CheckpointPanel(Session(), inference)
    qtbot.addWidget(panel)
    panel.resize(1200, 700)
    panel.show()
    yield panel
    panel.stop()
    assert inference.close()


def labels(widget):
    return [w.text() for w in widget.findChildren(QLabel) if w.isVisible()]


def test_the_card_is_there_at_once_then_verdict_facts_and_statistics(panel, qtbot, tmp_path):
    path = write_safetensors(
        tmp_path / "m.safetensors",
        {"b": [1.0, math.nan, 0.0], "a": [[2.0, -4.0]]},
        {"provenance": '{"by": "x\\u202ey"}'},
    )
    panel.open(path)
    assert panel.verdict.verdict.text() == "Reading…"
    assert panel.verdict.name.text() == "m.safetensors"
    qtbot.waitUntil(lambda: panel._session.checkpoint is not None, timeout=10_000)
    assert panel.verdict.property("tone") in ("ok", "caution")
    qtbot.waitUntil(lambda: "ResNet 64 px" in labels(panel), timeout=10_000)
    shown = labels(panel)
    assert "8 heads assumed" in shown
    assert str(path) in shown
    assert "\\u202e" in panel.metadata.toPlainText()
    assert "\u202e" not in panel.metadata.toPlainText()
    model = panel.tensors.model
    assert model.rowCount() == 2
    qtbot.waitUntil(lambda: model.index(1, 7).data() != "", timeout=10_000)
    row = [model.index(1, column).data() for column in range(11)]
    assert row[:4] == ["a", "1 × 2", "F32", "8"]
    assert row[4:8] == ["-4", "2", "-1", "3"]
    nan_row = [model.index(0, column).data() for column in range(11)]
    assert nan_row[8:] == ["1", "0", "1"]


def test_the_hash_is_copied_whole(panel, qtbot, tmp_path):
    path = write_safetensors(tmp_path / "m.safetensors", {"a": [1.0]})
    panel.open(path)
    qtbot.waitUntil(lambda: panel._session.checkpoint is not None, timeout=10_000)
    buttons = panel.identity.findChildren(QToolButton)
    hash_button = next(b for b in buttons if b.accessibleName() == "Copy SHA-256")
    hash_button.click()
    assert QApplication.clipboard().text() == panel.inspection.sha256
    assert len(panel.inspection.sha256) == 64


def test_a_pickle_is_refused_on_a_calm_card_and_never_opened(panel, qtbot, tmp_path):
    path = tmp_path / "evil.pt"
    path.write_bytes(b"\x80\x02cos\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03.")
    before = set(QApplication.topLevelWidgets())
    with qtbot.waitSignal(panel.refused, timeout=10_000) as refused:
        panel.open(path)
    assert refused.args[0].verdict == "dangerous"
    assert panel.verdict.property("tone") == "danger"
    assert "Refused" in panel.verdict.verdict.text()
    assert panel.verdict.reason.text()
    assert panel._session.checkpoint is None
    assert not panel.tabs.isVisible()
    assert {w for w in QApplication.topLevelWidgets() if w.isVisible()} <= before


def test_a_model_that_does_not_load_says_why_on_the_card(panel, qtbot, tmp_path):
    path = write_safetensors(tmp_path / "refuse.safetensors", {"a": [1.0]})
    panel.open(path)
    qtbot.waitUntil(lambda: "visual.proj" in panel.verdict.reason.text(), timeout=10_000)
    assert panel.verdict.verdict.text() == "It could not be opened"


def test_a_missing_file_says_so(panel, qtbot, tmp_path):
    panel.open(tmp_path / "gone.safetensors")
    qtbot.waitUntil(lambda: panel.verdict.verdict.text().startswith("It could"), timeout=10_000)


@dataclass
class Row:
    name: str
    min: float
    max: float
    mean: float = 0.0
    std: float = 0.0
    nan: int = 0
    inf: int = 0
    zeros: int = 0


@pytest.fixture
def model():
    model = TensorModel()
    model.set_tensors(
        [
            TensorInfo("visual.conv1", "F32", (24, 3, 3, 3), 0, 2592),
            TensorInfo("logit_scale", "F32", (), 2592, 4),
            TensorInfo("text.proj", "F16", (64, 128), 2596, 16384),
        ]
    )
    return model


def names(model):
    return [model.index(row, 0).data() for row in range(model.rowCount())]


def test_the_table_keeps_the_files_order_and_sorts_numbers_as_numbers(model):
    assert names(model) == ["visual.conv1", "logit_scale", "text.proj"]
    model.sort(3)
    assert names(model) == ["logit_scale", "visual.conv1", "text.proj"]
    model.sort(1, Qt.SortOrder.DescendingOrder)
    assert names(model) == ["text.proj", "visual.conv1", "logit_scale"]


def test_the_filter_wants_every_word(model):
    model.set_filter("f32 CONV")
    assert names(model) == ["visual.conv1"]
    assert model.shown_bytes == 2592
    model.set_filter("")
    assert model.rowCount() == 3


def test_statistics_stay_with_their_tensor_when_sorted(model):
    model.add_stats([Row("text.proj", -1, 1), Row("visual.conv1", -0.5, 3.0)])
    model.sort(5, Qt.SortOrder.DescendingOrder)
    assert names(model) == ["visual.conv1", "text.proj", "logit_scale"]
    assert [model.index(r, 5).data() for r in range(3)] == ["3", "1", ""]


def test_ten_thousand_tensors_filter_and_sort_quickly(qtbot):
    import time

    model = TensorModel()
    model.set_tensors([TensorInfo(f"layer.{i}", "F32", (i,), 0, i * 4) for i in range(10_000)])
    start = time.perf_counter()
    model.sort(3, Qt.SortOrder.DescendingOrder)
    model.set_filter("layer.99")
    assert time.perf_counter() - start < 2.0
    assert names(model)[0] == "layer.9999"
    assert model.rowCount() == 111


def test_foreign_text_is_escaped():
    assert plain("a\u202eb\x00c\u200bd\n") == "a\\u202eb\\x00c\\u200bd\\n"
    assert plain("a\nb", lines=True) == "a\nb"
    assert plain("é 漢 × →") == "é 漢 × →"
    assert plain("\ud800") == "\\ud800"
    assert plain("x" * 50, 10) == "x" * 9 + "…"
    assert plain(np.float64(1.5)) == "1.5"


def test_sizes_and_counts_read_well():
    assert bytes_text(1023) == "1023 B"
    assert bytes_text(1536) == "1.5 KiB"
    assert bytes_text(3 * 1024**3) == "3.0 GiB"
    assert count_text(1234567) == "1\u2009234\u2009567"


def test_another_suspect_takes_the_cleaned_model_of_the_old_one_away(panel, qtbot, tmp_path):
    session = panel._session
    for name in ("first.safetensors", "second.safetensors"):
        path = write_safetensors(tmp_path / name, {"a": [1.0]})
        panel.open(path)
        qtbot.waitUntil(
            lambda path=path: (
                session.checkpoint is not None and session.checkpoint.path == str(path)
            ),
            timeout=10_000,
        )
        assert (session.role, session.cleaned) == ("suspect", None)
        session.cleaned, session.role = session.checkpoint, "cleaned"
        assert session.shown is session.cleaned
