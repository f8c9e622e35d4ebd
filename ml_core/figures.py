"""Numbers as the screen, the command line and the records say them."""

from __future__ import annotations


def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign, e.g. ``+1.2``; what rounds to 0 has none."""
    shown = f"{value:+.{digits}f}"
    return shown[1:] if float(shown) == 0 else shown


def percent(rate: float | None, missing: str = "–", unit: str = " %") -> str:
    """A rate in per cent, e.g. ``97.8 %``; ``missing`` if it is None, no sign if ``unit`` is ""."""
    return missing if rate is None else f"{100 * rate:.1f}{unit}"
