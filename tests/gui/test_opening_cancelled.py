"""Opening a large image set: how far it is, Cancel, a later choice; the window stays alive."""

import time

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from cleanclip_gui.data.data_bar import DataBar
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.questions import SetDevice
from cleanclip_gui.session import ImagesState, Session
from cleanclip_gui.station import Context
from ml_core.data.specs import ImageSpec
from tests.gui.shell_fakes import FakeInference

WAIT = 60_000


@pytest.fixture
def bar(qtbot):
    session, inference = Session(), Inference()
    bar = DataBar(Context(session=session, inference=inference))
    bar.session, bar.inference, bar.failures = session, inference, []
    bar.shell.failed.connect(bar.failures.append)
    qtbot.addWidget(bar)
    bar.resize(900, 40)
    bar.show()
    bar.load(ImageSpec(n=12), "demo")
    qtbot.waitUntil(lambda: session.images is not None, timeout=WAIT)
    yield bar
    assert inference.close(20_000)


@pytest.fixture
def slow_folder(tmp_path, monkeypatch):
    """Some 3 MB of noise, hashed byte by byte: minutes, told 3 million times."""
    monkeypatch.setattr("ml_core.data.digests._CHUNK", 1)
    rng = np.random.default_rng(0)
    for name in ("dog", "cat"):
        (tmp_path / "large" / name).mkdir(parents=True)
        for number in range(4):
            noise = rng.integers(0, 255, (360, 360, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / "large" / name / f"{number}.png")
    return ImageSpec(kind="folder", path=str(tmp_path / "large"))


def test_cancel_ends_it_at_once_and_the_images_before_stay(bar, slow_folder, qtbot):
    before = bar.session.images
    words = bar.images.text()
    bar.load(slow_folder)
    qtbot.waitUntil(bar.busy.isVisible, timeout=WAIT)
    qtbot.waitUntil(lambda: bar.busy.bar.value() > 0, timeout=WAIT)
    assert bar.busy.bar.maximum() == 100
    assert bar.images.text() == "Hashing…"
    assert bar.labels.isHidden()
    QTest.mouseClick(bar.busy.cancel, Qt.MouseButton.LeftButton)
    assert bar.busy.isHidden()  # at once; the thread follows
    clicked, predicted = time.monotonic(), []
    bar.inference.ask(SetDevice("cpu"), predicted.append)
    qtbot.waitUntil(lambda: bool(predicted), timeout=WAIT)
    assert time.monotonic() - clicked < 2.0
    assert bar.session.images is before
    assert bar.images.text() == words
    assert bar.labels.isVisible()
    assert (bar.session.images.spec, bar.session.label_set) == (before.spec, "demo")
    assert bar.failures == []

    bar.load(slow_folder)
    qtbot.waitUntil(bar.busy.isVisible, timeout=WAIT)
    bar.load(ImageSpec(n=7), "demo")  # a later choice ends an earlier one
    qtbot.waitUntil(lambda: bar.session.images.n == 7, timeout=WAIT)
    assert bar.failures == []
    assert bar.busy.isHidden()
    assert bar.images.text().endswith("· 7")


@pytest.fixture
def asked(qtbot):
    session, inference = Session(), FakeInference()
    bar = DataBar(Context(session=session, inference=inference))
    bar.session, bar.inference = session, inference
    qtbot.addWidget(bar)
    return bar


def loaded(ticket, n):
    spec, labels = ticket.question.spec, np.zeros(n, np.int64)
    ticket.deliver(ImagesState(spec, "set", "k", n, labels, ("a",), ("{}",)))


def test_images_in_use_arrive_although_cancel_was_clicked(asked):
    asked.load(ImageSpec(n=3), "demo")
    (ticket,) = asked.inference.tickets
    assert ticket.commit()
    asked.busy.cancel_clicked.emit()
    assert asked.is_loading
    assert not asked.busy.cancel.isEnabled()
    loaded(ticket, 3)
    assert (asked.session.images.spec, asked.session.label_set) == (ImageSpec(n=3), "demo")
    assert asked.images.text().endswith("· 3")
    assert asked.busy.cancel.isEnabled()


def test_an_answer_is_not_taken_for_that_of_a_later_choice(asked):
    asked.load(ImageSpec(n=3), "demo")
    first = asked.inference.tickets[-1]
    assert first.commit()
    asked.load(ImageSpec(n=5), "demo")
    loaded(first, 3)
    assert (asked.session.images.spec, asked.session.label_set) == (ImageSpec(n=3), "demo")
    assert asked.images.text() == "Loading…"
    asked.inference.fail("These are damaged.")
    assert (asked.session.images.spec, asked.session.label_set) == (ImageSpec(n=3), "demo")
    assert asked.images.text().endswith("· 3")
    asked.set_templates(("a {}",))
    assert asked.inference.questions[-1].spec == ImageSpec(n=3)
