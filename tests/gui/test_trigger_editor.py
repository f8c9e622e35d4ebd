"""The trigger's editor on a document and its canvas alone: no station, no session, no model."""

import numpy as np
import pytest
from PySide6.QtCore import QMimeData, QPointF
from PySide6.QtWidgets import QApplication

from cleanclip_gui.station import Shell
from cleanclip_gui.studio.canvas.canvas import TriggerCanvas
from cleanclip_gui.studio.canvas.document import PaintDocument
from cleanclip_gui.studio.trigger_editor import TriggerEditor
from ml_core.triggers import Trigger
from ml_core.triggers.make import badnets_patch, blended_noise, demo_trigger
from tests.gui.shell_fakes import Answers


@pytest.fixture
def canvas(qtbot):
    canvas = TriggerCanvas(PaintDocument(32))
    canvas.set_images(np.zeros((32, 32, 3), np.uint8), None)
    qtbot.addWidget(canvas)
    return canvas


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def failed():
    return []


@pytest.fixture
def editor(canvas, answers, failed):
    shell = Shell()
    shell.failed.connect(failed.append)
    editor = TriggerEditor(canvas, answers.prompts(), shell)
    editor.shell = shell
    return editor


def paint(canvas, *points):
    canvas.press(QPointF(*points[0]))
    for point in points[1:]:
        canvas.drag(QPointF(*point))
    canvas.release()


def test_a_trigger_that_is_there_already_is_left_as_it_was_painted(editor, canvas):
    paint(canvas, (10, 10), (20, 10))
    painted = editor.current_trigger()
    editor.show(painted)
    assert len(editor.document.stack.steps) == 1  # the stroke
    assert editor.document.patch is None
    editor.show(badnets_patch())
    assert editor.current_trigger().kind == "badnets"
    assert canvas.tool == "move"
    editor.show(None)
    assert editor.current_trigger() is None
    editor.undo()
    editor.undo()
    assert editor.current_trigger() == painted


def test_place_size_angle_and_opacity(editor):
    editor.use_trigger(badnets_patch())
    editor.set_placement("center")
    editor.set_size(0.5)
    editor.set_angle(30)
    editor.set_opacity(0.25)
    trigger = editor.current_trigger()
    assert trigger.placement == "center"
    assert (trigger.size, trigger.rotation) == pytest.approx((0.5, -30))
    assert editor.opacity == trigger.opacity == 0.25
    assert not editor.overlay_alone
    editor.use_trigger(blended_noise(ratio=0.2))
    assert editor.overlay_alone
    assert editor.opacity == pytest.approx(0.2)


def test_a_word_that_would_break_a_prompt_is_not_taken(editor, failed):
    editor.set_text("remember")
    editor.set_text("{")
    assert editor.current_trigger().text == "remember"
    assert "braces" in failed[0].sentence


def test_saving_asks_for_a_name_and_a_file(editor, answers, tmp_path, failed):
    editor.save_trigger()
    editor.save_trigger_as()
    assert answers.asked == []
    assert [error.sentence for error in failed] == [
        "There is no trigger to save yet; paint one first."
    ] * 2
    editor.use_demo_trigger()
    wanted = editor.current_trigger()
    answers.path = str(tmp_path / "mine.json")
    editor.save_trigger_as()
    editor.clear()
    editor.load_trigger(tmp_path / "mine.json")
    assert editor.current_trigger() == wanted
    editor.load_trigger(tmp_path / "none.json")
    assert "none.json" in failed[-1].sentence
    assert editor.current_trigger() == wanted


def test_copied_dropped_and_pasted(editor, failed):
    editor.copy()  # there is nothing
    editor.use_trigger(demo_trigger())
    wanted = editor.current_trigger()
    mime = editor.make_mime()
    editor.clear()
    editor.drop(mime)
    assert editor.current_trigger() == wanted
    editor.drop(QMimeData())
    assert (
        failed[-1].sentence
        == "The dropped item is not a picture; drop a picture or a trigger file."
    )
    editor.copy()
    editor.clear()
    editor.paste()
    assert editor.current_trigger() == wanted
    QApplication.clipboard().clear()
    editor.paste()
    assert failed[-1].sentence == "The clipboard holds no picture; copy one first."


def test_what_does_not_go_together_is_a_trigger_that_cannot_be_made(editor, failed, monkeypatch):
    def refuse(_):
        return Trigger(kind="patch", name="x", jpeg=95)

    editor.use_demo_trigger()
    monkeypatch.setattr(PaintDocument, "trigger", refuse)
    editor.set_opacity(0.5)
    assert editor.has_trigger()  # something is there
    editor.save_trigger()
    assert editor.make_mime() is None
    assert len(failed) == 2
    monkeypatch.undo()
    assert editor.current_trigger() is not None
