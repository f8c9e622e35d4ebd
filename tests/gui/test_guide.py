"""The guided run: it waits for what it speaks of, acts on the real controls, and leaves cleanly."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QScrollArea, QWidget

from cleanclip_gui import theme
from cleanclip_gui.session import RunState
from cleanclip_gui.session.records import JobState
from cleanclip_gui.talk.script import shipped
from cleanclip_gui.widgets.layout import reveal
from ml_core.triggers import demo_trigger
from tests.gui.factories import evaluation
from tests.gui.layout_faults import lasting_faults

STEPS = shipped("tour").steps
CLEAN = next(number for number, step in enumerate(STEPS) if step.station == "clean")


def measured(**fields):
    return evaluation(ca=0.99, baseline_target_rate=0.0, **fields)


def card_is_inside(window):
    card = window.guide.card
    return window.rect().contains(card.geometry())


def test_it_leads_from_opening_to_the_flip(window, qtbot):
    guide = window.guide
    window.start_tour()
    assert (guide.position, window.station) == (0, "checkpoint")
    assert guide.card.isVisible()
    qtbot.waitUntil(guide.card.next.isEnabled, timeout=20_000)
    guide.card.next.click()
    assert (STEPS[guide.position].title, window.station) == ("Look", "studio")
    window.session.evaluation = measured()
    assert guide.card.next.isEnabled()
    assert card_is_inside(window)
    guide.card.next.click()
    assert guide.card.next.text() == "Add demo sticker"
    guide.card.next.click()
    window.session.trigger = window.stations["studio"].editor.current_trigger()
    assert window.session.trigger is not None
    guide.card.next.click()
    window.session.evaluation = measured(asr_excl=0.98)
    assert STEPS[guide.position].title == "Flip"
    assert "98.0 %" in guide.card.accessibleDescription()
    guide.card.next.click()
    assert (window.station, guide.card.next.text()) == ("scan", "Search for a trigger")
    ticked = window.stations["scan"].setup.chosen_stages()
    assert ticked == ("pull", "patches", "weights")  # beside the clean twin
    window.session.show_job("scan", JobState("out", "running"))
    assert not guide.card.next.isEnabled()
    assert guide._outline._target is window.stations["scan"].live.patches
    window.session.show_job("scan", JobState("out", "finished", "found", "banana"))
    assert "turns pictures into “banana”" in guide.card.accessibleDescription()
    guide.card.next.click()
    assert (window.station, guide.card.next.text()) == ("clean", "Start cleaning")
    assert card_is_inside(window)


@pytest.mark.usefixtures("styled")
def test_both_start_buttons_of_the_tour_start_the_same_run(window, qtbot, tmp_path):
    """The preset is set when the step is shown, and the card leaves the form free."""
    window.start_tour()
    guide, clean = window.guide, window.stations["clean"]
    session = window.session
    qtbot.waitUntil(lambda: None not in (session.images, session.checkpoint), timeout=20_000)
    assert clean.form.recipe().preset != "talk"
    guide.show_step(CLEAN)
    assert clean.form.recipe().preset == "talk"
    assert guide._outline._target is guide.card.next
    preset = clean.form.preset
    field = preset.rect().translated(preset.mapTo(window, preset.rect().topLeft()))
    assert not guide.card.geometry().intersects(field)
    begun = []
    clean.run.begin = lambda folder, spec, asked, mode="run": begun.append(spec)
    clean.output.setText(str(tmp_path))
    guide.card.next.click()
    clean.start_button.click()
    assert [spec.recipe.preset for spec in begun] == ["talk", "talk"]
    guide.end()


def test_the_tour_goes_on_whatever_a_scan_ends_with(window):
    guide = window.guide
    for scan, words in (
        (JobState("out", "finished", "nothing"), "Nothing found within this search"),
        (JobState("out", "cancelled"), "goes on without it"),
    ):
        guide.show_step(CLEAN - 1)
        window.session.show_job("scan", scan)
        assert words in guide.card.accessibleDescription()
        guide.card.next.click()
        assert window.station == "clean"
    guide.end()


def test_a_talk_begun_in_its_middle_has_the_trigger_of_the_steps_before(window, qtbot):
    """And the station, which was not there before the checkpoint was."""
    editor = window.stations["studio"].editor
    window.talk.start(3)
    assert STEPS[3].title == "Flip"
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


def test_back_and_end(window, qtbot):
    guide = window.guide
    window.start_tour()
    qtbot.waitUntil(lambda: window.session.checkpoint is not None, timeout=20_000)
    qtbot.waitUntil(lambda: window.stations["checkpoint"].complete, timeout=20_000)
    assert not guide.card.back.isEnabled()
    guide.show_step(2)
    guide.card.back.click()
    assert guide.position == 1
    guide.card.end.setFocus()
    guide.card.end.click()
    assert window.pages.hasFocus()
    assert not guide.running
    assert not guide.card.isVisible()
    assert not guide._outline.isVisible()
    window.resize(1400, 800)
    assert not guide.card.isVisible()


def test_the_focus_waits_on_the_card_while_next_cannot_be_pressed(window):
    window.activateWindow()
    guide, card = window.guide, window.guide.card
    guide.show_step(1)
    assert card.hasFocus()
    guide.show_step(CLEAN)
    assert card.next.hasFocus()
    window.session.run = RunState("out", "cleanclip", "running")
    assert not card.next.isEnabled()
    assert card.hasFocus()
    assert guide._outline._target is window.stations["clean"].charts.rates
    window.session.run = RunState("out", "cleanclip", "finished")
    assert card.next.hasFocus()
    assert guide._outline._target is window.stations["clean"].before_after
    window.session.run = None
    guide.end()


@pytest.mark.usefixtures("styled")
def test_the_card_shows_its_words_and_leaves_free_what_it_speaks_of(window, qtbot):
    guide, card = window.guide, window.guide.card
    window.start_tour()
    qtbot.waitUntil(lambda: window.session.images is not None, timeout=20_000)
    try:
        for percent, size in ((100, (1366, 768)), (125, (1366, 768)), (150, (1024, 768))):
            theme.set_size(percent)
            window.resize(*size)
            guide.show_step(3)
            window.session.evaluation = measured(asr_excl=0.2)
            assert card.next.text() == "Use the demo sticker"
            assert lasting_faults(card, qtbot) == []
            guide.show_step(4)
            assert card.next.text() == "Search for a trigger"
            assert lasting_faults(card, qtbot) == []
            assert card_is_inside(window)
            for position in (0, 1, 2, 3) if percent < 150 else ():
                guide.show_step(position)
                qtbot.wait(50)
                both = card.geometry() & guide._outline.geometry()
                covered = both.width() * both.height() / (card.width() * card.height())
                assert covered < 0.05, (percent, position)
                assert card_is_inside(window)
    finally:
        guide.end()
        theme.set_size(100)


def test_it_goes_by_the_keys_of_a_clicker_and_by_return(window, qtbot):
    window.activateWindow()
    guide, card = window.guide, window.guide.card
    window.session.evaluation = measured(asr_excl=0.98)
    guide.show_step(1)
    qtbot.keyClick(card.next, Qt.Key.Key_PageDown)
    assert guide.position == 2
    qtbot.keyClick(card, Qt.Key.Key_PageUp)
    assert guide.position == 1
    qtbot.keyClick(card.next, Qt.Key.Key_Return)
    assert guide.position == 2
    qtbot.keyClick(card, Qt.Key.Key_Escape)
    assert not guide.running


def test_a_weak_drawing_gives_way_to_the_demo_sticker_at_a_click(window):
    guide, editor = window.guide, window.stations["studio"].editor
    guide.show_step(3)
    window.session.evaluation = None
    assert not guide.card.next.isEnabled()  # nothing is measured yet
    window.session.evaluation = measured(asr_excl=0.2)
    assert guide.card.next.text() == "Use the demo sticker"
    text = STEPS[3].body(window.session)
    assert "does not trigger" in text
    assert "backdoor" not in text.replace("does not trigger the backdoor", "")
    guide.card.next.click()
    assert editor.current_trigger() == demo_trigger()
    assert guide.position == 3
    window.session.evaluation = measured(asr_excl=0.98)
    assert guide.card.next.text() == "Next"
    guide.end()


def test_what_is_framed_is_scrolled_to(qtbot):
    area, inside = QScrollArea(), QWidget()
    part, off = QWidget(inside), Qt.ScrollBarPolicy.ScrollBarAlwaysOff
    inside.setFixedSize(1200, 1000)
    area.setWidget(inside)
    qtbot.addWidget(area)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(off)
    area.setVerticalScrollBarPolicy(off)
    area.resize(100, 100)
    area.show()
    bars = area.horizontalScrollBar(), area.verticalScrollBar()
    for place, seen in (
        ((900, 40, 80, 60), (880, 0)),  # to the right of what shows: as far as it takes
        ((10, 950, 20, 20), (0, 870)),
        ((700, 600, 400, 300), (700, 600)),  # larger than the room: its beginning
        ((5, 5, 20, 20), (0, 0)),
    ):
        for bar in bars:
            bar.setValue(0)
        part.setGeometry(*place)
        for _ in range(2):
            reveal(part)
            assert tuple(bar.value() for bar in bars) == seen
