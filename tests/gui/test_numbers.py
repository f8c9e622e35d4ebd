"""Numbers by class and the fastest arithmetic, over the real thread."""

import csv
import json
from dataclasses import replace

import pytest
from PySide6.QtCore import Qt, QTimer

from cleanclip_gui.inference.questions import MeasureSpeed
from ml_core.data.specs import ImageSpec
from ml_core.evaluation.speed import EncodingSpeed
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
    # A trigger on a canvas of its own is measured without it, too.
    studio.editor.use_trigger(replace(studio.session.trigger, canvas="squash"))
    words = "Clean accuracy, squashed pictures"
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
    studio.context.settings.update(precision="fp32")  # what is set is kept to
    monkeypatch.setattr(studio.auto_speed, "_inference", studio.context.inference)
    studio.shell.computing_changed.emit()
    qtbot.waitUntil(lambda: session.speed[0].startswith("fp32"), timeout=_LONG)
    qtbot.waitUntil(lambda: not studio.live.stale and settled(studio), timeout=_LONG)
    assert session.evaluation.precision == "fp32"
    session.role = "cleaned"
    assert session.speed == ("", "")


def test_a_stroke_ends_the_measurement_and_a_later_pause_begins_it_anew(studio, qtbot, monkeypatch):
    busy = EncodingSpeed("bf16", "channels-last", 2, 9.0, 1.0, 400, "cpu", 1, busy=True)
    fake, paces = FakeInference(), []
    monkeypatch.setattr(studio.auto_speed, "_inference", fake)
    monkeypatch.setattr(studio.live, "forget_pace", lambda: paces.append(1))
    studio.auto_speed.forget()
    studio.auto_speed.measure()
    fake.answer(busy)  # others kept the machine busy: neither used nor told
    assert (studio.session.speed, paces) == (("", ""), [])
    studio.measure_all()
    qtbot.waitUntil(lambda: len(fake.questions) == 2, timeout=_LONG)  # it is asked for again
    assert fake.tickets[-1].is_open
    studio.live.touch()
    assert not fake.tickets[-1].is_open
    qtbot.waitUntil(lambda: len(fake.tickets) == 3, timeout=_LONG)
    assert isinstance(fake.questions[-1], MeasureSpeed)
