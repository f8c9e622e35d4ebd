"""Converting and exporting: what can be done is offered, and it happens beside the window."""

import json
import threading
from pathlib import Path

import pytest
from PySide6.QtWidgets import QWidget

from cleanclip_gui.checkpoint.file_actions import FileButtons, FileWriter
from cleanclip_gui.commands import Actions, Command
from ml_core.checkpoints.inspection_record import ask_for_second_opinion, assess, inspection_record
from ml_core.reading import inspect
from tests.gui.shell_fakes import Answers, write_safetensors

WAIT = 10_000


@pytest.fixture
def source(tmp_path):
    return write_safetensors(tmp_path / "m.safetensors", {"a": [1.0, 2.0]})


class Page:
    """The writer and its buttons, as the station puts them together."""

    def __init__(self, qtbot, parent):
        self.answers = Answers("x")
        self.prompts = self.answers.prompts()
        self.writer = writer = FileWriter(self.prompts, parent)
        self.actions = Actions(parent)
        own = {
            "convert": (writer.convert, writer.can_convert),
            "export": (writer.export, writer.can_export),
            "head": (writer.save_head, writer.can_save_head),
        }
        for name in ("convert", "export", "head", "compare", "doctor", "known", "donor"):
            act, enabled = own.get(name, (lambda: None, lambda: False))
            command = Command(f"file.{name}", name.title(), "", act, name, enabled=enabled)
            self.actions.add([command])
        self.buttons = FileButtons(self.actions, writer)
        qtbot.addWidget(self.buttons)
        self.buttons.show()
        self.writer.state_changed.connect(self.actions.refresh)
        self.actions.refresh()

    def take(self, found):
        self.writer.set_file(found)
        self.buttons.offer(refused=found.refused)

    def answer(self, path):
        self.answers.path = str(path)


@pytest.fixture
def page(qtbot):
    parent = QWidget()
    qtbot.addWidget(parent)
    return Page(qtbot, parent)


def test_an_exact_copy_has_every_tensor_and_a_failure_is_told(page, qtbot, source, tmp_path):
    page.take(inspect(source))
    page.answer(tmp_path / "copy")
    page.writer.set_model("m.safetensors is no CLIP.")
    with qtbot.waitSignal(page.writer.saved, timeout=WAIT) as saved:
        page.buttons.convert.click()
        assert not page.writer.dialog.open_clip.isEnabled()
        assert "m.safetensors is no CLIP." in page.writer.dialog.why.text()
        page.writer.dialog.ok.click()
    assert saved.args[0] == tmp_path / "copy.safetensors"
    again = inspect(tmp_path / "copy.safetensors")
    assert (again.verdict, again.tensors[0].name) == ("loads", "a")
    assert page.buttons.words.text() == "Saved copy.safetensors."
    page.answer(tmp_path / "nowhere" / "x.safetensors")
    with qtbot.waitSignal(page.writer.failed, timeout=WAIT) as failed:
        convert_exactly(page)
    assert "cannot be written" in failed.args[0].sentence
    assert page.writer.can_convert()


def test_export_writes_what_the_command_line_prints(page, qtbot, source, tmp_path):
    inspection = inspect(source)
    page.take(inspection)
    for suffix in (".json", ".sarif", ".html"):
        page.answer(tmp_path / f"report{suffix}")
        with qtbot.waitSignal(page.writer.saved, timeout=WAIT):
            page.buttons.export.click()
        assert "m.safetensors" in (tmp_path / f"report{suffix}").read_text(encoding="utf-8")
    opinion = ask_for_second_opinion(inspection)
    assert "picklescan" in opinion
    record = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert record == inspection_record(assess(inspection), opinion)


def test_what_is_offered_follows_the_file(page, source, tmp_path):
    assert not page.buttons.convert.isEnabled()  # before any was read
    assert not page.buttons.export.isEnabled()
    path, asked = tmp_path / "bad.pt", []
    path.write_bytes(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.")
    page.take(inspect(path))
    assert not page.buttons.convert.isVisible()
    assert page.buttons.export.isEnabled()
    page.writer.convert()
    assert page.writer.dialog is None
    page.take(inspect(source))
    page.prompts.save_file = lambda _parent, _title, path, kinds: asked.append((path, kinds)) or ""
    convert_exactly(page)
    page.writer.export()
    assert [Path(path).name for path, _ in asked] == [
        "m-converted.safetensors",
        "m-inspection.html",
    ]
    assert "*.sarif" in asked[1][1]
    page.writer.convert()
    page.writer.set_file(None)
    assert page.writer.dialog is None  # another file closes the question


def convert_exactly(page):
    """Answer the question with an exact copy."""
    page.writer.convert()
    page.writer.dialog.as_is.click()
    page.writer.dialog.ok.click()


def test_cancelling_leaves_nothing_behind(page, qtbot, source, tmp_path, monkeypatch):
    ended = threading.Event()

    def slow(found, target, *, cancelled, progress):
        progress(1, 2)
        while not cancelled():
            ended.wait(0.01)
        ended.set()

    monkeypatch.setattr("ml_core.checkpoints.convert.convert_to_safetensors", slow)
    page.take(inspect(source))
    page.answer(tmp_path / "copy.safetensors")
    convert_exactly(page)
    qtbot.waitUntil(lambda: page.buttons.busy.bar.value() == 500, timeout=WAIT)
    assert not page.writer.can_convert()
    assert not page.writer.can_export()
    page.buttons.busy.cancel.click()
    assert ended.wait(5)
    assert "nothing was written" in page.buttons.words.text()
    assert page.writer.can_convert()
