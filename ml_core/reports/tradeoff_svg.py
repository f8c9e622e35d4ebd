"""The trade-off chart of several runs as an SVG picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from ml_core.cleaning.tradeoff import Limits, Point, pareto
from ml_core.figures import SERIES, percent

_DASHES = ("", "6 3", "2 3", "8 3 2 3")
_MARKS = ("circle", "square", "diamond", "triangle")
_WIDTH, _LEFT, _TOP, _PLOT_WIDTH, _PLOT_HEIGHT = 960, 64, 24, 520, 420


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
    height = max(_TOP + _PLOT_HEIGHT + 56, _TOP + 30 + 20 * len(shown))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
    ]
    every = [point for curve in shown for point in curve.points]
    low = min((point.ca for point in every), default=0.0)
    low = max(0.0, int(low * 20) / 20 - 0.05)
    parts += _axes(low)
    if every:
        begin = max(curve.points[0].ca for curve in shown) if start is None else start
        parts += _limits(limits, begin, low)
    for number, curve in enumerate(shown):
        parts += _curve(curve, number, low)
    for index in pareto(every):
        x, y = _place(every[index], low)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" fill="none" stroke="#444"/>')
    return "\n".join([*parts, "</svg>", ""])


def _place(point: Point, low: float) -> tuple[float, float]:
    assert point.asr is not None
    return _x(point.asr), _y(point.ca, low)


def _x(asr: float) -> float:
    return _LEFT + asr * _PLOT_WIDTH


def _y(ca: float, low: float) -> float:
    return _TOP + (1.0 - ca) / (1.0 - low) * _PLOT_HEIGHT


def _axes(low: float) -> list[str]:
    bottom = _TOP + _PLOT_HEIGHT
    parts = [
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_PLOT_WIDTH}" height="{_PLOT_HEIGHT}" '
        'fill="none" stroke="#888"/>'
    ]
    for tick in range(0, 101, 20):
        x = _x(tick / 100)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick}</text>')
        parts.append(_line(x, _TOP, x, bottom, "#eee"))
    for step in range(6):
        ca = low + (1.0 - low) * step / 5
        y = _y(ca, low)
        parts.append(
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{100 * ca:.3g}</text>'
        )
        parts.append(_line(_LEFT, y, _LEFT + _PLOT_WIDTH, y, "#eee"))
    middle = _TOP + _PLOT_HEIGHT / 2
    parts.append(
        f'<text x="{_LEFT + _PLOT_WIDTH / 2}" y="{bottom + 40}" text-anchor="middle">'
        "attack success rate, %</text>"
    )
    parts.append(
        f'<text x="16" y="{middle}" text-anchor="middle" '
        f'transform="rotate(-90 16 {middle})">clean accuracy, %</text>'
    )
    return parts


def _limits(limits: Limits, start: float, low: float) -> list[str]:
    """Dashed lines of what is asked for."""
    x, floor = _x(limits.asr / 100), max(low, start - limits.ca_drop / 100)
    y, right, bottom = _y(floor, low), _LEFT + _PLOT_WIDTH, _TOP + _PLOT_HEIGHT
    return [
        _line(x, _TOP, x, bottom, "#999", "4 4"),
        _line(_LEFT, y, right, y, "#999", "4 4"),
        f'<text x="{x + 4:.1f}" y="{bottom - 6}" fill="#666">ASR {limits.asr:g} %</text>',
        f'<text x="{right - 4}" y="{y - 4:.1f}" fill="#666" text-anchor="end">'
        f"CA drop {limits.ca_drop:g}</text>",
    ]


def _curve(curve: Curve, number: int, low: float) -> list[str]:
    """A run's line, markers and entry in the legend."""
    colour = SERIES[number % len(SERIES)]
    dash = _DASHES[number // len(SERIES) % len(_DASHES)]
    mark = _MARKS[number % len(_MARKS)]
    places = [_place(point, low) for point in curve.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5" '
        f'stroke-dasharray="{dash}"/>'
    ]
    for point, (x, y) in zip(curve.points, places, strict=True):
        assert point.asr is not None
        words = (
            f"{curve.title}, step {point.step}: CA {percent(point.ca)}, ASR {percent(point.asr)}"
        )
        parts.append(f"<g><title>{escape(words)}</title>{_mark(mark, x, y, colour)}</g>")
    x, y = _LEFT + _PLOT_WIDTH + 28, _TOP + 12 + 20 * number
    parts.append(_line(x - 12, y, x + 12, y, colour, dash))
    parts.append(_mark(mark, x, y, colour))
    parts.append(f'<text x="{x + 20}" y="{y + 4}">{escape(curve.title)}</text>')
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dash: str = "") -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-dasharray="{dash}"/>'
    )


def _mark(kind: str, x: float, y: float, colour: str) -> str:
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>'
    shapes = {
        "square": ((-3, -3), (3, -3), (3, 3), (-3, 3)),
        "diamond": ((0, -4.5), (4.5, 0), (0, 4.5), (-4.5, 0)),
        "triangle": ((0, -4), (4, 3), (-4, 3)),
    }
    corners = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in shapes[kind])
    return f'<polygon points="{corners}" fill="{colour}"/>'
