"""The live loop: latest wins, fewer images on a slow model, those on screen first."""

import hashlib
import math
import threading
import time

import numpy as np
import pytest
from PySide6.QtTest import QTest

from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.questions import PredictionReady
from cleanclip_gui.session import Session
from cleanclip_gui.station import Context
from cleanclip_gui.studio.gallery.model import CELL_ROLE
from cleanclip_gui.studio.live import LiveLoop, WholeSet, short_size
from cleanclip_gui.widgets.text import count_text
from ml_core.evaluation.records import Evaluation, PerImage
from ml_core.triggers.make import blended_noise
from tests.gui.factories import evaluation, facts, images
from tests.gui.shell_fakes import FakeEngine
from tests.gui.studios import studio_station

N = 100_000
STEP = 8
SECONDS = 0.02
BLOCK = bytes(1 << 20)


class SlowEngine(FakeEngine):
    """Evaluates 8 images in 20 ms of the processor's time, and remembers what it was asked.

    ``others`` is the time that other programs take meanwhile.
    """

    def __init__(self):
        super().__init__()
        self.asked = []
        self.n, self.own, self.others = N, SECONDS, 0.0
        self.gate = threading.Event()
        self.gate.set()

    def predict(self, request):
        picture, probs = np.zeros((4, 4, 3), np.uint8), np.ones(1, np.float32)
        return PredictionReady(request, picture, None, probs, None)

    def evaluate(self, request, cancelled):
        self.asked.append(request)
        total = request.n or self.n
        for n in range(STEP, total + STEP, STEP):
            self.gate.wait(10)
            time.sleep(self.others)
            begin = time.thread_time()
            while time.thread_time() - begin < self.own:
                hashlib.sha256(BLOCK)  # as torch does, it lets other threads run meanwhile
            if cancelled():
                return
            n = min(n, total)
            zeros, flags = np.zeros(n, np.float32), np.zeros(n, np.bool_)
            record = Evaluation(
                n=n, n_total=total, n_excl=n, target=0, target_name="x", partial=n < total,
                trigger=None if request.trigger is None else request.trigger.digest,
            )  # fmt: skip
            yield record, PerImage(np.arange(n), zeros.astype(int), zeros, flags)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Samples take longer than what a speed is judged by, but not much."""
    monkeypatch.setattr("cleanclip_gui.studio.live.SHORT_SECONDS", 3.0)


@pytest.fixture
def loop(qtbot):
    engine = SlowEngine()
    session, inference = Session(), Inference(lambda _: engine)
    session.checkpoint = facts()
    session.images = images(N)
    triggers = []
    live = LiveLoop(session, inference, lambda: triggers[-1] if triggers else None)
    live.engine, live.session, live.triggers = engine, session, triggers
    yield live
    engine.gate.set()
    assert inference.close(20_000)


def test_how_many_images_are_measured_live():
    assert short_size(4000, 0.0) is None
    assert short_size(4000, 199.0) == 512  # what three seconds take, as a power of two
    assert short_size(4000, 0.1) == 32
    assert short_size(10**6, 5000.0) == 8192


@pytest.mark.parametrize(
    ("n", "own", "limit", "reason"),
    [
        (4000, 0.0015, 256, "fewer pictures while the machine is busy"),
        (4000, 0.04, 32, "slow model"),
        (100_000, 0.0015, 256, "large set"),
    ],
)
def test_why_fewer_images_are_measured_is_said(loop, n, own, limit, reason):
    loop.session.images = images(n)
    loop.take_pace(12.0, own)
    assert loop.limit == limit
    loop.session.evaluation = evaluation(n=386, n_total=4000, partial=True)
    assert loop.note == f"Estimate from 386 of {count_text(n)} images ({reason})."
    loop.session.evaluation = evaluation(n=n, n_total=n)
    assert not loop.measures_part
    assert loop.note == ""


def test_on_a_busy_machine_the_whole_set_follows_when_the_brush_rests(loop, qtbot, monkeypatch):
    monkeypatch.setattr("cleanclip_gui.studio.live.SLOW_SECONDS", 1.0)
    engine, total = loop.engine, 400
    engine.n, engine.own, engine.others = total, 0.001, 0.05
    loop.session.images = images(total)
    shown = []
    loop.evaluated.connect(lambda result, older: older or shown.append(result.evaluation.n))

    def is_whole():
        found = loop.session.evaluation
        return not loop.stale and found is not None and found.n == total

    for ratio in (0.3, 0.5):
        loop.triggers.append(blended_noise(ratio=ratio))
        shown.clear()
        loop.touch()
        qtbot.waitUntil(lambda: bool(shown), timeout=20_000)
        qtbot.waitUntil(is_whole, timeout=60_000)
    assert [request.n for request in engine.asked] == [None, 256, None]
    assert shown == sorted(shown)
    assert loop.note == ""


def test_a_slow_model_gets_fewer_images_and_the_whole_set_when_asked_for(loop, qtbot):
    def asked_of(whole):
        return lambda: (loop.engine.asked[-1].n is None) == whole

    loop.triggers.append(blended_noise())
    loop.touch()
    qtbot.waitUntil(lambda: loop.limit is not None, timeout=20_000)
    qtbot.waitUntil(
        lambda: loop.session.evaluation is not None and not loop.session.evaluation.partial,
        timeout=30_000,
    )
    found, limit = loop.session.evaluation, loop.limit
    assert 32 <= limit <= 3 * STEP / SECONDS
    assert found.n in [request.n for request in loop.engine.asked]
    assert "of 100\u2009000 images" in loop.note
    seen = []
    loop.whole_changed.connect(lambda: seen.append(loop.whole))
    loop.measure_all()
    assert seen == [WholeSet(0, N)]
    qtbot.waitUntil(lambda: asked_of(True)() and not loop.stale, timeout=20_000)
    assert (loop.limit, loop.note) == (None, "")
    qtbot.waitUntil(lambda: len(seen) >= 4, timeout=20_000)
    assert {whole.total for whole in seen} == {N}
    dones = [whole.done for whole in seen]
    assert dones == sorted(dones)
    assert seen[-1].seconds_left == pytest.approx((N - dones[-1]) / loop.rate, rel=0.01)
    loop.cancel_all()
    assert seen[-1] is None
    qtbot.waitUntil(asked_of(False), timeout=20_000)
    loop.measure_all()
    qtbot.waitUntil(asked_of(True), timeout=20_000)
    loop.triggers.append(blended_noise(ratio=0.5))
    loop.touch()  # a change asks for a part again
    qtbot.waitUntil(asked_of(False), timeout=20_000)


def test_of_many_changes_the_first_and_the_last_are_evaluated(loop, qtbot):
    loop.engine.gate.clear()
    ratios = np.linspace(0.1, 0.9, 9)
    for ratio in ratios:
        loop.triggers.append(blended_noise(ratio=float(ratio)))
        loop.send()
        qtbot.waitUntil(lambda: bool(loop.engine.asked), timeout=20_000)
    last = loop.triggers[-1]
    loop.engine.gate.set()
    qtbot.waitUntil(lambda: loop.engine.asked[-1].trigger == last, timeout=20_000)
    assert [request.trigger for request in loop.engine.asked[:2]] == [loop.triggers[0], last]
    qtbot.waitUntil(lambda: not loop.stale, timeout=20_000)


def test_equal_numbers_of_another_model_are_told_too(loop, qtbot):
    """Alpha 0 is the suspect itself: who waits for its numbers would wait for ever."""
    session, told = loop.session, []
    loop.engine.n = STEP  # one batch
    session.images = images(STEP)
    loop.touch()
    qtbot.waitUntil(lambda: session.evaluation is not None, timeout=20_000)
    first = session.evaluation
    session.events.evaluation.connect(told.append)
    session.cleaned = facts("cleaned.safetensors")
    session.role = "cleaned"
    loop.touch()
    qtbot.waitUntil(lambda: told[-1:] == [first], timeout=20_000)


MANY = 40_000
WAIT = 30_000
BROKEN = 3


def labels_of(indices, triggered):
    """Class 0 clean and 1 with the trigger, for some images."""
    indices = np.asarray(indices, np.int64)
    zeros, flags = np.zeros(len(indices), np.float32), np.zeros(len(indices), np.bool_)
    classes = np.zeros(len(indices), np.int64)
    found = PerImage(indices, classes, zeros, flags)
    if not triggered:
        return found
    return PerImage(
        indices, classes, zeros, flags,
        triggered_top1=classes + 1, target_margin_triggered=zeros,
    )  # fmt: skip


class LookingEngine(SlowEngine):
    """Its sample is the end of the set, which is not on screen; image 3 is broken."""

    def __init__(self):
        super().__init__()
        self.n, self.looks = MANY, []
        self.threads = set()

    def evaluate(self, request, cancelled):
        for record, found in super().evaluate(request, cancelled):
            yield record, labels_of(MANY - 1 - found.indices, request.trigger is not None)

    def look(self, request):
        self.threads.add(threading.current_thread())
        self.looks.append(request)
        good = [index for index in request.indices if index != BROKEN]
        return labels_of(good, request.trigger is not None)


@pytest.fixture
def studio(qtbot):
    engine = LookingEngine()
    session, inference = Session(), Inference(lambda _: engine)
    panel = studio_station(Context(session=session, inference=inference))
    panel.engine = engine
    qtbot.addWidget(panel)
    session.images = images(MANY)
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
    assert found.n < MANY
    assert "of 40\u2009000 images" in studio.figure.note.text()
    assert studio.figure.status.text() == "estimate"
    known = studio.gallery.model.counts()["flipped"]
    assert known == found.n + len([i for i in asked if i != BROKEN])
    assert labelled(studio)  # the end of the sample takes no label away

    bar = studio.gallery.view.verticalScrollBar()
    bar.setValue(bar.maximum() // 3)
    qtbot.waitUntil(lambda: set(studio.gallery.on_screen()).isdisjoint(first))
    qtbot.waitUntil(lambda: labelled(studio), timeout=WAIT)
    assert studio.session.evaluation is found


def test_on_screen_flips_though_the_sample_is_smaller_than_what_is_on_show(
    studio, qtbot, monkeypatch
):
    """The machine stalls after some hundred images, and the next sample says nothing new."""
    monkeypatch.setattr("cleanclip_gui.studio.live._MOST_GROWTHS", 0)
    monkeypatch.setattr("cleanclip_gui.studio.live._JUDGED_AFTER", math.inf)
    studio.engine.own = 0.006
    studio.editor.use_demo_trigger()
    session, live = studio.session, studio.live
    qtbot.waitUntil(lambda: bool(session.device) and not live.stale, timeout=WAIT)
    qtbot.waitUntil(
        lambda: session.evaluation is not None and session.evaluation.n > 280, timeout=WAIT
    )
    studio.engine.gate.clear()
    QTest.qWait(3500)
    monkeypatch.setattr("cleanclip_gui.studio.live._JUDGED_AFTER", 0.0)
    studio.engine.gate.set()
    qtbot.waitUntil(lambda: labelled(studio), timeout=WAIT)
    # The smaller sample ends although the one that it replaced had come further.
    qtbot.waitUntil(lambda: not session.evaluation.partial, timeout=WAIT)


def test_one_image_only_looks_at_nothing_else(studio, qtbot):
    studio.editor.use_demo_trigger()
    qtbot.waitUntil(lambda: bool(studio.engine.looks), timeout=WAIT)
    studio.context.actions.run("trigger.one_image")
    qtbot.waitUntil(lambda: not studio.live.stale, timeout=WAIT)
    before = len(studio.engine.looks)
    studio.gallery.view.verticalScrollBar().setValue(5000)
    QTest.qWait(400)
    assert len(studio.engine.looks) == before
