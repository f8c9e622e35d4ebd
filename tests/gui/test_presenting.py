"""Presentation mode: a remote control steers the talk, and the window is as before afterwards."""

from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication, QDialog, QLineEdit, QWidget

from cleanclip_gui.session import RunState
from cleanclip_gui.session.records import JobState, RunProgress, ShownPrediction
from cleanclip_gui.station import AtWork, Scene
from cleanclip_gui.talk.presenter import facts
from cleanclip_gui.talk.script import SHIPPED, Recorded, shipped
from ml_core.events import Metric
from ml_core.jobs.auto import AutoStep
from ml_core.reading.errors import InputError
from tests.gui import scans
from tests.gui.factories import evaluation
from tests.gui.shell_fakes import Answers
from tests.gui.test_gallery import per_image

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
    press(qtbot, window, K.Key_B)
    window.session.evaluation = measured()  # the card says it, and the figure is framed
    assert is_black(window)
    window.guide.show_step(3)  # as the speaker's window does
    window.resize(1300, 760)
    window.show_station("clean")  # the stage lends another widget
    presenter.refresh()
    assert is_black(window)
    qtbot.mouseClick(window.childAt(9, 9), Qt.MouseButton.LeftButton)
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
    for key in (K.Key_Right, K.Key_Left, K.Key_Space, K.Key_B, K.Key_Period):
        field.setFocus()
        qtbot.keyClick(field, key)
        assert (window.guide.position, window.talk.presenter.is_blank) == (1, False), key
    field.deleteLater()
    window.show_about()
    dialog = window.findChild(QWidget, "aboutDialog") or window.children()[-1]
    qtbot.keyClick(dialog, K.Key_PageUp)
    assert window.guide.position == 1
    dialog.reject()


def test_tab_stays_on_the_stage_and_return_presses_what_it_comes_to(window, qtbot):
    window.talk.present(full_screen=False)
    card, at = window.guide.card, step_named(window, "Clean")
    window.guide.show_step(at)
    card.next.setEnabled(True)
    card.next.setFocus()
    for there in (card.recorded, card.next, card.recorded):
        press(qtbot, window, K.Key_Tab)
        assert window.focusWidget() is there
    press(qtbot, window, K.Key_Return)
    assert window.guide.recorded is not None
    press(qtbot, window, K.Key_Right, Qt.KeyboardModifier.AltModifier)
    assert window.guide.position == at
    press(qtbot, window, K.Key_Space)
    assert window.guide.position == at + 1


def step_named(window, title):
    return next(n for n, step in enumerate(window.guide.steps) if step.title == title)


def test_the_title_stands_first_and_then_the_story(window, qtbot):
    stage = window.talk.presenter.stage
    window.talk.present(full_screen=False)
    assert stage.figures[0].words == window.guide.talk.title
    assert not stage.scene.main
    press(qtbot, window, K.Key_Space)
    assert stage.figures[0].words == "An unknown file"
    press(qtbot, window, K.Key_Left)
    assert stage.figures[0].words == window.guide.talk.title
    for name in SHIPPED:  # nobody sees the sticker before it was searched for
        runs = [step.run for step in shipped(name).steps]
        searches = {"scan.start", "file.examine"}
        assert next(run for run in runs if run in {*searches, "trigger.demo"}) in searches


def test_what_goes_wrong_is_said_on_the_card_of_the_stage(window, qtbot):
    window.talk.present(full_screen=False)
    press(qtbot, window, K.Key_Space)
    heard = window.guide.card.accessibleDescription()
    window.context.shell.failed.emit(InputError("A scan is running; wait until it has ended."))
    assert "A scan is running" in window.guide.card.accessibleDescription()
    assert not window.findChildren(QDialog)
    press(qtbot, window, K.Key_Left)
    press(qtbot, window, K.Key_Space)
    assert window.guide.card.accessibleDescription() == heard
    window.guide.show_step(step_named(window, "Clean"))
    window.context.shell.failed.emit(InputError("Another run is going on; wait."))
    assert window.guide.card.next.text() == "Show recorded result"
    press(qtbot, window, K.Key_PageDown)  # a remote has no other key
    assert window.talk.presenter.stage.figures[1].words == "Recorded"
    assert window.guide.card.next.text() == "Next"
    press(qtbot, window, K.Key_PageDown)  # what follows is about the same result
    assert window.guide.step.title == "Compare"
    assert window.talk.presenter.stage.figures[0].words == "ASR 0.1 %"
    press(qtbot, window, K.Key_PageDown)
    assert window.guide.step.title == "Report"
    window.guide.start(step_named(window, "Clean"))
    window.actions_["clean.it"].setEnabled(False)
    press(qtbot, window, K.Key_PageDown)
    assert "cannot be done now. Needs a checkpoint" in window.guide.card.accessibleDescription()


def state_of(window):
    parts = (window.menuBar(), window.status, window.log_dock, window.header)
    return [part.isHidden() for part in parts], window.rail.width(), window.size().toTuple()


def test_everything_is_as_before_even_after_a_crash(window, qtbot, monkeypatch):
    def crash(name):
        raise RuntimeError(name)

    window.log_dock.show()
    before = state_of(window)
    canvas = window.stations["studio"].canvas
    home = canvas.parentWidget()
    window.talk.present(full_screen=True)
    stage = window.talk.presenter.stage
    for x in range(5, window.width(), 40):
        for y in range(5, window.height(), 40):
            seen = window.childAt(x, y)
            assert seen is stage or stage.isAncestorOf(seen)
    window.guide.show_step(2)
    assert stage.isAncestorOf(canvas)
    with monkeypatch.context() as patch:
        patch.setattr(window.actions_, "run", crash)
        with qtbot.captureExceptions() as raised:
            window.guide.card.next.click()
    assert [str(error) for _, error, _ in raised] == ["trigger.demo"]
    assert state_of(window) == before
    assert not stage.isVisible()
    assert canvas.parentWidget() is home
    assert canvas.isVisible()
    window.guide.end()
    window.talk.present(full_screen=True)
    window.close()
    assert not window.talk.presenter.is_on
    assert not window.log_dock.isHidden()  # it is remembered as it was


# What stands on the stage


def test_what_is_painted_on_the_stage_is_seen_on_pictures_of_other_classes(window, qtbot):
    window.talk.present(full_screen=False)
    window.guide.show_step(step_named(window, "Add the trigger"))
    stage, canvas = window.talk.presenter.stage, window.stations["studio"].canvas
    assert stage.scene.main is canvas
    assert canvas.width() > window.width() / 2
    canvas.set_images(np.zeros((64, 64, 3), np.uint8), None)
    canvas.set_tool("brush")
    qtbot.mouseClick(canvas.viewport(), Qt.MouseButton.LeftButton)
    assert window.stations["studio"].editor.current_trigger() is not None
    images, target = window.session.images, window.session.target
    answers = per_image(range(images.n), images.labels, [target] * images.n)
    window.stations["studio"].gallery.update_predictions(answers)
    window.talk.presenter.refresh()
    others = [images.class_names[label] for label in images.labels if label != target]
    assert [picture.lines for picture in stage.scene.side] == [
        (name, f"→ {images.class_names[target]}") for name in others
    ]
    assert all(picture.alarming for picture in stage.scene.side)


def test_the_patches_of_an_examination_are_seen_as_they_are_searched(window):
    window.talk.present(full_screen=False)
    window.guide.show_step(step_named(window, "Examine"))
    stage = window.talk.presenter.stage
    window.session.show_job("examination", JobState("", "running"))
    for event in scans.events():
        window.context.shell.open("scan_event", event)
    window.talk.presenter.refresh()
    assert stage.figures[0].words == "Scanning…"
    assert len(stage.scene.main) == 6
    assert all(picture.image is not None for picture in stage.scene.main)
    window.session.show_job("examination", None)


def test_the_chart_is_lent_in_large_type(window):
    window.talk.present(full_screen=False)
    stage, charts = window.talk.presenter.stage, window.stations["clean"].charts
    window.guide.show_step(step_named(window, "Clean"))
    assert stage.scene.main == ()  # nothing is drawn yet
    for step in (0, 50):
        charts.add(Metric(step, 100, {"ca": 0.99, "asr_excl": 0.9}))
    run = window.stations["clean"].run.on_show
    run.source = "another.safetensors"
    window.talk.presenter.refresh()
    assert stage.scene.main == ()  # an audience would take it for the model that it sees
    run.source = window.session.checkpoint.path
    window.talk.presenter.refresh()
    assert stage.scene.main is charts.rates
    assert charts.rates.empty_text.fontInfo().pixelSize() >= 0.025 * window.height()
    assert charts.rates.width() > 0.9 * window.width()
    window.guide.end()
    assert charts.isAncestorOf(charts.rates)
    assert charts.rates.empty_text.fontInfo().pixelSize() < 0.025 * window.height()


def test_a_curve_is_shown_with_its_numbers(window):
    window.guide.set_talk(shipped("evidence"))
    window.talk.present(full_screen=False)
    window.guide.show_step(step_named(window, "How few pairs it takes"))
    chart = window.talk.presenter.stage.scene.main
    assert chart.accessibleDescription().startswith("5: 0.3 %; 20: 0.2 %; 75: 1.4 %; 300: 39.4 %")
    assert chart.font().pixelSize() >= 0.025 * window.height()
    assert chart.grab().toImage() != QImage(chart.size(), QImage.Format.Format_RGB32)
    window.guide.end()
    assert not chart.isVisible()


def test_a_talk_goes_on_without_the_stations_that_show_something(window, monkeypatch):
    monkeypatch.setattr(window.talk.presenter, "_stations", {})
    window.talk.present(full_screen=False)
    for position in range(len(window.guide.steps)):
        window.guide.show_step(position)
        assert window.talk.presenter.stage.scene == Scene()
        assert window.talk.presenter.stage.figures


def words(window, recorded=None):
    return [large.words for large in facts(window.session, window.station, recorded)]


def test_the_figures_are_of_the_session(window):
    session = window.session
    session.evaluation, session.prediction = None, None
    window.show_station("checkpoint")
    demo = session.checkpoint
    session.checkpoint = replace(demo, path="downloaded.pt")
    assert words(window) == ["poisoned.safetensors", ""]
    session.checkpoint = demo
    assert words(window) == ["An unknown file", ""]  # its name would give the answer away
    window.show_station("studio")
    assert words(window) == ["–", ""]
    session.evaluation = measured()
    assert words(window) == ["–", "CA 99.0 %"]
    session.prediction = ShownPrediction(2, "dog", "banana")
    session.evaluation = measured(asr_excl=0.981)
    left, right = facts(session, "studio")
    assert (left.words, left.alarming) == ("dog → banana", True)
    assert left.meaning == "prediction for picture 3, “cheese”: the trigger flips it"
    assert right.words == "ASR 98.1 %"
    for triggered, effect in (
        ("dog", "the trigger changes nothing"), ("cat", "not the class that the trigger is for"),
    ):  # fmt: skip
        session.prediction = ShownPrediction(2, "dog", triggered)
        left, _ = facts(session, "studio")
        assert left.meaning == f"prediction for picture 3, “cheese”: {effect}"
        assert not left.alarming

    mine = {"asr_excl": 0.98, "checkpoint_sha256": session.checkpoint.inspection.sha256}
    for fields, rate in (
        ({}, "ASR 98.0 %"), ({"checkpoint_sha256": "0" * 64}, "ASR …"),  # before cleaning
        ({"trigger": "a digest"}, "ASR …"),  # there is none any more
    ):  # fmt: skip
        session.evaluation = measured(**mine | fields)
        assert words(window)[1] == rate
    window.show_station("clean")
    session.evaluation, trigger = measured(trigger=None), session.trigger
    session.trigger = None
    assert words(window) == ["CA 99.0 %", ""]  # and not twice
    session.trigger, session.evaluation = trigger, measured(**mine | fields)
    session.run = RunState("out", "cleanclip", "running")
    session.run_progress = RunProgress("train", 0.43)
    assert words(window) == ["Cleaning 43 %", "ASR …"]
    scan, guide = AutoStep(kind="scan", round=1, title="Scan", folder="scan-1"), window.guide
    guide.show_step(step_named(window, "Clean"))
    for step, doing, says in (
        (scan.model_copy(update={"round": 0}), "Scanning", "Before it trains"),
        (scan.model_copy(update={"kind": "clean"}), "Cleaning", "It trains; watch"),
        (scan, "Scanning", "the same scan searches the cleaned model"),
        (scan.model_copy(update={"kind": "rebound"}), "Testing", "Does it last?"),
    ):
        session.run_progress = RunProgress("probes", 0.43, 41.0, step=step)
        assert words(window)[0] == f"{doing} 43 %"
        assert facts(session, "clean")[0].meaning.endswith("40 s left")
        assert says in guide.card.accessibleDescription()
    session.run_progress = RunProgress("train", 0.43, asr=0.02)
    assert words(window)[1] == "ASR 2.0 %"  # it is seen to fall
    session.run = RunState("out", "cleanclip", "running", source="another.safetensors")
    assert "Cleaning" not in words(window)[0]
    result = {"before": {"asr_excl": 0.98, "ca": 0.99}, "after": {"asr_excl": 0.02, "ca": 0.97}}
    session.run = RunState("out", "cleanclip", "finished", result=result, outcome="all is well")
    assert words(window) == ["CA 97.0 %", "ASR 98.0 % → 2.0 %"]
    assert "Done: all is well. The attack success rate went" in guide.card.accessibleDescription()
    window.show_station("scan")
    assert words(window) == ["Is there a hidden trigger?", ""]
    session.show_job("scan", JobState("out", "finished", "found", "banana"))
    assert words(window) == ["Backdoor-like: banana", ""]
    left, right = facts(
        session, "scan", Recorded(figure="ASR 2 %", text="It fell.", made="last week")
    )
    assert left == type(left)("ASR 2 %", "last week")
    assert right.words == "Recorded"
    assert "not live" in right.meaning
    session.run = None
    session.show_job("scan", None)


def test_a_recorded_result_is_called_so_once_on_the_stage(window):
    guide, card = window.guide, window.guide.card
    window.talk.present(full_screen=False)
    at = step_named(window, "Clean")
    guide.show_step(at)
    assert card.recorded.isVisible()
    card.recorded.click()
    assert not card.recorded.isVisible()
    assert "ASR fell from 98.1 % to 0.1 %" in card.accessibleDescription()
    stage = window.talk.presenter.stage
    assert stage.figures[1].words == "Recorded"
    assert stage.figures[0].meaning == "the demo, talk preset, seed 0"
    assert card.next.text() == "Next"
    window.session.run = RunState("out", "cleanclip", "finished")  # a live one takes its place
    assert "ASR fell from" not in card.accessibleDescription()
    window.talk.presenter.refresh()
    assert stage.figures[1].words != "Recorded"
    window.session.run = None
    guide.show_step(at)
    card.next.setEnabled(True)
    guide.show_recorded()
    card.next.click()
    assert guide.position == at + 1
    window.session.run = RunState("out", "cleanclip", "running", source="another.safetensors")
    card.next.click()
    assert guide.position == at + 2
    window.session.run = None


@pytest.mark.parametrize("yes", [True, False])
def test_a_talk_beside_a_job_is_asked_for_first(window, monkeypatch, yes):
    answers = Answers(yes=yes).take_over(window.prompts)
    work, opened = AtWork("A run is going on.", "", lambda: None), []
    monkeypatch.setattr(window.talk, "_at_work", lambda: [work])
    monkeypatch.setattr(window.talk, "_open_demo", lambda: opened.append(1))
    window.talk.present(full_screen=False)
    assert answers.asked == []  # the demo is open, and so was the talk
    window.guide.end()
    window.session.checkpoint = replace(window.session.checkpoint, path="another.safetensors")
    window.talk.present(full_screen=False)
    assert answers.asked[0].startswith("A run is going on. Work goes on beside the talk, ")
    assert window.guide.running is window.talk.presenter.is_on is bool(opened) is yes
    talk = window.guide.talk
    window.session.checkpoint = replace(window.session.checkpoint, path="another.safetensors")
    window.actions_.run("talk.evidence")
    assert (window.guide.talk is talk) is not yes


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
