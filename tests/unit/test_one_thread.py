"""What a test does to torch's threads ends with it."""

from __future__ import annotations

import torch

from ml_core.jobs.devices import set_threads


def test_a_job_takes_two() -> None:
    set_threads(2)
    assert torch.get_num_threads() == 2


def test_the_next_has_one() -> None:
    assert torch.get_num_threads() == 1
