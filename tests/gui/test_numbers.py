"""Numbers by class and the fastest arithmetic, over the real thread."""

import csv
import json

import pytest
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QApplication

from cleanclip_gui.inference.questions import MeasureSpeed
from cleanclip_gui.studio.live import WholeSet
from ml_core.data.specs import ImageSpec
from ml_core.evaluation.breakdown import ClassRow
from ml_core.evaluation.speed import Speed
from tests.gui.shell_fakes import FakeInference
from tests.gui.studios import measured_studio, settled

N = 216
_LONG = 120_000


@pytest.fixture
def studio(qtbot, tiny_checkpoint):
    yield from measured_studio(qtbot, tiny_checkpoint, N)


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
    studio.session.images = None
    assert view.classes.rows.rowCount() == 0


def test_the_triggers_own_canvas_is_measured_without_it_too(studio, qtbot):
    from dataclasses import replace

    studio.editor.use_trigger(replace(studio.session.trigger, canvas="squash"))
    studio.pages.show_page("classes")
    view = studio.classes
    qtbot.waitUntil(
        lambda: (
            view.control.caption.text() == "Clean accuracy, squashed pictures" and settled(studio)
        ),
        timeout=_LONG,
    )
    assert f"{100 * studio.session.evaluation.control_ca:.1f}" in view.control.value.text()


def test_equal_names_are_warned_of(studio, qtbot, tmp_path):
    path = tmp_path / "names.txt"
    names = list(studio.session.images.class_names)
    names[5] = names[studio.session.target]
    path.write_text("\n".join(names))
    studio.pages.show_page("classes")
    studio.wiring.load(ImageSpec(n=N), str(path), ("a {}",))
    qtbot.waitUntil(lambda: not studio.classes.warning.isHidden(), timeout=_LONG)
    assert "#5" in studio.classes.warning.text()
    assert "target's name" in studio.figure.note.text()


def test_the_fastest_arithmetic_is_found_after_the_first_numbers_and_told(
    studio, qtbot, monkeypatch
):
    # Whatever else the machine does
    monkeypatch.setattr("ml_core.evaluation.speed._OWN_SHARE", 0.0)
    studio.auto_speed.findChild(QTimer).setInterval(0)
    session = studio.session
    qtbot.waitUntil(lambda: session.speed[0] != "", timeout=_LONG)
    assert "batch" in session.speed[0]
    assert "images per second" in session.speed[1]
    studio.result.show()
    qtbot.waitUntil(lambda: studio.result.dialog is not None, timeout=_LONG)
    assert studio.result.dialog.record["speed"] == session.speed[1]
    studio.result.dialog.close()
    fake = FakeInference()
    monkeypatch.setattr(studio.auto_speed, "_inference", fake)
    studio.measure_all()
    qtbot.waitUntil(lambda: not studio.live.stale and settled(studio), timeout=_LONG)
    qtbot.wait(20)
    assert fake.questions == []  # it is known now
    found = session.evaluation
    assert session.speed[0].startswith(f"{found.precision}, {found.layout.replace('-', ' ')}")
    session.role = "cleaned"
    assert session.speed == ("", "")


def test_a_precision_that_was_set_is_kept_to(studio, qtbot, monkeypatch):
    monkeypatch.setattr("ml_core.evaluation.speed._OWN_SHARE", 0.0)
    store, session = studio.context.settings, studio.session
    qtbot.waitUntil(lambda: session.speed[0] != "", timeout=_LONG)
    store.update(precision="fp32")
    studio.shell.computing_changed.emit()
    qtbot.waitUntil(lambda: session.speed[0].startswith("fp32"), timeout=_LONG)
    qtbot.waitUntil(lambda: not studio.live.stale and settled(studio), timeout=_LONG)
    assert session.evaluation.precision == "fp32"


def test_threads_that_were_set_are_taken_at_once(studio, qtbot, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    taken = []
    monkeypatch.setattr("ml_core.jobs.devices.torch.set_num_threads", taken.append)
    studio.context.device.use_threads(3)
    qtbot.waitUntil(lambda: taken == [3], timeout=_LONG)
    studio.context.device.use_threads(0)


def test_what_was_measured_while_others_were_busy_is_neither_used_nor_told(
    studio, qtbot, monkeypatch
):
    busy = Speed("bf16", "channels-last", 2, 9.0, 1.0, 400, "cpu", 1, busy=True)
    studio.auto_speed.forget()
    paces = []
    monkeypatch.setattr(studio.live, "forget_pace", lambda: paces.append(1))
    fake = FakeInference()
    monkeypatch.setattr(studio.auto_speed, "_inference", fake)
    studio.auto_speed.measure()
    assert isinstance(fake.questions[-1], MeasureSpeed)
    fake.answer(busy)
    assert studio.session.speed == ("", "")
    assert paces == []
    studio.measure_all()
    qtbot.waitUntil(lambda: len(fake.questions) == 2, timeout=_LONG)
    assert isinstance(fake.questions[-1], MeasureSpeed)  # it is asked for again


def test_a_stroke_ends_the_measurement_and_a_later_pause_begins_it_anew(studio, qtbot, monkeypatch):
    fake = FakeInference()
    monkeypatch.setattr(studio.auto_speed, "_inference", fake)
    studio.auto_speed.forget()
    studio.auto_speed.measure()
    assert fake.tickets[-1].is_open
    studio.live.touch()
    assert not fake.tickets[-1].is_open
    qtbot.waitUntil(lambda: len(fake.tickets) == 2, timeout=_LONG)
    assert isinstance(fake.questions[-1], MeasureSpeed)


def test_how_far_the_whole_set_is_stands_below_the_numbers(studio, monkeypatch):
    live = studio.live
    monkeypatch.setattr(type(live), "seconds", 300.0)
    studio.figure.set_note("Estimate from 32 of 4 000 images (slow model).")
    QApplication.processEvents()
    place = studio.bars.mapTo(studio, studio.bars.rect().topLeft())
    live._set_whole(WholeSet(1200, 4000, 180.0))
    assert studio.whole.isVisibleTo(studio)
    assert (studio.whole.bar.value(), studio.whole.bar.maximum()) == (1200, 4000)
    assert studio.figure.note.text() == (
        "1\u2009200 of 4\u2009000 images are measured, 3 min left."
    )
    assert studio.bars.mapTo(studio, studio.bars.rect().topLeft()) == place
    cancelled = []
    monkeypatch.setattr(live, "_cancel", lambda: cancelled.append(1))
    studio.whole.cancel.click()
    assert cancelled
    assert studio.whole.isHidden()


def test_rows_without_a_number_come_last_in_either_order(studio):
    from cleanclip_gui.studio.pages.classes import class_row

    table = studio.classes.classes
    rows = [
        ClassRow(n, f"c{n}", 1, 0.5, (0.0, 1.0), 0.0, asr) for n, asr in enumerate((0.2, None, 0.9))
    ]
    table.set_rows([class_row(row) for row in rows])
    for order, wanted in (
        (Qt.SortOrder.AscendingOrder, ["20.0", "90.0", "–"]),
        (Qt.SortOrder.DescendingOrder, ["90.0", "20.0", "–"]),
    ):
        table.sortByColumn(3, order)
        assert column(table, 3) == wanted
