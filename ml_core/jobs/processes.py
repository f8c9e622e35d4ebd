"""The processes that torchrun or Slurm started for one job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from ml_core.ranks import ALONE, Ranks

# The others wait while the first one measures the model or is paused.
_PATIENCE = timedelta(days=7)


@contextmanager
def together(device: str) -> Iterator[Ranks]:
    """Join the other processes, if there are any, and leave them at the end.

    Parameters
    ----------
    device
        Of the job. On CUDA each process of a machine takes one GPU and NCCL connects them,
        elsewhere gloo does.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world <= 1 or "MASTER_ADDR" not in os.environ:
        yield ALONE
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    cuda = device in ("auto", "cuda") and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE)
    try:
        yield Ranks(
            dist.get_rank(), world, local, int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
        )
    finally:
        dist.destroy_process_group()
