"""One process among those that do one job together; alone, everything here is the identity."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from ml_core.reading.errors import CancelledError, InputError

_BUCKET = 1 << 23  # numbers added up in one call


class CountedStep(Protocol):
    """A step of some work, which says how much of it is done."""

    @property
    def done(self) -> int:
        """How much is done since the work began."""


_Step = TypeVar("_Step", bound=CountedStep)


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

    def share(self, count: int, block: int) -> NDArray[np.int64]:
        """Which of ``count`` things in order this process does, int64 [m], ascending.

        They are dealt out in runs of ``block``. So work that is done run by run is done as by one
        process.
        """
        places = np.arange(count, dtype=np.int64)
        return np.flatnonzero(places // block % self.world == self.rank)

    def sizes(self, own: int, device: torch.device) -> list[int]:
        """How many rows each process has; they differ where pictures could not be read."""
        if self.world == 1:
            return [own]
        return [row[0] for row in self._all(own, device=device)]

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

    def first_says(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Give every process the numbers of the first one."""
        if self.world == 1:
            return list(values)
        sent = torch.tensor(values, dtype=torch.float64, device=device)
        dist.broadcast(sent, src=0)
        return [float(value) for value in sent.tolist()]

    def text_of_first(self, text: str, device: torch.device) -> str:
        """Give every process a text of the first one."""
        return text if self.world == 1 else self._text_of(text, 0, device)

    def rows_of_first(self, own: Tensor | None, device: torch.device) -> Tensor:
        """Give every process the first one's rows float32 [n, D]; the others' rows are not used.

        Raises
        ------
        ValueError
            If the first one gives none.
        """
        if self.world == 1:
            if own is None:
                raise ValueError("there are no rows")
            return own
        rows, width = self.first_says([0, 0] if own is None else own.shape, device)
        sent = torch.empty(int(rows), int(width), device=device)
        if self.first and own is not None:
            sent = own.to(device).contiguous()
        dist.broadcast(sent, src=0)
        return sent

    def merged(self, values: NDArray[np.generic], device: torch.device) -> None:
        """Put together, in place, what each process knows of some of the values.

        Parameters
        ----------
        values
            [N] of 4 or 8 bytes each, 0 wherever another process may know the value. Their bits are
            added as whole numbers, so that each result is exactly one process's value, even NaN.
        """
        if self.world == 1:
            return
        bits = torch.from_numpy(values.view(f"i{values.itemsize}"))
        for first in range(0, len(bits), _BUCKET):
            part = bits[first : first + _BUCKET].to(device)
            dist.all_reduce(part)
            bits[first : first + _BUCKET] = part.cpu()

    def total(self, number: int, device: torch.device) -> int:
        """The sum over all processes."""
        return sum(self.sizes(number, device))

    @contextmanager
    def as_one(self, device: torch.device) -> Iterator[None]:
        """Let an error in one process end all of them with the same sentence.

        Raises
        ------
        InputError, CancelledError
            As it was raised in any process, at the end of the block.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as failure:
            error = failure
        self._agree(error, False, 0, device)

    def in_step(
        self, steps: Iterator[_Step], device: torch.device, done: int = 0
    ) -> Generator[tuple[_Step | None, int], None, None]:
        """Do this process's work step by step, as the others do; ``done`` is done already.

        Yields
        ------
        tuple of (step, int)
            The own step, None where the own work has ended and others go on, and how much is done
            in all processes together.

        Raises
        ------
        InputError, CancelledError
            As it was raised by the work of any process.
        """
        busy = True
        while True:
            step: _Step | None = None
            error: Exception | None = None
            if busy:
                try:
                    step = next(steps)
                    done = step.done
                except StopIteration:
                    busy = False
                except Exception as failure:
                    error = failure
            going, together = self._agree(error, busy, done, device)
            if not going:
                return
            yield step, together

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            dist.barrier()

    def _agree(
        self, error: Exception | None, busy: bool, done: int, device: torch.device
    ) -> tuple[bool, int]:
        """Whether any process is busy, and the sum of what is done; raises what any raised."""
        if self.world == 1:
            if error is not None:
                raise error
            return busy, done
        cancelled = isinstance(error, CancelledError)
        failed = error is not None and not cancelled
        rows = self._all(busy, done, cancelled, failed, device=device)
        broken = next((rank for rank, row in enumerate(rows) if row[3]), None)
        if broken is not None:
            sentence = self._text_of(_as_text(error), broken, device)
            raise error if error is not None and failed else _from_text(sentence, broken)
        if any(row[2] for row in rows):
            raise CancelledError
        return any(row[0] for row in rows), sum(row[1] for row in rows)

    def _all(self, *own: int, device: torch.device) -> list[list[int]]:
        """Some whole numbers of every process."""
        mine = torch.tensor([int(value) for value in own], dtype=torch.int64, device=device)
        parts = [torch.empty_like(mine) for _ in range(self.world)]
        dist.all_gather(parts, mine)
        return [part.tolist() for part in parts]

    def _text_of(self, text: str, speaker: int, device: torch.device) -> str:
        """Give every process a text of one of them."""
        raw = text.encode()
        length = torch.tensor([len(raw)], dtype=torch.int64, device=device)
        dist.broadcast(length, src=speaker)
        data = torch.zeros(int(length), dtype=torch.uint8)
        if not len(data):
            return ""
        if self.rank == speaker:
            data = torch.frombuffer(bytearray(raw), dtype=torch.uint8)
        data = data.to(device)
        dist.broadcast(data, src=speaker)
        return bytes(data.cpu().numpy()).decode()


ALONE = Ranks()


def _add_up(gradients: list[Tensor]) -> None:
    """All-reduce of several gradients at once, in place."""
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view(gradient.shape))
        start += gradient.numel()


def _as_text(error: Exception | None) -> str:
    """An error for the other processes."""
    if isinstance(error, InputError):
        return json.dumps([error.sentence, error.code, error.details])
    return json.dumps(["", "", f"{type(error).__name__}: {error}"])


def _from_text(text: str, speaker: int) -> Exception:
    """What another process raised."""
    sentence, code, details = json.loads(text)
    if sentence:
        return InputError(sentence, code, details)
    return RuntimeError(f"In process {speaker}: {details}")
