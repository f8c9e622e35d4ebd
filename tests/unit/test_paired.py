"""Paired differences against scipy, statsmodels and hand counts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar

from ml_core.evaluation.paired import compare, mcnemar, paired_mean, paired_rate
from tests.unit.fake_pictures import per_image


@pytest.mark.parametrize(("b", "c"), [(0, 1), (3, 3), (10, 2), (60, 41), (9000, 8800)])
def test_mcnemar_is_that_of_statsmodels_and_scipy(b, c):
    exact, mid = mcnemar(b, c)
    assert exact == pytest.approx(stats.binomtest(b, b + c, 0.5).pvalue, rel=1e-9)
    assert exact == pytest.approx(reference_mcnemar([[0, b], [c, 0]], exact=True).pvalue, rel=1e-9)
    least = min(b, c)
    below = stats.binom.cdf(least, b + c, 0.5) - 0.5 * stats.binom.pmf(least, b + c, 0.5)
    assert mid == pytest.approx(min(1.0, 2 * below), rel=1e-9)


def test_the_bootstrap_is_that_of_scipy():
    rng = np.random.default_rng(3)
    mine, other = rng.random(400) < 0.7, rng.random(400) < 0.5
    found = paired_rate("ca", mine, other)
    differences = mine.astype(float) - other.astype(float)
    reference = stats.bootstrap(
        (differences,), np.mean, n_resamples=10_000, method="percentile", rng=rng
    ).confidence_interval
    assert found.interval == pytest.approx(tuple(reference), abs=0.006)

    values = rng.normal(size=300).astype(np.float32)
    others = rng.normal(0.2, 1, size=300).astype(np.float32)
    mean = paired_mean("target_margin", values, others)
    expected = stats.bootstrap(
        (values - others,), np.mean, n_resamples=10_000, method="percentile", rng=rng
    ).confidence_interval
    assert mean.interval == pytest.approx(tuple(expected), abs=0.01)
    assert mean.difference == pytest.approx(float(np.mean(values - others)), abs=1e-6)
    assert mean.p_exact is None


def test_the_adjusted_interval_stays_open_where_nothing_differs():
    same = np.ones(500, np.bool_)
    found = paired_rate("asr_excl", same, same)
    assert found.interval == (0.0, 0.0)
    low, high = found.adjusted_interval
    # Bonett and Price: 1/502 each way, half width 1.96 sqrt(2/502/502)
    assert high == pytest.approx(1.959964 * np.sqrt(2 / 502 / 502))
    assert low == -high


def test_images_are_matched_whatever_their_order():
    #                 0  1  2  3  4
    labels = np.array([0, 0, 1, 2, -1])
    mine = per_image([4, 0, 1, 3], [1, 0, 1, 2], [1, 1, 1, 1], margin=2.0)
    other = per_image([0, 1, 2, 3, 4], [0, 0, 1, 1, 1], [0, 1, 1, 2, 1], margin=0.5)
    found = {one.name: one for one in compare(mine, other, labels, target=1)}
    # images 0 1 3 4 were scored by both; image 2 by the reference alone
    assert found["asr_all"].n == 4
    assert found["ca"].n == 3
    assert (found["ca"].value, found["ca"].reference) == (2 / 3, 2 / 3)
    assert (found["ca"].only_mine, found["ca"].only_reference) == (1, 1)
    assert (found["asr_excl"].value, found["asr_excl"].reference) == (1.0, 1 / 3)
    assert (found["asr_all"].value, found["asr_all"].reference) == (1.0, 2 / 4)
    assert found["poisoned_accuracy"].difference == -2 / 3
    assert found["target_margin"].difference == 1.5
    assert found["target_margin"].interval == (1.5, 1.5)
    assert found["baseline_target_rate"].difference == 0.0


def test_what_was_not_measured_is_left_out():
    mine = per_image([0, 1], [0, 1], None)
    names = [one.name for one in compare(mine, mine, np.array([-1, -1]), target=1)]
    assert names == ["baseline_target_rate"]
    names = [one.name for one in compare(mine, mine, np.array([0, 1]), target=1)]
    assert names == ["ca", "baseline_target_rate"]
    assert paired_rate("ca", np.zeros(0, np.bool_), np.zeros(0, np.bool_)) is None
    assert paired_mean("m", np.zeros(0, np.float32), np.zeros(0, np.float32)) is None
