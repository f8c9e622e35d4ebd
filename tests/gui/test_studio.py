"""Studio over the real inference thread and a tiny model: paint, watch, undo, switch."""

import numpy as np
import pytest
from PySide6.QtCore import QBuffer, QIODevice, QMimeData, QPointF, Qt
from PySide6.QtGui import QColor, QImage
from PySide6.QtTest import QTest

from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.session import Session
from cleanclip_gui.station import Context
from cleanclip_gui.studio.canvas.document import PaintDocument
from ml_core.data.specs import ImageSpec
from ml_core.triggers.make import demo_trigger
from tests.gui.factories import facts, images
from tests.gui.shell_fakes import Wiring
from tests.gui.studios import paint, studio_station
from tests.unit.families import lively, write_folder

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
    studio.editor.undo()
    settled(qtbot, studio)
    assert studio.session.trigger is None
    assert studio.figure.figure.text() == "not measured"


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
    studio.wiring.load(ImageSpec(split="val", n=16), "demo")  # the old numbers are forgotten
    qtbot.waitUntil(lambda: studio.session.images.n == 16, timeout=30_000)
    settled(qtbot, studio)
    assert studio.session.evaluation.n == 16
    assert studio.session.evaluation.trigger is not None


def test_where_a_patch_is_dragged_and_painted_it_stays(empty):
    empty.canvas.set_images(np.zeros((64, 64, 3), np.uint8), None)
    empty.editor.use_demo_trigger()
    assert empty.editor.current_trigger().placement == "random"
    paint(empty, (10, 10), (12, 14), (16, 20))  # dragging a patch of random place fixes it
    trigger = empty.editor.current_trigger()
    assert trigger.placement == "fixed"
    assert (trigger.x, trigger.y) == pytest.approx((16 / 64, 20 / 64), abs=0.01)
    assert np.array_equal(trigger.pixels, demo_trigger().pixels)
    empty.editor.clear()
    empty.canvas.set_tool("brush")
    paint(empty, (20, 20), (28, 28))
    assert empty.editor.current_trigger().placement == "fixed"
    empty.placement_bar.placement_chosen.emit("random")
    paint(empty, (40, 40), (44, 44))
    assert empty.editor.current_trigger().placement == "random"


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
    refresh, make = canvas.refresh, PaintDocument.trigger
    monkeypatch.setattr(canvas, "refresh", lambda: drawn.append(1) or refresh())
    monkeypatch.setattr(PaintDocument, "trigger", lambda d: made.append(1) or make(d))
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


EXPLAINED_BY = {"SigLIP": ["occlusion"], "ConvNeXt-CLIP": ["grad-cam", "occlusion"]}


@pytest.mark.parametrize(
    "family", ["SigLIP", pytest.param("ConvNeXt-CLIP", marks=pytest.mark.slow)]
)
def test_another_family_is_painted_on_and_explained(empty, tmp_path, qtbot, family):
    studio, session = empty, empty.session
    studio.wiring.open(write_folder(family, lively(family), tmp_path / "model"))
    studio.wiring.load(ImageSpec(n=N))
    settled(qtbot, studio)
    clean = session.evaluation
    assert (clean.trigger, clean.n, clean.asr_excl) == (None, N, None)
    assert studio.document.size == session.checkpoint.image_size == 64
    qtbot.waitUntil(lambda: len(studio.bars.rows) > 0, timeout=60_000)

    paint(studio, (20, 20), (28, 20), (28, 28))
    settled(qtbot, studio)
    found = session.evaluation
    assert found.trigger == session.trigger.digest
    assert 0 <= found.asr_excl <= 1
    assert found.ca == clean.ca
    qtbot.waitUntil(lambda: studio.canvas.triggered is not None, timeout=60_000)
    assert studio.canvas.triggered.toImage().pixelColor(24, 20) == QColor(220, 20, 40)
    assert ", triggered " in studio.bars.accessibleDescription()

    page = studio.attribution
    studio.show_page("attribution")
    page.method.setCurrentIndex(page.method.findData("occlusion"))
    if not page.asks_by_itself:
        page.measure.click()
    qtbot.waitUntil(lambda: page.attribution is not None, timeout=60_000)
    assert page.attribution.method == "occlusion"
    assert np.isfinite(page.attribution.clean.values).all()
    offered = [page.method.itemData(row) for row in range(page.method.count())]
    assert offered == EXPLAINED_BY[family]
