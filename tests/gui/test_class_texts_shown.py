"""Many class texts in the window: the picture first, then an estimate, then the number."""

import threading
from types import SimpleNamespace

import pytest

from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.questions import (
    LoadImages,
    OpenCheckpoint,
    Thumbnails,
)
from cleanclip_gui.session import Session
from cleanclip_gui.studio.live import LiveLoop
from ml_core.cache import ResultCache
from ml_core.data.specs import ImageSpec
from ml_core.evaluation import zero_shot
from ml_core.model import ClipModel

CLASSES, TEMPLATES, BATCH = 72, 16, 32
ONE = -(-CLASSES // BATCH)  # batches of one template
ALL = CLASSES * TEMPLATES // BATCH


@pytest.fixture
def texts(monkeypatch):
    """Holds up each batch of texts until it is let through."""
    encode, texts = ClipModel.encode_texts, SimpleNamespace(gate=threading.Semaphore(0), asked=0)

    def encode_texts(model, names):
        texts.asked += 1
        texts.gate.acquire()
        return encode(model, names)

    for name in ("_classifiers", "_keys", "_begun"):  # of other tests in this process
        monkeypatch.setattr(zero_shot, name, ResultCache(16))
    monkeypatch.setattr(ClipModel, "encode_texts", encode_texts)
    return texts


@pytest.fixture
def opened(qtbot, texts, tiny_checkpoint):
    """The tiny checkpoint and demo images, 16 templates a class; a live loop that asks nothing."""
    session, inference, found = Session(), Inference(), []
    templates = ("a photo of a {}", *(f"picture number {n} of a {{}}" for n in range(1, TEMPLATES)))
    images = LoadImages(ImageSpec(n=12), "demo", templates)
    inference.ask(OpenCheckpoint(str(tiny_checkpoint)), found.append)
    inference.ask(images, found.append)
    qtbot.waitUntil(lambda: len(found) == 2, timeout=30_000)
    session.checkpoint, session.images = found
    live = LiveLoop(session, inference, lambda: None)
    live.told = []
    live.pictured.connect(lambda result, _: live.told.append(("picture", result)))
    live.predicted.connect(lambda result, _: live.told.append((len(result.templates), result)))
    live.evaluated.connect(
        lambda result, _: live.told.append(("figure", len(result.evaluation.templates), live.note))
    )
    yield live, inference
    texts.gate.release(10_000)
    assert inference.close(20_000)


def figures(live):
    return [entry[1:] for entry in live.told if entry[0] == "figure"]


def test_picture_and_thumbnails_then_an_estimate_then_the_number(qtbot, texts, opened):
    live, inference = opened
    thumbnails = []
    live.touch()
    qtbot.waitUntil(lambda: bool(live.told))
    kind, picture = live.told[0]
    assert kind == "picture"
    assert picture.clean_image.shape == (32, 32, 3)
    inference.ask(Thumbnails((0, 1), 16), thumbnails.append)
    qtbot.waitUntil(lambda: texts.asked == 1)
    assert [entry[0] for entry in live.told] == ["picture"]
    texts.gate.release(1)  # thumbnails wait for a batch of texts, and not for all of them
    qtbot.waitUntil(lambda: len(thumbnails) == 1)
    assert [entry[0] for entry in live.told] == ["picture"]
    texts.gate.release(ONE - 1)
    qtbot.waitUntil(lambda: bool(figures(live)))
    assert [entry[0] for entry in live.told][:3] == ["picture", 1, "figure"]
    assert figures(live)[-1][0] == 1
    assert live.is_estimate
    assert "Estimate from 1 of 16 prompt templates" in live.note
    qtbot.waitUntil(lambda: texts.asked == ONE + 1)  # nobody asked: the others begin by themselves
    texts.gate.release(ALL)
    qtbot.waitUntil(lambda: not live.is_estimate, timeout=20_000)
    qtbot.waitUntil(lambda: any(entry[0] == TEMPLATES for entry in live.told))
    assert figures(live)[-1] == (TEMPLATES, "")
    assert texts.asked == ONE + ALL  # each once, however often it was interrupted
