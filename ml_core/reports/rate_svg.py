"""The chart of a rate finder as SVG: loss and clean accuracy against the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from ml_core.cleaning.rate_range import Proposal, RateRow, smoothed
from ml_core.figures import CA, SERIES, percent, rate_text
from ml_core.reports.svg import Plot, document, line, polyline, text, titled

_LOSS, _CA, _BAND = SERIES[4], SERIES[CA], SERIES[2]
_WIDTH, _HEIGHT = 760, 508
_UPPER, _LOWER = Plot(72, 28.0, 736, 228.0), Plot(72, 262.0, 736, 442.0)


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
        return _UPPER.left + (_UPPER.right - _UPPER.left) * math.log10(rate / first) / span

    parts = []
    if proposal.low is not None and proposal.high is not None and proposal.start is not None:
        left, right = across(max(proposal.low, first)), across(min(proposal.high, last))
        at = across(min(max(proposal.start, first), last))
        words = f"begin with {rate_text(proposal.start)}"
        parts += [
            f'<rect x="{left:.1f}" y="{_UPPER.top}" width="{max(right - left, 0):.1f}" '
            f'height="{_LOWER.bottom - _UPPER.top}" fill="{_BAND}" fill-opacity="0.14"/>',
            line(at, _UPPER.top, at, _LOWER.bottom, _BAND, "5 3"),
            text(f"{at:.1f}", _UPPER.top - 8, words, "middle", f' fill="{_BAND}"'),
        ]
    for exponent in range(math.ceil(math.log10(first) - 1e-9), math.floor(math.log10(last)) + 1):
        x = across(10.0**exponent)
        parts.append(line(x, _UPPER.top, x, _LOWER.bottom, "#e4e4e4"))
        parts.append(text(f"{x:.1f}", _LOWER.bottom + 18, f"1e{exponent}", "middle"))
    losses = [(across(row.lr), row.loss) for row in taken if row.loss is not None]
    start = rows[0].ca if rows and not rows[0].lr else None
    parts += _losses(losses)
    parts += _accuracy([(across(row.lr), row) for row in taken], start)
    middle = (_LOWER.left + _LOWER.right) / 2
    parts.append(text(middle, _LOWER.bottom + 40, "learning rate", "middle"))
    return document(_WIDTH, _HEIGHT, parts)


def _losses(places: Sequence[tuple[float, float]]) -> list[str]:
    """Every step as a dot, and the smoothed loss as a line."""
    values = [value for _, value in places]
    plot, parts = _framed(_UPPER, values, "loss", lambda value: f"{value:.3g}")
    smooth = zip((x for x, _ in places), smoothed(values), strict=True)
    parts.append(polyline([(x, plot.y(value)) for x, value in smooth], _LOSS))
    parts += [
        f'<circle cx="{x:.1f}" cy="{plot.y(value):.1f}" r="1.8" fill="{_LOSS}"/>'
        for x, value in places
    ]
    return parts


def _accuracy(places: Sequence[tuple[float, RateRow]], start: float | None) -> list[str]:
    """Every measurement with its interval, and the level of the start."""
    measured = [(x, row, row.ca) for x, row in places if row.ca is not None]
    ends = [end for _, row, _ in measured for end in (row.ca, row.ca_low, row.ca_high)]
    values = [value for value in (*ends, start) if value is not None]
    plot, parts = _framed(_LOWER, values, "clean accuracy, %", lambda value: f"{100 * value:.3g}")
    if start is not None:
        y = plot.y(start)
        parts.append(line(plot.left, y, plot.right, y, "#777", "4 4"))
    for x, row, _ in measured:
        if row.ca_low is not None and row.ca_high is not None:
            parts.append(line(x, plot.y(row.ca_low), x, plot.y(row.ca_high), _CA))
    parts.append(polyline([(x, plot.y(ca)) for x, _, ca in measured], _CA))
    for x, row, ca in measured:
        square = f'x="{x - 3:.1f}" y="{plot.y(ca) - 3:.1f}" width="6" height="6" fill="{_CA}"'
        words = f"rate {rate_text(row.lr)}: CA {percent(ca)}"
        parts.append(titled(words, f"<rect {square}/>"))
    return parts


def _framed(
    plot: Plot, values: Sequence[float], title: str, words: Callable[[float], str]
) -> tuple[Plot, list[str]]:
    """A plot whose axis shows all values with a little room, and its frame with three marks."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = (0.05 * (high - low) or max(abs(high) * 0.05, 1e-3)) if values else 0.0
    plot = replace(plot, y0=low - room, y1=high + room)
    marks = [plot.y0 + share * (plot.y1 - plot.y0) for share in (0.1, 0.5, 0.9)]
    return plot, [
        plot.frame(), plot.title(title), *(plot.mark(mark, words(mark)) for mark in marks)
    ]  # fmt: skip
