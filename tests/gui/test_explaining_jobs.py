"""Long questions in the inference thread: live ones cut in, the newest wins, nothing is late."""

import threading
from dataclasses import dataclass

import numpy as np
import pytest

from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.questions import (
    Attribute,
    Evaluate,
    MapEmbeddings,
    MeasureSpeed,
    OpenCheckpoint,
    Predict,
    PredictionReady,
)
from cleanclip_gui.ticket import Progress
from ml_core.evaluation.records import Evaluation, PerImage
from ml_core.reading.errors import CancelledError, InputError
from tests.gui.shell_fakes import TextsKnown


class FakeEngine(TextsKnown):
    """Explains in four steps and waits at a gate before each; keeps what it did, in order."""

    def __init__(self):
        self.gate = threading.Semaphore(0)
        self.log = []

    def devices(self):
        return ("cpu",)

    def set_device(self, name):
        return name

    def open_checkpoint(self, request):
        self.log.append("open")
        raise InputError("it is damaged.", "damaged")

    def load_images(self, request, watch, commit):
        raise AssertionError

    def thumbnails(self, request):
        raise AssertionError

    def predict(self, request):
        self.log.append(("predict", request.index))
        image = np.zeros((1, 1, 3), np.uint8)
        return PredictionReady(request, image, None, np.ones(1), None)

    def evaluate(self, request, cancelled):
        self.log.append("evaluate")
        zeros = np.zeros(1, np.float32)
        found = PerImage(np.arange(1), np.arange(1), zeros, zeros, zeros, np.zeros(1, np.bool_))
        yield Evaluation(1, 1, 1, 0, "x"), found

    def attribute(self, request, stopped):
        return self.explain(request.index, stopped)

    def map_embeddings(self, request, stopped):
        return self.explain("map", stopped)

    def measure_speed(self, request, stopped):
        return self.explain("speed", stopped)

    def explain(self, name, stopped):
        for step in range(1, 5):
            self.gate.acquire()
            if stopped():
                self.log.append(("ended", name))
                raise CancelledError
            self.log.append((name, step))
            if name == 13:
                raise InputError("the model is damaged.", "damaged")
            yield Progress(step, 4)
        yield ("done", name)


@dataclass
class Setup:
    """``steps`` holds how far each question was told to be, ``results`` what came of them."""

    engine: FakeEngine
    inference: Inference
    steps: list
    results: list
    failed: list

    def allow(self, count):
        for _ in range(count):
            self.engine.gate.release()

    def ask(self, question, name=None):
        return self.inference.ask(
            question,
            self.results.append,
            self.failed.append,
            on_progress=lambda progress: self.steps.append((name, progress.done)),
        )


@pytest.fixture
def setup(qtbot):
    engine = FakeEngine()
    inference = Inference(lambda _: engine)
    found = Setup(engine, inference, [], [], [])
    yield found
    inference.end()
    found.allow(50)
    assert inference.close(10_000)


def ask(setup, index=1):
    return setup.ask(Attribute(index, 0, None), index)


def begun(setup, qtbot, entry):
    qtbot.waitUntil(lambda: entry in setup.engine.log)


def test_steps_arrive_and_the_result_comes_last(setup, qtbot):
    ticket = ask(setup)
    setup.allow(4)
    qtbot.waitUntil(lambda: bool(setup.results))
    assert setup.steps == [(1, 1), (1, 2), (1, 3), (1, 4)]
    assert setup.results == [("done", 1)]
    assert not ticket.is_open


def test_what_is_live_cuts_in_and_nothing_done_is_lost(setup, qtbot):
    ask(setup)
    setup.allow(1)
    begun(setup, qtbot, (1, 1))
    setup.inference.ask(Predict(7, None))
    setup.inference.ask(Evaluate(None, 0))
    setup.allow(3)
    qtbot.waitUntil(lambda: bool(setup.results))
    log = setup.engine.log
    assert log.index(("predict", 7)) < log.index("evaluate") < log.index((1, 3))
    assert [entry for entry in log if isinstance(entry, tuple) and entry[0] == 1] == [
        (1, 1), (1, 2), (1, 3), (1, 4),
    ]  # fmt: skip


def test_a_speed_makes_way_for_what_is_live_and_is_begun_anew(setup, qtbot):
    setup.ask(MeasureSpeed())
    setup.allow(1)
    begun(setup, qtbot, ("speed", 1))
    setup.inference.ask(Predict(7, None))
    setup.allow(6)
    qtbot.waitUntil(lambda: bool(setup.results))
    log = setup.engine.log
    assert log.index(("predict", 7)) < len(log) - 1 - log[::-1].index(("speed", 1))
    assert log.count(("speed", 4)) == 1


def test_the_newest_question_of_a_kind_wins(setup, qtbot):
    ask(setup)
    setup.allow(1)
    begun(setup, qtbot, (1, 1))
    for index in (2, 3):
        ask(setup, index)
    setup.allow(6)
    qtbot.waitUntil(lambda: bool(setup.results))
    assert setup.results == [("done", 3)]
    assert (2, 1) not in setup.engine.log
    assert {name for name, _ in setup.steps} <= {1, 3}


def test_another_kind_waits_for_its_turn(setup, qtbot):
    ask(setup)
    setup.ask(MapEmbeddings(None), "map")
    setup.allow(8)
    qtbot.waitUntil(lambda: len(setup.results) == 2)
    assert setup.results == [("done", 1), ("done", "map")]
    assert [name for name, _ in setup.steps] == [1] * 4 + ["map"] * 4


def test_a_newer_question_takes_the_place_of_the_one_that_waits(setup, qtbot):
    ask(setup)
    setup.allow(1)
    begun(setup, qtbot, (1, 1))
    setup.inference.ask(Attribute(5, 0, None), setup.results.append, slot="other")
    setup.ask(MapEmbeddings(None), "map")
    setup.inference.ask(Attribute(6, 0, None), setup.results.append, slot="other")
    setup.allow(11)
    qtbot.waitUntil(lambda: len(setup.results) == 3)
    assert [name for _, name in setup.results] == [1, 6, "map"]


def test_after_cancel_no_step_arrives(setup, qtbot):
    ticket = ask(setup)
    setup.allow(1)
    begun(setup, qtbot, (1, 1))
    ticket.cancel()
    qtbot.wait(20)
    setup.steps.clear()
    setup.allow(2)
    begun(setup, qtbot, ("ended", 1)) if (1, 2) in setup.engine.log else qtbot.wait(50)
    assert setup.steps == []
    ask(setup, 2)
    setup.allow(4)
    qtbot.waitUntil(lambda: bool(setup.results))
    assert setup.results == [("done", 2)]
    assert {name for name, _ in setup.steps} == {2}


def test_an_opening_goes_first_and_the_question_is_asked_again(setup, qtbot):
    ask(setup)
    setup.allow(1)
    begun(setup, qtbot, (1, 1))
    setup.inference.ask(OpenCheckpoint("other"))
    setup.allow(8)
    qtbot.waitUntil(lambda: bool(setup.results))
    log = setup.engine.log
    assert log.count((1, 4)) == 1
    assert log.index("open") < len(log) - 1 - log[::-1].index((1, 1))


def test_a_failure_is_a_sentence_for_the_page_that_asked(setup, qtbot):
    others = []
    setup.inference.failed.connect(others.append)
    ticket = ask(setup, 13)
    setup.allow(1)
    qtbot.waitUntil(lambda: bool(setup.failed))
    assert setup.failed[0].sentence == "the model is damaged."
    assert setup.failed[0].question is ticket.question
    assert others == []
    assert not ticket.is_open
