"""Records of an evaluation, and the interval."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from statsmodels.stats.proportion import proportion_confint

from ml_core.evaluation import Evaluation, wilson_interval


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (0, 1_000, 0.0, 0.0038),
        (0, 500, 0.0, 0.0076),
        (0, 50_000, 0.0, 0.0001),
        (500, 1_000, 0.469, 0.531),
        (990, 1_000, 0.982, 0.995),
    ],
)
def test_interval_of_the_papers_examples(hits: int, n: int, low: float, high: float) -> None:
    found = wilson_interval(hits, n)
    assert found == pytest.approx((low, high), abs=5e-4)
    assert (found[0] == 0.0) == (hits == 0)


@pytest.mark.parametrize("n", [1, 2, 7, 100, 4321])
def test_interval_agrees_with_statsmodels(n: int) -> None:
    for hits in {0, 1, n // 3, n // 2, n - 1, n}:
        expected = proportion_confint(hits, n, alpha=0.05, method="wilson")
        assert wilson_interval(hits, n) == pytest.approx(expected, abs=1e-7)


def test_interval_ends_are_exact() -> None:
    assert wilson_interval(0, 3)[0] == 0.0
    assert wilson_interval(3, 3)[1] == 1.0


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (2, 1), (-1, 5)])
def test_no_interval_of_no_proportion(hits: int, n: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        wilson_interval(hits, n)


def test_an_evaluation_is_json() -> None:
    evaluation = Evaluation(
        n=4,
        n_total=4,
        n_excl=3,
        target=1,
        target_name="banana",
        ca=0.5,
        ca_interval=(0.15, 0.85),
        templates=("a photo of a {}.",),
    )
    found = json.loads(json.dumps(evaluation.to_dict()))
    assert found["ca_interval"] == [0.15, 0.85]
    assert found["templates"] == ["a photo of a {}."]
    assert found["asr_excl"] is None
    assert found["partial"] is False


@pytest.mark.parametrize(
    ("fields", "reasons"),
    [
        ({"n_labelled": 4, "ca": 0.5}, {"asr_excl": "no trigger", "top5": "fewer than 5 classes"}),
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


def test_records_import_no_torch() -> None:
    code = (
        "import sys, ml_core.triggers, ml_core.evaluation, ml_core.evaluation.metrics;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
