"""Numbers as the screen, the command line and the records say them."""

from __future__ import annotations

from collections.abc import Sequence


def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign, e.g. ``+1.2``; what rounds to 0 has none."""
    shown = f"{value:+.{digits}f}"
    return shown[1:] if float(shown) == 0 else shown


def rate_text(rate: float) -> str:
    """A learning rate as papers write it, with three digits at most: ``5e-4``."""
    digits, _, exponent = f"{rate:.2e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"


def percent(rate: float | None, missing: str = "–", unit: str = " %", *, digits: int = 1) -> str:
    """A rate in per cent, e.g. ``97.8 %``; ``missing`` if it is None, no sign if ``unit`` is ""."""
    return missing if rate is None else f"{100 * rate:.{digits}f}{unit}"


def percent_range(
    interval: Sequence[float] | None, missing: str = "–", unit: str = " %", to: str = " to "
) -> str:
    """Both ends of an interval of rates in per cent, e.g. ``93.1 to 97.8 %``."""
    if not interval:
        return missing
    low, high = interval
    return f"{percent(low, unit='')}{to}{percent(high, unit=unit)}"
