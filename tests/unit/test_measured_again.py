"""Top five and margins of each picture, and pictures that are predicted again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ml_core.checkpoints import open_checkpoint
from ml_core.data.demo import demo_classes
from ml_core.data.images import open_images
from ml_core.data.labels import load_label_set
from ml_core.data.specs import ImageSpec
from ml_core.events import Control, run_to_end
from ml_core.jobs import remeasure as module
from ml_core.jobs.measure import OpenSetting, measure_images
from ml_core.jobs.remeasure import (
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
    found = run_to_end(predict_again(opened, np.array([41, 3, 17, 59]), Control(), batch=3))
    assert found.rows.indices.tolist() == [3, 17, 41, 59]
    at = found.rows.indices
    assert (found.rows.clean_top == whole.clean_top[at]).all()
    assert (found.rows.triggered_top == whole.triggered_top[at]).all()
    assert np.allclose(found.rows.clean_margin, whole.clean_margin[at], atol=1e-3)


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
        self.logits = iter([np.asarray(logits, np.float32) for logits in (first, second)])
        self.unread = unread
        self.model = type("Model", (), {"logit_scale": SCALE})
        labels = type("Labels", (), {"class_names": ("a",) * CLASSES, "templates": ("{}",)})
        images = type("Images", (), {"name": "photos"})
        self.bench = type("Bench", (), {"label_set": labels, "images": images})

    def predict(self, _opened, indices, _control, **_):
        logits = next(self.logits)
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


@pytest.fixture
def tau(monkeypatch):
    """Measures it from the logits of two passes, and those of a record."""

    def measure(second, record=BASE, unread=()):
        measured = _Measured(BASE, second, unread)
        monkeypatch.setattr(module, "predict_again", measured.predict)
        rows = _rows(np.asarray(record, np.float32), np.arange(len(record)))
        opened: OpenedAgain = measured
        fields: dict[str, Any] = {"batch": 64, "threads": 1, "zero_shot": False}
        return run_to_end(measuring_tau(opened, rows, Control(), **fields))

    return measure


def test_tau_is_twice_the_largest_change_of_a_difference(tau):
    """Of the passes here; an answer that changes is counted, and inside it."""
    moved = np.array(BASE)
    moved[1] += [0.125, -0.25, 0.0]
    measured = tau(moved)
    assert (measured.tau, measured.changed) == (pytest.approx(2 * 0.375), 0)
    moved[1] = [4.0, 5.0, 0.0]
    measured = tau(moved)
    assert measured.changed == 1
    assert measured.tau >= 1.0  # the margin in the record


def test_a_machine_that_repeats_itself_is_held_to_the_record(tau):
    record = np.array(BASE)
    record[0, 0] += 0.5  # of another machine
    assert tau(BASE, record).tau == pytest.approx(1.0)


def test_pictures_that_are_gone_are_told(tau):
    with pytest.raises(InputError, match="1 of 3 pictures of photos"):
        tau(BASE, unread=(1,))
