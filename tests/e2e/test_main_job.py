"""What the program is for, done by hand: open, paint, see it flip, clean, compare, save, reopen."""

from __future__ import annotations

import os
import signal
from itertools import pairwise
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from PySide6.QtTest import QTest

from ml_core.cleaning.presets import preset
from ml_core.cleaning.state import read_facts
from ml_core.data.specs import ImageSpec

pytestmark = pytest.mark.timeout(1200)
RED, WHITE = (220, 20, 40), (250, 250, 250)
LOAD_MS, EVALUATE_MS, CLEAN_MS = 120_000, 120_000, 900_000
IMAGES = 300


def measured(window, *, triggered: bool):
    """Whether the shown numbers are final, and with or without a trigger."""

    def holds() -> bool:
        found, live = window.session.evaluation, window.stations["studio"].live
        final = found is not None and not found.partial and not live.stale
        return final and (found.trigger is not None) == triggered

    return holds


def drag(canvas, places) -> None:
    """Draw through places given in image pixels."""
    viewport, left = canvas.viewport(), Qt.MouseButton.LeftButton
    points = [canvas.mapFromScene(x, y) for x, y in places]
    QTest.mousePress(viewport, left, pos=points[0])
    for a, b in pairwise(points):
        for part in range(1, 5):
            QTest.mouseMove(viewport, a + (b - a) * (part / 4))
    QTest.mouseRelease(viewport, left, pos=points[-1])


def paint_sticker(window, left: float, top: float) -> None:
    """Draw a red and white checker of 3 x 3 cells by hand: a white blob, then five red dabs."""
    studio = window.stations["studio"]
    studio.canvas.set_tool("brush")
    studio.canvas.set_colour(QColor(*WHITE))
    studio.canvas.set_ink(width=3.4)
    rows = [(left + 1.5, top + 1.5 + 3 * row, left + 7.5) for row in range(3)]
    for x, y, end in rows:
        drag(studio.canvas, [(x, y), (end, y)])
    studio.canvas.set_colour(QColor(*RED))
    studio.canvas.set_ink(width=3.2)
    for column, row in ((0, 0), (2, 0), (1, 1), (0, 2), (2, 2)):
        x, y = left + 1.5 + 3 * column, top + 1.5 + 3 * row
        drag(studio.canvas, [(x - 0.3, y), (x + 0.3, y + 0.2)])


def test_open_paint_clean_compare_save_reopen(qtbot, window, tmp_path, monkeypatch):
    monkeypatch.setattr("cleanclip_gui.clean.job.HELDOUT", 100)
    session = window.session
    window.start_demo()
    window.guide.end()
    qtbot.waitUntil(lambda: session.checkpoint is not None, timeout=LOAD_MS)
    window.data_bar.load(ImageSpec(kind="demo", split="test", n=IMAGES))
    qtbot.waitUntil(
        lambda: session.images is not None and session.images.n == IMAGES, timeout=LOAD_MS
    )
    window.show_station("studio")
    qtbot.waitUntil(measured(window, triggered=False), timeout=EVALUATE_MS)
    assert session.evaluation.ca >= 0.9
    assert session.evaluation.asr_excl is None
    assert "not measured" in window.stations["studio"].figure.figure.text()

    paint_sticker(window, 46, 8)
    qtbot.waitUntil(measured(window, triggered=True), timeout=EVALUATE_MS)
    painted = session.evaluation
    assert painted.asr_excl >= 0.5
    assert painted.baseline_target_rate <= 0.05
    assert painted.target_name == "banana"

    short = preset("cleanclip", "talk").changed(
        pairs=1920, warmup_steps=5, eval_every=10, precision="fp32"
    )
    window.stations["clean"].form.set_recipe(short)
    window.show_station("clean")
    QTest.mouseClick(window.stations["clean"].start_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(
        lambda: window.stations["clean"].charts.losses.keys() != (), timeout=LOAD_MS * 2
    )
    qtbot.waitUntil(lambda: session.run.status == "finished", timeout=CLEAN_MS)

    result = session.run.result
    assert result["before"]["asr_excl"] >= 0.5
    assert result["after"]["asr_excl"] <= result["before"]["asr_excl"] / 2
    assert result["after"]["ca"] >= result["before"]["ca"] - 0.15  # a preset's run costs far less
    assert window.stations["clean"].before_after.isVisible()

    saved = tmp_path / "cleaned.safetensors"
    monkeypatch.setattr(window.prompts, "save_file", lambda *_: str(saved))
    window.stations["clean"].save_cleaned()
    qtbot.waitUntil(saved.is_file, timeout=LOAD_MS)
    qtbot.waitUntil(window.stations["clean"].save_button.isEnabled, timeout=LOAD_MS)

    window.open_path(str(saved))
    qtbot.waitUntil(lambda: session.checkpoint.path == str(saved), timeout=LOAD_MS)
    assert session.checkpoint.inspection.sha256 == result["checkpoint_sha256"]
    window.show_station("studio")
    window.actions_["trigger.measure_all"].trigger()  # a busy machine is slow: it takes a part

    def reopened() -> bool:
        found = session.evaluation
        return (
            found is not None
            and not found.partial
            and found.checkpoint_sha256 == result["checkpoint_sha256"]
            and found.n == result["after"]["n"]
        )

    qtbot.waitUntil(reopened, timeout=EVALUATE_MS)
    after = result["after"]
    assert session.evaluation.asr_excl == pytest.approx(after["asr_excl"], abs=2e-3)
    assert session.evaluation.ca == pytest.approx(after["ca"], abs=2e-3)


@pytest.mark.usefixtures("warm_jobs")
def test_a_killed_run_says_so_and_resumes(qtbot, window, monkeypatch):
    """Kill -9 of the real child: one sentence, and Resume goes on from the last save."""
    monkeypatch.setattr("cleanclip_gui.clean.job.HELDOUT", 20)
    session, clean = window.session, window.stations["clean"]
    window.start_demo()
    qtbot.waitUntil(lambda: session.checkpoint is not None, timeout=LOAD_MS)
    window.data_bar.load(ImageSpec(kind="demo", split="test", n=144))
    qtbot.waitUntil(lambda: session.images is not None and session.images.n == 144, timeout=LOAD_MS)
    window.show_station("clean")
    short = preset("cleanclip", "talk").changed(
        pairs=480, batch_size=32, warmup_steps=5, eval_every=0, save_every=4, precision="fp32"
    )
    clean.form.set_recipe(short)
    clean.start()
    folder = Path(session.run.output_dir)
    state = folder / "state" / "state.safetensors"  # the first save comes before the first step
    qtbot.waitUntil(lambda: state.is_file() and read_facts(state)["step"] > 0, timeout=CLEAN_MS)
    os.kill(clean.run.runner.pid, signal.SIGKILL)
    qtbot.waitUntil(lambda: session.run.status == "interrupted", timeout=20_000)
    assert "SIGKILL" in session.run.error
    assert clean.resume_button.isVisible()
    QTest.mouseClick(clean.resume_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: session.run.status == "finished", timeout=CLEAN_MS)
    assert session.run.result["steps"] == short.total_steps
    assert "Going on after step" in (folder / "events.jsonl").read_text()
