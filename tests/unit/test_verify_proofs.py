"""A rebound test and a table of hold-outs that do not follow from their own counts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from ml_core.evaluation.records import wilson_interval
from ml_core.reports.rebound_verdict import counts_of, judged
from ml_core.reports.verify.proofs import holdout_faults, rebound_faults


def _point(step: int, hits: int, n: int = 100) -> dict[str, Any]:
    low, high = wilson_interval(hits, n)
    rate = {"asr_excl": hits / n, "asr_low": low, "asr_high": high}
    return {"step": float(step), "asr_hits": hits, "asr_n": n, **rate}


def _rebound() -> dict[str, Any]:
    rates = []
    for factor, hits in ((0.1, (1, 2)), (1.0, (1, 4))):
        points = [_point(25 * k, one) for k, one in enumerate(hits)]
        rates.append({
            "factor": factor, "max_asr": points[1]["asr_excl"], **counts_of(points[1]),
            "max_step": 25, "diverged": None, "points": points,
        })  # fmt: skip
    return {"limit": 0.05, "rates": rates, **judged(rates, 0.05)}


def _holdouts() -> dict[str, Any]:
    row = {
        "group": "place", "name": "left", "measure": "asr_excl", "before": 0.9, "before_hits": 90,
        "before_n": 100, "before_interval": list(wilson_interval(90, 100)), "after": 0.02,
        "after_hits": 2, "after_interval": list(wilson_interval(2, 100)), "n": 100,
    }  # fmt: skip
    return {"rows": [row], "worst": {"group": "place", "name": "left", "after": 0.02}}


def test_what_follows_holds() -> None:
    assert not list(rebound_faults(_rebound(), "rebound.json"))
    assert not list(holdout_faults(_holdouts(), "holdouts.json"))
    assert _rebound()["verdict"].startswith("Stays clean in this test")


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(stays_clean=False),
        lambda value: value.update(limit=0.03),
        lambda value: value.update(verdict="Stays clean."),
        lambda value: value["worst"].update(max_asr=0.01),
        lambda value: value["rates"][1].update(max_asr=0.01, hits=1),
        lambda value: value["rates"][1]["points"][1].update(asr_excl=0.01),
        lambda value: value["rates"][1]["points"][1].update(asr_high=0.05),
        lambda value: value["rates"].clear(),
        lambda value: value["rates"][0].update(points=None),
    ],
)
def test_a_rebound_test_that_was_changed(change: Callable[[Any], object]) -> None:
    record = copy.deepcopy(_rebound())
    change(record)
    assert next(rebound_faults(record, "rebound.json"))


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value["rows"][0].update(after=0.01),
        lambda value: value["rows"][0].update(before_hits=91),
        lambda value: value["rows"][0].update(after_interval=[0.0, 0.01]),
        lambda value: value["rows"][0].update(after_hits=200),
        lambda value: value["worst"].update(after=0.01),
        lambda value: value.update(worst=None),
        lambda value: value.update(rows=3),
    ],
)
def test_hold_outs_that_were_changed(change: Callable[[Any], object]) -> None:
    record = copy.deepcopy(_holdouts())
    change(record)
    assert next(holdout_faults(record, "holdouts.json"))
