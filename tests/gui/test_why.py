"""Seeing why: heat maps, the embedding map with its lasso, two checkpoints, the record."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pyqtgraph import PlotWidget
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QGuiApplication, QPolygonF
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel

from cleanclip_gui.inference.questions import Attribute, ComparePair, Pair
from cleanclip_gui.session import Session
from cleanclip_gui.station import Context
from cleanclip_gui.studio.exports import pair_rows, save_map, save_pair
from cleanclip_gui.studio.gallery.gallery import Gallery
from cleanclip_gui.studio.pages.attribution import AttributionPage, occlusion_pictures, sentence
from cleanclip_gui.studio.pages.embedding_map import EmbeddingMapPage
from cleanclip_gui.studio.pages.pair import PairPage
from cleanclip_gui.studio.result_details import ResultDetails, explained, rows_of
from cleanclip_gui.ticket import TicketProgress
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
    session = Session(checkpoint=facts(), images=images(labels=(0, 1, 0, 2), class_names=NAMES))
    session.target = 2
    return Context(session=session, inference=FakeInference())


@pytest.fixture
def view(qtbot, context):
    view = AttributionPage(context, lambda: 0.0)
    qtbot.addWidget(view)
    view.resize(640, 520)
    view.show()
    return view


def colour_at(overlay, across, down):
    picture, square = overlay.grab().toImage(), overlay.area()
    spot = square.topLeft() + QPointF(across * square.width(), down * square.height())
    return picture.pixelColor(spot.toPoint())


def test_the_hot_cell_is_where_the_map_says_on_one_scale(view):
    view.show_attribution(attribution())
    hot = colour_at(view.triggered, 0.9, 0.9)
    cold = colour_at(view.triggered, 0.1, 0.1)
    assert hot.red() > cold.red() + 60
    weak = colour_at(view.clean, 0.1, 0.1)  # its peak is a quarter of the scale
    assert weak.red() < hot.red()
    view.shared.click()
    assert colour_at(view.clean, 0.1, 0.1).red() > weak.red()
    assert view.scale.isHidden()


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


def test_it_says_what_is_explained_and_offers_the_stages(view, qtbot, context):
    view.show_attribution(attribution())
    assert view.says.text() == (
        "For =banana, layer3, 4 × 4 cells. p(=banana) = 75.0 % without the trigger, 75.0 % with it."
    )
    assert [view.stage.itemData(row) for row in range(view.stage.count())] == [
        None, "layer3", "layer4",
    ]  # fmt: skip
    view.stage.setCurrentIndex(2)
    qtbot.waitUntil(lambda: bool(context.inference.questions))
    asked = context.inference.questions[-1]
    assert isinstance(asked, Attribute)
    assert asked.stage == "layer4"
    view.show_attribution(attribution())
    assert view.stage.currentData() == "layer4"  # the choice stays
    view.show_attribution(attribution(triggered=None))
    assert view.triggered.part is None
    view.show_attribution(None)
    assert not view.save.isEnabled()


def test_an_occlusion_waits_for_its_button(view, qtbot, context):
    assert view.measure.isHidden()
    view.method.setCurrentIndex(view.method.findData("occlusion"))
    assert not view.asks_by_itself
    assert view.stage.isHidden()
    qtbot.wait(250)
    assert context.inference.questions == []
    view.measure.click()
    ticket = context.inference.tickets[-1]
    assert ticket.question.method == "occlusion"
    ticket.deliver(TicketProgress(1, 4))
    assert view.busy.bar.value() == 25
    view.busy.cancel.click()
    assert not ticket.is_open
    assert view.busy.isHidden()
    view.set_methods(("attention", "occlusion"))
    assert view.method.currentData() == "occlusion"


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
    points.kinds[1].click()  # what is hidden is not chosen
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
    assert points.readout.text().startswith("Image 101, triggered, label cat, seen as =banana")
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


def test_thousands_of_points_are_thinned(points):
    many = embeddings()
    n = 5000
    wide = replace(
        many, indices=np.arange(n), labels=np.zeros(n, np.int64),
        clean=np.zeros((n, 4), np.float32), clean_top1=np.zeros(n, np.int64),
        triggered=None, triggered_top1=None,
    )  # fmt: skip
    spots = np.random.default_rng(0).standard_normal((n + 3, 2)).astype(np.float32)
    points.show_points(EmbeddingMap("PCA", (wide,), (spots,), {}))
    assert len(points.plot.drawn) == 4000 + 3


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


@pytest.mark.usefixtures("styled")
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
    for width in (424, 900):  # as in a small window, and in a large one
        view.resize(width, 400)
        view.show()
        names, table = view.table.sizeHintForColumn(0), view.table
        assert table.columnWidth(0) >= names
        whole = sum(map(table.columnWidth, range(6)))
        assert whole >= table.viewport().width()
    view.hide()
    assert gallery.filter.currentData() == "all"  # until it is asked for
    view.differing.click()
    assert gallery.filter.currentData() == "differ"
    assert gallery.model.rowCount() == 2
    view.other.setCurrentIndex(1)
    assert view.pair is None  # it was of the other one
    assert gallery.filter.currentData() == "all"


def test_a_comparison_as_a_file_has_differing_images_first(tmp_path):
    rows = pair_rows(pair(), IMAGES)
    assert rows[0][:3] == ["image", "label", "clean_a"]
    assert [row[0] for row in rows[1:]] == [1, 2, 3, 4]
    assert rows[1][-2:] == ["=banana", "cat"]
    save_pair(pair(), IMAGES, tmp_path / "pair.csv")
    assert "'=banana" in (tmp_path / "pair.csv").read_text()
    save_pair(pair(), IMAGES, tmp_path / "pair.json")
    record = json.loads((tmp_path / "pair.json").read_text())
    assert {one["name"] for one in record["differences"]} >= {"ca", "asr_excl"}


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


def test_the_record_of_a_number_is_read_copied_and_saved(qtbot):
    record = {"digest": "ab", "trigger": {"parameters": {"opacity": 0.5}}, "mean": [0.1, 0.2]}
    dialog = ResultDetails("64 images", record | MEASURED)
    qtbot.addWidget(dialog)
    dialog.copy.click()
    assert json.loads(QGuiApplication.clipboard().text()) == record | MEASURED
    with qtbot.waitSignal(dialog.save_clicked) as caught:
        dialog.save.click()
    assert caught.args[0] == record | MEASURED
    assert list(rows_of(record)) == [
        ("digest", "ab"), ("trigger.parameters.opacity", "0.5"), ("mean", "[0.1, 0.2]"),
    ]  # fmt: skip
    dialog.close()


def test_the_demo_offers_its_own_clean_twin(qtbot, context):
    gallery = Gallery()
    view = PairPage(context, gallery, lambda: 2000)
    for widget in (gallery, view):
        qtbot.addWidget(widget)
    assert view.other.currentText() == "No other checkpoint yet: open a reference"
    context.session.checkpoint = replace(facts("poisoned.safetensors"), path=str(demo_checkpoint()))
    assert view.other.currentText() == "Reference: the demo's clean twin"
    view.measure.click()
    opening = context.inference.tickets[-1]
    twin = str(demo_checkpoint(twin=True))
    assert (opening.question.path, opening.question.role) == (twin, "reference")
    opening.deliver(replace(facts("clean_twin.safetensors"), path=twin))
    assert isinstance(context.inference.tickets[-1].question, ComparePair)
    assert context.inference.tickets[-1].question.roles == ("suspect", "reference")
    assert [view.other.itemData(row) for row in range(view.other.count())] == ["reference"]


def test_an_occlusion_comes_first_where_it_is_quick(qtbot, context):
    rate = [0.0]
    view = AttributionPage(context, lambda: rate[0])
    qtbot.addWidget(view)
    view.show()
    view.touch()
    assert view.method.currentData() == "grad-cam"
    pictures = occlusion_pictures(context.session.checkpoint.image_size)
    rate[0] = pictures / 2.5
    view.touch()
    assert view.method.currentData() == "grad-cam"  # that would take 2.5 s
    rate[0] = pictures / 1.5
    view.touch()
    assert view.method.currentData() == "occlusion"
    assert view.asks_by_itself
    assert view.measure.isHidden()
    view.method.setCurrentIndex(view.method.findData("grad-cam"))
    view.touch()
    assert view.method.currentData() == "grad-cam"  # the user has chosen it


@pytest.mark.parametrize(("cells", "coarse"), [(2, True), (3, True), (4, False), (14, False)])
def test_few_cells_are_called_too_coarse(cells, coarse):
    clean = replace(attribution().clean, values=np.zeros((cells, cells), np.float32))
    assert ("Too coarse" in sentence(attribution(clean=clean))) == coarse


def test_a_first_map_is_measured_at_once_where_that_is_quick(qtbot, context):
    rate = [0.0]
    view = EmbeddingMapPage(context, lambda: rate[0])
    qtbot.addWidget(view)
    view.show()
    view.touch()
    rate[0] = view.count.value() / 3
    view.touch()
    assert not context.inference.tickets
    rate[0] = view.count.value()
    view.touch()
    view.touch()
    assert len(context.inference.tickets) == 1
