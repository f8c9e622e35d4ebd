"""Studio over the real inference thread and a tiny model: paint, watch, undo, switch."""

import numpy as np
import pytest
from PySide6.QtCore import QBuffer, QIODevice, QMimeData, QPointF, Qt
from PySide6.QtGui import QColor, QImage
from PySide6.QtTest import QTest

from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.session import Session
from cleanclip_gui.station import Context
from cleanclip_gui.studio.canvas import scene_trigger
from ml_core.data.specs import ImageSpec
from ml_core.triggers.make import badnets_patch, blended_noise, demo_trigger
from tests.gui.factories import facts, images
from tests.gui.shell_fakes import Wiring
from tests.gui.studios import paint, studio_station

N = 48


@pytest.fixture
def empty(qtbot):
    session, inference = Session(), Inference()
    panel = studio_station(Context(session=session, inference=inference))
    qtbot.addWidget(panel)
    panel.wiring = Wiring(session, inference)
    yield panel
    assert inference.close(20_000)


@pytest.fixture
def studio(empty, tiny_checkpoint, qtbot):
    session = empty.session
    empty.wiring.open(tiny_checkpoint)
    empty.wiring.load(ImageSpec(n=N))
    settled(qtbot, empty)
    assert session.evaluation.trigger is None
    return empty


def settled(qtbot, panel):
    def done():
        found = panel.session.evaluation
        return found is not None and not found.partial and not panel.live.stale

    qtbot.waitUntil(done, timeout=60_000)


def test_stroke_makes_a_trigger_and_numbers_follow(studio, qtbot):
    assert studio.document.size == 32
    assert studio.figure.figure.text() == "not measured"
    stale = []
    studio.live.became_stale.connect(lambda: stale.append(studio.figure.stale))
    paint(studio, (20, 20), (28, 20), (28, 28))
    assert stale
    assert studio.figure.stale
    settled(qtbot, studio)
    evaluation = studio.session.evaluation
    assert evaluation.trigger == studio.session.trigger.digest
    assert evaluation.n == N
    assert "%" in studio.figure.figure.text()
    assert not studio.figure.stale
    qtbot.waitUntil(lambda: studio.canvas.triggered is not None)
    assert ", triggered " in studio.bars.accessibleDescription()
    clean = studio.canvas.clean.toImage().pixelColor(24, 20)
    shown = studio.canvas.triggered.toImage().pixelColor(24, 20)
    assert shown == QColor(220, 20, 40)
    assert shown != clean
    assert studio.gallery.model.counts()["resisted"] + studio.gallery.model.counts()["flipped"] == N


def test_what_is_empty_says_why(empty, tiny_checkpoint, qtbot):
    assert empty.canvas.empty_text == "Open a checkpoint and images to paint on them."
    empty.wiring.open(tiny_checkpoint)
    qtbot.waitUntil(lambda: empty.session.checkpoint is not None, timeout=60_000)
    assert empty.canvas.empty_text == "Open a checkpoint and images to paint on them."
    empty.wiring.load(ImageSpec(n=N), "demo")
    qtbot.waitUntil(lambda: empty.session.images is not None, timeout=60_000)
    assert empty.canvas.empty_text == "Predicting…"
    settled(qtbot, empty)
    assert empty.canvas.has_image


def test_the_end_of_a_stroke_asks_nothing_new_about_the_set(studio, qtbot, monkeypatch):
    view = studio.canvas.viewport()
    places = [studio.canvas.viewportTransform().map(QPointF(x, 20)).toPoint() for x in (20, 24, 28)]
    QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=places[0])
    for place in places[1:]:
        QTest.mouseMove(view, place)
    settled(qtbot, studio)
    assert studio.canvas.triggered is None  # not under the hand
    asked, ask = [], studio.context.inference.ask

    def noted(question, *args, **options):
        asked.append(type(question).__name__)
        return ask(question, *args, **options)

    monkeypatch.setattr(studio.context.inference, "ask", noted)
    QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=places[-1])
    qtbot.waitUntil(lambda: studio.canvas.triggered is not None, timeout=30_000)
    assert asked == ["Predict"]
    assert studio.session.evaluation.trigger == studio.editor.current_trigger().digest
    assert not studio.figure.stale


def test_undo_brings_back_not_measured(studio, qtbot):
    paint(studio, (20, 20), (28, 28))
    settled(qtbot, studio)
    studio.editor.undo()
    settled(qtbot, studio)
    assert studio.session.trigger is None
    assert studio.figure.figure.text() == "not measured"


def test_pixels_of_the_trigger_are_the_painted_ones(studio):
    paint(studio, (10, 12), (20, 12))
    trigger = studio.editor.current_trigger()
    painted = studio.document.rgba()
    rows = np.flatnonzero(painted[..., 3].any(1))
    columns = np.flatnonzero(painted[..., 3].any(0))
    box = painted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert np.array_equal(trigger.pixels, box)
    assert trigger.placement == "fixed"


def test_target_and_selection_ask_again(studio, qtbot):
    paint(studio, (20, 20), (28, 28))
    settled(qtbot, studio)
    studio.session.target = 5
    settled(qtbot, studio)
    assert studio.session.evaluation.target == 5
    following = studio.session.selected_image + 1
    with qtbot.waitSignal(
        studio.live.predicted,
        timeout=30_000,
        check_params_cb=lambda r, _: r.question.index == following,
    ):
        studio.gallery.step(1)
    assert studio.session.selected_image == following


def test_opening_another_set_forgets_the_old_numbers(studio, qtbot):
    paint(studio, (20, 20), (28, 28))
    settled(qtbot, studio)
    studio.wiring.load(ImageSpec(split="val", n=16), "demo")
    qtbot.waitUntil(lambda: studio.session.images.n == 16, timeout=30_000)
    settled(qtbot, studio)
    assert studio.session.evaluation.n == 16
    assert studio.session.evaluation.trigger is not None


def test_library_triggers_land_on_the_canvas_and_undo_restores_the_paint(empty):
    empty.canvas.set_images(np.zeros((64, 64, 3), np.uint8), None)
    paint(empty, (20, 20), (28, 28))
    painted = empty.document.rgba()
    empty.editor.use_trigger(badnets_patch(size=0.2, placement="four_corners"))
    trigger = empty.editor.current_trigger()
    assert (trigger.kind, trigger.placement) == ("badnets", "four_corners")
    assert trigger.size == pytest.approx(0.2)
    empty.editor.use_trigger(blended_noise(ratio=0.3))
    assert empty.editor.current_trigger().ratio == pytest.approx(0.3)
    empty.editor.undo()
    empty.editor.undo()
    assert np.array_equal(empty.document.rgba(), painted)
    assert empty.editor.current_trigger().kind == "patch"


def test_dragging_a_patch_of_random_place_fixes_it_there(empty):
    empty.canvas.set_images(np.zeros((64, 64, 3), np.uint8), None)
    empty.editor.use_demo_trigger()
    assert empty.editor.current_trigger().placement == "random"
    paint(empty, (10, 10), (12, 14), (16, 20))
    trigger = empty.editor.current_trigger()
    assert trigger.placement == "fixed"
    assert (trigger.x, trigger.y) == pytest.approx((16 / 64, 20 / 64), abs=0.01)
    assert np.array_equal(trigger.pixels, demo_trigger().pixels)


def test_the_first_stroke_on_an_empty_canvas_stays_where_it_is(empty):
    empty.canvas.set_images(np.zeros((64, 64, 3), np.uint8), None)
    empty.editor.use_demo_trigger()
    empty.editor.clear()
    empty.canvas.set_tool("brush")
    paint(empty, (20, 20), (28, 28))
    assert empty.editor.current_trigger().placement == "fixed"
    empty.placement_bar.placement_chosen.emit("random")
    paint(empty, (40, 40), (44, 44))
    assert empty.editor.current_trigger().placement == "random"


def test_paint_and_noise_combine(empty):
    empty.canvas.set_images(np.zeros((64, 64, 3), np.uint8), None)
    empty.editor.use_trigger(blended_noise(ratio=0.3))
    empty.canvas.set_tool("brush")
    paint(empty, (20, 20), (28, 28))
    trigger = empty.editor.current_trigger()
    assert trigger.kind == "combined"
    assert [part.kind for part in trigger.parts] == ["blended", "patch"]
    assert trigger.parts[0].ratio == pytest.approx(0.3)
    empty.editor.undo()
    assert empty.editor.current_trigger().kind == "blended"


def test_pasted_picture_becomes_a_patch_and_rubbish_a_sentence(empty, qtbot):
    image = QImage(8, 4, QImage.Format.Format_RGBA8888)
    image.fill(QColor(0, 0, 255))
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")
    mime = QMimeData()
    mime.setData("image/png", buffer.data())
    empty.canvas.dropped.emit(mime)
    assert empty.editor.current_trigger().pixels.shape == (4, 8, 4)
    rubbish = QMimeData()
    rubbish.setData("image/png", b"\x89PNG no picture")
    with qtbot.waitSignal(empty.shell.failed) as caught:
        empty.canvas.dropped.emit(rubbish)
    assert caught.args[0].sentence
    with qtbot.waitSignal(empty.shell.failed):
        empty.canvas.dropped.emit(QMimeData())


def test_the_first_picture_shown_is_one_that_a_trigger_can_flip():
    assert images(labels=(0, 0, 1)).first_to_flip(0) == 2
    assert images(labels=(0, 0)).first_to_flip(0) == 0
    assert images(labels=(-1, -1)).first_to_flip(0) == 0


def test_a_stroke_draws_the_canvas_once_a_change_and_makes_its_trigger_once(
    empty, qtbot, monkeypatch
):
    canvas, session = empty.canvas, empty.session
    canvas.set_images(np.zeros((64, 64, 3), np.uint8), None)
    drawn, changed, made, written = [], [], [], []
    refresh, make = canvas.refresh, scene_trigger.trigger_of
    monkeypatch.setattr(canvas, "refresh", lambda: drawn.append(1) or refresh())
    monkeypatch.setattr(scene_trigger, "trigger_of", lambda d: made.append(1) or make(d))
    empty.document.changed.connect(lambda: changed.append(1))
    session.events.trigger.connect(written.append)
    canvas.press(QPointF(10, 10))
    canvas.drag(QPointF(20, 20))
    canvas.drag(QPointF(30, 30))
    assert len(drawn) == len(changed) >= 3
    assert made == []
    canvas.release()
    assert empty.live.take_trigger()
    assert len(made) == 1  # for toolbars, commands, and the question
    assert len(written) == 1
    assert len(empty.document.stack.steps) == 1  # nobody puts it on the canvas again


def test_who_wants_another_trigger_gets_it_on_the_canvas_and_in_the_session(empty, tmp_path):
    session, shell = empty.session, empty.shell
    empty.canvas.set_images(np.zeros((64, 64, 3), np.uint8), None)
    session.images = images(labels=(0, 1, 2), class_names=("a", "b", "c"))
    shell.open("trigger", demo_trigger(), 2)
    assert session.target == 2
    assert session.trigger == empty.editor.current_trigger() == demo_trigger()
    assert empty.source_bar.name.text() == "Demo sticker"
    count = len(empty.document.stack.steps)
    shell.open("trigger", demo_trigger(), 1)  # it is there already
    assert (session.target, len(empty.document.stack.steps)) == (1, count)
    shell.open("target", 0)
    assert empty.figure.target.currentIndex() == 0
    shell.open("trigger", None, 2)
    assert (session.trigger, session.target) == (None, 2)
    assert empty.editor.current_trigger() is None


def test_the_target_keeps_its_name_when_other_images_come(empty):
    session = empty.session
    session.images = images(labels=(0, 1), class_names=("apple", "banana"))
    assert session.target == 1  # the demo's
    session.target = 0
    session.images = images(labels=(0, 1), class_names=("cheese", "banana", "apple"))
    assert session.target == 2
    session.images = images(labels=(0, 1), class_names=("dog", "cat"))
    assert session.target == 0


def test_the_suspect_checkpoint_is_looked_at_when_the_cleaned_one_goes(empty):
    session = empty.session
    session.checkpoint, session.cleaned = facts("a"), facts("b")
    empty.shell.open("role", "cleaned")
    assert session.shown is session.cleaned
    assert empty.figure.role_buttons["cleaned"].isChecked()
    session.cleaned = None
    assert session.role == "suspect"
    assert empty.figure.role_buttons["suspect"].isChecked()


def test_buttons_show_their_commands(empty, qtbot):
    actions = empty.context.actions
    undo, save = empty.paint_bar.undo, empty.source_bar.save
    assert not undo.isEnabled()
    assert not save.isEnabled()
    assert undo.toolTip() == "Undo (Ctrl+Z)"
    empty.editor.use_demo_trigger()
    assert undo.toolTip() == "Undo use Demo sticker (Ctrl+Z)"
    qtbot.waitUntil(undo.isEnabled)
    for button, name in (
        (save, "trigger.save"),
        (empty.source_bar.library, "trigger.library"),
        (empty.source_bar.chip, "edit.copy"),
        (empty.paint_bar.clear, "edit.clear"),
        (empty.source_bar.slots["B"], "trigger.flip_b"),
    ):
        assert button.isEnabled()
        assert button.toolTip() == actions[name].toolTip()
    undo.click()
    assert empty.editor.current_trigger() is None
    assert empty.paint_bar.redo.isEnabled()
    empty.paint_bar.redo.click()
    assert empty.editor.has_trigger()
    assert empty.measured.text() == "How this was measured…"
    assert not empty.measured.isEnabled()
