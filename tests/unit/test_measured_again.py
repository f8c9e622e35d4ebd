"""Top five and margins of each picture, and pictures that are predicted again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ml_core.checkpoints import open_checkpoint
from ml_core.data.demo import demo_classes
from ml_core.data.images import open_images
from ml_core.data.labels import load_label_set
from ml_core.data.specs import ImageSpec
from ml_core.evaluation.scores import score
from ml_core.events import Control, run_to_end
from ml_core.jobs import remeasure as module
from ml_core.jobs.measure import OpenSetting, measure_images
from ml_core.jobs.remeasure import (
    FLOOR,
    OpenedAgain,
    Predictions,
    measuring_tau,
    open_again,
    predict_again,
)
from ml_core.paths import resource
from ml_core.reading.errors import CancelledError, InputError
from ml_core.reports.rows import Rows, rows_of
from ml_core.triggers.published import published


def test_the_first_of_the_top_five_is_the_top_1_even_in_a_tie() -> None:
    logits = torch.zeros(3, 12)
    logits[1, 7] = 1.0
    logits[2, [3, 9]] = 2.0
    scores = score(logits, np.array([11, 7, 9]), 0)
    assert (scores.top[:, 0] == scores.top1).all()
    assert scores.top.shape == (3, 5)
    assert all(len(set(row)) == 5 for row in scores.top.tolist())
    assert scores.margin.tolist() == [0.0, 1.0, 0.0]
    assert set(scores.top[2, :2].tolist()) == {3, 9}
    for few, top, margin in (([2.0], [0], 0.0), ([0.5, 2.0, 1.0], [1, 2, 0], 1.0)):
        scores = score(torch.tensor([few]), np.array([0]), 0)
        assert (scores.top.tolist(), scores.margin.tolist()) == ([top], [margin])


@pytest.fixture(scope="module")
def setting() -> OpenSetting:
    labels, target = load_label_set("demo"), demo_classes().index("banana")
    images = open_images(ImageSpec(n=60), labels)
    return OpenSetting(ImageSpec(n=60), images, labels, published("T1", 32), target)


def opened_again(setting: OpenSetting, **options: Any) -> OpenedAgain:
    checkpoint = open_checkpoint(resource("demo", "poisoned.safetensors"))
    return run_to_end(open_again(checkpoint, setting, Control(), **options))


def test_pictures_predicted_again_are_those_of_the_evaluation(setting):
    opened = opened_again(setting)
    evaluation, per_image = run_to_end(
        measure_images(opened.model, opened.bench, opened.classifier, Control(), "test")
    )
    whole = rows_of(per_image, opened.bench.images.labels)
    assert len(whole) == evaluation.n == 60
    chosen = np.array([41, 3, 17, 59])
    threads = torch.get_num_threads()
    found = run_to_end(predict_again(opened, chosen, Control(), batch=3, threads=threads + 1))
    assert torch.get_num_threads() == threads
    assert found.rows.indices.tolist() == [3, 17, 41, 59]
    assert not len(found.unread)
    at = found.rows.indices
    assert (found.rows.clean_top == whole.clean_top[at]).all()
    assert found.rows.triggered_top is not None
    assert whole.triggered_top is not None
    assert (found.rows.triggered_top == whole.triggered_top[at]).all()
    assert np.allclose(found.rows.clean_margin, whole.clean_margin[at], atol=1e-3)
    assert found.clean_logits is not None
    assert found.triggered_logits is not None
    best = np.sort(found.clean_logits, axis=1)
    assert np.array_equal(best[:, -1] - best[:, -2], found.rows.clean_margin)
    assert np.array_equal(found.triggered_logits.argmax(axis=1), found.rows.triggered_top[:, 0])


def test_what_cannot_be_predicted_again_is_told_and_it_can_be_cancelled(
    setting: OpenSetting,
) -> None:
    opened, control = opened_again(setting), Control()
    with pytest.raises(InputError, match="holds 60"):
        run_to_end(predict_again(opened, np.array([60]), control, batch=8))
    asking = predict_again(opened, np.arange(60), control, batch=8)
    next(asking)
    control.cancel()
    with pytest.raises(CancelledError):
        run_to_end(asking)
    with pytest.raises(InputError, match="another model"):
        opened_again(setting, classifier=np.zeros((len(demo_classes()), 3), np.float32))


# ---- by how much logits move, from logits that are made up ----

CLASSES, SCALE = 3, 100.0
BASE = [[9.0, 1.0, 0.0], [5.0, 4.0, 0.0], [0.0, 3.0, 1.0]]


class _Measured:
    """A measurement whose logits are given: as it was, and with another batch."""

    def __init__(self, first, second, unread=()):
        self.logits = [np.asarray(logits, np.float32) for logits in (first, second)]
        self.unread = unread
        self.asked: list[dict[str, Any]] = []
        self.model = type("Model", (), {"logit_scale": SCALE})
        labels = type("Labels", (), {"class_names": ("a",) * CLASSES, "templates": ("{}",)})
        images = type("Images", (), {"name": "photos"})
        self.bench = type("Bench", (), {"label_set": labels, "images": images})

    def predict(self, _opened, indices, _control, **how):
        logits = self.logits[len(self.asked)]
        self.asked.append({"indices": indices, **how})
        yield from ()
        keep = ~np.isin(indices, self.unread)
        return Predictions(
            _rows(logits, indices[keep]), np.array(self.unread), logits[indices[keep]], None
        )


def _rows(logits, indices):
    own = logits[indices]
    order = np.argsort(-own, axis=1)
    values = np.take_along_axis(own, order, 1)
    return Rows(indices, np.full(len(own), -1), order, values[:, 0] - values[:, 1])


Tau = Callable[..., tuple[module.Tau, list[dict[str, Any]]]]


@pytest.fixture
def tau(monkeypatch):
    """Measures it from the logits of two passes, and those of a record."""

    def measure(second, record=BASE, unread=()):
        measured = _Measured(BASE, second, unread)
        monkeypatch.setattr(module, "predict_again", measured.predict)
        rows = _rows(np.asarray(record, np.float32), np.arange(len(record)))
        opened: OpenedAgain = measured
        fields: dict[str, Any] = {"batch": 64, "threads": 1, "zero_shot": False}
        return run_to_end(measuring_tau(opened, rows, Control(), **fields)), measured.asked

    return measure


def test_what_all_logits_share_moves_nothing(tau):
    measured, (first, second) = tau(np.array(BASE) + 0.5)
    assert measured.tau == pytest.approx(FLOOR * SCALE)
    assert (measured.pictures, measured.changed) == (3, 0)
    assert (first["batch"], first["threads"]) == (64, 1)
    assert second["batch"] != 64
    assert second["threads"] != 1


def test_tau_is_twice_the_largest_change_of_a_difference(tau):
    """Of the passes here; an answer that changes is counted, and inside it."""
    moved = np.array(BASE)
    moved[1] += [0.125, -0.25, 0.0]
    measured, _ = tau(moved)
    assert (measured.tau, measured.changed) == (pytest.approx(2 * 0.375), 0)
    moved[1] = [4.0, 5.0, 0.0]
    measured, _ = tau(moved)
    assert measured.changed == 1
    assert measured.tau >= 1.0  # the margin in the record


def test_a_machine_that_repeats_itself_is_held_to_the_record(tau):
    record = np.array(BASE)
    record[0, 0] += 0.5  # of another machine
    assert tau(BASE, record)[0].tau == pytest.approx(1.0)


def test_pictures_that_are_gone_are_told(tau):
    with pytest.raises(InputError, match="1 of 3 pictures of photos"):
        tau(BASE, unread=(1,))
