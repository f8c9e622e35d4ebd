"""By how much logits move, from logits that are made up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ml_core.events import Control, run_to_end
from ml_core.jobs import remeasure as module
from ml_core.jobs.remeasure import FLOOR, OpenedAgain, Predictions, measuring_tau
from ml_core.reading.errors import InputError
from ml_core.reports.rows import Rows

CLASSES, SCALE = 3, 100.0


class _Made:
    """A measurement whose logits are given: as it was, and with another batch."""

    def __init__(self, first: Any, second: Any, unread: tuple[int, ...] = ()) -> None:
        self.logits = [np.asarray(one, np.float32) for one in (first, second)]
        self.unread = unread
        self.asked: list[dict[str, Any]] = []
        self.model = type("Model", (), {"logit_scale": SCALE})
        labels = type("Labels", (), {"class_names": ("a",) * CLASSES, "templates": ("{}",)})
        images = type("Images", (), {"name": "photos"})
        self.bench = type("Bench", (), {"label_set": labels, "images": images})

    def predict(self, _opened: object, indices: Any, _control: Control, **how: Any) -> Any:
        logits = self.logits[len(self.asked)]
        self.asked.append({"indices": indices, **how})
        yield from ()
        keep = ~np.isin(indices, self.unread)
        return Predictions(
            _rows(logits, indices[keep]), np.array(self.unread), logits[indices[keep]], None
        )


def _rows(logits: Any, indices: Any) -> Rows:
    own = logits[indices]
    order = np.argsort(-own, axis=1)
    values = np.take_along_axis(own, order, 1)
    return Rows(indices, np.full(len(own), -1), order, values[:, 0] - values[:, 1])


def _tau(
    monkeypatch: pytest.MonkeyPatch, made: _Made, kept: Any, **how: Any
) -> tuple[module.Tau, _Made]:
    monkeypatch.setattr(module, "predict_again", made.predict)
    rows = _rows(np.asarray(kept, np.float32), np.arange(len(kept)))
    opened: OpenedAgain = made  # type: ignore[assignment]
    fields: dict[str, Any] = {"batch": 64, "threads": 1, "zero_shot": False} | how
    return run_to_end(measuring_tau(opened, rows, Control(), **fields)), made


BASE = [[9.0, 1.0, 0.0], [5.0, 4.0, 0.0], [0.0, 3.0, 1.0]]


def test_what_all_logits_share_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shifted = np.array(BASE) + 0.5
    found, made = _tau(monkeypatch, _Made(BASE, shifted), BASE)
    assert found.tau == pytest.approx(FLOOR * SCALE)
    assert (found.pictures, found.changed) == (3, 0)
    first, second = made.asked
    assert (first["batch"], first["threads"]) == (64, 1)
    assert second["batch"] != 64
    assert second["threads"] != 1


def test_tau_is_twice_the_largest_change_of_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = np.array(BASE)
    moved[1] += [0.125, -0.25, 0.0]
    found, _ = _tau(monkeypatch, _Made(BASE, moved), BASE)
    assert found.tau == pytest.approx(2 * 0.375)
    assert found.changed == 0


def test_an_answer_that_changes_is_counted_and_inside_tau(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = np.array(BASE)
    moved[1] = [4.0, 5.0, 0.0]
    found, _ = _tau(monkeypatch, _Made(BASE, moved), BASE)
    assert found.changed == 1
    assert found.tau >= 1.0  # the margin that was kept


def test_a_machine_that_repeats_itself_is_held_to_what_was_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = np.array(BASE)
    kept[0, 0] += 0.5  # of another machine
    found, _ = _tau(monkeypatch, _Made(BASE, BASE), kept)
    assert found.tau == pytest.approx(1.0)


def test_pictures_that_are_gone_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="1 of 3 pictures of photos"):
        _tau(monkeypatch, _Made(BASE, BASE, unread=(1,)), BASE)
