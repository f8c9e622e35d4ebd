"""The guided run: it waits for what it speaks of, acts on the real controls, and leaves cleanly."""

from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtWidgets import QScrollArea, QWidget

from cleanclip_gui.session.records import JobState
from cleanclip_gui.talk.script import Place, shipped
from cleanclip_gui.widgets.layout import column
from ml_core.jobs.demo import demo_checkpoint
from ml_core.triggers import demo_trigger, stripes
from tests.gui.factories import evaluation
from tests.gui.layout_faults import lasting_faults

STEPS = shipped("tour").steps
TITLES = [step.title for step in STEPS]
SEARCH, FLIP, CLEAN = (TITLES.index(title) for title in ("Examine", "See the effect", "Clean"))


def measured(**fields):
    return evaluation(ca=0.99, baseline_target_rate=0.0, **fields)


def test_it_leads_from_opening_to_cleaning(window, qtbot, monkeypatch):
    guide = window.guide
    window.start_tour()
    assert (guide.position, window.station) == (0, "checkpoint")
    qtbot.waitUntil(guide.card.next.isEnabled, timeout=20_000)
    guide.card.next.click()
    assert (window.station, guide.card.next.text()) == ("checkpoint", "Examine")
    with monkeypatch.context() as patch:  # an act that takes the focus to what it brings up
        patch.setattr(guide, "_run", lambda _: window.rail.setFocus())
        guide.card.next.click()
    assert window.focusWidget() is guide.card.next  # Return goes on with the tour
    for name in ("studio", "checkpoint"):  # as an act does that ends later
        window.show_station(name)
        assert window.focusWidget() is guide.card.next
    for scan, words in (
        (JobState("out", "finished", "found", "banana"), "turns pictures into “banana”"),
        (JobState("out", "finished", "nothing"), "Nothing found in this search"),
        (JobState("out", "cancelled"), "goes on without it"),
    ):
        guide.show_step(SEARCH)
        window.session.show_job("scan", None)
        window.session.show_job("examination", JobState("", "running"))
        assert not guide.card.next.isEnabled()
        window.session.show_job("examination", None)
        assert guide.card.next.text() == "Examine"  # it can be asked for again
        window.session.show_job("scan", scan)
        assert words in guide.card.accessibleDescription()
        guide.card.next.click()
        assert (STEPS[guide.position].title, window.station) == ("Add the trigger", "studio")
    window.session.evaluation = measured()
    assert "99.0 %" in guide.card.accessibleDescription()
    assert guide.card.next.text() == "Add demo sticker"
    guide.card.next.click()
    window.session.trigger = window.stations["studio"].editor.current_trigger()
    assert window.session.trigger is not None
    guide.card.next.click()
    window.session.evaluation = measured(asr_excl=0.98)
    assert STEPS[guide.position].title == "See the effect"
    assert "98.0 %" in guide.card.accessibleDescription()
    guide.card.next.click()
    assert (window.station, guide.card.next.text()) == ("clean", "Clean it")
    qtbot.keyClick(guide.card.next, Qt.Key.Key_Left)
    assert STEPS[guide.position].title == "See the effect"
    qtbot.keyClick(guide.card.next, Qt.Key.Key_Right)
    assert window.station == "clean"
    guide.card.recorded.click()
    assert "Recorded earlier (the demo, " in guide.card.accessibleDescription()
    window.pages.setFocus()
    qtbot.keyClick(window.pages, Qt.Key.Key_Left)  # which is not the card's
    assert window.station == "clean"
    guide.show_step(len(STEPS) - 1)
    assert (window.station, guide.card.next.text()) == ("report", "End tour")
    guide.end()


def test_a_talk_begun_in_its_middle_has_the_trigger_of_the_steps_before(window, qtbot):
    """And the station, which was not there before the checkpoint was."""
    editor = window.stations["studio"].editor
    window.talk.start(3)
    assert STEPS[3].title == "See the effect"
    assert window.station != "studio"
    qtbot.waitUntil(lambda: window.station == "studio", timeout=20_000)
    assert editor.current_trigger() is not None
    editor.clear()
    window.session.evaluation = measured()  # once: the speaker may take it away
    assert editor.current_trigger() is None
    window.guide.start(CLEAN)  # the demo is open now
    assert window.station == "clean"
    assert editor.current_trigger() is not None
    window.guide.end()


def test_after_a_talk_what_was_open_before_is_open_again(window, qtbot, tmp_path):
    own = tmp_path / "own.safetensors"
    own.write_bytes(Path(demo_checkpoint()).read_bytes())
    session = window.session

    def has_open(path):
        qtbot.waitUntil(
            lambda: session.checkpoint is not None and session.checkpoint.path == str(path),
            timeout=20_000,
        )

    window.open_path(str(own))
    has_open(own)
    qtbot.waitUntil(lambda: session.images is not None, timeout=20_000)
    for trigger in (stripes(), None):
        window.context.shell.open("trigger", trigger, 2)
        window.context.shell.station_wanted.emit("report")
        assert (session.target, session.trigger) == (2, trigger)
        window.talk.start_shipped("tour")
        has_open(demo_checkpoint())
        window.context.shell.open("trigger", demo_trigger(), 1)
        window.talk.start_shipped("evidence")  # in the place of the other one
        assert session.checkpoint.path == str(demo_checkpoint())
        window.guide.end()
        has_open(own)
        qtbot.waitUntil(lambda: (session.target, session.station) == (2, "report"), timeout=20_000)
        assert session.trigger == trigger


@pytest.mark.usefixtures("styled")
def test_the_card_shows_its_words_and_covers_nothing_while_the_page_scrolls(window, qtbot):
    guide, card = window.guide, window.guide.card
    window.resize(1024, 600)
    window.start_tour()
    qtbot.waitUntil(lambda: window.session.images is not None, timeout=20_000)
    frame = guide._outline
    for position in range(4):
        guide.show_step(position)
        window.session.evaluation = None
        window.session.evaluation = measured(asr_excl=0.2)
        assert lasting_faults(card, qtbot) == []
        place = QRect(card.mapTo(window, QPoint()), card.size())
        assert not place.intersects(frame.geometry())
        assert window.rect().contains(place)
    guide.show_step(FLIP)
    figure = frame.target
    (area,) = [a for a in window.findChildren(QScrollArea) if a.widget().isAncestorOf(figure)][-1:]
    for value in (area.verticalScrollBar().maximum(), 0):
        area.verticalScrollBar().setValue(value)
        seen = figure.mapTo(window, QPoint()).y()
        assert abs(frame.y() - seen) <= 6 or seen < frame.y()
    guide.end()


def test_what_is_framed_stays_in_sight_as_the_page_grows_until_the_user_scrolls(window, qtbot):
    guide, growing, framed = window.guide, QWidget(), QWidget()
    framed.setObjectName("framed")
    framed.setFixedHeight(80)
    page = QWidget()
    area = QScrollArea(window, widgetResizable=True)
    column(growing, framed, of=page)
    area.setWidget(page)
    area.setGeometry(0, 0, 300, 200)
    area.show()
    step = STEPS[0].model_copy(update={"target": (Place(widget="framed"),)})
    guide.talk = guide.talk.model_copy(update={"steps": (step,)})
    guide.start()

    def is_seen():
        whole = framed.visibleRegion().boundingRect().height() == 80
        return whole and framed.y() >= growing.height()  # it is laid out

    for height in (400, 800):  # first it is far down, then what is above it grows
        growing.setFixedHeight(height)
        qtbot.waitUntil(is_seen)
    qtbot.wait(400)  # what was begun is over
    area.verticalScrollBar().setValue(0)
    growing.setFixedHeight(900)
    qtbot.wait(400)
    assert area.verticalScrollBar().value() == 0
    guide.end()
