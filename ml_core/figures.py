"""Numbers, and colours of charts, as the screen, the command line and the records show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#56b4e9", "#e69f00")
"""Colours of series on white that colour-blind viewers can tell apart (Okabe and Ito)."""
CA, ASR = 0, 1
"""Which of them are of clean accuracy and of attack success, in every chart of one model."""


def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign, e.g. ``+1.2`` or ``−94.2``; what rounds to 0 has none."""
    shown = f"{value:+.{digits}f}"
    return shown[1:] if float(shown) == 0 else shown.replace("-", "−")


def count(n: int) -> str:
    """A whole number with thin spaces between thousands, e.g. ``1 234 567``."""
    return f"{n:,}".replace(",", "\u2009")


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


def duration(seconds: float) -> str:
    """A duration in words, e.g. ``3 min 5 s``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def distinct(names: Iterable[str], form: str = "{} ({})") -> tuple[str, ...]:
    """Names without repetition: what comes again gets a number, e.g. ``cat (2)``."""
    names = tuple(names)
    seen: Counter[str] = Counter()
    taken, result = set(names), []
    for name in names:
        seen[name] += 1
        number = seen[name]
        shown = name if number == 1 else form.format(name, number)
        while number > 1 and shown in taken:
            seen[name] = number = number + 1
            shown = form.format(name, number)
        taken.add(shown)
        result.append(shown)
    return tuple(result)
