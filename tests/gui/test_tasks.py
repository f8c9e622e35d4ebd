"""Work beside the window: who starts it gets what becomes of it, and one call ends all."""

import threading
import time
from functools import partial

import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QObject, QThread

from cleanclip_gui import threads
from cleanclip_gui.jobs import tasks
from ml_core.reading.errors import InputError

WAIT = 5000


class Asker(QObject):
    """Notes what arrives, and whether it does so in the thread of the test."""

    def __init__(self):
        super().__init__()
        self.results, self.failures, self.progress, self.done = [], [], [], 0
        self.here = QThread.currentThread()

    def run(self, work, **options):
        return tasks.run(
            work, self.on_result, self.on_failed, on_progress=self.on_progress,
            on_done=self.on_done, **options,
        )  # fmt: skip

    def on_result(self, result):
        assert QThread.currentThread() is self.here
        self.results.append(result)

    def on_failed(self, error):
        assert QThread.currentThread() is self.here
        self.failures.append(error)

    def on_progress(self, progress):
        self.progress.append((progress.done, progress.total))

    def on_done(self):
        self.done += 1


@pytest.fixture
def asker(qapp):
    return Asker()


@pytest.fixture
def gate():
    """Work waits for it; it is open when the test has ended."""
    gate = threading.Event()
    yield gate
    gate.set()


def at_rest(qtbot):
    qtbot.waitUntil(lambda: not threads.still_running(), timeout=WAIT)
    qtbot.wait(10)  # whatever was sent has arrived


def test_a_function_gives_one_result_and_a_generator_each_that_it_yields(qtbot, asker, gate):
    elsewhere, open_at_result = [], []

    def work(control):
        elsewhere.append(QThread.currentThread())
        gate.wait(WAIT)
        return 7

    def several(control):
        yield "first"
        yield "second"

    assert not tasks.is_busy()
    ticket = asker.run(work)
    assert ticket.is_open
    assert tasks.is_busy()
    gate.set()
    qtbot.waitUntil(lambda: asker.done == 1, timeout=WAIT)
    assert asker.results == [7]
    assert not ticket.is_open
    assert elsewhere[0] is not asker.here
    alone = tasks.run(lambda control: None, lambda _: open_at_result.append(alone.is_open))
    asker.run(several)
    qtbot.waitUntil(lambda: asker.done == 2, timeout=WAIT)
    assert asker.results == [7, "first", "second"]
    at_rest(qtbot)
    assert open_at_result == [False]  # it is closed when the one result arrives
    assert not tasks.is_busy()


def test_nothing_arrives_after_cancelling_even_what_was_sent_before(qtbot, asker, gate):
    sent = threading.Event()

    def work(control):
        yield 1
        sent.set()
        gate.wait(WAIT)
        yield 2

    ticket = asker.run(work)
    assert sent.wait(WAIT)
    ticket.cancel()  # the first result waits in the queue of events
    gate.set()
    at_rest(qtbot)
    assert (asker.results, asker.failures, asker.done) == ([], [], 0)


def test_a_failure_is_a_sentence_and_the_end(qtbot, asker):
    def work(control):
        yield 1
        raise InputError("x.pt is not there; choose it again.")

    def unforeseen(control):
        raise RuntimeError("no such luck")

    ticket = asker.run(work)
    qtbot.waitUntil(lambda: bool(asker.failures), timeout=WAIT)
    assert asker.results == [1]
    assert asker.failures[0].sentence == "x.pt is not there; choose it again."
    assert not ticket.is_open
    asker.run(unforeseen)
    qtbot.waitUntil(lambda: len(asker.failures) == 2, timeout=WAIT)
    assert "no such luck" in asker.failures[1].sentence
    assert "RuntimeError" in asker.failures[1].details
    at_rest(qtbot)
    assert asker.done == 0


def test_a_newer_one_in_a_slot_replaces_the_older_of_the_same_object(qtbot, asker, gate):
    def slow(control):
        gate.wait(WAIT)
        return "old"

    other = Asker()
    first = asker.run(slow, slot="file")
    other.run(slow, slot="file")
    asker.run(slow, slot="another")
    partly = tasks.run(slow, partial(asker.on_result), slot="file")  # of the same object
    assert first.is_cancelled
    second = asker.run(lambda control: "new", slot="file")
    assert partly.is_cancelled
    assert second.is_open
    qtbot.waitUntil(lambda: asker.results == ["new"], timeout=WAIT)
    gate.set()
    at_rest(qtbot)
    assert asker.results == ["new", "old"]  # of the other slot
    assert other.results == ["old"]


def test_a_slot_without_an_object_is_refused(qtbot):
    with pytest.raises(ValueError, match="QObject"):
        tasks.run(lambda control: None, [].append, slot="file")
    with pytest.raises(ValueError, match="QObject"):
        tasks.run(lambda control: None, lambda result: None, slot="file")
    assert not tasks.is_busy()


def test_nothing_arrives_at_an_object_that_is_gone(qtbot, asker, gate):
    def work(control):
        gate.wait(WAIT)
        return 1

    asker.run(work)
    asker.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gate.set()
    at_rest(qtbot)
    assert (asker.results, asker.done) == ([], 0)


def until_cancelled(control):
    while not control.cancelled():
        time.sleep(0.001)


def test_closing_ends_all_at_the_same_time_and_nothing_arrives(qtbot, asker):
    asker.run(until_cancelled)
    asker.run(until_cancelled)
    begun = time.monotonic()
    assert threads.close_all()
    assert time.monotonic() - begun < 0.2
    assert not threads.still_running()
    at_rest(qtbot)
    assert (asker.results, asker.done) == ([], 0)


def test_what_only_reads_is_waited_for_briefly_and_lives_on(qtbot, asker, gate):
    """Hashing cannot be interrupted, and a thread that is collected would abort the process."""
    asker.run(lambda control: gate.wait(WAIT))
    begun = time.monotonic()
    assert not threads.close_all()
    assert 0.25 < time.monotonic() - begun < 1.0
    assert threads.still_running()
    gate.set()
    at_rest(qtbot)
    assert asker.results == []
