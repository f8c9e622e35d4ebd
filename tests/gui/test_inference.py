"""The inference thread: newest wins, nothing stale arrives, failures are sentences."""

import functools
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import shiboken6
from PySide6.QtCore import QObject

from cleanclip_gui.inference.inference import MOST_THUMBNAILS, Inference
from cleanclip_gui.inference.questions import (
    Attribute,
    Evaluate,
    LoadImages,
    OpenCheckpoint,
    Predict,
    PredictionReady,
    Question,
    SetDevice,
    Thumbnails,
    ThumbnailsReady,
)
from cleanclip_gui.ticket import TicketProgress
from ml_core.data.specs import ImageSpec
from ml_core.data.watch import unwatched
from ml_core.evaluation.records import Evaluation, PerImage
from ml_core.reading.errors import CancelledError, InputError
from ml_core.triggers.make import badnets_patch
from tests.gui.factories import images
from tests.gui.fakes import heard
from tests.gui.shell_fakes import TextsKnown


def evaluation(n, partial, target=0):
    return Evaluation(n=n, n_total=4, n_excl=n, target=target, target_name="x", partial=partial)


def per_image(n):
    zeros = np.zeros(n, np.float32)
    return PerImage(np.arange(n), np.zeros(n, np.int64), zeros, np.zeros(n, np.bool_))


class FakeEngine(TextsKnown):
    """Waits at a gate before each batch; keeps what it was asked."""

    def __init__(self, watch_texts=unwatched):
        self.watch_texts = watch_texts
        self.gate = threading.Semaphore(0)
        self.asked = []
        self.batches = []
        self.threads = set()
        self.hold = None  # an opening waits for it, once it can't be cancelled any more
        self.committed = []

    def devices(self):
        return ("cpu",)

    def set_device(self, name):
        return name

    def open_checkpoint(self, request):
        if request.path == "good":
            return request.path
        raise InputError(f"{request.path} is damaged; get it again.", "damaged", "details")

    def load_images(self, request, watch, commit):
        if not commit():
            raise CancelledError
        self.committed.append(request.label_set)
        if self.hold is not None:
            self.hold.wait(10)
        return images(4, class_names=("a",), spec=request.spec, name=request.label_set)

    def thumbnails(self, request):
        self.asked.append(request)
        size = request.size
        return ThumbnailsReady(request.indices, np.zeros((len(request.indices), size, size, 3)))

    def evaluate(self, request, cancelled):
        self.threads.add(threading.current_thread())
        self.asked.append(request)
        for n in range(1, 5):
            self.gate.acquire()
            if cancelled():
                return
            self.batches.append((request.target, n))
            yield evaluation(n, n < 4, request.target), per_image(n)

    def predict(self, request):
        self.asked.append(request)
        if request.index == 13:
            raise RuntimeError("boom")
        image = np.zeros((2, 2, 3), np.uint8)
        return PredictionReady(request, image, None, np.ones(1), None)

    def attribute(self, request, stopped):
        """A long answer, in four steps."""
        for step in range(1, 5):
            self.gate.acquire()
            if stopped():
                raise CancelledError
            self.asked.append((request, step))
            yield TicketProgress(step, 4)
        yield request


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def inference(qtbot, engine):
    handle = Inference(lambda _: engine)
    with qtbot.waitSignal(handle.devices_found):
        handle.start()
    yield handle
    engine.gate.release(100)
    assert handle.close(5000)


def ask(inference, question, found, **options):
    return inference.ask(question, found.append, **options)


def begun(engine, qtbot, count=1):
    qtbot.waitUntil(lambda: len(engine.asked) == count)


def ended(found):
    return bool(found) and not found[-1].evaluation.partial


def test_results_arrive_in_order_and_the_last_is_final(qtbot, inference, engine):
    found, other, threads = [], [], set()
    engine.gate.release(4)

    def on_result(result):
        threads.add(threading.current_thread())
        found.append(result)

    question = Evaluate(None, 0)
    ticket = inference.ask(question, on_result)
    ask(inference, Predict(1, None), other)
    qtbot.waitUntil(lambda: len(found) == 4 and bool(other))
    assert [r.evaluation.n for r in found] == [1, 2, 3, 4]
    assert [r.evaluation.partial for r in found] == [True, True, True, False]
    assert all(r.question is question for r in found)
    assert [r.question.index for r in other] == [1]
    assert threading.main_thread() not in engine.threads
    assert threads == {threading.main_thread()}
    assert not ticket.is_open


def test_newest_evaluation_wins_and_those_between_are_never_run(qtbot, inference, engine):
    found = []
    trigger = badnets_patch()
    first = ask(inference, Evaluate(trigger, 0), found, keep_older=True)
    begun(engine, qtbot)
    between = []
    for seed in range(1, 6):
        newest = ask(inference, Evaluate(replace(trigger, seed=seed), 0), found, keep_older=True)
        between.append(newest)
    assert [ticket.is_open for ticket in between] == [False] * 4 + [True]
    engine.gate.release(20)
    qtbot.waitUntil(lambda: ended(found))
    assert [r.trigger.seed for r in engine.asked] == [0, 5]
    assert found[-1].question is newest.question
    # The first one still gave its first number, so that the figure moves with the brush.
    assert [r.question is first.question for r in found] == [True] + [False] * 4
    assert not first.is_open


def test_questions_cut_in_between_batches_and_the_newest_thumbnails_come_first(
    qtbot, inference, engine
):
    found, predicted, drawn = [], [], []
    ask(inference, Evaluate(None, 0), found)
    begun(engine, qtbot)
    for index in range(3):  # of which the newest alone is made
        ask(inference, Predict(index, None), predicted)
    tickets = [ask(inference, Thumbnails((i,), 4), drawn) for i in range(MOST_THUMBNAILS + 3)]
    assert [ticket.is_open for ticket in tickets[:4]] == [False, False, False, True]
    engine.gate.release(1)
    qtbot.waitUntil(lambda: len(drawn) == MOST_THUMBNAILS)
    assert (len(found), [p.question.index for p in predicted]) == (1, [2])
    assert [r.indices[0] for r in drawn] == list(range(MOST_THUMBNAILS + 2, 2, -1))
    engine.gate.release(3)
    qtbot.waitUntil(lambda: len(found) == 4)


def test_cancel_stops_the_evaluation_and_no_result_arrives(qtbot, inference, engine):
    found, predicted = [], []
    ticket = ask(inference, Evaluate(None, 0), found)
    begun(engine, qtbot)
    assert ticket.cancel()
    engine.gate.release(20)
    ask(inference, Predict(0, None), predicted)
    qtbot.waitUntil(lambda: bool(predicted))
    assert (found, engine.batches) == ([], [])


def test_a_result_on_its_way_is_not_delivered_after_cancel(qtbot, inference, engine):
    found = []
    engine.gate.release(4)
    ticket = ask(inference, Evaluate(None, 0), found)
    deadline = time.monotonic() + 5
    while len(engine.batches) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)  # no event of this thread is served meanwhile
    ticket.cancel()
    qtbot.wait(50)
    assert found == []


def test_nothing_is_called_for_an_object_that_qt_has_deleted(qtbot, inference):
    class Page(QObject):
        def on_result(self, name, result):
            found.append(name)

    found, seen, page = [], [], Page()
    inference.ask(Predict(1, None), functools.partial(page.on_result, "one"))
    qtbot.waitUntil(lambda: found == ["one"])
    inference.ask(Predict(2, None), functools.partial(page.on_result, "two"))
    shiboken6.delete(page)
    ask(inference, Predict(3, None), seen, slot="other")
    qtbot.waitUntil(lambda: bool(seen))
    assert found == ["one"]


def test_an_opening_cancels_what_was_asked_of_the_model_before(qtbot, inference, engine):
    mine, others, facts = [], [], []
    first = ask(inference, Evaluate(None, 0), mine, slot="mine")
    ask(inference, Evaluate(None, 0, role="cleaned"), others, slot="other")
    begun(engine, qtbot)
    ask(inference, OpenCheckpoint("good"), facts)
    engine.gate.release(20)
    qtbot.waitUntil(lambda: ended(others))
    assert facts == ["good"]
    assert first.is_cancelled
    assert len(mine) <= 1  # its batch in flight


def test_images_are_cancelled_unless_they_are_in_use_already(qtbot, inference, engine):
    loaded, found = [], []
    ticket = ask(inference, Evaluate(None, 0), found)
    begun(engine, qtbot)
    assert ask(inference, LoadImages(ImageSpec(), "never"), loaded).cancel()
    engine.hold = threading.Event()
    later = ask(inference, LoadImages(ImageSpec(), "demo"), loaded)
    engine.gate.release(20)
    qtbot.waitUntil(lambda: bool(engine.committed))
    assert not later.cancel()
    engine.hold.set()
    qtbot.waitUntil(lambda: len(loaded) == 1)
    assert not ticket.is_open  # of the images before
    assert (loaded[0].name, engine.committed) == ("demo", ["demo"])


def test_bad_input_and_a_bug_both_become_sentences(qtbot, inference, caplog):
    failed, taken = heard(inference.failed), []
    inference.ask(OpenCheckpoint("x.safetensors"))
    inference.ask(Predict(13, None), on_failed=taken.append)
    qtbot.waitUntil(lambda: bool(failed) and bool(taken))
    assert len(failed) == 1  # who asks with a handler has the failure for itself
    assert failed[0].sentence == "x.safetensors is damaged; get it again."
    assert taken[0].sentence == "The prediction failed unexpectedly: boom"
    assert "RuntimeError" in taken[0].details
    logged = [(one.getMessage(), one.exc_info is not None) for one in caplog.records]
    assert logged == [(failed[0].sentence, False), (taken[0].sentence, True)]


class Hopeless(Question):
    """Not even its failure can be told."""

    @property
    def act(self):
        raise ValueError("no name")

    def answers(self, engine, control):
        raise RuntimeError("boom")


def test_neither_a_question_nor_a_handler_can_end_the_thread(qtbot, inference):
    def broken(_):
        raise RuntimeError("the page has a bug")

    failed, predicted = [], []
    inference.ask(Hopeless(), on_failed=failed.append)
    qtbot.waitUntil(lambda: bool(failed))
    assert " failed unexpectedly" in failed[0].sentence
    with qtbot.captureExceptions() as raised:
        inference.ask(Predict(13, None), on_failed=broken)
        qtbot.waitUntil(lambda: bool(raised))
    ask(inference, Predict(0, None), predicted)
    qtbot.waitUntil(lambda: bool(predicted))


@pytest.mark.parametrize(("failures", "answers"), [(2, [True]), (9, [True, True, True])])
def test_an_engine_that_does_not_start_is_tried_again(qtbot, engine, failures, answers):
    left, sentences, found = [ImportError("no torch here")] * failures, [], []

    def make(watch_texts):
        if left:
            raise left.pop()
        return engine

    handle, again = Inference(make), list(answers)
    failed = heard(handle.failed)
    handle.try_again = lambda sentence: sentences.append(sentence) or again.pop(0)
    ask(handle, Predict(0, None), found)
    qtbot.waitUntil(lambda: bool(found) or bool(failed))
    sentence = "The model library did not load: no torch here."
    assert sentences == [sentence] * len(answers)
    last = f"{sentence} Close the program and start it again."
    assert [one.sentence for one in failed] == ([last] if failures == 9 else [])
    assert handle.close(2000)


class TextEngine(FakeEngine):
    """Embeds class texts before each answer, one at a time."""

    texts = 40

    def embed(self):
        for done in range(self.texts):
            self.watch_texts("texts", done, self.texts)
            self.gate.acquire()
            self.batches.append(done)
        self.watch_texts("texts", self.texts, self.texts)

    def evaluate(self, request, cancelled):
        self.asked.append(request)
        self.embed()
        yield evaluation(4, False, request.target), per_image(4)

    def predict(self, request):
        self.embed()
        return super().predict(request)


@pytest.fixture
def texts(qtbot):
    made = []
    handle = Inference(lambda watch_texts: made.append(TextEngine(watch_texts)) or made[0])
    with qtbot.waitSignal(handle.devices_found):
        handle.start()
    yield made[0], handle
    made[0].gate.release(500)
    assert handle.close(3000)


def test_class_texts_are_told_and_make_way(qtbot, texts):
    engine, handle = texts
    busy, found, loaded, predicted, moved = heard(handle.busy_changed), [], [], [], []
    ask(handle, Evaluate(None, 0), found)
    engine.gate.release(3)
    qtbot.waitUntil(lambda: len(engine.batches) == 3)
    assert any(text.startswith("Embedding class texts… 1 of 40") for text in busy)
    ask(handle, SetDevice("cpu"), moved)  # it waits for the text in flight alone
    engine.gate.release(1)
    qtbot.waitUntil(lambda: bool(moved))
    assert (len(engine.batches), found) == (4, [])
    engine.gate.release(40)
    qtbot.waitUntil(lambda: len(found) == 1)  # and is asked again by itself
    assert busy[-1] == ""
    ask(handle, Predict(0, None), predicted)
    engine.gate.release(2)
    qtbot.waitUntil(lambda: len(engine.batches) == 46)
    ask(handle, LoadImages(ImageSpec(), "demo"), loaded)
    engine.gate.release(1)
    qtbot.waitUntil(lambda: len(loaded) == 1)
    ask(handle, Predict(1, None), predicted)
    engine.gate.release(2)
    qtbot.waitUntil(lambda: len(engine.batches) > 47)
    engine.gate.release(1)
    assert handle.close(3000)  # in the middle of the texts
    assert predicted == []  # neither of the images that went nor to a window that closes


# ---- long questions: live ones cut in, the newest wins, nothing is late


@pytest.fixture
def explain(inference):
    """Ask a long question; ``steps`` holds how far each was said to be, ``results`` the rest."""

    def ask(question, **options):
        return inference.ask(
            question, ask.results.append,
            on_progress=lambda progress: ask.steps.append((question, progress.done)), **options,
        )  # fmt: skip

    ask.steps, ask.results = [], []
    return ask


FIRST, SECOND, THIRD = (Attribute(index, 0, None) for index in (1, 2, 3))


def test_what_is_live_cuts_in_and_nothing_done_is_lost(qtbot, inference, explain, engine):
    explain(FIRST)
    engine.gate.release(1)
    begun(engine, qtbot)
    predict, evaluate = Predict(7, None), Evaluate(None, 0)
    for question in (predict, evaluate):
        inference.ask(question)
    engine.gate.release(7)
    qtbot.waitUntil(lambda: bool(explain.results))
    asked = engine.asked
    assert asked.index(predict) < asked.index(evaluate) < asked.index((FIRST, 3))
    assert [entry for entry in asked if isinstance(entry, tuple)] == [
        (FIRST, step) for step in range(1, 5)
    ]  # fmt: skip
