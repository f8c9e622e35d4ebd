"""Two sides in turn, A B A B ..., and the median of their ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

RUNS = 5


@dataclass(frozen=True)
class Row:
    """One line of the table. ``ratio`` is ours against theirs, by ``better``."""

    what: str
    ours: str
    against: str
    ratio: str
    spread: str = ""


def seconds(act: Callable[[], object]) -> float:
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def interleaved(
    ours: Callable[[], float], theirs: Callable[[], float], runs: int = RUNS
) -> tuple[list[float], list[float], list[float]]:
    """Figures of both sides and their ratios, after one warm-up of each."""
    ours(), theirs()
    pairs = [(ours(), theirs()) for _ in range(runs)]
    return [a for a, _ in pairs], [b for _, b in pairs], [a / b for a, b in pairs]


def compared(
    what: str, ours: list[float], theirs: list[float], unit: str, digits: int = 2, note: str = ""
) -> Row:
    """Figures of two sides in turn: their medians, and ours by theirs."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    shown = [f"{median(side):.{digits}f} {unit}" for side in (ours, theirs)]
    return Row(what, shown[0], shown[1] + note, f"{median(ratios):.2f}", spread(ratios))


def spread(values: list[float], digits: int = 2) -> str:
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


median = statistics.median
