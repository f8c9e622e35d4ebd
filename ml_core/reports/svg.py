"""Charts that the program draws as SVG: shapes, axes, trade-offs and learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from xml.sax.saxutils import escape

from ml_core.cleaning.rate_range import Proposal, RateRow, smoothed
from ml_core.cleaning.tradeoff import Limits, Point, pareto
from ml_core.figures import CA, SERIES, percent, rate_text

Places = Sequence[tuple[float, float]]
SQUARE = ((-3, -3), (3, -3), (3, 3), (-3, 3))
DIAMOND = ((0, -4.5), (4.5, 0), (0, 4.5), (-4.5, 0))
TRIANGLE = ((0, -4), (4, 3), (-4, 3))


@dataclass(frozen=True)
class Plot:
    """Where the axes are: pixels of the frame, and the values at its ends."""

    left: float
    top: float
    right: float
    bottom: float
    x0: float = 0.0
    x1: float = 1.0
    y0: float = 0.0
    y1: float = 1.0

    def x(self, value: float) -> float:
        """The pixel of a value across."""
        return self.left + (value - self.x0) / (self.x1 - self.x0) * (self.right - self.left)

    def y(self, value: float) -> float:
        """The vertical pixel of a value; larger values are higher up."""
        return self.bottom - (value - self.y0) / (self.y1 - self.y0) * (self.bottom - self.top)

    def frame(self) -> str:
        """The frame around the plot."""
        width, height = self.right - self.left, self.bottom - self.top
        return (
            f'<rect x="{self.left}" y="{self.top}" width="{width}" height="{height}" fill="none" '
            'stroke="#888"/>'
        )

    def title(self, words: str) -> str:
        """The name of the vertical axis, upright at its left."""
        middle = (self.top + self.bottom) / 2
        return text(16, middle, words, "middle", f' transform="rotate(-90 16 {middle})"')

    def mark(self, value: float, words: str) -> str:
        """A number beside the vertical axis."""
        return text(self.left - 8, f"{self.y(value) + 4:.1f}", words, "end")


def document(width: float, height: float, parts: Iterable[str]) -> str:
    """A chart on white."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
    )
    paper = f'<rect width="{width}" height="{height}" fill="white"/>'
    return "\n".join([head, paper, *parts, "</svg>", ""])


def text(x: object, y: object, words: str, anchor: str, more: str = "") -> str:
    """Words, which are escaped already."""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{more}>{words}</text>'


def line(x1: float, y1: float, x2: float, y2: float, colour: str, dash: str = "") -> str:
    """A straight line."""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-dasharray="{dash}"/>'
    )


def polyline(places: Places, colour: str, more: str = "") -> str:
    """A line from place to place."""
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"{more}/>'


def polygon(x: float, y: float, shape: Places, colour: str) -> str:
    """A mark of some corners around a place."""
    corners = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in shape)
    return f'<polygon points="{corners}" fill="{colour}"/>'


def titled(words: str, mark: str) -> str:
    """A mark that shows its numbers when the pointer rests on it."""
    return f"<g><title>{escape(words)}</title>{mark}</g>"


_LOSS, _CA, _BAND = SERIES[4], SERIES[CA], SERIES[2]
_WIDTH, _HEIGHT = 760, 508
_UPPER, _LOWER = Plot(72, 28.0, 736, 228.0), Plot(72, 262.0, 736, 442.0)


def rate_svg(rows: Sequence[RateRow], proposal: Proposal) -> str:
    """Loss above, clean accuracy with its interval below; the proposed range as a band.

    Parameters
    ----------
    rows
        Rows of a ramp by rising step; the start (``lr`` 0) is the dashed level of accuracy.
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


_DASHES = ("", "6 3", "2 3", "8 3 2 3")
_SHAPES = (None, SQUARE, DIAMOND, TRIANGLE)
_TRADEOFF_WIDTH, _PLOT = 960, Plot(64, 24, 584, 444)


@dataclass(frozen=True)
class Curve:
    """The evaluations of one run."""

    title: str
    points: tuple[Point, ...]


def tradeoff_svg(curves: Sequence[Curve], limits: Limits, start: float | None = None) -> str:
    """Clean accuracy against attack success rate, every evaluation of every run.

    Runs differ by colour, dash and marker; points that no other beats are ringed; the limits are
    dashed lines. Rates are of the validation images.

    Parameters
    ----------
    curves
        Runs; points without an attack success rate are left out.
    limits
        Largest drop of clean accuracy, highest attack success rate.
    start
        Clean accuracy that the drop is counted from, a fraction; None takes the first point's.

    Returns
    -------
    str
        An SVG document.
    """
    shown = [Curve(c.title, tuple(p for p in c.points if p.asr is not None)) for c in curves]
    shown = [curve for curve in shown if curve.points]
    height = max(_PLOT.bottom + 56, _PLOT.top + 30 + 20 * len(shown))
    every = [point for curve in shown for point in curve.points]
    low = min((point.ca for point in every), default=0.0)
    plot = replace(_PLOT, y0=max(0.0, int(low * 20) / 20 - 0.05))
    parts = _axes(plot)
    if every:
        begin = max(curve.points[0].ca for curve in shown) if start is None else start
        parts += _limits(limits, begin, plot)
    for number, curve in enumerate(shown):
        parts += _curve(curve, number, plot)
    for index in pareto(every):
        x, y = _place(every[index], plot)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" fill="none" stroke="#444"/>')
    return document(_TRADEOFF_WIDTH, height, parts)


def _place(point: Point, plot: Plot) -> tuple[float, float]:
    assert point.asr is not None
    return plot.x(point.asr), plot.y(point.ca)


def _axes(plot: Plot) -> list[str]:
    parts = [plot.frame()]
    for tick in range(0, 101, 20):
        x = plot.x(tick / 100)
        parts.append(text(f"{x:.1f}", plot.bottom + 18, str(tick), "middle"))
        parts.append(line(x, plot.top, x, plot.bottom, "#eee"))
    for step in range(6):
        ca = plot.y0 + (1.0 - plot.y0) * step / 5
        parts.append(plot.mark(ca, f"{100 * ca:.3g}"))
        parts.append(line(plot.left, plot.y(ca), plot.right, plot.y(ca), "#eee"))
    middle = (plot.left + plot.right) / 2
    parts.append(text(middle, plot.bottom + 40, "attack success rate, %", "middle"))
    return [*parts, plot.title("clean accuracy, %")]


def _limits(limits: Limits, start: float, plot: Plot) -> list[str]:
    """Dashed lines of what is asked for."""
    x, y = plot.x(limits.asr / 100), plot.y(max(plot.y0, start - limits.ca_drop / 100))
    return [
        line(x, plot.top, x, plot.bottom, "#999", "4 4"),
        line(plot.left, y, plot.right, y, "#999", "4 4"),
        f'<text x="{x + 4:.1f}" y="{plot.bottom - 6}" fill="#666">ASR {limits.asr:g} %</text>',
        f'<text x="{plot.right - 4}" y="{y - 4:.1f}" fill="#666" text-anchor="end">'
        f"CA drop {limits.ca_drop:g}</text>",
    ]


def _curve(curve: Curve, number: int, plot: Plot) -> list[str]:
    """A run's line, markers and entry in the legend."""
    colour = SERIES[number % len(SERIES)]
    dash = _DASHES[number // len(SERIES) % len(_DASHES)]
    places = [_place(point, plot) for point in curve.points]
    parts = [polyline(places, colour, f' stroke-dasharray="{dash}"')]
    for point, (x, y) in zip(curve.points, places, strict=True):
        assert point.asr is not None
        words = (
            f"{curve.title}, step {point.step}: CA {percent(point.ca)}, ASR {percent(point.asr)}"
        )
        parts.append(titled(words, _mark(number, x, y, colour)))
    x, y = plot.right + 28, plot.top + 12 + 20 * number
    parts.append(line(x - 12, y, x + 12, y, colour, dash))
    parts.append(_mark(number, x, y, colour))
    parts.append(f'<text x="{x + 20}" y="{y + 4}">{escape(curve.title)}</text>')
    return parts


def _mark(number: int, x: float, y: float, colour: str) -> str:
    shape = _SHAPES[number % len(_SHAPES)]
    if shape is None:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>'
    return polygon(x, y, shape, colour)
