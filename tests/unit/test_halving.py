"""Successive halving: plan, ranking and choice."""

from __future__ import annotations

from ml_core.cleaning.halving import CanaryScore, Rung, plan, ranked
from ml_core.cleaning.tradeoff import Limits


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
    }
    order = ("keeps", "keeps, dearer", "misses a little", "misses both", "diverged")
    assert ranked(scores, Limits(1.0, 2.0)) == order
