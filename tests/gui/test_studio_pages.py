"""Studio's pages over the real inference thread and a tiny model."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import Qt, QTimer

from ml_core.data.specs import ImageSpec
from tests.gui.shell_fakes import FakeInference
from tests.gui.studios import measured_studio, settled

N = 216
_LONG = 120_000


@pytest.fixture
def studio(qtbot, tiny_checkpoint, monkeypatch):
    # Whatever else the machine does
    monkeypatch.setattr("ml_core.evaluation.speed._OWN_SHARE", 0.0)
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
    assert f" for 0 of {N} " in studio.pair.says.text()  # it was compared with itself
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


def column(table, number):
    model = table.rows
    return [model.index(row, number).data() for row in range(model.rowCount())]


def test_numbers_by_class_follow_sort_and_are_saved(studio, qtbot, tmp_path):
    view = studio.classes
    assert view.classes.rows.rowCount() == 0  # nothing is counted for a page that is not on show
    studio.pages.show_page("classes")
    assert view.classes.rows.rowCount() == 72
    assert sum(int(text) for text in column(view.classes, 1)) == N
    found = studio.session.evaluation
    others = N - studio.session.images.labels.tolist().count(studio.session.target)
    assert sum(int(text) for text in column(view.becomes, 2)) == others
    assert f"{100 * found.flip_rate:.1f}" in view.flips.value.text()
    assert view.control.value.text() == "same"

    view.classes.sortByColumn(2, Qt.SortOrder.DescendingOrder)
    rates = [float(text) for text in column(view.classes, 2)]
    assert rates == sorted(rates, reverse=True)
    view.classes.selectRow(5)
    name = column(view.classes, 0)[5]
    assert name in view.heading.text()
    assert sum(int(text) for text in column(view.becomes, 2)) == int(column(view.classes, 1)[5])
    studio.session.target = (studio.session.target + 1) % 72
    qtbot.waitUntil(lambda: settled(studio) and not studio.live.stale, timeout=_LONG)
    assert column(view.classes, 0)[view.classes.currentIndex().row()] == name
    view.everything.click()
    assert view.heading.text() == "What triggered images become"

    for ending in ("csv", "json"):
        path = tmp_path / f"numbers.{ending}"
        studio.context.prompts.save_file = lambda *_, path=path: str(path)
        view.save.click()
    rows = list(csv.DictReader((tmp_path / "numbers.csv").read_text().splitlines()))
    assert len(rows) == 72
    assert {"asr", "asr_interval_low", "poisoned_accuracy"} <= set(rows[0])
    record = json.loads((tmp_path / "numbers.json").read_text())
    assert record["evaluation"]["target"] == studio.session.target
    assert len(record["classes"]) == 72
    # A trigger on a canvas of its own is measured without it, too.
    studio.editor.use_trigger(replace(studio.session.trigger, canvas="squash"))
    words = "CA, squashed pictures"
    qtbot.waitUntil(lambda: view.control.caption.text() == words and settled(studio), timeout=_LONG)
    assert f"{100 * studio.session.evaluation.control_ca:.1f}" in view.control.value.text()
    names = list(studio.session.images.class_names)
    names[5] = names[studio.session.target]  # two classes of one name are warned of
    (tmp_path / "names.txt").write_text("\n".join(names))
    studio.wiring.load(ImageSpec(n=N), str(tmp_path / "names.txt"), ("a {}",))
    qtbot.waitUntil(lambda: not view.warning.isHidden(), timeout=_LONG)
    assert "#5" in view.warning.text()
    assert "target's name" in studio.figure.note.text()
    studio.session.images = None
    assert view.classes.rows.rowCount() == 0


def test_the_fastest_arithmetic_is_found_after_the_first_numbers_and_told(
    studio, qtbot, monkeypatch
):
    studio.auto_speed.findChild(QTimer).setInterval(0)
    session = studio.session
    qtbot.waitUntil(lambda: session.speed != "", timeout=_LONG)
    assert "images per second" in session.speed
    studio.result.show()
    qtbot.waitUntil(lambda: studio.result.dialog is not None, timeout=_LONG)
    assert studio.result.dialog.record["speed"] == session.speed
    studio.result.dialog.close()
    fake = FakeInference()
    monkeypatch.setattr(studio.auto_speed, "_inference", fake)
    studio.live.measure_all()
    qtbot.waitUntil(lambda: not studio.live.stale and settled(studio), timeout=_LONG)
    qtbot.wait(20)
    assert fake.questions == []  # it is known now
    found = session.evaluation
    assert session.speed.startswith(f"{found.precision}, {found.layout}")
    studio.context.settings.update(precision="fp32")  # what is set is kept to
    monkeypatch.setattr(studio.auto_speed, "_inference", studio.context.inference)
    studio.shell.computing_changed.emit()
    qtbot.waitUntil(lambda: session.speed.startswith("fp32"), timeout=_LONG)
    qtbot.waitUntil(lambda: not studio.live.stale and settled(studio), timeout=_LONG)
    assert session.evaluation.precision == "fp32"
    session.role = "cleaned"
    assert session.speed == ""
