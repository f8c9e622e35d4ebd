"""What follows from a file, told by the real reader: keys, container, head, donor, cancelling."""

import sys

import pytest
from PySide6.QtWidgets import QLabel

from cleanclip_gui import threads
from cleanclip_gui.checkpoint.station import CheckpointStation
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.station import Context
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
    qtbot.waitUntil(lambda: panel.complete, timeout=WAIT)


def test_a_stranger_among_the_tensors_is_a_caution_with_its_name(panel, qtbot, state, tmp_path):
    name = "odd\u202e_" + 30 * "x" + "_of.nobody.weight"
    path = tmp_path / ("a_checkpoint_" + 30 * "y" + "_last.pt")
    opened(panel, qtbot, state | {name: torch.zeros(2)}, path)
    card, shown = panel.verdict, name.replace("\u202e", "\\u202e")
    assert card.verdict.text() == "Readable, with caution"
    assert panel.tabs.isTabVisible(1)
    assert panel.keys.model.row(0) == (shown, "unexpected", "", "")
    assert card.name.text() == "a_checkpoint…yyyy_last.pt"  # shortened in its middle
    assert card.name.toolTip() == path.name
    assert shown not in card.reason.text()
    assert shown[-16:] in card.reason.text()
    assert shown in card.reason.toolTip()
    container = [label.text() for label in panel.facts.container.findChildren(QLabel)]
    assert "zip" in container
    assert any("all stored" in text for text in container)
    assert panel.facts.container.isVisible()


def test_missing_and_misshapen_tensors_are_listed(panel, qtbot, state, tmp_path):
    wrong = {key: value for key, value in state.items() if key != "ln_final.bias"}
    wrong["ln_final.weight"] = torch.zeros(3)
    opened(panel, qtbot, wrong, tmp_path / "m.pt")
    rows = [panel.keys.model.row(n) for n in range(panel.keys.model.rowCount())]
    assert ("ln_final.bias", "missing", "", "") in rows
    assert ("ln_final.weight", "another shape", "3", "64") in rows
    assert panel.tabs.currentWidget() is panel.keys


@pytest.mark.usefixtures("styled")
def test_tabs_follow_the_file_before(panel, qtbot, state, tmp_path):
    path = tmp_path / "bad.pt"
    path.write_bytes(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.")
    panel.open(path)
    qtbot.waitUntil(lambda: panel.inspection is not None, timeout=WAIT)
    assert [panel.tabs.isTabVisible(n) for n in (0, 2)] == [False, True]
    opened(panel, qtbot, state, tmp_path / "m.pt")
    bar = panel.tabs.tabBar()
    shown = [n for n in range(bar.count()) if panel.tabs.isTabVisible(n)]
    assert 0 in shown
    assert all(bar.tabRect(n).width() > 0 for n in shown)


def test_a_head_is_offered_and_saved(panel, qtbot, state, tmp_path):
    head = {"classifier.weight": torch.ones(10, 128), "classifier.bias": torch.zeros(10)}
    opened(panel, qtbot, state | head, tmp_path / "m.pt")
    assert panel.buttons.head.isVisible()
    panel.answers.path = str(tmp_path / "head")
    with qtbot.waitSignal(panel.writer.saved, timeout=WAIT) as saved:
        panel.buttons.head.click()
    found = inspect(saved.args[0])
    assert {t.name: t.shape for t in found.tensors} == {"weight": (10, 128), "bias": (10,)}
    opened(panel, qtbot, state, tmp_path / "n.pt")
    assert not panel.buttons.head.isVisible()


def test_a_file_is_added_to_the_known_ones(panel, qtbot, state, tmp_path):
    from cleanclip_gui.checkpoint.known_dialog import KnownDialog

    opened(panel, qtbot, state, tmp_path / "m.pt")
    panel.buttons.known.click()
    (dialog,) = panel.window().findChildren(KnownDialog)
    dialog.fields["title"].setText("my <i>poisoned</i> model")
    dialog.fields["source"].setText("me")
    dialog.ok.click()
    assert "By its SHA-256 this is my <i>poisoned</i> model" in panel.facts.known.text.text()


def test_the_doctor_is_asked_about_the_model_on_show(panel, qtbot, state, tmp_path):
    assert not panel.buttons.doctor.isEnabled()
    opened(panel, qtbot, state, tmp_path / "m.pt")
    panel.buttons.doctor.click()
    assert panel.doctors.dialog.isVisible()
    assert "m.pt" in panel.doctors.dialog.windowTitle()
    panel.doctors.dialog.used.emit(str(tmp_path / "m.pt"))
    assert panel.verdict.state.text() == "Loading the model…"
    qtbot.waitUntil(lambda: panel.complete, timeout=WAIT)
    dialog = panel.doctors.dialog
    panel.buttons.doctor.click()
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
    qtbot.waitUntil(lambda: panel.complete, timeout=WAIT)
    threads.close_all(20_000)
    assert not context.inference.isRunning()


def test_reading_can_be_cancelled_from_its_card(panel, qtbot, tmp_path, monkeypatch):
    door = sys.modules["ml_core.reading.examine"]
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    started, start = [], door._start
    monkeypatch.setattr(door, "_command", lambda: sleep)
    monkeypatch.setattr(door, "_start", lambda path: started.append(start(path)) or started[-1])
    panel.open(write_safetensors(tmp_path / "big.safetensors", {"a": [1.0]}))
    assert panel.verdict.cancel.isVisible()
    qtbot.waitUntil(lambda: len(started) == 1, timeout=WAIT)
    with qtbot.waitSignal(panel.shell.header_changed) as header:
        panel.verdict.cancel.click()
    assert header.args == ["big.safetensors", "Not read", ""]
    assert panel.verdict.verdict.text() == "Not read"
    assert not panel.verdict.cancel.isVisible()
    qtbot.waitUntil(lambda: started[0].poll() == -9, timeout=WAIT)
    assert panel.inspection is None
