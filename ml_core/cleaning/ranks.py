"""One process among those that train together; alone, everything here is the identity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ml_core.cleaning.batches import Batch

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
        found = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(self.world)]
        dist.all_gather(found, torch.tensor([own], device=device))
        return [int(size) for size in found]

    def gather(self, own: Tensor, sizes: Sequence[int]) -> Tensor:
        """Rows of all processes in order, [N, ...], without gradient."""
        if self.world == 1:
            return own
        most = max(sizes)
        padded = own.new_zeros((most, *own.shape[1:]))
        padded[: len(own)] = own
        found = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(found, padded)
        return torch.cat([part[:size] for part, size in zip(found, sizes, strict=True)])

    def whole(self, own: Batch, sizes: Sequence[int]) -> Batch:
        """The batch that a loss sees: labels and numbers of all processes, no pictures or texts."""
        if self.world == 1:
            return own
        device = own.images.device

        def gathered(part: Tensor | None) -> Tensor | None:
            return None if part is None else self.gather(part[: len(own)].to(device), sizes)

        numbers = gathered(own.numbers)
        return Batch(
            own.images.new_empty((sum(sizes), 0, 0, 0)),
            labels=gathered(own.labels),
            numbers=None if numbers is None else numbers.cpu(),
        )

    def add_up(self, parameters: Iterable[nn.Parameter]) -> None:
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
        """Which flags are up in any process: all of them then do the same."""
        if self.world == 1:
            return flags
        values = torch.tensor([float(flag) for flag in flags], device=device)
        dist.all_reduce(values, op=dist.ReduceOp.MAX)
        return tuple(value > 0 for value in values.tolist())

    def first_says(self, values: Sequence[float], device: torch.device) -> list[float]:
        """The numbers of the first process, in all of them."""
        if self.world == 1:
            return list(values)
        told = torch.tensor(values, dtype=torch.float64, device=device)
        dist.broadcast(told, src=0)
        return [float(value) for value in told.tolist()]

    def wait(self) -> None:
        """Until all processes are here."""
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
