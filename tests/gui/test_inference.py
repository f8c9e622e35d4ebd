"""The inference thread: newest wins, nothing stale arrives, failures are sentences."""

import functools
import subprocess
import sys
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
    Look,
    MapEmbeddings,
    MeasureSpeed,
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
        return self.explain(request, stopped)

    map_embeddings = measure_speed = attribute

    def explain(self, request, stopped):
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


def test_import_leaves_torch_alone():
    code = "import sys, cleanclip_gui.inference.inference; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_results_arrive_in_order_and_the_last_is_final(qtbot, inference, engine):
    found, threads = [], set()
    engine.gate.release(4)

    def on_result(result):
        threads.add(threading.current_thread())
        found.append(result)

    question = Evaluate(None, 0)
    ticket = inference.ask(question, on_result)
    assert ticket.is_open
    qtbot.waitUntil(lambda: len(found) == 4)
    assert [r.evaluation.n for r in found] == [1, 2, 3, 4]
    assert [r.evaluation.partial for r in found] == [True, True, True, False]
    assert all(r.question is question for r in found)
    assert threading.main_thread() not in engine.threads
    assert threads == {threading.main_thread()}
    assert not ticket.is_open


def test_who_asks_gets_the_answer_and_nobody_else(qtbot, inference, engine):
    mine, other = [], []
    first = inference.ask(Predict(1, None), mine.append, slot="mine")
    second = inference.ask(Predict(2, None), other.append, slot="other")
    qtbot.waitUntil(lambda: not first.is_open and not second.is_open)
    assert [r.question.index for r in mine] == [1]
    assert [r.question.index for r in other] == [2]


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


def test_an_older_evaluation_gives_nothing_where_it_would_mislead(qtbot, inference, engine):
    older, found = [], []
    ticket = ask(inference, Evaluate(None, 0), older)
    begun(engine, qtbot)
    ask(inference, Evaluate(None, 1), found)
    assert not ticket.is_open
    engine.gate.release(20)
    qtbot.waitUntil(lambda: ended(found))
    assert older == []
    assert {r.question.target for r in found} == {1}


def test_prediction_and_thumbnails_cut_in_between_batches(qtbot, inference, engine):
    found, predicted = [], []
    ask(inference, Evaluate(None, 0), found)
    begun(engine, qtbot)
    for index in range(3):  # of which the newest alone is made
        ask(inference, Predict(index, None), predicted)
    inference.ask(Thumbnails((1, 2), 8))
    engine.gate.release(1)
    qtbot.waitUntil(lambda: len(predicted) == 1)
    assert len(found) == 1
    engine.gate.release(3)
    qtbot.waitUntil(lambda: len(found) == 4)
    assert [p.question.index for p in predicted] == [2]
    assert isinstance(engine.asked[1], Predict)
    assert isinstance(engine.asked[2], Thumbnails)


def test_thumbnails_asked_for_last_come_first_and_old_ones_are_forgotten(qtbot, inference, engine):
    drawn = []
    inference.ask(Evaluate(None, 0))
    begun(engine, qtbot)
    tickets = [ask(inference, Thumbnails((i,), 4), drawn) for i in range(MOST_THUMBNAILS + 3)]
    assert [ticket.is_open for ticket in tickets[:4]] == [False, False, False, True]
    engine.gate.release(4)
    qtbot.waitUntil(lambda: len(drawn) == MOST_THUMBNAILS)
    assert [r.indices[0] for r in drawn] == list(range(MOST_THUMBNAILS + 2, 2, -1))


@pytest.mark.parametrize("way", ["ticket", "slot"])
def test_cancel_stops_the_evaluation_and_no_result_arrives(qtbot, inference, engine, way):
    found, predicted = [], []
    ticket = ask(inference, Evaluate(None, 0), found)
    begun(engine, qtbot)
    if way == "ticket":
        assert ticket.cancel()
    else:
        inference.cancel("Evaluate")
    assert not ticket.is_open
    engine.gate.release(20)
    ask(inference, Predict(0, None), predicted)
    qtbot.waitUntil(lambda: bool(predicted))
    assert found == []
    assert engine.batches == []


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


def test_nothing_is_called_for_an_object_that_qt_has_deleted(qtbot, inference, engine):
    class Page(QObject):
        def __init__(self):
            super().__init__()
            self.found = []

        def on_result(self, result):
            self.found.append(result)

        def on_named(self, name, result):
            self.found.append((name, result))

    page, seen = Page(), []
    inference.ask(Predict(1, None), page.on_result, slot="a")
    inference.ask(Predict(2, None), functools.partial(page.on_named, "two"), slot="b")
    qtbot.waitUntil(lambda: len(page.found) == 2)
    inference.ask(Predict(3, None), page.on_result, slot="a")
    inference.ask(Predict(4, None), functools.partial(page.on_named, "four"), slot="b")
    shiboken6.delete(page)
    ask(inference, Predict(5, None), seen)
    qtbot.waitUntil(lambda: bool(seen))
    assert len(page.found) == 2


def test_an_evaluation_that_makes_way_is_begun_again(qtbot, inference, engine):
    found, moved = [], []
    question = Evaluate(None, 0)
    ask(inference, question, found)
    engine.gate.release(1)
    qtbot.waitUntil(lambda: len(found) == 1)
    ask(inference, SetDevice("cpu"), moved)
    engine.gate.release(10)
    qtbot.waitUntil(lambda: ended(found))
    assert moved == ["cpu"]
    assert found[-1].evaluation.n == 4
    assert {r.question for r in found} == {question}
    assert len([r for r in engine.asked if isinstance(r, Evaluate)]) == 2


def test_an_opening_cancels_what_was_asked_of_the_model_before(qtbot, inference, engine):
    mine, others, facts = [], [], []
    first = ask(inference, Evaluate(None, 0), mine, slot="mine")
    second = ask(inference, Evaluate(None, 0, role="cleaned"), others, slot="other")
    begun(engine, qtbot)
    ask(inference, OpenCheckpoint("good"), facts)
    engine.gate.release(20)
    qtbot.waitUntil(lambda: ended(others))
    assert facts == ["good"]
    assert first.is_cancelled
    assert not second.is_cancelled
    assert len(mine) <= 1  # its batch in flight


def test_after_an_opening_that_failed_all_goes_on(qtbot, inference, engine):
    found, failed = [], []
    ask(inference, Evaluate(None, 0), found)
    begun(engine, qtbot)
    inference.ask(OpenCheckpoint("bad"), on_failed=failed.append)
    engine.gate.release(20)
    qtbot.waitUntil(lambda: ended(found))
    assert len(failed) == 1


def test_loading_images_cancels_all_that_is_live(qtbot, inference, engine):
    found, loaded = [], []
    inference.ask(Evaluate(None, 0))
    begun(engine, qtbot)
    questions = [Evaluate(None, 1), Predict(1, None), Thumbnails((0,), 4), Look((0,), None, 0)]
    tickets = [ask(inference, q, found, slot=str(n)) for n, q in enumerate(questions)]
    ask(inference, LoadImages(ImageSpec(), "demo"), loaded)
    engine.gate.release(1)
    qtbot.waitUntil(lambda: bool(loaded))
    assert all(ticket.is_cancelled for ticket in tickets)
    assert found == []


def test_images_that_are_in_use_already_can_not_be_cancelled(qtbot, inference, engine):
    loaded = []
    engine.hold = threading.Event()
    ticket = ask(inference, LoadImages(ImageSpec(), "demo"), loaded)
    qtbot.waitUntil(lambda: bool(engine.committed))
    assert not ticket.cancel()
    later = ask(inference, LoadImages(ImageSpec(), "late"), loaded)
    engine.hold.set()
    qtbot.waitUntil(lambda: len(loaded) == 2)
    assert [r.name for r in loaded] == ["demo", "late"]
    assert not ticket.is_open
    assert not later.is_open


def test_loading_that_is_cancelled_before_changes_nothing(qtbot, inference, engine):
    loaded, failed = [], heard(inference.failed)
    inference.ask(Evaluate(None, 0))
    begun(engine, qtbot)
    ticket = ask(inference, LoadImages(ImageSpec(), "demo"), loaded)
    assert ticket.cancel()
    engine.gate.release(20)
    predicted = []
    ask(inference, Predict(0, None), predicted)
    qtbot.waitUntil(lambda: bool(predicted))
    assert (loaded, failed, engine.committed) == ([], [], [])


def test_bad_input_and_a_bug_both_become_sentences(qtbot, inference, caplog):
    failed, taken = heard(inference.failed), []
    inference.ask(OpenCheckpoint("x.safetensors"))
    inference.ask(Predict(13, None), on_failed=taken.append)
    qtbot.waitUntil(lambda: bool(failed) and bool(taken))
    assert len(failed) == 1  # who asks with a handler has the failure for itself
    assert failed[0].sentence == "x.safetensors is damaged; get it again."
    assert failed[0].code == "damaged"
    assert taken[0].sentence == "The prediction failed unexpectedly: boom"
    assert "RuntimeError" in taken[0].details
    logged = [(one.getMessage(), one.exc_info is not None) for one in caplog.records]
    assert logged == [(failed[0].sentence, False), (taken[0].sentence, True)]
    loaded = []
    ask(inference, LoadImages(ImageSpec(), "demo"), loaded)
    qtbot.waitUntil(lambda: bool(loaded))


class Unheard(Question):
    """Knows no answer and has no name in a sentence."""


class Hopeless(Question):
    """Not even its failure can be told."""

    @property
    def act(self):
        raise ValueError("no name")

    def answers(self, engine, control):
        raise RuntimeError("boom")


class UnspeakableError(Exception):
    def __str__(self):
        raise ValueError("no words")


class Mute(Question):
    @property
    def busy(self):
        raise UnspeakableError


@pytest.mark.parametrize("kind", [Unheard, Hopeless, Mute])
def test_no_question_can_end_the_thread(qtbot, inference, kind, caplog):
    failed, predicted = [], []
    inference.ask(kind(), on_failed=failed.append)
    qtbot.waitUntil(lambda: bool(failed))
    assert " failed unexpectedly" in failed[0].sentence
    assert failed[0].details
    ask(inference, Predict(0, None), predicted)
    qtbot.waitUntil(lambda: bool(predicted))


def test_a_handler_that_raises_does_not_end_the_thread(qtbot, inference):
    def broken(_):
        raise RuntimeError("the page has a bug")

    predicted = []
    with qtbot.captureExceptions() as raised:
        inference.ask(Predict(13, None), on_failed=broken)
        qtbot.waitUntil(lambda: bool(raised))
    ask(inference, Predict(0, None), predicted)
    qtbot.waitUntil(lambda: bool(predicted))


@pytest.fixture
def starting(engine):
    """An inference whose engine starts after so many failures, and the answers to *Try again*."""
    handles = []

    def start(failures, answers=()):
        left, answers = [ImportError("no torch here")] * failures, list(answers)

        def make(watch_texts):
            if left:
                raise left.pop()
            return engine

        handle = Inference(make)
        handles.append(handle)
        sentences = []
        handle.try_again = lambda sentence: sentences.append(sentence) or answers.pop(0)
        return handle, sentences

    yield start
    assert all(handle.close(2000) for handle in handles)


@pytest.mark.parametrize(("failures", "answers"), [(1, ()), (2, (True,)), (4, (True, True, True))])
def test_an_engine_that_did_not_start_is_tried_again(qtbot, starting, failures, answers):
    handle, sentences = starting(failures, answers)
    failed, found = heard(handle.failed), []
    ask(handle, Predict(0, None), found)
    qtbot.waitUntil(lambda: bool(found))
    assert failed == []
    assert sentences == ["The model library did not load: no torch here."] * len(answers)


@pytest.mark.parametrize(
    ("failures", "answers"), [(2, (False,)), (3, (True, False)), (9, (True, True, True))]
)
def test_an_engine_that_does_not_start_answers_with_a_sentence(qtbot, starting, failures, answers):
    handle, sentences = starting(failures, answers)
    failed = heard(handle.failed)
    handle.ask(Predict(0, None))
    qtbot.waitUntil(lambda: bool(failed))
    assert failed[0].sentence == (
        "The model library did not load: no torch here. Close the program and start it again."
    )
    assert len(sentences) == len(answers)


def test_close_ends_the_thread_in_the_middle_of_an_evaluation(qtbot, engine):
    handle, found = Inference(lambda _: engine), []
    handle.ask(Evaluate(None, 0), found.append)
    begun(engine, qtbot)
    engine.gate.release(1)
    assert handle.close(2000)
    assert not handle._thread.isRunning()
    qtbot.wait(20)
    assert found == []  # nobody is called once the window closes


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

    def make(watch_texts):
        made.append(TextEngine(watch_texts))
        return made[0]

    handle = Inference(make)
    with qtbot.waitSignal(handle.devices_found):
        handle.start()
    (engine,) = made
    yield engine, handle
    engine.gate.release(500)
    assert handle.close(3000)


def test_class_texts_are_told_and_make_way_for_an_opening(qtbot, texts):
    engine, handle = texts
    busy, found, loaded, predicted, moved = heard(handle.busy_changed), [], [], [], []
    ask(handle, Evaluate(None, 0), found)
    engine.gate.release(3)
    qtbot.waitUntil(lambda: len(engine.batches) == 3)
    assert any(text.startswith("Embedding class texts… 1 of 40") for text in busy)
    ask(handle, SetDevice("cpu"), moved)  # it waits for the text in flight alone
    engine.gate.release(1)
    qtbot.waitUntil(lambda: bool(moved))
    assert len(engine.batches) == 4
    assert found == []
    engine.gate.release(200)
    qtbot.waitUntil(lambda: len(found) == 1)  # and is asked again by itself
    assert busy[-1] == ""
    while engine.gate.acquire(blocking=False):
        pass
    count = len(engine.batches)
    ask(handle, Predict(0, None), predicted)
    engine.gate.release(2)
    qtbot.waitUntil(lambda: len(engine.batches) == count + 2)
    ask(handle, LoadImages(ImageSpec(), "demo"), loaded)
    engine.gate.release(1)
    qtbot.waitUntil(lambda: len(loaded) == 1)
    assert predicted == []  # of images that are no longer in use
    ask(handle, Predict(1, None), predicted)
    engine.gate.release(1)
    qtbot.waitUntil(lambda: len(engine.batches) > count + 3)
    engine.gate.release(1)
    assert handle.close(3000)  # in the middle of the texts
    assert predicted == []


def test_class_texts_go_on_for_a_newer_question_that_needs_them_too(qtbot, texts):
    engine, handle = texts
    older, newer = [], []
    ask(handle, Predict(0, None), older)
    engine.gate.release(3)
    qtbot.waitUntil(lambda: len(engine.batches) == 3)
    ask(handle, Predict(1, None), newer)
    engine.gate.release(37)
    qtbot.waitUntil(lambda: len(engine.batches) == 40)
    assert engine.batches == list(range(40))  # not begun anew
    engine.gate.release(40)
    qtbot.waitUntil(lambda: bool(newer))
    assert older == []


def test_class_texts_end_for_a_question_that_was_cancelled(qtbot, texts):
    engine, handle = texts
    busy, ticket = heard(handle.busy_changed), handle.ask(Predict(0, None))
    engine.gate.release(3)
    qtbot.waitUntil(lambda: len(engine.batches) == 3)
    ticket.cancel()
    engine.gate.release(1)
    qtbot.waitUntil(lambda: busy[-1] == "")
    qtbot.wait(20)
    assert len(engine.batches) == 4


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
MAP = MapEmbeddings(None)


def test_another_kind_waits_for_its_turn(qtbot, explain, engine):
    ticket = explain(FIRST)
    explain(MAP)
    engine.gate.release(8)
    qtbot.waitUntil(lambda: len(explain.results) == 2)
    assert explain.results == [FIRST, MAP]
    assert explain.steps == [(question, n) for question in (FIRST, MAP) for n in range(1, 5)]
    assert not ticket.is_open


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


@pytest.mark.parametrize("between", [Predict(7, None), OpenCheckpoint("bad")])
def test_a_speed_and_what_makes_way_for_an_opening_are_begun_anew(
    qtbot, inference, explain, engine, between
):
    question = MeasureSpeed() if isinstance(between, Predict) else FIRST
    explain(question)
    engine.gate.release(1)
    begun(engine, qtbot)
    inference.ask(between, on_failed=lambda _: None)
    engine.gate.release(8)
    qtbot.waitUntil(lambda: bool(explain.results))
    assert [engine.asked.count((question, step)) for step in (1, 4)] == [2, 1]


def test_the_newest_long_question_of_a_kind_wins(qtbot, explain, engine):
    explain(FIRST)
    engine.gate.release(1)
    begun(engine, qtbot)
    explain(SECOND)
    explain(THIRD)
    engine.gate.release(6)
    qtbot.waitUntil(lambda: bool(explain.results))
    assert explain.results == [THIRD]
    assert {question for question, _ in explain.steps} <= {FIRST, THIRD}
    assert (SECOND, 1) not in engine.asked


def test_a_newer_question_takes_the_place_of_the_one_that_waits(qtbot, explain, engine):
    explain(FIRST)
    engine.gate.release(1)
    begun(engine, qtbot)
    explain(SECOND, slot="other")
    explain(MAP)
    explain(THIRD, slot="other")
    engine.gate.release(11)
    qtbot.waitUntil(lambda: len(explain.results) == 3)
    assert explain.results == [FIRST, THIRD, MAP]


def test_after_cancel_no_step_arrives(qtbot, explain, engine):
    ticket = explain(FIRST)
    engine.gate.release(1)
    begun(engine, qtbot)
    ticket.cancel()
    qtbot.wait(20)
    explain.steps.clear()
    engine.gate.release(2)
    qtbot.wait(50)
    assert explain.steps == []
    explain(SECOND)
    engine.gate.release(4)
    qtbot.waitUntil(lambda: bool(explain.results))
    assert explain.results == [SECOND]
    assert {question for question, _ in explain.steps} == {SECOND}
