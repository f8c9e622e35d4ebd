"""Long questions in the inference thread: live ones cut in, the newest wins, nothing is late."""

import threading
from dataclasses import dataclass

import numpy as np
import pytest

from cleanclip_gui.inference.explaining import Attribute, Explain, Explained, MapEmbeddings
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.requests import Evaluate, OpenCheckpoint, Predict, PredictionReady
from ml_core.evaluation.records import Evaluation, PerImage
from ml_core.reading.errors import InputError


class FakeEngine:
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

    def load_images(self, request, watch):
        raise AssertionError

    def thumbnails(self, request):
        raise AssertionError

    def predict(self, request):
        self.log.append(("predict", request.index))
        image = np.zeros((1, 1, 3), np.uint8)
        return PredictionReady(request.index, request.role, image, None, np.ones(1), None)

    def evaluate(self, request, cancelled):
        self.log.append("evaluate")
        zeros = np.zeros(1, np.float32)
        found = PerImage(np.arange(1), np.arange(1), zeros, zeros, zeros, np.zeros(1, np.bool_))
        yield Evaluation(1, 1, 1, 0, "x"), found

    def explain(self, request, cancelled, generation=0):
        name = getattr(request, "index", "map")
        for step in range(1, 5):
            self.gate.acquire()
            if cancelled():
                self.log.append(("ended", name))
                return
            self.log.append((name, step))
            if name == 13:
                raise InputError("the model is damaged.", "damaged")
            yield Explained(generation, request, step, 4, "done" if step == 4 else None)


@dataclass
class Setup:
    engine: FakeEngine
    inference: Inference
    steps: list
    failed: list

    def allow(self, count):
        for _ in range(count):
            self.engine.gate.release()


@pytest.fixture
def setup(qtbot):
    engine = FakeEngine()
    inference = Inference(lambda: engine)
    found = Setup(engine, inference, [], [])
    inference.explained.connect(found.steps.append)
    inference.failed.connect(found.failed.append)
    yield found
    inference._mailbox.close()
    found.allow(50)
    assert inference.close(10_000)


def ask(setup, index=1):
    return setup.inference.submit(Attribute(index, 0, None))


def begun(setup, qtbot, entry):
    qtbot.waitUntil(lambda: entry in setup.engine.log)


def test_steps_arrive_and_the_last_has_the_result(setup, qtbot):
    number = ask(setup)
    setup.allow(4)
    qtbot.waitUntil(lambda: len(setup.steps) == 4)
    assert [step.done for step in setup.steps] == [1, 2, 3, 4]
    assert [step.result for step in setup.steps] == [None, None, None, "done"]
    assert {step.generation for step in setup.steps} == {number}


def test_what_is_live_cuts_in_and_nothing_done_is_lost(setup, qtbot):
    ask(setup)
    setup.allow(1)
    begun(setup, qtbot, (1, 1))
    setup.inference.submit(Predict(7, None))
    setup.inference.submit(Evaluate(None, 0))
    setup.allow(3)
    qtbot.waitUntil(lambda: len(setup.steps) == 4)
    log = setup.engine.log
    assert log.index(("predict", 7)) < log.index("evaluate") < log.index((1, 3))
    assert [entry for entry in log if isinstance(entry, tuple) and entry[0] == 1] == [
        (1, 1), (1, 2), (1, 3), (1, 4),
    ]  # fmt: skip


def test_the_newest_question_of_a_kind_wins(setup, qtbot):
    ask(setup)
    setup.allow(1)
    begun(setup, qtbot, (1, 1))
    for index in (2, 3):
        newest = ask(setup, index)
    setup.allow(6)
    qtbot.waitUntil(lambda: bool(setup.steps) and setup.steps[-1].result == "done")
    assert setup.steps[-1].generation == newest
    assert (2, 1) not in setup.engine.log


def test_another_kind_waits_for_its_turn(setup, qtbot):
    ask(setup)
    setup.inference.submit(MapEmbeddings(None))
    setup.allow(8)
    qtbot.waitUntil(lambda: len(setup.steps) == 8)
    assert [type(step.request) for step in setup.steps] == [Attribute] * 4 + [MapEmbeddings] * 4


def test_after_cancel_no_step_arrives(setup, qtbot):
    ask(setup)
    setup.allow(1)
    begun(setup, qtbot, (1, 1))
    setup.inference.cancel_explanation(Attribute)
    qtbot.wait(20)
    setup.steps.clear()
    setup.allow(2)
    begun(setup, qtbot, ("ended", 1)) if (1, 2) in setup.engine.log else qtbot.wait(50)
    assert setup.steps == []
    ask(setup, 2)
    setup.allow(4)
    qtbot.waitUntil(lambda: len(setup.steps) == 4)
    assert {step.request.index for step in setup.steps} == {2}


def test_an_opening_goes_first_and_the_question_is_asked_again(setup, qtbot):
    ask(setup)
    setup.allow(1)
    begun(setup, qtbot, (1, 1))
    setup.inference.submit(OpenCheckpoint("other"))
    setup.allow(8)
    qtbot.waitUntil(lambda: bool(setup.steps) and setup.steps[-1].result == "done")
    log = setup.engine.log
    assert log.count((1, 4)) == 1
    assert log.index("open") < len(log) - 1 - log[::-1].index((1, 1))


def test_a_failure_is_a_sentence_that_the_page_shows(setup, qtbot):
    ask(setup, 13)
    setup.allow(1)
    qtbot.waitUntil(lambda: bool(setup.failed))
    assert setup.failed[0].sentence == "the model is damaged."
    assert setup.failed[0].shown_by_a_panel
    assert isinstance(setup.failed[0].request, Explain)
