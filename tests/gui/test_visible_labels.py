"""On a slow model the images on screen show their labels; the estimate is of a sample alone."""

import threading

import numpy as np
import pytest
from PySide6.QtTest import QTest

from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.session import Session
from cleanclip_gui.station import Context
from cleanclip_gui.studio.gallery.model import CELL_ROLE
from cleanclip_gui.studio.live import piece
from cleanclip_gui.widgets.text import count_text
from ml_core.evaluation.records import PerImage
from tests.gui.factories import facts, images
from tests.gui.studios import studio_station
from tests.gui.test_studio_live import SlowEngine

N = 40_000
WAIT = 30_000
BROKEN = 3


def said(indices, triggered):
    """Class 0 clean and 1 with the trigger, for some images."""
    indices = np.asarray(indices, np.int64)
    zeros, flags = np.zeros(len(indices), np.float32), np.zeros(len(indices), np.bool_)
    classes = np.zeros(len(indices), np.int64)
    found = PerImage(indices, classes, zeros, zeros, zeros, flags)
    if not triggered:
        return found
    return PerImage(
        indices, classes, zeros, zeros, zeros, flags,
        triggered_top1=classes + 1, triggered_prob=zeros, target_margin_triggered=zeros,
    )  # fmt: skip


class Engine(SlowEngine):
    """Its sample is the end of the set, which is not on screen; image 3 is broken."""

    def __init__(self):
        super().__init__()
        self.n, self.looks = N, []
        self.threads = set()

    def evaluate(self, request, cancelled):
        for record, found in super().evaluate(request, cancelled):
            yield record, said(N - 1 - found.indices, request.trigger is not None)

    def look(self, request):
        self.threads.add(threading.current_thread())
        self.looks.append(request)
        good = [index for index in request.indices if index != BROKEN]
        return said(good, request.trigger is not None)


@pytest.fixture
def studio(qtbot):
    engine = Engine()
    session, inference = Session(), Inference(lambda _: engine)
    panel = studio_station(Context(session=session, inference=inference))
    panel.engine = engine
    qtbot.addWidget(panel)
    session.images = images(N)
    session.checkpoint = facts()
    yield panel
    engine.gate.set()
    assert inference.close(20_000)


def badge(studio, image):
    return studio.gallery.model.index(studio.gallery.model.row_of(image)).data(CELL_ROLE).badge


def labelled(studio):
    """Whether each image on screen wears a flip of the present trigger."""
    shown = studio.gallery.on_screen()
    return len(shown) > 4 and all(badge(studio, i) for i in shown if i != BROKEN)


def test_on_screen_flips_and_the_estimate_is_of_the_sample(studio, qtbot, monkeypatch):
    # A machine whose speed changes meanwhile would be asked for a larger sample.
    monkeypatch.setattr("cleanclip_gui.studio.live._MOST_GROWTHS", 0)
    studio.editor.use_demo_trigger()
    qtbot.waitUntil(lambda: labelled(studio), timeout=WAIT)
    first = studio.gallery.on_screen()
    assert first[0] == 0
    assert max(first) < 40
    asked = [i for look in studio.engine.looks for i in look.indices]
    assert len(asked) == len(set(asked))  # each one once, the broken one too
    assert BROKEN in asked
    assert threading.main_thread() not in studio.engine.threads
    assert studio.session.selected_image in asked
    qtbot.waitUntil(lambda: not studio.session.evaluation.partial, timeout=WAIT)
    found = studio.session.evaluation
    assert found.n < N
    assert "of 40\u2009000 images" in studio.figure.note.text()
    assert studio.figure.status.text() == f"estimate, n = {count_text(found.n)}"
    known = studio.gallery.model.counts()["flipped"]
    assert known == found.n + len([i for i in asked if i != BROKEN])
    assert labelled(studio)  # the end of the sample takes no label away

    bar = studio.gallery.view.verticalScrollBar()
    bar.setValue(bar.maximum() // 3)
    qtbot.waitUntil(lambda: set(studio.gallery.on_screen()).isdisjoint(first))
    qtbot.waitUntil(lambda: labelled(studio), timeout=WAIT)
    assert studio.session.evaluation is found


def test_another_trigger_asks_again_and_late_answers_are_dropped(studio, qtbot):
    studio.editor.use_demo_trigger()
    qtbot.waitUntil(lambda: labelled(studio), timeout=WAIT)
    before = len(studio.engine.looks)
    studio.placement_bar.opacity_chosen.emit(0.5)
    assert studio.gallery.model.unknown(studio.gallery.on_screen())
    qtbot.waitUntil(lambda: len(studio.engine.looks) > before, timeout=WAIT)
    qtbot.waitUntil(lambda: labelled(studio) and not studio.live.stale, timeout=WAIT)
    triggers = {look.trigger.digest for look in studio.engine.looks[before:]}
    assert triggers == {studio.session.trigger.digest}


def test_one_image_only_looks_at_nothing_else(studio, qtbot):
    studio.editor.use_demo_trigger()
    qtbot.waitUntil(lambda: bool(studio.engine.looks), timeout=WAIT)
    studio.placement_bar.only_this.click()
    qtbot.waitUntil(lambda: not studio.live.stale, timeout=WAIT)
    before = len(studio.engine.looks)
    studio.gallery.view.verticalScrollBar().setValue(5000)
    QTest.qWait(400)
    assert len(studio.engine.looks) == before


@pytest.mark.parametrize(("rate", "count"), [(0.2, 1), (10.0, 3), (200.0, 32), (4000.0, 32)])
def test_a_piece_takes_a_third_of_a_second(rate, count):
    assert piece(rate) == count
