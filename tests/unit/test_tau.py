"""By how much logits move, from logits that are made up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ml_core.events import Control, run_to_end
from ml_core.jobs import remeasure as module
from ml_core.jobs.remeasure import OpenedAgain, Predictions, measuring_tau
from ml_core.reading.errors import InputError
from ml_core.reports.rows import Rows

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


@pytest.fixture
def tau(monkeypatch):
    """Measures it from the logits of two passes, and those of a record."""

    def measure(second, unread=()):
        measured = _Measured(BASE, second, unread)
        monkeypatch.setattr(module, "predict_again", measured.predict)
        rows = _rows(np.asarray(BASE, np.float32), np.arange(len(BASE)))
        opened: OpenedAgain = measured
        fields: dict[str, Any] = {"batch": 64, "threads": 1, "zero_shot": False}
        return run_to_end(measuring_tau(opened, rows, Control(), **fields)), measured.asked

    return measure


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


def test_pictures_that_are_gone_are_told(tau):
    with pytest.raises(InputError, match="1 of 3 pictures of photos"):
        tau(BASE, unread=(1,))
