"""Studio's pages over the real inference thread and a tiny model."""

import json

import numpy as np
import pytest

from tests.gui.studios import measured_studio

N = 48
_LONG = 120_000


@pytest.fixture
def studio(qtbot, tiny_checkpoint):
    yield from measured_studio(qtbot, tiny_checkpoint, N)


def test_attribution_follows_image_and_class_and_waits_for_an_occlusion(studio, qtbot, tmp_path):
    view = studio.attribution
    assert view.attribution is None  # nothing is asked for a page that is not on show
    studio.live.take_pace(1e4)  # images a second
    studio.pages.show_page("attribution")
    qtbot.waitUntil(lambda: view.attribution is not None, timeout=_LONG)
    assert view.attribution.method == "occlusion"
    view.method.setCurrentIndex(view.method.findData("grad-cam"))
    qtbot.waitUntil(lambda: view.attribution.method == "grad-cam", timeout=_LONG)
    assert view.attribution.index == studio.session.selected_image
    assert view.attribution.class_index == studio.session.target
    assert view.attribution.trigger == studio.session.trigger.digest

    studio.session.selected_image = 5
    qtbot.waitUntil(lambda: view.attribution.index == 5, timeout=_LONG)
    view.explained.setCurrentIndex(view.explained.findData("label"))
    label = int(studio.session.images.labels[5])
    qtbot.waitUntil(lambda: view.attribution.class_index == label, timeout=_LONG)

    assert not view.measure.isVisible()
    studio.live.forget_pace()  # as on a slow model
    view.method.setCurrentIndex(view.method.findData("occlusion"))
    view.measure.click()
    qtbot.waitUntil(lambda: view.attribution.method == "occlusion", timeout=_LONG)
    assert view.busy.isHidden()
    studio.context.prompts.save_file = lambda *_: str(tmp_path / "why.json")
    view.save.click()
    assert json.loads((tmp_path / "why.json").read_text())["index"] == 5

    studio.session.images = None  # another set: nothing on show is of it
    assert view.attribution is None


def test_map_lasso_comparison_and_record(studio, qtbot, tmp_path, tiny_checkpoint):
    session, pages = studio.session, studio.pages
    studio.map.count.setValue(30)  # before the page shows, which may measure by itself
    pages.show_page("map")
    studio.map.measure.click()
    qtbot.waitUntil(lambda: studio.map.embedding_map is not None, timeout=_LONG)
    plot = studio.map.plot
    assert np.bincount(plot.part.kinds()).tolist() == [30, 30, 72]
    plot.lassoed.emit(np.array([0, 30, 59]))
    wanted = sorted({int(plot.part.indices[0]), int(plot.part.indices[29])})
    shown = studio.gallery.model
    assert [shown.image_at(row) for row in range(shown.rowCount())] == wanted
    plot.lassoed.emit(np.array([], np.int64))
    assert shown.rowCount() == N
    flat, method = studio.map.embedding_map, studio.map.method
    method.setCurrentIndex(method.findData("t-SNE"))
    assert studio.map.busy.isVisible()
    qtbot.waitUntil(lambda: studio.map.embedding_map.method == "t-SNE", timeout=_LONG)
    assert np.isfinite(studio.map.embedding_map.places[0]).all()
    method.setCurrentIndex(method.findData("PCA"))
    assert studio.map.embedding_map is flat  # kept, not measured again

    pages.show_page("pair")
    studio.context.prompts.open_file = lambda *_: str(tiny_checkpoint)
    studio.pair.open.click()
    qtbot.waitUntil(lambda: session.reference is not None, timeout=_LONG)
    assert studio.pair.other.currentData() == "reference"
    studio.pair.measure.click()
    qtbot.waitUntil(lambda: studio.pair.pair is not None, timeout=_LONG)
    assert studio.pair.says.text().startswith("0 of 48")  # it was compared with itself
    assert all(abs(one.difference) < 1e-3 for one in studio.pair.pair.differences)
    assert not studio.pair.differing.isEnabled()
    studio.context.prompts.save_file = lambda *_: str(tmp_path / "pair.csv")
    studio.pair.save.click()
    assert len((tmp_path / "pair.csv").read_text().splitlines()) == 1 + N

    studio.measured.click()
    qtbot.waitUntil(lambda: studio.result.dialog is not None, timeout=_LONG)
    dialog = studio.result.dialog
    assert dialog.record["digest"]
    assert dialog.record["trigger"]["digest"] == session.trigger.digest
    studio.context.prompts.save_file = lambda *_: str(tmp_path / "record.csv")
    dialog.save.click()
    assert "trigger.digest," in (tmp_path / "record.csv").read_text()
    dialog.close()

    session.target = (session.target + 1) % 72
    assert studio.pair.pair is None  # of another question
    failed = []
    studio.shell.failed.connect(failed.append)
    session.evaluation = None
    assert not studio.measured.isEnabled()
    studio.result.show()
    assert failed[0].sentence == "There is no finished measurement yet; measure first."
    session.images = None
    studio.map.measure.click()
    assert studio.map.says.text() == "Open a checkpoint and images first."
