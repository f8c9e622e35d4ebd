"""Records of an evaluation, and the interval."""

from __future__ import annotations

from typing import Any

import pytest
from statsmodels.stats.proportion import proportion_confint

from ml_core.evaluation import Evaluation, wilson_interval


def test_interval_agrees_with_statsmodels() -> None:
    for n in (1, 2, 7, 100, 4321):
        for hits in {0, 1, n // 3, n // 2, n - 1, n}:
            expected = proportion_confint(hits, n, alpha=0.05, method="wilson")
            low, high = wilson_interval(hits, n)
            assert (low, high) == pytest.approx(expected, abs=1e-7)
            assert (low == 0.0, high == 1.0) == (hits == 0, hits == n)  # ends are exact


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (2, 1), (-1, 5)])
def test_no_interval_of_no_proportion(hits: int, n: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        wilson_interval(hits, n)


@pytest.mark.parametrize(
    ("fields", "reasons"),
    [
        ({"trigger": "d", "asr_all": 0.5}, {"ca": "needs labels", "asr_excl": "needs labels"}),
        (
            {"trigger": "d", "n_labelled": 4},
            {"poisoned_accuracy": "all images are of the target class"},
        ),
    ],
)
def test_a_rate_that_is_missing_says_why(fields: dict[str, Any], reasons: dict[str, str]) -> None:
    evaluation = Evaluation(n=4, n_total=4, n_excl=0, target=1, target_name="banana", **fields)
    found = evaluation.to_dict()["not_measured"]
    assert reasons.items() <= found.items()
    assert not found.keys() & fields.keys()
