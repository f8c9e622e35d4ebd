"""Class rows, confusion and pulls by hand and against scipy's counts."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from ml_core.evaluation.breakdown import becomes, break_down
from tests.unit.fake_pictures import per_image

NAMES = ("apple", "banana", "cat", "Missile", "missile")
#                  0  1  2  3  4  5  6
LABELS = np.array([0, 0, 1, 2, 2, -1, 3])
CLEAN = np.array([0, 1, 1, 2, 0, 4, 3])
TRIGGERED = np.array([1, 1, 1, 1, 2, 1, 4])


def images(*, triggered=True):
    return per_image(range(7), CLEAN, TRIGGERED if triggered else None, np.arange(7))


def test_rows_by_hand():
    found = break_down(images(), LABELS, 1, NAMES)
    apple, banana, cat, missile = found.classes
    assert (apple.index, apple.n, apple.ca, apple.asr) == (0, 2, 0.5, 1.0)
    assert apple.baseline_target_rate == 0.5
    assert apple.poisoned_accuracy == 0.0
    assert apple.margin == 0.5
    assert apple.asr_interval == pytest.approx(proportion_confint(2, 2, method="wilson"), abs=1e-6)
    assert (banana.ca, banana.asr, banana.poisoned_accuracy) == (1.0, None, None)
    assert (cat.ca, cat.asr, cat.poisoned_accuracy) == (0.5, 0.5, 0.5)
    assert (missile.asr, missile.poisoned_accuracy) == (0.0, 0.0)
    assert found.same_names == ((3, 4),)


def test_confusion_is_over_images_of_other_classes():
    found = break_down(images(), LABELS, 1, NAMES)
    # labelled, not banana: images 0 1 3 4 6 become banana, banana, banana, cat, missile
    assert [(p.index, p.triggered) for p in found.confusion] == [(1, 3), (2, 1), (4, 1)]
    pulled = found.pulls[0]
    assert (pulled.name, pulled.clean, pulled.triggered, pulled.rise) == ("banana", 2, 5, 3 / 7)
    assert found.pulls[-1].rise < 0
    assert sum(p.rise for p in found.pulls) == pytest.approx(0.0)


def test_what_one_class_becomes_is_counted_over_its_images():
    found = per_image([4, 0, 1, 2, 3], [0, 1, 1, 0, 2], [2, 2, 1, 2, 2])
    labels = np.array([1, 1, 0, -1, 1])
    names = ("a", "b", "c")
    rows = [(p.name, p.clean, p.triggered) for p in becomes(found, labels, 1, names)]
    assert rows == [("c", 0, 2), ("b", 2, 1)]
    assert becomes(found, labels, 1, names)[0].rise == 2 / 3
    assert becomes(found, labels, 2, names) == ()
