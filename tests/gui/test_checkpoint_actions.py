"""Converting and exporting: what can be done is offered, and it happens beside the window."""

import json
import threading

import pytest

from cleanclip_gui.checkpoint.file_actions import CheckpointActions
from ml_core.checkpoints.inspection_record import (
    ask_for_second_opinion,
    assess,
    inspection_record,
)
from ml_core.reading import inspect
from tests.gui.shell_fakes import Answers, write_safetensors

WAIT = 10_000


@pytest.fixture
def source(tmp_path):
    return write_safetensors(tmp_path / "m.safetensors", {"a": [1.0, 2.0]})


@pytest.fixture
def actions(qtbot):
    actions = CheckpointActions()
    qtbot.addWidget(actions)
    actions.show()
    yield actions
    assert actions.stop(5000)


def answering(actions, path):
    answers = Answers(path)
    actions.prompts = answers.prompts()
    return answers


def test_nothing_is_offered_before_a_file_was_read(actions):
    answers = answering(actions, "x")
    assert not actions.convert_button.isEnabled()
    assert not actions.export_button.isEnabled()
    actions.convert()
    actions.export()
    assert answers.asked == []


def test_convert_writes_a_file_that_opens(actions, qtbot, source, tmp_path):
    actions.set_inspection(inspect(source))
    answering(actions, tmp_path / "copy")
    with qtbot.waitSignal(actions.saved, timeout=WAIT) as saved:
        actions.convert_button.click()
    assert saved.args[0] == tmp_path / "copy.safetensors"
    again = inspect(tmp_path / "copy.safetensors")
    assert (again.verdict, again.tensors[0].name) == ("loads", "a")
    assert actions.words.text() == "Saved copy.safetensors."
    assert not actions.busy.bar.isVisible()
    assert actions.convert_button.isEnabled()


@pytest.mark.parametrize("suffix", [".json", ".sarif", ".html"])
def test_export_writes_what_the_command_line_prints(actions, qtbot, source, tmp_path, suffix):
    found = inspect(source)
    actions.set_inspection(found)
    answering(actions, tmp_path / f"report{suffix}")
    with qtbot.waitSignal(actions.saved, timeout=WAIT):
        actions.export_button.click()
    text = (tmp_path / f"report{suffix}").read_text(encoding="utf-8")
    if suffix == ".json":
        opinion = ask_for_second_opinion(found)
        assert "picklescan" in opinion
        assert json.loads(text) == inspection_record(assess(found), opinion)
    else:
        assert "m.safetensors" in text


def test_a_refused_file_can_be_exported_but_not_converted(actions, tmp_path):
    path = tmp_path / "bad.pt"
    path.write_bytes(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.")
    actions.set_inspection(inspect(path))
    assert not actions.convert_button.isVisible()
    assert actions.export_button.isEnabled()
    assert not actions.can_convert


def test_a_failure_is_told_and_the_buttons_come_back(actions, qtbot, source, tmp_path):
    actions.set_inspection(inspect(source))
    answering(actions, tmp_path / "nowhere" / "x.safetensors")
    with qtbot.waitSignal(actions.failed, timeout=WAIT) as failed:
        actions.convert()
    assert "cannot be written" in failed.args[0].sentence
    assert actions.can_convert
    assert not actions.words.isVisible()


def test_cancelling_leaves_nothing_behind(actions, qtbot, source, tmp_path, monkeypatch):
    begun, ended = threading.Event(), threading.Event()

    def slow(found, target, *, cancelled, progress):
        progress(1, 2)
        begun.set()
        while not cancelled():
            ended.wait(0.01)
        ended.set()

    monkeypatch.setattr("ml_core.checkpoints.convert.convert_to_safetensors", slow)
    actions.set_inspection(inspect(source))
    answering(actions, tmp_path / "copy.safetensors")
    actions.convert()
    qtbot.waitUntil(lambda: begun.is_set() and actions.busy.bar.value() == 500, timeout=WAIT)
    assert actions.busy.cancel.isVisible()
    assert not actions.can_convert
    assert not actions.can_export
    actions.busy.cancel.click()
    assert ended.wait(5)
    assert "nothing was written" in actions.words.text()
    assert actions.can_convert


def test_another_file_is_offered_with_its_own_name(actions, source):
    actions.set_inspection(inspect(source))
    asked = []

    def remember(parent, title, path, kinds):
        asked.append((path, kinds))
        return ""

    actions.prompts.save_file = remember
    actions.convert()
    actions.export()
    assert asked[0][0] == str(source.with_name("m-converted.safetensors"))
    assert asked[1][0] == str(source.with_name("m-inspection.html"))
    assert "*.sarif" in asked[1][1]
