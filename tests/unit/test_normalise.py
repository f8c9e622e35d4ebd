"""Pixels become model input, whatever their layout; freed memory is kept where it can be."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from ml_core import children
from ml_core.children import keep_freed_memory
from ml_core.model import normalise

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_every_layout_gives_the_formula(dtype: torch.dtype, channels_last: bool) -> None:
    bytes_ = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    images = bytes_ if dtype == torch.uint8 else (bytes_.double() / 255).to(dtype)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    before = images.clone()
    made = normalise(images, MEAN, STD)
    unit = images.double() / (255 if dtype == torch.uint8 else 1)
    mean, std = torch.tensor(MEAN).view(3, 1, 1).double(), torch.tensor(STD).view(3, 1, 1)
    assert made.dtype == torch.float32
    assert torch.allclose(made.double(), (unit - mean) / std, atol=2e-6)
    assert torch.equal(images, before)
    assert made.is_contiguous(memory_format=torch.channels_last) == channels_last


@pytest.mark.parametrize("channels_last", [False, True])
def test_gradients_pass(channels_last: bool) -> None:
    images = torch.rand(1, 3, 4, 4)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    images.requires_grad_()
    normalise(images, MEAN, STD).sum().backward()
    assert images.grad is not None
    expected = (1 / torch.tensor(STD)).view(1, 3, 1, 1).expand_as(images)
    assert torch.allclose(images.grad, expected)


def test_an_empty_batch_stays_empty() -> None:
    assert normalise(torch.empty(0, 3, 8, 8, dtype=torch.uint8), MEAN, STD).shape == (0, 3, 8, 8)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_is_kept() -> None:
    """In a process of its own: without the call, each large block would be faulted in again."""
    script = (
        "import resource, torch, sys\n"
        "from ml_core.children import keep_freed_memory\n"
        "torch.set_num_threads(1)\n"
        "kept = keep_freed_memory()\n"
        "torch.ones(12_000_000)\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "begin = faults()\n"
        "for _ in range(20): torch.ones(12_000_000)\n"
        "print(kept, faults() - begin)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    kept, faults = found.stdout.split()
    # Twenty times 48 MB are 240 000 pages of 4 KiB.
    assert kept == "False" or int(faults) < 20_000


def test_elsewhere_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children.sys, "platform", "darwin")
    assert keep_freed_memory() is False
    monkeypatch.setattr(children.sys, "platform", "linux")
    monkeypatch.setattr(children.ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() is False
