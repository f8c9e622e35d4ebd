"""What a ramp of the rate proposes, on made-up curves."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from ml_core.cleaning.rate_range import RateRow, propose, ramp_rate, rounded
from ml_core.figures import rate_text

STEPS, EVERY = 60, 5
LOW, HIGH = 1e-6, 1e-2


def ramp(
    ca: Callable[[float], float],
    loss: Callable[[float], float] = lambda rate: 2.0,
    noise: float = 0.0,
    seed: int = 0,
) -> list[RateRow]:
    """The rows of a ramp whose accuracy and loss depend on the rate alone."""
    draws = random.Random(seed)
    rows = [RateRow(0, 0.0, ca=ca(0.0), ca_low=ca(0.0) - 0.02, ca_high=ca(0.0) + 0.02)]
    for step in range(1, STEPS + 1):
        rate = ramp_rate(step - 1, STEPS, LOW, HIGH)
        row = RateRow(step, rate, loss(rate) + noise * draws.gauss(0.0, 1.0))
        if step % EVERY == 0:
            found = round(200 * ca(rate)) / 200
            row = RateRow(step, rate, row.loss, found, found - 0.02, found + 0.02)
        rows.append(row)
    return rows


def falls_at(limit: float, to: float = 0.5) -> Callable[[float], float]:
    return lambda rate: to if rate >= limit else 0.9


def test_a_ramp_is_geometric_and_ends_where_it_should() -> None:
    rates = [ramp_rate(step, STEPS, LOW, HIGH) for step in range(STEPS)]
    assert rates[0] == LOW
    assert rates[-1] == pytest.approx(HIGH)
    ratios = {round(b / a, 9) for a, b in pairwise(rates)}
    assert ratios == {round((HIGH / LOW) ** (1 / (STEPS - 1)), 9)}


def test_the_upper_end_is_the_last_rate_before_accuracy_falls() -> None:
    found = propose(ramp(falls_at(3e-4)))
    measured = [ramp_rate(step - 1, STEPS, LOW, HIGH) for step in range(EVERY, STEPS + 1, EVERY)]
    borne = max(rate for rate in measured if rate < 3e-4)
    assert found.high == rounded(borne)
    assert found.dropped == min(rate for rate in measured if rate >= 3e-4)
    assert found.surely_dropped == found.dropped
    assert found.low == rounded(borne / 10)
    assert found.low is not None
    assert found.start is not None
    assert found.low < found.start <= found.high
    assert rate_text(found.start) in found.sentence
    assert "beyond doubt" in found.sentence


def test_a_drop_of_exactly_the_limit_is_borne() -> None:
    found = propose(ramp(falls_at(3e-4, to=0.89)), drop=1.0)
    assert found.dropped is None
    assert found.high == rounded(HIGH)
    assert "No rate up to 1e-2 costs more than 1 point" in found.sentence


def test_one_measurement_that_is_low_decides_nothing_but_the_last_one_does() -> None:
    rows = ramp(lambda rate: 0.9)
    low = RateRow(20, rows[20].lr, 2.0, 0.87, 0.85, 0.89)
    assert propose([*rows[:20], low, *rows[21:]]).dropped is None
    last = RateRow(STEPS, rows[-1].lr, 2.0, 0.87, 0.85, 0.89)
    assert propose([*rows[:-1], last]).dropped == rows[-1].lr


def test_a_fall_that_the_interval_leaves_open_is_said_so() -> None:
    found = propose(ramp(falls_at(3e-4, to=0.88)))  # 2 points, where the interval has 2 each way
    assert found.dropped is not None
    assert found.surely_dropped is None
    assert "few images leave open" in found.sentence


def test_where_accuracy_is_lost_at_once_nothing_is_proposed() -> None:
    found = propose(ramp(lambda rate: 0.8 if rate else 0.9))
    assert (found.low, found.high, found.start) == (None, None, None)
    assert "at the first measurement already" in found.sentence


def test_the_loss_lowers_the_upper_end_where_it_turns_up_first() -> None:
    def loss(rate: float) -> float:
        return 2.0 + abs(math.log10(rate) - math.log10(1e-4))

    found = propose(ramp(lambda rate: 0.9, loss, noise=0.02))
    assert found.turned is not None
    assert 1e-4 < found.turned < 2e-4
    assert found.high == rounded(found.turned)
    assert "The loss rises from" in found.sentence


def test_the_lowest_loss_of_a_flat_stretch_is_no_upper_end() -> None:
    def loss(rate: float) -> float:
        return 2.0 + (0.0 if rate < 1e-3 else 4.0 * (math.log10(rate) + 3.0))

    for seed in range(20):
        found = propose(ramp(lambda rate: 0.9, loss, noise=0.1, seed=seed))
        assert found.turned is not None
        assert found.turned > 5e-4, seed


def test_the_steepest_fall_is_found_and_noise_alone_is_none() -> None:
    def step_down(rate: float) -> float:
        return 2.0 - 1.0 / (1.0 + math.exp(-6.0 * (math.log10(rate) + 4.0)))

    assert propose(ramp(lambda rate: 0.9, step_down, noise=0.02)).steepest == pytest.approx(
        1e-4, rel=0.5
    )
    for seed in range(40):
        noisy = propose(ramp(lambda rate: 0.9, noise=0.1, seed=seed))
        assert (noisy.turned, noisy.steepest) == (None, None), seed


@pytest.mark.parametrize(
    ("rate", "kept"), [(3e-4, 3e-4), (2.99e-4, 2.9e-4), (1e-5, 1e-5), (9.99e-3, 9.9e-3), (0.5, 0.5)]
)
def test_a_rounded_rate_is_never_above_its_own(rate, kept):
    assert rounded(rate) == pytest.approx(kept)
    assert rounded(rate) <= rate * (1 + 1e-9)
