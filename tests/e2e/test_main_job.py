"""What the program is for: open, paint, see it flip, clean, save, reopen; and a killed run.

The guided demo is done without a mouse: only keys are pressed.
"""

from __future__ import annotations

import os
import signal
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
from PySide6.QtCore import Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QFileDialog

from cleanclip_gui.checkpoint.examining import examination_of
from ml_core.cleaning.presets import preset
from ml_core.cleaning.state import read_facts
from ml_core.data.specs import ImageSpec
from ml_core.jobs.scan import ScanSettings
from tests.keyboard import Keyboard, focused, heard_name

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("warm_jobs")]
K = Qt.Key
CONTROL = Qt.KeyboardModifier.ControlModifier
WAIT, CLEAN = 120_000, 300_000


def rate(session) -> float | None:
    """The attack success rate on the screen, once it is final."""
    found = session.evaluation
    return None if found is None or found.partial or found.trigger is None else found.asr_excl


def card_text(window) -> str:
    """What a screen reader hears of the guide's card."""
    return window.guide.card.accessibleDescription()


def choose_colour(keys: Keyboard, old: str, new: str) -> None:
    """Open the colours by the button of the one in use, and choose another."""
    keys.tab_to(f"Colour and ink, {old}", back=True)
    keys.press(K.Key_Space)
    keys.tab_to(new, back=True)
    keys.press(K.Key_Space)


def paint_checker(keys: Keyboard) -> None:
    """A red and white checker of 3 x 3 cells at the upper right, with the focus on the canvas.

    The cursor of the keys begins in the middle, and Ctrl takes it 8 pixels at once.
    """
    choose_colour(keys, "#dc1428", "White, #fafafa")
    keys.tab_to("Trigger canvas")
    keys.press(K.Key_Right, modifier=CONTROL, times=2)
    keys.press(K.Key_Up, modifier=CONTROL, times=3)
    for turn in (K.Key_Right, K.Key_Left, K.Key_Right):  # three rows, as one writes
        keys.press(K.Key_Return)
        keys.press(turn, times=6)
        keys.press(K.Key_Return)
        keys.press(K.Key_Down, times=3)
    choose_colour(keys, "#fafafa", "Red, #dc1428")
    keys.tab_to("Trigger canvas")
    keys.press(K.Key_BracketLeft)  # as wide as a cell; the cursor is where it was left
    keys.press(K.Key_Up, times=3)
    for way in ((), (K.Key_Left,) * 6, (K.Key_Up,) * 3 + (K.Key_Right,) * 3,
                (K.Key_Up,) * 3 + (K.Key_Left,) * 3, (K.Key_Right,) * 6):  # fmt: skip
        keys.press(*way, K.Key_Space)


def save_by_name(qtbot, keys: Keyboard, path: Path) -> None:
    """Press what asks for a file, write its path into the dialog, and press Return."""

    def answer() -> None:
        if not isinstance(QApplication.activeModalWidget(), QFileDialog):
            QTimer.singleShot(100, answer)
            return
        keys.press(K.Key_A, modifier=CONTROL)
        keys.write(str(path))
        keys.press(K.Key_Return)

    QTimer.singleShot(100, answer)  # the dialog has an event loop of its own
    keys.press(K.Key_Space)
    qtbot.waitUntil(path.is_file, timeout=WAIT)


def test_the_demo_is_done_by_keyboard_alone(qtbot, window, tmp_path, monkeypatch):
    monkeypatch.setattr("ml_core.jobs.demo.HELDOUT_IMAGES", 100)  # fewer pictures to wait for
    some = partial(ImageSpec, n=360)
    monkeypatch.setattr("cleanclip_gui.window.main_window.ImageSpec", some)
    session, keys = window.session, Keyboard(window)
    small = ScanSettings(stages=("probes",), search=64, held_out=128)
    monkeypatch.setattr(
        "cleanclip_gui.checkpoint.station.examination_of",
        lambda *args: examination_of(*args).model_copy(update={"scan": small}),
    )
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)

    keys.tab_to("Try the demo")
    keys.press(K.Key_Space)
    for button in ("Next", "Examine"):
        qtbot.waitUntil(lambda name=button: heard_name(focused()) == name, timeout=WAIT)
        keys.press(K.Key_Return)
    qtbot.waitUntil(lambda: "Found: " in card_text(window), timeout=CLEAN)
    keys.tab_to("Next")
    keys.press(K.Key_Return)
    page = window.stations["checkpoint"].examination
    assert "“banana”" in page.headline.text()
    assert page.rows["accuracy"].figure.text().endswith("%")
    qtbot.waitUntil(lambda: session.evaluation is not None, timeout=WAIT)
    assert session.evaluation.asr_excl is None

    paint_checker(keys)
    qtbot.waitUntil(lambda: rate(session) is not None, timeout=WAIT)
    painted = rate(session)
    keys.tab_to("Next")
    keys.press(K.Key_Return)
    assert window.guide.steps[window.guide.position].title == "See the effect"
    assert "turn into “banana”" in card_text(window)
    assert painted >= 0.5
    assert session.evaluation.baseline_target_rate <= 0.05

    keys.tab_to("End tour")
    keys.press(K.Key_Space)
    keys.tab_to("Clean")
    keys.press(K.Key_Space)
    keys.tab_to("Preset")
    keys.press(K.Key_T)
    assert focused().currentText() == "Talk"
    keys.tab_to("All settings")
    keys.press(K.Key_Space)
    keys.tab_to("Training examples")
    keys.write("1920")
    keys.tab_to("Start cleaning")
    keys.press(K.Key_Space)
    qtbot.waitUntil(lambda: session.run is not None and session.run.status == "running")
    qtbot.waitUntil(lambda: session.run.status != "running", timeout=CLEAN)
    assert session.run.status == "finished", session.run.error
    result = session.run.result
    before, after = result["before"], result["after"]
    assert after["asr_excl"] <= min(painted, before["asr_excl"]) / 2
    assert after["ca"] >= 0.6  # of 15 steps; a preset's whole run costs far less

    keys.tab_to("Save cleaned checkpoint…")
    saved = tmp_path / "cleaned.safetensors"
    save_by_name(qtbot, keys, saved)
    assert sha256(saved.read_bytes()).hexdigest() == result["checkpoint_sha256"]

    window.open_path(str(saved))
    qtbot.waitUntil(lambda: session.checkpoint.path == str(saved), timeout=WAIT)
    window.show_station("studio")
    window.actions_["trigger.measure_all"].trigger()  # a busy machine is slow: it takes a part

    def reopened() -> bool:
        found = session.evaluation
        return (
            found is not None and not found.partial and found.n == after["n"]
            and found.checkpoint_sha256 == result["checkpoint_sha256"]
        )  # fmt: skip

    qtbot.waitUntil(reopened, timeout=WAIT)
    assert session.evaluation.asr_excl == pytest.approx(after["asr_excl"], abs=2e-3)
    assert session.evaluation.ca == pytest.approx(after["ca"], abs=2e-3)


def test_a_killed_run_says_so_and_resumes(qtbot, window, monkeypatch):
    """Kill -9 of the real child: one sentence, and Resume goes on from the last save."""
    monkeypatch.setattr("ml_core.jobs.demo.HELDOUT_IMAGES", 20)
    session, clean = window.session, window.stations["clean"]
    window.start_demo()
    qtbot.waitUntil(lambda: session.checkpoint is not None, timeout=WAIT)
    window.data_bar.load(ImageSpec(kind="demo", split="test", n=144))
    qtbot.waitUntil(lambda: session.images is not None and session.images.n == 144, timeout=WAIT)
    window.show_station("clean")
    short = preset("cleanclip", "talk").changed(
        pairs=480, batch_size=32, warmup_steps=5, eval_every=0, save_every=4, precision="fp32"
    )
    clean.form.set_recipe(short)
    clean.start()
    folder = Path(session.run.output_dir)
    state = folder / "state" / "state.safetensors"  # the first save comes before the first step
    qtbot.waitUntil(lambda: state.is_file() and read_facts(state)["step"] > 0, timeout=CLEAN)
    os.kill(clean.run.runner.pid, signal.SIGKILL)
    qtbot.waitUntil(lambda: session.run.status == "interrupted", timeout=WAIT)
    assert "SIGKILL" in session.run.error
    assert clean.resume_button.isVisible()
    QTest.mouseClick(clean.resume_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: session.run.status == "finished", timeout=CLEAN)
    assert session.run.result["steps"] == short.total_steps
    assert "Going on after step" in (folder / "events.jsonl").read_text()
