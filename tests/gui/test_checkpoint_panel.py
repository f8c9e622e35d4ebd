"""Verdict first, facts when the model is there, statistics after; foreign text made harmless."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel, QToolButton

from cleanclip_gui.checkpoint.station import _NAMES
from cleanclip_gui.checkpoint.tensor_model import TensorModel, columns_of
from cleanclip_gui.session.records import JobState, RunState
from cleanclip_gui.session.settings import PastResult
from cleanclip_gui.widgets.text import day_and_time, plain
from ml_core.reading import TensorInfo
from tests.gui.factories import evaluation
from tests.gui.shell_fakes import write_safetensors
from tests.hostile.container_bytes import small_onnx

EVIL = b"\x80\x02cos\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03."


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
    qtbot.waitUntil(lambda: "ResNet 64 px" in labels(panel), timeout=10_000)
    assert {"8 heads", "ReLU", str(path)} <= set(labels(panel))
    assert labels(panel).count("Assumed") == 1  # above both
    assert "\\u202e" in panel.metadata.toPlainText()
    assert "\u202e" not in panel.metadata.toPlainText()
    model = panel.tensors.table.model
    qtbot.waitUntil(lambda: model.index(1, 7).data() != "", timeout=10_000)
    row, nan_row = ([model.index(row, column).data() for column in range(11)] for row in (0, 1))
    assert row == ["a", "1 × 2", "F32", "-4", "2", "-1", "3", "0", "0", "", "8"]
    assert nan_row[7:9] == ["1 / 0", "1"]
    assert "nothing in it to run" in panel.facts.sheet.elsewhere.text.text()
    assert not panel.tabs.isTabVisible(_NAMES)
    buttons = panel.facts.sheet.identity.findChildren(QToolButton)
    next(b for b in buttons if b.accessibleName() == "Copy SHA-256").click()
    assert QApplication.clipboard().text() == panel.inspection.sha256


def test_what_can_be_read_is_not_called_good(panel, qtbot, tmp_path):
    panel.open(write_safetensors(tmp_path / "m.safetensors", {"a": [1.0]}))
    card = panel.verdict
    qtbot.waitUntil(card.answer.isVisible, timeout=10_000)
    assert card.property("tone") in ("info", "caution")
    sha256, tried = panel.inspection.sha256, "ASR 97.8 % with Sticker"
    for trigger, measured, text in (
        ("t", "of another", "Not tested"), (None, sha256, "Not tested"), ("t", sha256, tried),
    ):  # fmt: skip
        panel.session.evaluation = evaluation(
            trigger=trigger, trigger_name="Sticker", asr_excl=0.978, checkpoint_sha256=measured
        )
        assert card.answer.text() == text
    estimate = evaluation(trigger="t", asr_excl=0.5, checkpoint_sha256=sha256, partial=True)
    panel.session.evaluation = estimate
    assert card.answer.text() == tried  # until all pictures are in
    panel.session.evaluation = evaluation(  # of another file, say: it does nothing here
        trigger="t", trigger_name="Sticker", asr_excl=0.001, checkpoint_sha256=sha256
    )
    assert card.answer.text() == "Not tested (ASR 0.1 % with Sticker)"
    assert panel.session.answer.words == "Not tested"
    assert card.next.text() == "Examine"


def test_the_card_says_what_the_last_scan_of_the_file_found(panel, qtbot, tmp_path):
    path = write_safetensors(tmp_path / "m.safetensors", {"scanned": [3.0]})
    panel.open(path)
    card, settings = panel.verdict, panel._settings
    qtbot.waitUntil(card.answer.isVisible, timeout=10_000)
    sha256 = panel.inspection.sha256

    def scan(verdict, made, digest=sha256, target=""):
        facts = {"folder": f"/{made}", "verdict": verdict, "target": target, "made": made}
        settings.add_result("scan", PastResult(sha256=digest, **facts))
        panel.session.show_job("scan", JobState(f"/{made}", "finished", verdict, target))

    scan("found", 1.0, "of another", "pear")
    assert card.answer.text() == "Not tested"
    assert card.next.text() == "Examine"
    scan("found", 5.0, target="banana")
    banana = f"Backdoor-like: banana (scan, {day_and_time(5.0)})"
    assert card.answer.text() == banana
    assert card.property("tone") == "danger"
    assert card.answer.y() < card.verdict.y()
    assert "Backdoor-like" in card.accessibleDescription()
    panel.session.evaluation = evaluation(
        trigger="t", trigger_name="Sticker", asr_excl=0.978, checkpoint_sha256=sha256
    )
    assert card.answer.text() == banana.replace(")", "; ASR 97.8 % with Sticker)")
    panel.session.evaluation = None
    scan("suspicious", 5.5, target="pear")
    assert card.answer.text().startswith("Suspicious: pear (scan, ")
    assert card.property("tone") == "caution"
    settings.forget_result("scan", "/5.5")
    scan("nothing", 2.0)  # an older one, shown again
    assert card.answer.text() == banana
    scan("nothing", 9.0)
    assert card.answer.text().startswith("Nothing found in this search (scan, ")
    assert card.property("tone") in ("info", "caution")
    rates = {"before": {"asr_excl": 0.981}, "after": {"asr_excl": 0.019}, "source_sha256": sha256}
    panel.session.run = RunState("/run", "cleanclip", "finished", result=rates)
    assert card.answer.text().startswith("Nothing found in this search (scan, ")
    assert card.answer.text().endswith("). Cleaned copy: ASR 98.1 → 1.9 %")
    panel.session.run = RunState(
        "/run", "cleanclip", "finished", result=rates | {"checkpoint_sha256": sha256}
    )  # the copy is open, and what is known of it is not about an original
    assert card.answer.text().startswith("Cleaned copy: ASR 98.1 → 1.9 % (scan, ")
    panel.session.run = RunState("", "auto", "running", source=panel.session.checkpoint.path)
    assert card.answer.text().endswith("). Being cleaned")
    panel.session.run = None
    used = panel.session.checkpoint
    other = replace(used, inspection=replace(used.inspection, sha256="c" * 64))
    panel.session.cleaned, panel.session.role, panel.session.station = other, "cleaned", "studio"
    assert panel.session.answer.words == "Not tested"  # of the file that Studio shows
    panel.session.station = "checkpoint"
    assert card.answer.text().startswith("Nothing found in this search (scan, ")
    panel.open(path)
    assert not card.answer.isVisible()


def offered(panel):
    """Ids of the commands in the menu of the card."""
    menu = panel.verdict.more.menu()
    menu.aboutToShow.emit()
    return {action.objectName() for action in menu.actions()} - {""}


def is_refused(panel):
    return panel.inspection is not None and panel.inspection.refused


def test_refused_pickles_are_never_opened_and_show_their_names(panel, qtbot, tmp_path):
    """Also the second in a row, and one after a model."""
    before = set(QApplication.topLevelWidgets())
    for name in ("first", "second", "model", "third"):
        if name == "model":
            panel.open(write_safetensors(tmp_path / "m.safetensors", {"a": [1.0]}))
            qtbot.waitUntil(lambda: panel.tensors.complete, timeout=10_000)
            assert panel.facts.sheet.isVisible()
            panel.session.checkpoint = None
            continue
        path = tmp_path / f"{name}.pt"
        path.write_bytes(EVIL)
        panel.open(path)
        qtbot.waitUntil(lambda: is_refused(panel), timeout=10_000)
        assert panel.verdict.property("tone") == "danger"
        assert panel.verdict.verdict.text() == "Refused: dangerous"
        assert panel.session.checkpoint is None
        assert [n for n in range(7) if panel.tabs.isTabVisible(n)] == [0, _NAMES]
        assert panel.names.isVisible()
        assert panel.names.tree.topLevelItem(0).child(0).text(0) == "os.system"
    qtbot.waitUntil(lambda: "picklescan" in panel.facts.opinion.text.text(), timeout=20_000)
    assert offered(panel) == {"file.examine", "file.export", "file.known"}
    assert {w for w in QApplication.topLevelWidgets() if w.isVisible()} <= before


def test_a_file_with_one_encoder_asks_for_a_donor(panel, qtbot, tmp_path):
    panel.open(write_safetensors(tmp_path / "visual.safetensors", {"a": [1.0]}))
    card = panel.verdict
    qtbot.waitUntil(lambda: card.next.text() == "Choose a donor…", timeout=10_000)
    assert not card.answer.isVisible()
    assert "holds no text encoder" in card.reason.text()
    card.next.click()  # and backed out
    assert panel.session.checkpoint is None
    panel.answers.path = str(tmp_path / "donor.pt")
    card.next.click()
    qtbot.waitUntil(lambda: panel.session.checkpoint is not None, timeout=10_000)
    qtbot.waitUntil(lambda: panel.tensors.complete, timeout=10_000)
    assert panel.verdict.verdict.text() == "Readable. Nothing was run."
    assert panel.session.checkpoint.donor == str(tmp_path / "donor.pt")
    assert str(tmp_path / "donor.pt") in labels(panel)
    assert card.next.text() == "Examine"


def test_a_file_with_several_models_asks_which(panel, qtbot, tmp_path):
    """They are listed without reading the file again; the chosen one is opened by its address."""
    names = ("cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
             "other.text_model.embeddings.token_embedding.weight",
             "other.text_model.final_layer_norm.weight")  # fmt: skip
    path = write_safetensors(tmp_path / "sd.safetensors", {key: [1.0] for key in names})
    panel.open(path)
    qtbot.waitUntil(lambda: panel.parts is not None, timeout=10_000)
    assert panel.verdict.next.text() == "Choose which model…"
    assert panel.verdict.state.text() == "Not in use yet: choose a model."
    assert panel.session.checkpoint is None
    dialog = panel.parts
    qtbot.waitUntil(lambda: len(dialog.judged) == 2, timeout=10_000)
    assert [judged.path.name for judged in dialog.judged] == [
        "sd.safetensors#text_encoder", "sd.safetensors#other",
    ]  # fmt: skip
    dialog.opened.emit(str(dialog.judged[1].path))
    qtbot.waitUntil(lambda: panel.inspection is not None and panel.inspection.part == "other")
    assert panel.parts is None
    assert panel.verdict.next.text() == "Examine"
    assert [tensor.name for tensor in panel.inspection.tensors] == list(names[1:])


def test_a_file_that_does_not_open_says_why_on_the_card(panel, qtbot, tmp_path):
    (tmp_path / "x.bin").write_bytes(b"\xff" * 64)
    panel.open(tmp_path / "x.bin")
    qtbot.waitUntil(lambda: is_refused(panel), timeout=10_000)
    assert panel.verdict.verdict.text() == "Refused: unsupported"
    panel.open(tmp_path / "gone.safetensors")
    qtbot.waitUntil(lambda: panel.verdict.verdict.text().startswith("It could"), timeout=10_000)
    panel.open(write_safetensors(tmp_path / "refuse.safetensors", {"a": [1.0]}))
    qtbot.waitUntil(lambda: "visual.proj" in panel.verdict.reason.text(), timeout=10_000)
    assert panel.verdict.verdict.text() == "Refused: damaged"
    qtbot.waitUntil(
        lambda: panel.tensors.complete, timeout=10_000
    )  # its numbers are of use all the same
    assert panel.tensors.table.model.index(0, 4).data() == "1"


def test_a_pytorch_file_shows_values_names_and_shared_storages(panel, qtbot, tmp_path):
    torch = pytest.importorskip("torch")
    whole = torch.arange(8.0)
    state = {"left": whole[:6], "right": whole[4:], "alone": torch.zeros(2)}
    path = tmp_path / "m.pt"
    torch.save({"state_dict": state, "epoch": 7, "note": "a\u202eb"}, path)
    panel.open(path)
    qtbot.waitUntil(lambda: panel.tensors.complete, timeout=20_000)
    assert {"epoch", "7", "note", "a\\u202eb"} <= set(labels(panel))
    groups = [panel.names.tree.topLevelItem(n).text(0).split(":")[0] for n in range(2)]
    assert groups == ["Plain data", "Builds tensors"]
    assert "epoch: 7" in panel.metadata.toPlainText()
    model = panel.tensors.table.model
    rows = {model.index(r, 0).data(): model.index(r, 9) for r in range(3)}
    left, right, alone = (rows[f"state_dict.{name}"] for name in ("left", "right", "alone"))
    assert left.data() == right.data()
    assert left.data().startswith("2 share")
    assert alone.data() == ""
    assert "state_dict.right" in left.data(Qt.ItemDataRole.ToolTipRole)


def test_an_onnx_model_shows_its_graph(panel, qtbot, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(small_onnx())
    panel.open(path)
    qtbot.waitUntil(panel.facts.sheet.graph.isVisible, timeout=10_000)
    shown = labels(panel.facts.sheet.graph)
    assert any(text.endswith("operators of ai.onnx 17") for text in shown)
    assert any("MatMul 1" in text and "If 1" in text for text in shown)
    assert "own:f" in shown
    assert any("(If) chooses by the pixels" in text for text in labels(panel))


def test_program_code_is_shown_and_a_tensor_counted(panel, qtbot, tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(3, 2)), path)
    panel.open(path)
    qtbot.waitUntil(lambda: panel.tensors.complete, timeout=20_000)
    assert panel.verdict.verdict.text() == "Readable, with caution"
    assert "def forward" in panel.code.text.toPlainText()
    panel.tensors.table.view.selectRow(0)
    qtbot.waitUntil(lambda: panel.tensors.histogram.bars.shown is not None, timeout=10_000)
    counted = panel.tensors.histogram.bars.shown
    assert sum(counted.counts) == counted.total == panel.tensors.table.model.tensor_at(0).elements
    panel.open(path)
    assert not panel.tensors.histogram.isVisible()
    qtbot.waitUntil(lambda: panel.tensors.complete, timeout=20_000)


def test_numbers_are_short():
    model = TensorModel()
    model.set_columns(columns_of([TensorInfo("scale", "F32", (), 0, 4)]))
    row = SimpleNamespace(name="scale", max=0.0, mean=0.0, std=0.0, nan=0, inf=0, zeros=0)
    for row.min, text in (
        (6720.0, "6720"), (-0.0123, "-0.0123"), (-0.000123, "-1.2e-4"), (0.0, "0"), (1.5, "1.5"),
        (123456.0, "1.2e5"), (-99999.4, "-99999"), (1e-30, "1.0e-30"),
    ):  # fmt: skip
        model.add_stats([row])
        assert model.index(0, 3).data() == text


def test_foreign_text_is_escaped():
    assert plain("a\u202eb\x00c\u200bd\n") == "a\\u202eb\\x00c\\u200bd\\n"
    assert plain("a\nb", lines=True) == "a\nb"
    assert plain("é 漢 × →") == "é 漢 × →"
    assert plain("\ud800") == "\\ud800"
    assert plain("x" * 50, 10) == "x" * 9 + "…"
    assert plain(np.float64(1.5)) == "1.5"
