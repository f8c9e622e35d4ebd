"""The inference thread: newest wins, nothing stale arrives, failures are sentences."""

import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.requests import (
    Evaluate,
    LoadImages,
    OpenCheckpoint,
    Predict,
    PredictionReady,
    Thumbnails,
    ThumbnailsReady,
)
from ml_core.data.specs import ImageSpec
from ml_core.evaluation.records import Evaluation, PerImage
from ml_core.reading.errors import InputError
from ml_core.triggers.make import badnets_patch
from tests.gui.factories import images


def evaluation(n, partial, target=0):
    return Evaluation(n=n, n_total=4, n_excl=n, target=target, target_name="x", partial=partial)


def per_image(n):
    zeros = np.zeros(n, np.float32)
    return PerImage(np.arange(n), np.zeros(n, np.int64), zeros, zeros, zeros, np.zeros(n, np.bool_))


class FakeEngine:
    """Waits at a gate before each batch; keeps what it was asked."""

    def __init__(self):
        self.gate = threading.Semaphore(0)
        self.asked = []
        self.batches = []
        self.threads = set()

    def devices(self):
        return ("cpu",)

    def set_device(self, name):
        return name

    def open_checkpoint(self, request):
        raise InputError(f"{request.path} is damaged; get it again.", "damaged", "details")

    def load_images(self, request, watch):
        return images(4, class_names=("a",), spec=request.spec)

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
        return PredictionReady(request.index, request.role, image, None, np.ones(1), None)


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def inference(qtbot, engine):
    handle = Inference(lambda: engine)
    with qtbot.waitSignal(handle.ready):
        handle.start()
    yield handle
    engine.gate.release(100)
    assert handle.close(5000)


def collect(signal):
    found = []
    signal.connect(found.append)
    return found


def test_import_leaves_torch_alone():
    code = "import sys, cleanclip_gui.inference.inference; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_results_arrive_in_order_and_the_last_is_final(qtbot, inference, engine):
    found = collect(inference.evaluation_updated)
    engine.gate.release(4)
    generation = inference.submit(Evaluate(None, 0))
    qtbot.waitUntil(lambda: len(found) == 4)
    assert [r.evaluation.n for r in found] == [1, 2, 3, 4]
    assert [r.evaluation.partial for r in found] == [True, True, True, False]
    assert {r.generation for r in found} == {generation}
    assert threading.main_thread() not in engine.threads


def test_newest_evaluation_wins_and_those_between_are_never_run(qtbot, inference, engine):
    found = collect(inference.evaluation_updated)
    trigger = badnets_patch()
    inference.submit(Evaluate(trigger, 0))
    qtbot.waitUntil(lambda: bool(engine.asked))
    for seed in range(1, 6):
        newest = inference.submit(Evaluate(replace(trigger, seed=seed), 0))
    engine.gate.release(20)
    qtbot.waitUntil(lambda: bool(found) and not found[-1].evaluation.partial)
    assert [r.trigger.seed for r in engine.asked] == [0, 5]
    assert found[-1].generation == newest
    # The first one still gave its first number, so that the figure moves with the brush.
    assert found[0].generation < newest
    assert sum(r.generation < newest for r in found) == 1


def test_prediction_and_thumbnails_cut_in_between_batches(qtbot, inference, engine):
    found = collect(inference.evaluation_updated)
    predicted = collect(inference.prediction_ready)
    inference.submit(Evaluate(None, 0))
    qtbot.waitUntil(lambda: bool(engine.asked))
    inference.submit(Predict(2, None))
    inference.submit(Thumbnails((1, 2), 8))
    engine.gate.release(1)
    qtbot.waitUntil(lambda: len(predicted) == 1)
    assert len(found) == 1
    engine.gate.release(3)
    qtbot.waitUntil(lambda: len(found) == 4)
    assert predicted[0].index == 2
    assert isinstance(engine.asked[1], Predict)
    assert isinstance(engine.asked[2], Thumbnails)


def test_only_the_newest_prediction_is_made(qtbot, inference, engine):
    predicted = collect(inference.prediction_ready)
    inference.submit(Evaluate(None, 0))
    qtbot.waitUntil(lambda: bool(engine.asked))
    for index in range(5):
        inference.submit(Predict(index, None))
    engine.gate.release(4)
    qtbot.waitUntil(lambda: bool(predicted))
    assert [p.index for p in predicted] == [4]


def test_another_target_drops_results_of_the_old_one(qtbot, inference, engine):
    found = collect(inference.evaluation_updated)
    inference.submit(Evaluate(None, 0))
    qtbot.waitUntil(lambda: bool(engine.asked))
    newest = inference.submit(Evaluate(None, 1))
    engine.gate.release(20)
    qtbot.waitUntil(lambda: bool(found) and not found[-1].evaluation.partial)
    assert {r.generation for r in found} == {newest}


def test_cancel_stops_the_evaluation_and_no_result_arrives(qtbot, inference, engine):
    found = collect(inference.evaluation_updated)
    predicted = collect(inference.prediction_ready)
    inference.submit(Evaluate(None, 0))
    qtbot.waitUntil(lambda: bool(engine.asked))
    inference.cancel_evaluation()
    engine.gate.release(20)
    inference.submit(Predict(0, None))
    qtbot.waitUntil(lambda: bool(predicted))
    assert found == []
    assert engine.batches == []


def test_the_newest_question_is_known_until_it_is_forgotten(inference):
    assert inference.evaluating is None
    for forget in (inference.cancel_evaluation, lambda: inference.submit(OpenCheckpoint("x"))):
        inference.submit(Evaluate(None, 0))
        newest = Evaluate(None, 1)
        number = inference.submit(newest)
        assert inference.evaluating == (number, newest)
        forget()
        assert inference.evaluating is None


def test_an_evaluation_that_makes_way_is_begun_again(qtbot, inference, engine):
    found = collect(inference.evaluation_updated)
    moved = collect(inference.device_changed)
    number = inference.submit(Evaluate(None, 0))
    engine.gate.release(1)
    qtbot.waitUntil(lambda: len(found) == 1)
    inference.set_device("cpu")
    engine.gate.release(10)
    qtbot.waitUntil(lambda: bool(found) and not found[-1].evaluation.partial)
    assert moved == ["cpu"]
    assert found[-1].evaluation.n == 4
    assert {r.generation for r in found} == {number}
    assert len([r for r in engine.asked if isinstance(r, Evaluate)]) == 2


def test_bad_input_and_a_bug_both_become_sentences(qtbot, inference, caplog):
    failed = collect(inference.failed)
    inference.submit(OpenCheckpoint("x.safetensors"))
    inference.submit(Predict(13, None))
    qtbot.waitUntil(lambda: len(failed) == 2)
    assert failed[0].sentence == "x.safetensors is damaged; get it again."
    assert failed[0].code == "damaged"
    assert failed[1].sentence == "The prediction failed unexpectedly: boom"
    assert "RuntimeError" in failed[1].details
    loaded = collect(inference.images_loaded)
    inference.submit(LoadImages(ImageSpec(), "demo"))
    qtbot.waitUntil(lambda: bool(loaded))


def test_engine_that_does_not_start_answers_with_a_sentence(qtbot):
    def engine():
        raise ImportError("no torch here")

    handle = Inference(engine)
    failed = collect(handle.failed)
    handle.submit(Predict(0, None))
    qtbot.waitUntil(lambda: bool(failed))
    assert "no torch here" in failed[0].sentence
    assert handle.close(2000)


def test_close_ends_the_thread_in_the_middle_of_an_evaluation(qtbot, engine):
    handle = Inference(lambda: engine)
    handle.submit(Evaluate(None, 0))
    qtbot.waitUntil(lambda: bool(engine.asked))
    engine.gate.release(1)
    assert handle.close(2000)
    assert not handle._thread.isRunning()


def test_close_before_start_is_quiet():
    assert Inference(FakeEngine).close(100)


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


def test_class_texts_are_told_and_make_way_for_an_opening(qtbot):
    engine = TextEngine()
    handle = Inference(lambda: engine)
    busy, found = collect(handle.busy_changed), collect(handle.evaluation_updated)
    loaded, predicted = collect(handle.images_loaded), collect(handle.prediction_ready)
    handle.submit(Evaluate(None, 0))
    engine.gate.release(3)
    qtbot.waitUntil(lambda: len(engine.batches) == 3)
    assert any(text.startswith("Embedding class texts… 1 of 40") for text in busy)
    moved = collect(handle.device_changed)
    handle.set_device("cpu")  # it waits for the text in flight alone
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
    handle.submit(Predict(0, None))
    engine.gate.release(2)
    qtbot.waitUntil(lambda: len(engine.batches) == count + 2)
    handle.submit(LoadImages(ImageSpec(), "demo"))
    engine.gate.release(1)
    qtbot.waitUntil(lambda: len(loaded) == 1)
    assert predicted == []  # of images that are no longer in use
    handle.submit(Predict(1, None))
    engine.gate.release(1)
    qtbot.waitUntil(lambda: len(engine.batches) > count + 3)
    engine.gate.release(1)
    assert handle.close(3000)  # in the middle of the texts
    assert predicted == []
