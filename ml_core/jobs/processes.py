"""The processes that torchrun or Slurm started for one job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from ml_core.jobs.launched import launched
from ml_core.ranks import ALONE, Ranks
from ml_core.reading.errors import InputError

# The others wait while the first one measures the model or is paused.
_PATIENCE = timedelta(days=7)


@contextmanager
def together(device: str) -> Iterator[Ranks]:
    """Join the other processes, if there are any, and leave them at the end.

    Parameters
    ----------
    device
        Device of the job. On CUDA each process of a machine takes one GPU and NCCL connects them,
        elsewhere gloo does.

    Raises
    ------
    InputError
        If there are more processes than GPUs.
    """
    own = launched()
    if own.world == 1:
        yield ALONE
        return
    cuda = device in ("auto", "cuda") and torch.cuda.is_available()
    if cuda:
        count = torch.cuda.device_count()
        if own.local_world > count:  # NCCL takes one process a GPU; all of them notice
            raise InputError(
                f"There are {own.local_world} processes and this machine has {count} GPU"
                f"{'' if count == 1 else 's'}: start one process a GPU, or choose the device cpu.",
                "usage",
            )
        torch.cuda.set_device(own.local)
    dist.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE)
    try:
        yield Ranks(dist.get_rank(), own.world, own.local, own.local_world)
    finally:
        dist.destroy_process_group()
