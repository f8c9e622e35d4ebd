"""Which device and how many threads a job takes."""

from __future__ import annotations

import os
import warnings

import psutil
import torch

from ml_core.children import keep_freed_memory
from ml_core.reading.errors import InputError

_MOST_READERS = 8


def devices() -> tuple[str, ...]:
    """Names of the devices of this machine, the best first."""
    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return (*names, "cpu")


def choose_device(name: str, local: int = 0) -> torch.device:
    """The device of that name; ``auto`` takes the best.

    ``local`` is this process's number on its machine; each process takes its own GPU.

    Raises
    ------
    InputError
        If this machine lacks it.
    """
    names = devices()
    if local and name in ("auto", "cuda") and torch.cuda.is_available():
        name = f"cuda:{local}"
    if name == "auto":
        return torch.device(names[0])
    full_name = "cuda:0" if name == "cuda" else name
    if full_name not in names:
        raise InputError(f"This machine has no device {name}; it has {', '.join(names)}.")
    return torch.device(full_name)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def picture_processes(own: int, device: torch.device) -> int:
    """Processes that decode training pictures on ``own`` cores; one if torch takes all cores.

    On a GPU the cores have nothing else to do; on a CPU most of them compute.
    """
    if device.type == "cuda":
        return max(1, min(_MOST_READERS, own - 1))
    return max(1, min(_MOST_READERS, own // 4))


def set_threads(threads: int, together: int = 1) -> int:
    """Give torch its threads; 0 takes all cores but one, or both of two. Return the number.

    If there are ``together`` processes on the machine, each takes its share. A single process with
    0 follows OMP_NUM_THREADS if it is set; several ignore it, since torchrun sets it unasked.

    Freed memory is kept from then on: this process computes. torch's word that it multiplies by
    another library, where the first lacks memory, is kept from the user: the product is right.
    """
    keep_freed_memory()
    warnings.filterwarnings("ignore", message=".* failed, switching to (BLAS gemm|baddbmm)")
    own = max(1, cores() // together)
    environment = os.environ.get("OMP_NUM_THREADS", "") if together == 1 else ""
    asked = int(environment) if environment.isdecimal() else 0
    chosen = threads or asked or (own - 1 if own > 2 else own)
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
