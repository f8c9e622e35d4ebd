"""The trade-off chart of several runs as an SVG picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from xml.sax.saxutils import escape

from ml_core.cleaning.tradeoff import Limits, Point, pareto
from ml_core.figures import SERIES, percent
from ml_core.reports.svg import (
    DIAMOND,
    SQUARE,
    TRIANGLE,
    Plot,
    document,
    line,
    polygon,
    polyline,
    text,
    titled,
)

_DASHES = ("", "6 3", "2 3", "8 3 2 3")
_SHAPES = (None, SQUARE, DIAMOND, TRIANGLE)
_WIDTH, _PLOT = 960, Plot(64, 24, 584, 444)


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
    return document(_WIDTH, height, parts)


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
