"""Successive halving: plan, ranking and choice."""

from __future__ import annotations

import math

import pytest

from ml_core.cleaning.halving import (
    DEFAULT_METHODS,
    CanaryScore,
    Rung,
    candidates_of,
    lengthened,
    plan,
    ranked,
    rungs,
)
from ml_core.cleaning.recipes import fitted_budget
from ml_core.cleaning.tradeoff import Limits

LIMITS = Limits(1.0, 2.0)


def test_each_round_halves_the_recipes_and_doubles_the_steps():
    assert rungs(6, 30) == (Rung(6, 30), Rung(3, 60), Rung(2, 120), Rung(1, 240))
    assert rungs(1, 30) == (Rung(1, 30),)


def test_a_plan_takes_the_time_it_has_and_no_more():
    found = plan([0.5] * 8, 4.0, 600.0)
    assert found[0].candidates == 8
    used = sum(r.candidates * (0.5 * r.steps + 4.0) for r in found)
    assert used <= 600.0
    longer = [Rung(r.candidates, r.steps + 2**i) for i, r in enumerate(found)]
    assert sum(r.candidates * (0.5 * r.steps + 4.0) for r in longer) > 600.0


def test_a_plan_tries_fewer_recipes_where_time_is_short_and_none_where_there_is_none():
    short = plan([0.5] * 8, 4.0, 120.0)
    assert 1 < short[0].candidates < 8
    assert short[0].steps >= 20
    assert plan([0.5], 4.0, 14.0) == (Rung(1, 20),)
    assert plan([0.5], 4.0, 13.0) == ()
    # slow recipes at the end do not shorten those that are tried, and there is a longest run
    assert plan([0.5, 0.5, 500.0], 1.0, 200.0)[0].candidates == 2
    assert plan([1e-6] * 4, 0.0, 600.0, most=100)[-1].steps == 100


def test_what_keeps_the_limits_comes_first_by_accuracy_then_what_misses_them_least():
    scores = {
        "misses both": CanaryScore(3.0, 30.0),
        "keeps, dearer": CanaryScore(0.9, 0.0),
        "misses a little": CanaryScore(1.5, 2.0),
        "keeps": CanaryScore(-0.2, 2.0),
        "diverged": CanaryScore(100.0, None),
        "untouched": CanaryScore(0.0, 99.0),
    }
    assert ranked(scores, LIMITS) == (
        "keeps", "keeps, dearer", "misses a little", "misses both", "untouched", "diverged",
    )  # fmt: skip
    assert [name for name, score in scores.items() if score.keeps(LIMITS)] == [
        "keeps, dearer", "keeps",
    ]  # fmt: skip
    assert CanaryScore(1.0 + 1e-12, 2.0 + 1e-12).keeps(LIMITS)
    assert math.isinf(scores["diverged"].excess(LIMITS))


def test_the_grid_has_every_method_at_every_rate_the_likeliest_first():
    found = candidates_of(DEFAULT_METHODS, (1.0, 0.3), 1e-3, batch_size=32, seed=7)
    assert [(r.method, r.lr) for r in found] == [
        (method, pytest.approx(rate)) for rate in (1e-3, 3e-4) for method in DEFAULT_METHODS
    ]
    assert {(r.batch_size, r.seed, r.preset, r.stop_below_ca) for r in found} == {
        (32, 7, "search", 0.0)
    }
    assert {r.method for r in found if r.schedule == "two-phase"} == {"par"}  # its own


@pytest.mark.parametrize(("steps", "warmup"), [(4, 1), (100, 10), (5000, 50)])
def test_a_longer_run_has_its_own_schedule(steps, warmup):
    (recipe,) = candidates_of(("mmcl",), (1.0,), 1e-3)
    found = lengthened(recipe, steps)
    assert (found.total_steps, found.epochs, found.warmup_steps) == (steps, 1, warmup)
    assert fitted_budget(found, steps, 10**9).total_steps == steps
