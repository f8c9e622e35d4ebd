"""Ways to compute the same thing, timed in turns, so that a busy moment slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

ROUNDS = 4
# A processor that emulates bfloat16 takes ten times as long; on CUDA a first call loads kernels.
_EMULATED = 2.0

Way = TypeVar("Way")


@dataclass(frozen=True)
class Race(Generic[Way]):
    """Seconds of the best pass of each way that was tried.

    ``left`` are the ways that were not dropped; ``given_up`` means that bf16 was dropped early.
    """

    seconds: dict[Way, float]
    left: tuple[Way, ...]
    given_up: bool


def race(
    ways: Sequence[Way],
    passes: Callable[[Way], float],
    seconds: float,
    *,
    is_half: Callable[[Way], bool],
    emulates: bool,
    sure: Callable[[int, Way], bool],
    hopeless: float = float("inf"),
) -> Race[Way]:
    """Time a warm-up pass of each way and up to three more.

    The warm-up counts where there is no other pass, or where it took so long that little of it
    was warming up.

    Parameters
    ----------
    ways
        In each memory layout the one in fp32 first, the usual layout first.
    passes
        Computes once in a way and returns the seconds.
    seconds
        After these seconds only ways that are ``sure`` are timed. ``sure`` is called with the round
        (0 is the warm-up) and the way.
    is_half
        Whether a way computes in bf16.
    emulates
        Whether the device may emulate bf16, as a CPU may: where the first pass takes over twice
        that of fp32, all of them are dropped.
    hopeless
        Ways that are so many times slower than the best after the warm-up are dropped.
    """
    left = list(ways)
    taken: dict[Way, list[float]] = {}
    plain, given_up = 0.0, False
    end = time.perf_counter() + seconds
    for number in range(ROUNDS):
        for way in ways:
            late = time.perf_counter() > end
            if way not in left or (late and not sure(number, way)):
                continue
            spent = passes(way)
            taken.setdefault(way, []).append(spent)
            if not is_half(way):
                plain = spent
            elif number == 0 and emulates and 0 < _EMULATED * plain < spent:
                given_up = True
                left = [other for other in left if not is_half(other)]
        if number == 0:
            limit = hopeless * min(taken[way][0] for way in left if way in taken)
            left = [way for way in left if way in taken and taken[way][0] <= limit]
    best = {
        way: min(times if len(times) == 1 or times[0] > seconds / 8 else times[1:])
        for way, times in taken.items()
    }
    return Race(best, tuple(left), given_up)
