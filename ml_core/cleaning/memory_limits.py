"""A step that does not fit into memory is taken again in smaller pieces, where that is exact."""

from __future__ import annotations

from collections.abc import Callable, Generator

import torch

from ml_core.cleaning.progress import Run
from ml_core.events import Event, Message
from ml_core.reading.errors import TooLittleMemoryError

Values = dict[str, float]


def fitting(
    act: Callable[[int], Values], run: Run, examples: int, divisible: bool, together: bool
) -> Generator[Event, None, Values]:
    """Take a step; halve what is encoded at a time until it fits, and say so.

    Parameters
    ----------
    act
        Takes the step with a chunk (0: the whole batch) and returns its values. Weights must not
        have moved when it runs out of memory.
    run
        Its ``chunk`` is lowered, for this and all later steps.
    examples
        Size of the batch.
    divisible
        Whether gradient caching is exact here.
    together
        Whether other processes take the same step: then nothing can be repeated here alone.

    Raises
    ------
    TooLittleMemoryError
        If the batch cannot be divided further.
    """
    state = torch.get_rng_state()
    while True:
        try:
            return act(run.chunk)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            reason = str(error)
        # Outside the except block the failed step's tensors are free.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        torch.set_rng_state(state)
        now = min(run.chunk or examples, examples)
        if together or not divisible or now < 2:
            raise TooLittleMemoryError(_refusal(now, divisible, together), details=reason)
        run.chunk = (now + 1) // 2
        yield Message(
            f"A batch of {examples} does not fit into memory {now} at a time: from step "
            f"{run.step + 1} on {run.chunk} are encoded at a time, through gradient caching. The "
            "gradient stays that of the whole batch; steps take about a third longer.",
            "warning",
        )


def out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python ran out of memory, on any device."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


def _refusal(now: int, divisible: bool, together: bool) -> str:
    """Why a batch that does not fit is not divided, and what to do."""
    if together:
        return (
            f"A process has too little memory for its {now} examples: lower the batch size, set "
            "gradient caching, or take more processes. What was saved is intact."
        )
    if not divisible:
        return (
            f"There is too little memory for a batch of {now}, and it cannot be encoded in parts "
            "while BatchNorm is trained: set BatchNorm to frozen, which allows gradient caching, "
            "or halve the batch size. What was saved is intact."
        )
    return (
        "There is too little memory even for one example at a time: choose another device or "
        "checkpoint activations. What was saved is intact."
    )
