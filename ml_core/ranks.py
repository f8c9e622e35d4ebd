"""One process among those that train together; alone, everything here is the identity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

_BUCKET = 1 << 23  # numbers added up in one call


@dataclass(frozen=True)
class Ranks:
    """Which of ``world`` processes this is; their group is torch's default one.

    ``local`` and ``local_world`` count those of this machine.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    local_world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process speaks, saves and measures."""
        return self.rank == 0

    def sizes(self, own: int, device: torch.device) -> list[int]:
        """How many rows each process has; they differ where pictures could not be read."""
        if self.world == 1:
            return [own]
        mine = torch.tensor([own], device=device)
        sizes: list[int] = self.gather(mine, [1] * self.world).tolist()
        return sizes

    def gather(self, own: Tensor, sizes: Sequence[int]) -> Tensor:
        """Rows of all processes in order, [N, ...], without gradient."""
        if self.world == 1:
            return own
        most = max(sizes)
        padded = own.new_zeros((most, *own.shape[1:]))
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def add_up(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its sum over the processes."""
        if self.world == 1:
            return
        waiting: list[Tensor] = []
        for parameter in parameters:
            if parameter.grad is not None:
                waiting.append(parameter.grad)
                if sum(gradient.numel() for gradient in waiting) >= _BUCKET:
                    _add_up(waiting)
                    waiting = []
        if waiting:
            _add_up(waiting)

    def any(self, *flags: bool, device: torch.device) -> tuple[bool, ...]:
        """Which flags are set in any process, so that all of them do the same."""
        if self.world == 1:
            return flags
        values = torch.tensor([float(flag) for flag in flags], device=device)
        dist.all_reduce(values, op=dist.ReduceOp.MAX)
        return tuple(value > 0 for value in values.tolist())

    def first_says(self, values: Tensor) -> Tensor:
        """Give every process the values of the first one."""
        if self.world > 1:
            values = values.contiguous()
            dist.broadcast(values, src=0)
        return values

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            dist.barrier()


ALONE = Ranks()


def _add_up(gradients: list[Tensor]) -> None:
    """All-reduce of several gradients at once, in place."""
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view(gradient.shape))
        start += gradient.numel()
