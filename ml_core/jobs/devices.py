"""Which device and how many threads a job takes."""

from __future__ import annotations

import os

import psutil
import torch

from ml_core.memory import keep_freed_memory
from ml_core.reading.errors import InputError


def devices() -> tuple[str, ...]:
    """Names of the devices of this machine, the best first."""
    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return (*names, "cpu")


def choose_device(name: str) -> torch.device:
    """The device of that name; ``auto`` takes the best.

    Raises
    ------
    InputError
        If this machine lacks it.
    """
    found = devices()
    if name == "auto":
        return torch.device(found[0])
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in found:
        raise InputError(f"This machine has no device {name}; it has {', '.join(found)}.")
    return torch.device(wanted)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(threads: int) -> int:
    """Give torch its threads; 0 takes all cores but one, or both of two. Return the number.

    Freed memory is kept from then on: this process computes.
    """
    keep_freed_memory()
    chosen = threads or (cores() - 1 if cores() > 2 else cores())
    if torch.get_num_threads() != chosen:
        torch.set_num_threads(chosen)
    return chosen


def lower_priority() -> None:
    """Let the window and the rest of the machine go first."""
    process = psutil.Process()
    low = getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", 10)
    try:
        process.nice(low)
    except (psutil.Error, OSError):  # some sandboxes forbid it; the job runs all the same
        return
