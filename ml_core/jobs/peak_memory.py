"""The largest memory that something took, processes that it started included."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import psutil
import torch

_SECONDS = 0.02
_LOOK_SECONDS = 1.0


class PeakMemory:
    """Watches memory while its block runs: the device's on CUDA, else that of the processes.

    Attributes
    ----------
    bytes
        The largest seen.
    """

    def __init__(self, device: torch.device) -> None:
        self.bytes = 0
        self._device = device
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._device.type == "cuda":
            self.bytes = int(torch.cuda.max_memory_reserved(self._device))
            return
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        process, children, looked = psutil.Process(), list[psutil.Process](), -math.inf
        while True:
            # Looking for children reads every process of the machine: at each sample it would
            # take half a core from the steps that are timed.
            if time.monotonic() - looked >= _LOOK_SECONDS:
                children, looked = process.children(), time.monotonic()
            self.bytes = max(self.bytes, resident(process, children))
            if self._ended.wait(_SECONDS):
                return


def resident(process: psutil.Process, children: Sequence[psutil.Process]) -> int:
    """Resident bytes of a process and of those that it started."""
    total = int(process.memory_info().rss)
    for child in children:
        try:
            total += int(child.memory_info().rss)
        except psutil.Error:  # it ended meanwhile
            continue
    return total
