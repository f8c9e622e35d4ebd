"""What torchrun or Slurm says to this process about the others. Imports no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Launched:
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
