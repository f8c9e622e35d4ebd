"""The bench by hand: two runs wait their turn, are compared, and a point is opened in Studio."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtTest import QTest

from ml_core.cleaning.presets import preset
from ml_core.data.specs import ImageSpec

pytestmark = [pytest.mark.timeout(1800), pytest.mark.usefixtures("warm_jobs")]
LOAD_MS, RUN_MS = 180_000, 900_000
IMAGES = 60
LEFT = Qt.MouseButton.LeftButton


@pytest.mark.slow
def test_two_runs_wait_are_compared_and_a_point_opens(qtbot, window, monkeypatch):
    monkeypatch.setattr("cleanclip_gui.clean.job.HELDOUT", 20)
    session, clean = window.session, window.stations["clean"]
    window.start_demo()
    window.guide.end()
    window.data_bar.load(ImageSpec(kind="demo", split="test", n=IMAGES), "demo")
    qtbot.waitUntil(lambda: session.checkpoint is not None, timeout=LOAD_MS)
    qtbot.waitUntil(
        lambda: session.images is not None and session.images.n == IMAGES, timeout=LOAD_MS
    )
    window.show_station("studio")
    window.stations["studio"].editor.use_demo_trigger()
    qtbot.waitUntil(lambda: session.trigger is not None, timeout=LOAD_MS)
    trigger = session.trigger

    window.show_station("clean")
    small = {"pairs": 8 * 32, "batch_size": 32, "eval_every": 4, "save_every": 0,
             "warmup_steps": 2, "stop_below_ca": 0.0, "lr": 2e-4, "precision": "fp32"}  # fmt: skip
    clean.form.set_recipe(preset("cleanclip", "talk").changed(**small))
    QTest.mouseClick(clean.setup.keep_steps, LEFT)
    assert clean.setup.keep_steps.isChecked()
    QTest.mouseClick(clean.start_button, LEFT)
    clean.form.set_recipe(preset("mmcl", "talk").changed(**small))
    QTest.mouseClick(clean.start_button, LEFT)
    assert len(clean.queue) == 1
    first = session.run.output_dir

    def all_done() -> bool:
        return not clean.run.is_running and len(clean.queue) == 0

    qtbot.waitUntil(all_done, timeout=RUN_MS)
    assert session.run.status == "finished"
    assert session.run.method == "mmcl"
    clean.show_page(1)
    qtbot.waitUntil(lambda: not clean.runs.is_reading, timeout=LOAD_MS)
    runs = clean.runs.table.rows.runs
    assert [(run.spec.recipe.method, run.status) for run in runs] == [
        ("mmcl", "finished"), ("cleanclip", "finished"),
    ]  # fmt: skip
    assert runs[1].result["after"]["ca"] is not None
    assert len(clean.runs.compared()) == 2  # each was taken in when it began

    clean.show_page(2)
    chart = clean.runs.tradeoff
    qtbot.waitUntil(lambda: chart.plot is not None, timeout=LOAD_MS)
    spots = chart.spots
    assert [spot.point.step for spot in spots] == [0, 4, 8, 0, 4, 8]
    assert all(spot.point.checkpoint for spot in spots)
    assert any(spot.on_front for spot in spots)
    # The step that is opened is one whose place nothing else covers.
    number = next(
        n for n, spot in enumerate(spots)
        if spot.track.key == first and spot.point.step == 4
    )  # fmt: skip
    spot = spots[number]
    chart.set_tracks([spot.track])
    chart.reset_view()
    QTest.qWait(100)
    view = chart.plot.getViewBox()
    place = chart.plot.mapFromScene(view.mapViewToScene(QPointF(spot.x, spot.y)))
    QTest.mouseClick(chart.plot.viewport(), LEFT, pos=place)
    qtbot.waitUntil(lambda: session.cleaned is not None, timeout=LOAD_MS)
    assert window.station == "studio"
    assert session.cleaned.path.startswith(first)
    assert "/steps/step-0000" in session.cleaned.path
    assert session.trigger.digest == trigger.digest

    def measured() -> bool:
        found = session.evaluation
        return (
            found is not None and not found.partial and found.asr_excl is not None
            and found.checkpoint_sha256 == session.cleaned.inspection.sha256
        )  # fmt: skip

    qtbot.waitUntil(measured, timeout=LOAD_MS)
