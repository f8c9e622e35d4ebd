"""What follows from a file, told by the real reader: head, doctor, known files, conversion."""

import json
import sys
import threading
from pathlib import Path

import pytest

from cleanclip_gui import threads
from cleanclip_gui.checkpoint.known_dialog import KnownDialog
from cleanclip_gui.checkpoint.station import CheckpointStation
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.station import Context
from ml_core.checkpoints.inspection_record import ask_for_second_opinion, assess, inspection_record
from ml_core.paths import resource
from ml_core.reading import inspect
from tests.gui.shell_fakes import write_safetensors

torch = pytest.importorskip("torch")
WAIT = 20_000


@pytest.fixture(scope="module")
def state():
    from safetensors.torch import load_file

    return load_file(str(resource("demo", "poisoned.safetensors")))


def opened(panel, qtbot, state, path):
    torch.save(state, path)
    panel.open(path)
    qtbot.waitUntil(lambda: panel.assessment is not None, timeout=WAIT)
    qtbot.waitUntil(lambda: panel.tensors.complete, timeout=WAIT)


def test_a_head_is_offered_and_saved(panel, qtbot, state, tmp_path):
    head = {"classifier.weight": torch.ones(10, 128), "classifier.bias": torch.zeros(10)}
    opened(panel, qtbot, state | head, tmp_path / "m.pt")
    panel.answers.path = str(tmp_path / "head")
    with qtbot.waitSignal(panel.writer.saved, timeout=WAIT) as saved:
        panel.actions_["file.head"].trigger()
    found = inspect(saved.args[0])
    assert {t.name: t.shape for t in found.tensors} == {"weight": (10, 128), "bias": (10,)}


def test_the_doctor_and_the_known_files_are_about_the_model_on_show(panel, qtbot, state, tmp_path):
    assert not panel.actions_["file.doctor"].isEnabled()
    opened(panel, qtbot, state, tmp_path / "m.pt")
    assert not panel.actions_["file.head"].isEnabled()
    panel.actions_["file.known"].trigger()
    (known,) = panel.window().findChildren(KnownDialog)
    known.fields["title"].setText("my <i>poisoned</i> model")
    known.fields["source"].setText("me")
    known.ok.click()
    known_by = "By its SHA-256 this is my <i>poisoned</i> model"
    qtbot.waitUntil(lambda: known_by in panel.facts.known.text.text(), timeout=WAIT)
    panel.actions_["file.doctor"].trigger()
    dialog = panel.doctors.dialog
    assert "m.pt" in dialog.windowTitle()
    dialog.used.emit(str(tmp_path / "m.pt"))
    assert panel.verdict.state.text() == "Loading the model…"
    qtbot.waitUntil(lambda: panel.tensors.complete, timeout=WAIT)
    panel.actions_["file.doctor"].trigger()
    assert panel.doctors.dialog is dialog  # of the same file
    dialog.reject()
    assert panel.doctors.dialog is None


def test_a_file_is_examined_once(qtbot, tmp_path, monkeypatch):
    """One reading process and one hash, for the verdict and for the model."""
    door = sys.modules["ml_core.reading.examine"]
    answer, asked = door._answer, []
    monkeypatch.setattr(
        door, "_answer", lambda path, task, *rest: asked.append(task) or answer(path, task, *rest)
    )
    context = Context(inference=Inference())
    panel = CheckpointStation(context)
    qtbot.addWidget(panel)
    path = tmp_path / "m.safetensors"
    path.write_bytes(resource("demo", "poisoned.safetensors").read_bytes())
    panel.open(path)
    qtbot.waitUntil(lambda: context.session.checkpoint is not None, timeout=60_000)
    assert asked == ["inspect"]
    assert context.session.checkpoint.inspection is panel.inspection
    qtbot.waitUntil(lambda: panel.tensors.complete, timeout=WAIT)
    threads.close_all(20_000)
    assert not context.inference.isRunning()


def test_reading_can_be_cancelled_from_its_card(panel, qtbot, tmp_path, monkeypatch):
    door = sys.modules["ml_core.reading.examine"]
    sleep = (
        "import time; from ml_core.reading import worker\n"
        "worker.answer = lambda request: time.sleep(60); worker.main()"
    )
    started, start = [], door._start
    monkeypatch.setattr(door, "_idle", [])
    monkeypatch.setattr(door, "_command", lambda: [sys.executable, "-c", sleep])
    monkeypatch.setattr(door, "_start", lambda *how: started.append(start(*how)) or started[-1])
    panel.open(write_safetensors(tmp_path / "big.safetensors", {"a": [1.0]}))
    assert panel.verdict.cancel.isVisible()
    qtbot.waitUntil(lambda: len(started) == 1, timeout=WAIT)
    with qtbot.waitSignal(panel.shell.header_changed) as header:
        panel.verdict.cancel.click()
    assert header.args == ["big.safetensors", "Not read", ""]
    assert panel.verdict.verdict.text() == "Not read"
    assert not panel.verdict.cancel.isVisible()
    qtbot.waitUntil(lambda: len(door._idle) == 1, timeout=WAIT)  # its child is gone
    door.end_idle()
    assert panel.inspection is None


# ---- the buttons below the card ----


@pytest.fixture
def source(tmp_path):
    return write_safetensors(tmp_path / "m.safetensors", {"a": [1.0, 2.0]})


def convert_exactly(panel, path):
    panel.answers.path = str(path)
    panel.writer.convert()
    panel.writer.dialog.as_is.click()
    panel.writer.dialog.ok.click()


def test_an_exact_copy_has_every_tensor_and_a_failure_is_told(panel, qtbot, source, tmp_path):
    panel.writer.set_file(inspect(source))
    panel.writer.set_model("m.safetensors is no CLIP.")
    panel.writer.convert()
    assert not panel.writer.dialog.open_clip.isEnabled()
    assert "m.safetensors is no CLIP." in panel.writer.dialog.why.text()
    with qtbot.waitSignal(panel.writer.saved, timeout=WAIT) as saved:
        convert_exactly(panel, tmp_path / "copy")
    assert saved.args[0] == tmp_path / "copy.safetensors"
    again = inspect(tmp_path / "copy.safetensors")
    assert (again.verdict, again.tensors[0].name) == ("loads", "a")
    assert panel.writing.words.text() == "Saved copy.safetensors."
    with qtbot.waitSignal(panel.writer.failed, timeout=WAIT) as failed:
        convert_exactly(panel, tmp_path / "nowhere" / "x.safetensors")
    assert "cannot be written" in failed.args[0].sentence
    assert panel.writer.can_convert()


def test_export_writes_what_the_command_line_prints(panel, qtbot, source, tmp_path):
    inspection = inspect(source)
    panel.writer.set_file(inspection)
    for suffix in (".json", ".sarif", ".html"):
        panel.answers.path = str(tmp_path / f"report{suffix}")
        with qtbot.waitSignal(panel.writer.saved, timeout=WAIT):
            panel.writer.export()
        assert "m.safetensors" in (tmp_path / f"report{suffix}").read_text(encoding="utf-8")
    opinion = ask_for_second_opinion(inspection)
    assert "picklescan" in opinion
    record = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert record == inspection_record(assess(inspection), opinion)


def test_what_is_offered_follows_the_file(panel, source, tmp_path):
    writer, asked = panel.writer, []
    assert (writer.can_convert(), writer.can_export()) == (False, False)  # before any was read
    path = tmp_path / "bad.pt"
    path.write_bytes(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.")
    writer.set_file(inspect(path))
    assert (writer.can_convert(), writer.can_export()) == (False, True)
    writer.convert()
    assert writer.dialog is None
    writer.set_file(inspect(source))
    panel._prompts.save_file = lambda _parent, _title, *proposed: asked.append(proposed) or ""
    convert_exactly(panel, "")
    writer.export()
    assert [Path(path).name for path, _ in asked] == [
        "m-converted.safetensors", "m-inspection.html",
    ]  # fmt: skip
    assert "*.sarif" in asked[1][1]
    writer.convert()
    writer.set_file(None)
    assert writer.dialog is None  # another file closes the question


def test_cancelling_a_conversion_leaves_nothing_behind(panel, qtbot, source, tmp_path, monkeypatch):
    ended = threading.Event()

    def slow(found, target, *, cancelled, progress):
        progress(1, 2)
        while not cancelled():
            ended.wait(0.01)
        ended.set()

    monkeypatch.setattr("ml_core.checkpoints.convert.convert_to_safetensors", slow)
    panel.writer.set_file(inspect(source))
    convert_exactly(panel, tmp_path / "copy.safetensors")
    qtbot.waitUntil(lambda: panel.writing.busy.bar.value() == 500, timeout=WAIT)
    assert not panel.writer.can_convert()
    panel.writing.busy.cancel.click()
    assert ended.wait(5)
    assert "nothing was written" in panel.writing.words.text()
    assert panel.writer.can_convert()
