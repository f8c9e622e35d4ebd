"""The chart of a rate finder as SVG: loss and clean accuracy against the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from xml.sax.saxutils import escape

from ml_core.cleaning.rate_range import Proposal, RateRow, smoothed
from ml_core.figures import CA, SERIES, percent, rate_text

_LOSS, _CA, _BAND = SERIES[4], SERIES[CA], SERIES[2]
_WIDTH, _LEFT, _PLOT_WIDTH = 760, 72, 664
_UPPER, _LOWER = (28.0, 228.0), (262.0, 442.0)  # top and bottom of the two plots
_HEIGHT = 508


def rate_svg(rows: Sequence[RateRow], proposal: Proposal) -> str:
    """Loss above, clean accuracy with its interval below; the proposed range as a band.

    Parameters
    ----------
    rows
        Of a ramp by rising step; the start (``lr`` 0) is the dashed level of accuracy.
    proposal
        Its range and start are marked, where there are some.

    Returns
    -------
    str
        An SVG document.
    """
    taken = [row for row in rows if row.lr]
    first, last = (taken[0].lr, taken[-1].lr) if taken else (1e-6, 1e-2)
    span = max(math.log10(last / first), 1e-9)

    def across(rate: float) -> float:
        return _LEFT + _PLOT_WIDTH * math.log10(rate / first) / span

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    if proposal.low is not None and proposal.high is not None and proposal.start is not None:
        left, right = across(max(proposal.low, first)), across(min(proposal.high, last))
        parts.append(
            f'<rect x="{left:.1f}" y="{_UPPER[0]}" width="{max(right - left, 0):.1f}" '
            f'height="{_LOWER[1] - _UPPER[0]}" fill="{_BAND}" fill-opacity="0.14"/>'
        )
        at = across(min(max(proposal.start, first), last))
        parts.append(_line(at, _UPPER[0], at, _LOWER[1], _BAND, "5 3"))
        parts.append(
            f'<text x="{at:.1f}" y="{_UPPER[0] - 8}" text-anchor="middle" fill="{_BAND}">'
            f"begin with {rate_text(proposal.start)}</text>"
        )
    for exponent in range(math.ceil(math.log10(first) - 1e-9), math.floor(math.log10(last)) + 1):
        x = across(10.0**exponent)
        parts.append(_line(x, _UPPER[0], x, _LOWER[1], "#e4e4e4"))
        parts.append(
            f'<text x="{x:.1f}" y="{_LOWER[1] + 18}" text-anchor="middle">1e{exponent}</text>'
        )
    losses = [(across(row.lr), row.loss) for row in taken if row.loss is not None]
    points = [(across(row.lr), row) for row in taken if row.ca is not None]
    start = rows[0].ca if rows and not rows[0].lr else None
    parts += _losses(losses)
    parts += _accuracy(points, start)
    parts.append(
        f'<text x="{_LEFT + _PLOT_WIDTH / 2}" y="{_LOWER[1] + 40}" text-anchor="middle">'
        "learning rate</text>"
    )
    return "\n".join([*parts, "</svg>", ""])


def _losses(places: Sequence[tuple[float, float]]) -> list[str]:
    """Every step as a dot, and the smoothed loss as a line."""
    values = [value for _, value in places]
    low, high = _range(values)
    parts = _frame(_UPPER, low, high, "loss", lambda value: f"{value:.3g}")
    line = zip((x for x, _ in places), smoothed(values), strict=True)
    parts.append(_path([(x, _height(_UPPER, value, low, high)) for x, value in line], _LOSS))
    for x, value in places:
        y = _height(_UPPER, value, low, high)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.8" fill="{_LOSS}"/>')
    return parts


def _accuracy(places: Sequence[tuple[float, RateRow]], start: float | None) -> list[str]:
    """Every measurement with its interval, and the level of the start."""
    ends = [
        value for _, row in places for value in (row.ca, row.ca_low, row.ca_high)
        if value is not None
    ]  # fmt: skip
    low, high = _range([*ends, *([] if start is None else [start])])
    parts = _frame(_LOWER, low, high, "clean accuracy, %", lambda value: f"{100 * value:.3g}")
    if start is not None:
        y = _height(_LOWER, start, low, high)
        parts.append(_line(_LEFT, y, _LEFT + _PLOT_WIDTH, y, "#777", "4 4"))
    marks = []
    for x, row in places:
        assert row.ca is not None
        marks.append((x, _height(_LOWER, row.ca, low, high)))
        if row.ca_low is not None and row.ca_high is not None:
            ends_at = (_height(_LOWER, end, low, high) for end in (row.ca_low, row.ca_high))
            parts.append(_line(x, next(ends_at), x, next(ends_at), _CA))
    parts.append(_path(marks, _CA))
    for (x, y), (_, row) in zip(marks, places, strict=True):
        words = f"rate {rate_text(row.lr)}: CA {percent(row.ca)}"
        parts.append(
            f"<g><title>{escape(words)}</title>"
            f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6" fill="{_CA}"/></g>'
        )
    return parts


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis that shows all values, with a little room."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or max(abs(high) * 0.05, 1e-3)
    return low - room, high + room


def _frame(
    plot: tuple[float, float], low: float, high: float, title: str, words: Callable[[float], str]
) -> list[str]:
    """A plot's frame with three marks on its axis."""
    top, bottom = plot
    middle = (top + bottom) / 2
    parts = [
        f'<rect x="{_LEFT}" y="{top}" width="{_PLOT_WIDTH}" height="{bottom - top}" fill="none" '
        'stroke="#888"/>',
        f'<text x="16" y="{middle}" text-anchor="middle" '
        f'transform="rotate(-90 16 {middle})">{title}</text>',
    ]
    for share in (0.1, 0.5, 0.9):
        value = low + share * (high - low)
        y = _height(plot, value, low, high)
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{words(value)}'
                     "</text>")  # fmt: skip
    return parts


def _height(plot: tuple[float, float], value: float, low: float, high: float) -> float:
    top, bottom = plot
    return bottom - (value - low) / (high - low) * (bottom - top)


def _path(places: Sequence[tuple[float, float]], colour: str) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dash: str = "") -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-dasharray="{dash}"/>'
    )
