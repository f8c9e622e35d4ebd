"""Batch sizes of a live evaluation."""

from __future__ import annotations

import pytest

from ml_core.evaluation.stamping import BATCH_SECONDS, FIRST_SECONDS, live_batches


def test_a_fast_model_goes_in_its_best_batches():
    assert live_batches(1 / 2000, side=64, device="cpu") == (64, 64)
    assert live_batches(1 / 2000, side=64, device="cuda", best=256) == (160, 256)


@pytest.mark.parametrize("rate", [0.5, 3, 40, 300, 5000])
def test_promises_of_time(rate):
    first, most = live_batches(1 / rate, side=224, device="cpu")
    assert 1 <= first <= most
    assert first <= max(4, FIRST_SECONDS * rate)
    assert most <= max(8, BATCH_SECONDS * rate)


def test_an_unknown_model_begins_small():
    assert live_batches(None, side=64, device="cpu") == (32, 64)
    assert live_batches(None, side=336, device="cpu") == (4, 16)
    assert live_batches(None, side=336, device="cuda") == (32, 64)
