"""The processes that torchrun or Slurm started for one job; torch is imported to join them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from ml_core.ranks import Ranks

# The others wait while the first one measures the model or is paused.
_PATIENCE = timedelta(days=7)


class Launched(NamedTuple):
    """This process among ``world``, and among the ``local_world`` of its machine."""

    rank: int = 0
    world: int = 1
    local: int = 0
    local_world: int = 1


def launched() -> Launched:
    """Read it from the environment; a process that no other waits for is alone."""

    def number(name: str, otherwise: int) -> int:
        text = os.environ.get(name, "")
        return int(text) if text.isdecimal() else otherwise

    world = number("WORLD_SIZE", 1)
    if world <= 1 or "MASTER_ADDR" not in os.environ:
        return Launched()
    local_world = number("LOCAL_WORLD_SIZE", world)
    return Launched(number("RANK", 0), world, number("LOCAL_RANK", 0), local_world)


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
    import torch
    import torch.distributed as dist

    from ml_core.ranks import ALONE, Ranks

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
        yield Ranks(*own)
    finally:
        dist.destroy_process_group()
