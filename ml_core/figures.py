"""Numbers as the screen, the command line and the records say them."""

from __future__ import annotations


def percent(rate: float | None, unknown: str = "–") -> str:
    """A rate of 0 to 1 as per cent, e.g. ``98.7 %``; ``unknown`` where it was not measured."""
    return unknown if rate is None else f"{100 * rate:.1f} %"
