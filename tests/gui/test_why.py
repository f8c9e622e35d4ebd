"""Seeing why: heat maps, the embedding map with its lasso, two checkpoints, the record."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pyqtgraph import PlotWidget
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QPolygonF
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel

from cleanclip_gui.inference.questions import ComparePair, Pair
from cleanclip_gui.session import Session
from cleanclip_gui.station import Context
from cleanclip_gui.studio.exports import save_map
from cleanclip_gui.studio.gallery.gallery import Gallery
from cleanclip_gui.studio.pages.attribution import AttributionPage
from cleanclip_gui.studio.pages.embedding_map import EmbeddingMapPage
from cleanclip_gui.studio.pages.pair import PairPage
from cleanclip_gui.studio.result_details import ResultDetails, explained
from ml_core.evaluation.attribution_records import Attribution, HeatMap
from ml_core.evaluation.embedding_map import EmbeddingMap, Embeddings
from ml_core.evaluation.paired import compare
from ml_core.evaluation.records import Evaluation, PerImage
from ml_core.exports import to_csv
from ml_core.jobs.demo import demo_checkpoint
from tests.gui.factories import facts, images
from tests.gui.fakes import turn_wheel
from tests.gui.shell_fakes import FakeInference

NAMES = ("cat", "dog", "=banana")


def heat(at, value, grid=4):
    values = np.zeros((grid, grid), np.float32)
    values[at] = value
    return HeatMap(np.full((16, 16, 3), 120, np.uint8), values, 3.0, 0.75, 2)


def attribution(**changes):
    found = Attribution(
        "grad-cam", "layer3", 4, 2, NAMES, heat((0, 0), 0.1), heat((3, 3), 0.4),
        settings={"stages": {"layer3": 4, "layer4": 2}},
    )  # fmt: skip
    return replace(found, **changes)


@pytest.fixture
def context():
    """A checkpoint and four images are open; the test says what the model answers."""
    session = Session(
        checkpoint=facts(of_demo=False), images=images(labels=(0, 1, 0, 2), class_names=NAMES)
    )
    session.target = 2
    return Context(session=session, inference=FakeInference())


@pytest.fixture
def view(qtbot, context):
    view = AttributionPage(context, lambda: 0.0)
    qtbot.addWidget(view)
    view.resize(640, 520)
    view.show()
    return view


@pytest.mark.usefixtures("styled")
def test_a_cell_is_read_with_mouse_and_keys(view):
    view.show_attribution(attribution())
    square = view.triggered.area()
    at = square.topLeft() + QPointF(0.9 * square.width(), 0.9 * square.height())
    QTest.mouseMove(view.triggered, at.toPoint())
    assert view.readout.text() == "With trigger, row 4, column 4: 0.4"
    view.clean.setFocus()
    QTest.keyClick(view.clean, Qt.Key.Key_Right)
    assert view.readout.text() == "Without trigger, row 1, column 1: 0.1"
    QTest.keyClick(view.clean, Qt.Key.Key_Down)
    assert view.readout.text() == "Without trigger, row 2, column 1: 0"


def embeddings(trigger="t"):
    rng = np.random.default_rng(0)
    clean, triggered = rng.standard_normal((20, 4)), rng.standard_normal((20, 4))
    return Embeddings(
        np.arange(100, 120), np.arange(20) % 3, clean.astype(np.float32),
        rng.standard_normal((3, 4)).astype(np.float32), np.zeros(20, np.int64), NAMES,
        triggered.astype(np.float32), np.full(20, 2), trigger=trigger,
    )  # fmt: skip


def flat(parts=1):
    """Clean points on the left, triggered ones on the right, texts above."""
    spots = np.zeros((43, 2), np.float32)
    spots[:20] = np.stack([np.full(20, -1.0), np.linspace(-1, 1, 20)], axis=1)
    spots[20:40] = np.stack([np.full(20, 1.0), np.linspace(-1, 1, 20)], axis=1)
    spots[40:] = [[-0.5, 2], [0, 2], [0.5, 2]]
    settings = {"variance_shares": [0.5, 0.25]}
    return EmbeddingMap("PCA", (embeddings(),) * parts, (spots,) * parts, settings)


@pytest.fixture
def points(qtbot, context):
    view = EmbeddingMapPage(context, lambda: 0.0)
    qtbot.addWidget(view)
    view.resize(600, 520)
    view.show_points(flat())
    view.show()
    qtbot.waitExposed(view)
    return view


def lasso(points, corners):
    veil = points.plot.childAt(points.plot.rect().center())
    spots = [QPoint(round(x * veil.width()), round(y * veil.height())) for x, y in corners]
    QTest.mousePress(veil, Qt.MouseButton.LeftButton, pos=spots[0])
    for spot in spots[1:]:
        QTest.mouseMove(veil, spot)
    QTest.mouseRelease(veil, Qt.MouseButton.LeftButton, pos=spots[-1])


def test_a_loop_chooses_the_images_inside(points, qtbot):
    with qtbot.waitSignal(points.chosen) as caught:
        lasso(points, [(0.6, 0.02), (0.99, 0.02), (0.99, 0.99), (0.6, 0.99)])
    assert caught.args[0].tolist() == list(range(100, 120))
    points.plot.shown[1].click()  # what is hidden is not chosen
    whole = QPolygonF([QPointF(0, 0), QPointF(9999, 0), QPointF(9999, 9999), QPointF(0, 9999)])
    assert set(points.plot.part.kinds()[points.plot.rows_inside(whole)]) == {0, 2}
    points.plot.setFocus()
    with qtbot.waitSignal(points.chosen) as caught:
        QTest.keyClick(points.plot, Qt.Key.Key_Escape)
    assert len(caught.args[0]) == 0


def test_the_wheel_zooms_with_ctrl_and_else_is_the_pages(points):
    veil = points.plot.childAt(points.plot.rect().center())
    view = points.plot.findChild(PlotWidget).getViewBox()

    def seen():
        (left, right), _ = view.viewRange()
        return right - left

    whole = seen()
    assert turn_wheel(veil, 120) is not veil
    assert seen() == whole
    assert turn_wheel(veil, 120, Qt.KeyboardModifier.ControlModifier) is veil
    assert seen() < whole
    assert "Ctrl+wheel" in veil.toolTip()


def test_the_point_under_the_pointer_is_told(points):
    veil = points.plot.childAt(points.plot.rect().center())
    x, y = points.plot.pixels(np.array([20, 41]))[0]
    QTest.mouseMove(veil, QPoint(round(x), round(y)))
    assert points.readout.text().startswith("Image 101, triggered, label cat, predicted as =banana")
    x, y = points.plot.pixels(np.array([41]))[0]
    QTest.mouseMove(veil, QPoint(round(x), round(y)))
    assert points.readout.text() == "Class text: dog"


def test_before_and_after_share_one_view(points):
    points.show_points(flat(2), ("Before cleaning", "After cleaning"))
    view = points.plot.findChild(PlotWidget).getViewBox()
    before = view.viewRange()
    points.part.setCurrentIndex(1)
    assert view.viewRange() == before
    assert "one projection for both" in points.says.text()
    points.set_outdated(True)
    assert points.says.text().startswith("Measured with another trigger")
    points.set_outdated(False)
    assert points.says.text().startswith("20 images; the axes hold 50 % and 25 %")


def per_image(triggered):
    n, zeros = 4, np.zeros(4, np.float32)
    clean = np.array([0, 1, 0, 2])
    return PerImage(
        np.arange(n), clean, zeros, np.zeros(n, np.bool_),
        np.array(triggered), zeros, np.zeros(n, np.bool_),
    )  # fmt: skip


def pair():
    first, second = per_image([2, 2, 0, 2]), per_image([0, 1, 0, 2])
    labels = np.array([0, 1, 0, 2])
    evaluation = Evaluation(4, 4, 3, 2, "=banana")
    return Pair((evaluation, evaluation), (first, second), compare(first, second, labels, 2))


IMAGES = images(labels=(0, 1, 0, 2), class_names=NAMES)


def test_two_checkpoints_in_a_table_with_the_largest_difference_first(qtbot, context):
    gallery = Gallery()
    view = PairPage(context, gallery, lambda: 2000)
    for widget in (gallery, view):
        qtbot.addWidget(widget)
    gallery.set_images(IMAGES.labels, IMAGES.class_names)
    assert not view.measure.isEnabled()
    context.session.reference = facts("twin.safetensors")
    context.session.cleaned = facts("cleaned.safetensors")
    assert [view.other.itemData(row) for row in range(view.other.count())] == [
        "cleaned", "reference",
    ]  # fmt: skip
    view.measure.click()
    ticket = context.inference.tickets[-1]
    asked = ticket.question
    assert isinstance(asked, ComparePair)
    assert (asked.target, asked.roles, asked.n) == (2, ("suspect", "cleaned"), 2000)
    ticket.deliver(pair())
    first = [cell.text for cell in view.table.rows.rows[0].cells]
    assert first[:4] == ["ASR, other classes", "66.7 %", "0.0 %", "+66.7"]
    assert "2 of 4 triggered images" in view.says.text()
    assert gallery.filter.currentData() == "all"  # until it is asked for
    view.differing.click()
    assert gallery.filter.currentData() == "differ"
    assert gallery.model.rowCount() == 2
    view.other.setCurrentIndex(1)
    assert view.pair is None  # it was of the other one
    assert gallery.filter.currentData() == "all"


def test_cells_that_are_formulas_are_defused_and_numbers_are_not(tmp_path):
    text = to_csv([["=1+1", "-3.5", "+x", -2, "@a", "plain"]])
    assert text == "'=1+1,-3.5,'+x,-2,'@a,plain\n"
    save_map(flat(), tmp_path / "map.csv")
    lines = (tmp_path / "map.csv").read_text().splitlines()
    assert len(lines) == 44
    save_map(flat(), tmp_path / "map.json")
    assert len(json.loads((tmp_path / "map.json").read_text())["points"]) == 43


MEASURED = {
    "evaluation": {"n": 4000, "n_labelled": 4000, "n_excl": 3900, "ca": 0.993, "asr_excl": 0.981},
    "classes": {"count": 72}, "templates": ["a {}", "the {}"], "target_name": "banana",
}  # fmt: skip


def test_a_number_is_explained_in_sentences_before_it_is_listed(qtbot):
    said = explained(MEASURED)
    assert len(said) == 5
    sentences, formulas = zip(*said, strict=True)
    assert "72 classes" in sentences[0]
    assert "2 prompt templates" in sentences[0]
    assert formulas[2] == "CA = #{f(x) = y} / 4\u2009000 = 99.3 %"
    assert formulas[3] == "ASR = #{f(t(x)) = target, y ≠ target} / 3\u2009900 = 98.1 %"
    assert "“banana”" in sentences[3]
    unlabelled = {"n": 90, "n_labelled": 0, "ca": None, "asr_excl": None, "asr_all": 0.5}
    said = explained(MEASURED | {"evaluation": unlabelled})
    assert [formula for _, formula in said if formula][-1] == (
        "rate = #{f(t(x)) = target} / 90 = 50.0 %"
    )
    assert not any("accuracy" in sentence for sentence, _ in said)
    dialog = ResultDetails("64 images", MEASURED)
    qtbot.addWidget(dialog)
    shown = [label.text() for label in dialog.findChildren(QLabel)]
    assert all(sentence in shown for sentence in sentences)
    dialog.close()


def test_the_demo_offers_its_own_clean_twin(qtbot, context):
    gallery = Gallery()
    view = PairPage(context, gallery, lambda: 2000)
    for widget in (gallery, view):
        qtbot.addWidget(widget)
    assert view.other.currentText() == "None yet"
    demo = replace(facts("poisoned.safetensors"), path=str(demo_checkpoint()), of_demo=True)
    context.session.checkpoint = demo
    context.session.scan_reference = "/models/clip-v1.safetensors"
    assert view.other.currentText() == "clip-v1.safetensors"
    context.session.scan_reference = ""
    assert view.other.currentText() == "The demo's clean twin"
    view.measure.click()
    opening = context.inference.tickets[-1]
    twin = str(demo_checkpoint(twin=True))
    assert (opening.question.path, opening.question.role) == (twin, "reference")
    opening.deliver(replace(facts("clean_twin.safetensors"), path=twin))
    assert isinstance(context.inference.tickets[-1].question, ComparePair)
    assert context.inference.tickets[-1].question.roles == ("suspect", "reference")
    assert [view.other.itemData(row) for row in range(view.other.count())] == ["reference"]
    context.session.scan_reference = "/models/parent.safetensors"
    assert view.other.itemText(0) == "parent.safetensors"
    view.other.setCurrentIndex(0)
    view.measure.click()
    opening = context.inference.tickets[-1]
    assert opening.question.path == "/models/parent.safetensors"
    context.session.scan_reference = "/models/other.safetensors"
    assert not view.measure.isEnabled()  # it is being opened
    opening.deliver(replace(facts("parent.safetensors"), path="/models/parent.safetensors"))
    shown = [view.other.itemText(row) for row in range(view.other.count())]
    assert "The demo's clean twin" in shown  # also beside others
