"""Presentation mode: a remote control steers the talk, and the window is as before afterwards."""

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import Qt
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication, QComboBox, QLineEdit, QWidget

from cleanclip_gui.session import RunState
from cleanclip_gui.session.records import JobState, RunProgress, ShownPrediction
from cleanclip_gui.station import AtWork
from cleanclip_gui.talk.presenter import KEYS, facts
from cleanclip_gui.talk.script import Recorded
from tests.gui.factories import evaluation

K = Qt.Key


@pytest.fixture
def window(window, qtbot):
    window.activateWindow()
    window.start_tour()
    qtbot.waitUntil(
        lambda: None not in (window.session.checkpoint, window.session.images), timeout=20_000
    )
    return window


def measured(**fields):
    return evaluation(ca=0.99, baseline_target_rate=0.0, **fields)


def press(qtbot, window, key, *more):
    qtbot.keyClick(window.focusWidget() or window, key, *more)


def test_the_screen_goes_black_and_any_key_brings_it_back(window, qtbot):
    presenter = window.talk.presenter
    window.talk.present(full_screen=False)
    for key, back in ((K.Key_Period, K.Key_PageDown), (K.Key_B, K.Key_Escape)):
        press(qtbot, window, key)
        assert presenter.is_blank
        assert is_black(window)
        press(qtbot, window, back)
        assert not presenter.is_blank
        assert window.guide.position == 0
    window.guide.show_step(2)
    press(qtbot, window, key)
    window.session.evaluation = measured()  # the card says it, and the figure is framed
    assert is_black(window)
    window.guide.show_step(3)  # as the speaker's window does
    window.resize(1300, 760)
    assert is_black(window)
    qtbot.mouseClick(presenter._curtain, Qt.MouseButton.LeftButton)
    assert not presenter.is_blank


def is_black(window):
    """Whether nothing is seen, once all that waits for the event loop has come."""
    QApplication.processEvents()
    picture = window.grab().toImage().convertToFormat(QImage.Format.Format_Grayscale8)
    rows = np.frombuffer(picture.constBits(), np.uint8).reshape(picture.height(), -1)
    return not rows[:, : picture.width()].any()  # what fills up a row is anything


def test_f5_and_escape_in_turn_then_escape_twice(window, qtbot):
    presenter = window.talk.presenter
    window.actions_.run("talk.present")
    press(qtbot, window, K.Key_Escape)  # F5 and Escape are the one button of some remotes
    assert (window.isFullScreen(), presenter.is_on) == (False, True)
    press(qtbot, window, K.Key_F5)
    assert window.isFullScreen()
    for _ in range(2):
        press(qtbot, window, K.Key_Escape)
    assert not presenter.is_on
    assert not window.guide.running
    window.actions_.run("talk.present_here")  # in the window one Escape is enough
    assert (window.isFullScreen(), presenter.is_on) == (False, True)
    press(qtbot, window, K.Key_Escape)
    assert not presenter.is_on


def test_keys_are_left_to_fields_popups_and_dialogs(window, qtbot):
    window.talk.present(full_screen=False)
    window.guide.show_step(1)
    field = QLineEdit(window)
    field.show()
    for key in KEYS.keys() - {K.Key_F5}:  # its command is the same
        field.setFocus()
        qtbot.keyClick(field, key)
        assert (window.guide.position, window.talk.presenter.is_blank) == (1, False), key
    field.deleteLater()
    box = QComboBox(window)
    box.addItems([str(n) for n in range(40)])
    box.show()
    box.setFocus()
    press(qtbot, window, K.Key_PageUp)
    assert (window.guide.position, box.currentIndex()) == (0, 0)  # closed: the talk's
    window.guide.show_step(1)
    box.setFocus()
    box.showPopup()
    qtbot.keyClick(box.view(), K.Key_PageDown)
    assert window.guide.position == 1
    box.hidePopup()
    window.show_keys()
    dialog = window.findChild(QWidget, "keysDialog") or window.children()[-1]
    qtbot.keyClick(dialog, K.Key_PageUp)
    assert window.guide.position == 1
    dialog.reject()
    box.setParent(None)
    box.deleteLater()


def test_a_button_reached_by_tab_is_pressed_by_space(window, qtbot):
    window.talk.present(full_screen=False)
    window.guide.show_step(1)
    card = window.guide.card
    card.back.setFocus(Qt.FocusReason.TabFocusReason)
    qtbot.keyClick(card.back, K.Key_Space)
    assert window.guide.position == 0
    window.guide.show_step(3)
    window.session.evaluation = measured(asr_excl=0.98)
    card.back.setFocus(Qt.FocusReason.MouseFocusReason)
    qtbot.keyClick(card.back, K.Key_Space)
    assert window.guide.position == 4
    window.guide.show_step(3)
    press(qtbot, window, K.Key_Right, Qt.KeyboardModifier.AltModifier)
    assert window.guide.position == 3
    press(qtbot, window, K.Key_Enter, Qt.KeyboardModifier.KeypadModifier)
    assert window.guide.position == 4


def state_of(window):
    parts = (window.menuBar(), window.status, window.log_dock, window.header)
    return [part.isHidden() for part in parts], window.rail.width(), window.size().toTuple()


def test_everything_is_as_before_even_after_a_crash(window, qtbot, monkeypatch):
    def crash(name):
        raise RuntimeError(name)

    window.log_dock.show()
    before = state_of(window)
    window.talk.present(full_screen=True)
    assert state_of(window)[0] == [True] * 4
    assert window.talk.presenter.band.isVisible()
    window.guide.show_step(2)
    with monkeypatch.context() as patch:
        patch.setattr(window.actions_, "run", crash)
        with qtbot.captureExceptions() as raised:
            window.guide.card.next.click()
    assert [str(error) for _, error, _ in raised] == ["trigger.demo"]
    assert state_of(window) == before
    assert not window.talk.presenter.band.isVisible()
    window.talk.present(full_screen=True)
    window.close()
    assert not window.talk.presenter.is_on
    assert not window.log_dock.isHidden()  # it is remembered as it was


# The band


def words(window, recorded=None):
    return [large.words for large in facts(window.session, recorded)]


def test_the_band_shows_figures_of_the_session_or_that_there_are_none(window):
    session = window.session
    session.evaluation, session.prediction = None, None
    window.show_station("studio")
    assert words(window) == ["–", "ASR not measured"]
    session.prediction = ShownPrediction(2, "dog", "banana")
    session.evaluation = measured(asr_excl=0.981)
    left, right = facts(session)
    assert (left.words, left.alarming) == ("dog → banana", True)
    assert left.meaning == "prediction for picture 3: the trigger flips it"
    assert right.words == "ASR 98 %"
    session.prediction = ShownPrediction(2, "dog", "dog")
    assert not facts(session)[0].alarming

    mine = {"asr_excl": 0.98, "checkpoint_sha256": session.checkpoint.inspection.sha256}
    for fields, rate in (
        ({}, "ASR 98 %"), ({"checkpoint_sha256": "0" * 64}, "ASR …"),  # before cleaning
        ({"trigger": "a digest"}, "ASR …"),  # there is none any more
    ):  # fmt: skip
        session.evaluation = measured(**mine | fields)
        assert words(window)[1] == rate
    window.show_station("clean")
    session.run = RunState("out", "cleanclip", "running")
    session.run_progress = RunProgress("train", 0.43)
    assert words(window)[0] == "Cleaning 43 %"
    result = {"before": {"asr_excl": 0.98, "ca": 0.99}, "after": {"asr_excl": 0.02, "ca": 0.97}}
    session.run = RunState("out", "cleanclip", "finished", result=result)
    assert words(window) == ["CA 97 %", "ASR 98 % → 2 %"]
    window.show_station("scan")
    session.show_job("scan", JobState("out", "finished", "found", "banana"))
    assert words(window)[0] == "Found: banana"
    left, right = facts(session, Recorded(figure="ASR 2 %", text="It fell.", made="last week"))
    assert "Recorded" in left.words
    assert "not live" in left.meaning
    assert right == type(right)("ASR 2 %", "recorded earlier: last week")
    session.run = None
    session.show_job("scan", None)


def test_a_recorded_result_is_called_so_on_the_card_and_in_the_band(window):
    guide, card = window.guide, window.guide.card
    window.talk.present(full_screen=False)
    at = next(n for n, step in enumerate(guide.steps) if step.title == "Clean")
    guide.show_step(at)
    assert card.recorded.isVisible()
    assert not card._made.isVisible()
    card.recorded.click()
    assert not card.recorded.isVisible()
    assert card._made.text().startswith("Recorded earlier, not live: ")
    band = window.talk.presenter.band
    assert band.left.large.words == "Recorded"
    assert band.right.large.meaning == "recorded earlier: the demo, talk preset, seed 0"
    assert card.next.text() == "Next"
    window.session.run = RunState("out", "cleanclip", "finished")  # a live one takes its place
    assert not card._made.isVisible()
    assert band.left.large.words != "Recorded"
    window.session.run = None
    guide.show_step(at)
    card.next.setEnabled(True)
    guide.show_recorded()
    card.next.click()
    assert guide.position == at + 1


# Reset


def test_reset_cancels_what_runs_and_forgets_how_it_ended(window, qtbot, monkeypatch):
    session, cancelled = window.session, []
    session.run = RunState("out", "cleanclip", "running")
    work = AtWork("A run is going on.", "It is kept.", lambda: cancelled.append(1), waits=True)
    monkeypatch.setattr(window.talk.resetting, "_at_work", lambda: [work])
    window.talk.reset()
    assert cancelled == [1]
    assert session.run is not None  # its process ends in its own time
    session.run = RunState("out", "cleanclip", "cancelled")
    qtbot.waitUntil(lambda: session.run is None)


def test_a_film_of_the_canvas_is_a_webp_that_repeats(window, qtbot, tmp_path):
    window.show_station("studio")
    target = tmp_path / "loop.webp"
    object.__setattr__(window.prompts, "save_file", lambda *_: str(target))
    window.actions_.run("talk.loop")
    studio = window.stations["studio"]
    qtbot.wait(150)
    studio.editor.use_demo_trigger()
    qtbot.wait(400)
    window.actions_.run("talk.loop")
    assert not window.talk.loop.is_on
    qtbot.waitUntil(target.is_file, timeout=20_000)
    with Image.open(target) as film:
        assert (film.format, film.info["loop"]) == ("WEBP", 0)
        assert film.n_frames > 1
