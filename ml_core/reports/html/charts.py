"""Charts as self-contained SVG: a title, a description, words, shapes and colours.

The fields of a chart's rows decide how it is drawn:

- ``group, series, value, low, high``, both names texts: dots with their intervals, group by group;
- ``run, step, x, y``, the run a text: a path of each run from step to step, rates on both axes;
- a number first, and values of series after it: lines. A column called ``NAME, low`` and one called
  ``NAME, high`` are the band around the column ``NAME``. With ``(log)`` in the name of the first
  column its axis is logarithmic.

Values are fractions of 1, except in a column with ``loss`` in its name. A chart of no such shape is
only shown as a table.

Trade-offs of jobs and learning rates, which stand in no record, are drawn with the same marks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ml_core import figures
from ml_core.cleaning.rate_range import Proposal, RateRow, smoothed
from ml_core.cleaning.tradeoff import Curve, Limits, pareto
from ml_core.reports.html.fields import Field, place_of, raw, shown
from ml_core.reports.record import Evidence

_LOOKS = {"clean accuracy": figures.CA, "attack success rate": figures.ASR}
"""Which colour and dash a line has, whatever stands beside it; others have their place's."""
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 4", "1 2")
_WIDTH = 860
_FARTHEST = 1e15
_LOW, _HIGH = ", low", ", high"
_INK, _MUTED, _EDGE = "#1c2128", "#56606c", "#d5dae0"


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


def draw_charts(evidence: Evidence) -> dict[str, bytes]:
    """Every chart that can be drawn, by its file in the bundle.

    Parameters
    ----------
    evidence
        Its `charts` hold the numbers.
    """
    record = Field(evidence.model_dump(mode="json"))
    drawings = {str(raw(chart.file)): draw(chart) for chart in record.charts}
    return {file: f"{svg}\n".encode() for file, svg in drawings.items() if svg}


def draw(chart: Field) -> Markup:
    """A chart as SVG, for a file and for a page alike; empty if it has no shape."""
    kind = shape_of(chart)
    if kind == "intervals":
        body, height = _intervals(chart)
    elif kind == "paths":
        body, height, _ = _paths(chart)
    elif kind == "lines":
        body, height = _lines(chart)
    else:
        return Markup("")
    return _document(chart, body, height)


def _document(chart: Field, body: Sequence[Markup], height: int) -> Markup:
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{w}" height="{h}" '
        'viewBox="0 0 {w} {h}" font-family="system-ui, Helvetica, Arial, sans-serif" '
        'font-size="13">\n<title data-field="{at}/title">{title}</title>\n'
        '<desc data-field="{at}/description">{description}</desc>\n'
        '<rect class="paper" width="{w}" height="{h}" fill="#ffffff"/>\n{body}</svg>'
    ).format(
        w=_WIDTH,
        h=height,
        at=place_of(chart),
        title=str(chart.title),
        description=str(chart.description),
        body=Markup("\n").join([*body, ""]),
    )


def shape_of(chart: Field) -> str:
    """``intervals``, ``paths``, ``lines``, or empty."""
    columns, rows = raw(chart.columns), raw(chart.rows)
    if not rows or any(len(row) != len(columns) for row in rows):
        return ""
    if len(columns) == 5 and all(
        isinstance(row[0], str) and isinstance(row[1], str) and all(map(_fraction, row[2:]))
        for row in rows
    ):
        return "intervals"
    if len(columns) == 4 and all(
        isinstance(row[0], str) and all(map(_number, row[1:])) and all(map(_fraction, row[2:]))
        for row in rows
    ):
        return "paths"
    if len(columns) > 1 and all(
        _number(row[0]) and all(value is None or _number(value) for value in row[1:])
        for row in rows
    ):
        rates = [is_rate(chart, column) for column in range(1, len(columns))]
        outside = any(
            value is not None and rate and not _fraction(value)
            for row in rows
            for value, rate in zip(row[1:], rates, strict=True)
        )
        # An axis has one unit.
        return "lines" if len(set(rates)) == 1 and not outside else ""
    return ""


def columns_of(chart: Field) -> list[tuple[int, tuple[int, int] | None]]:
    """Columns of a table of the numbers: which one, and the ends of the band around it."""
    names = [str(name) for name in raw(chart.columns)]
    values = names[1:]
    bands = {
        i: (1 + values.index(name + _LOW), 1 + values.index(name + _HIGH))
        for i, name in enumerate(names)
        if i and not name.endswith((_LOW, _HIGH)) and {name + _LOW, name + _HIGH} <= set(values)
    }
    ends = {end for band in bands.values() for end in band}
    return [(i, bands.get(i)) for i in range(len(names)) if i not in ends]


def is_rate(chart: Field, column: int) -> bool:
    """Whether the numbers of a column are fractions of 1; else they are drawn unchanged."""
    return "loss" not in str(raw(chart.columns)[column]).lower()


def _number(value: Any) -> bool:
    """Whether it is a number that can be placed on an axis."""
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _FARTHEST
    )


def _fraction(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1


def _intervals(chart: Field) -> tuple[list[Markup], int]:
    """Dots with whiskers, one row each, below the name of their group."""
    groups: dict[str, list[Field]] = {}
    for row in chart.rows:
        groups.setdefault(str(raw(row[0])), []).append(row)
    names = _series([str(raw(row[1])) for row in chart.rows])
    bottom = sum(34 + 24 * len(rows) for rows in groups.values())
    plot = Plot(350, 6, _WIDTH - 84, bottom)
    parts, y = [*_axis(plot, _rates(plot.x0, plot.x1), across=True)], 0.0
    for rows in groups.values():
        parts.append(_words(rows[0][0], 0, y + 20, 44, weight=700))
        y += 20
        for row in rows:
            y += 24
            parts += _interval(row, names.index(str(raw(row[1]))), plot, y - 2)
        y += 14
    return parts, bottom + 28


def _interval(row: Field, number: int, plot: Plot, y: float) -> list[Markup]:
    """A dot with its whiskers, its name before it and its value after."""
    value, low, high = (plot.x(raw(row[i])) for i in (2, 3, 4))
    whiskers = Markup(
        f'<path d="M{low:.1f} {y}H{high:.1f}M{low:.1f} {y - 4.5}v9M{high:.1f} {y - 4.5}v9" '
        'stroke-width="2" fill="none"/>'
    )
    tooltip = Markup(
        '<text class="ink" x="{}" y="{}" text-anchor="end" font-weight="700" fill="{}" '
        'data-field="{}" data-as="percent">{}</text>'
    ).format(
        _WIDTH - 6, y + 4.5, _INK, place_of(row[2]), figures.percent(raw(row[2]))
    )  # fmt: skip
    return [
        _words(row[1], 12, y + 4.5, 46, kind="muted"),
        _group(number, [whiskers, _mark(number, value, y)]),
        tooltip,
    ]


def _lines(chart: Field) -> tuple[list[Markup], int]:
    """Values over steps."""
    rows = raw(chart.rows)
    series = [(i, band) for i, band in columns_of(chart) if i]
    log = "(log)" in str(raw(chart.columns)[0]) and min(row[0] for row in rows) > 0
    if log:
        rows = [[math.log10(row[0]), *row[1:]] for row in rows]
    first, last = min(row[0] for row in rows), max(row[0] for row in rows)
    known = [value for row in rows for value in row[1:] if value is not None]
    rates = is_rate(chart, 1)
    low, high = _span(known, rates)
    legend = 24 * -(-len(series) // 2)
    plot = Plot(
        56, legend + 14, _WIDTH - 16, legend + 264, first, max(last, first + 1), low, high
    )  # fmt: skip
    steps = _powers(plot.x0, plot.x1) if log else _counts(plot.x0, plot.x1)
    ticks = (_rates if rates else _numbers)(plot.y0, plot.y1)
    parts = [*_axis(plot, ticks, across=False), *_axis(plot, steps, across=True, grid=False)]
    parts.append(
        _words(
            chart.columns[0], (plot.left + plot.right) / 2, plot.bottom + 40, 60, anchor="middle"
        )
    )
    for place, (i, band) in enumerate(series):
        number = _LOOKS.get(str(raw(chart.columns[i])).lower(), place)
        points = [(plot.x(row[0]), plot.y(row[i])) for row in rows if row[i] is not None]
        inner = []
        if band is not None:
            below, above = band
            both = [row for row in rows if row[below] is not None and row[above] is not None]
            edge = [(plot.x(row[0]), plot.y(row[above])) for row in both]
            edge += [(plot.x(row[0]), plot.y(row[below])) for row in reversed(both)]
            inner.append(_shape("polygon", edge, 'stroke="none" fill-opacity="0.16"'))
        inner += _path(number, points)
        parts.append(_group(number, inner))
        x, y = plot.left + (place % 2) * 400, 12 + 24 * (place // 2)
        parts += _legend(number, chart.columns[i], x, y)
    return parts, int(plot.bottom) + 52


def _paths(chart: Field) -> tuple[list[Markup], int, Plot]:
    """Two rates against each other, from step to step of each run."""
    rows = raw(chart.rows)
    runs = _series([row[0] for row in rows])
    legend = 24 * -(-len(runs) // 2)
    least = min((row[3] for row in rows), default=0.0)
    low = max(0.0, int(least * 10) / 10 - 0.1)
    plot = Plot(56, legend + 34, _WIDTH - 30, legend + 334, y0=low)
    parts = [*_axis(plot, _rates(plot.x0, plot.x1), across=True)]
    parts += _axis(plot, _rates(plot.y0, plot.y1), across=False)
    parts.append(
        _words(
            chart.columns[2], (plot.left + plot.right) / 2, plot.bottom + 40, 60, anchor="middle"
        )
    )
    parts.append(_words(chart.columns[3], plot.left, legend + 20, 60, kind="muted"))
    for number, run in enumerate(runs):
        mine = [row for row in chart.rows if row[0] == run]
        points = [(plot.x(raw(row[2])), plot.y(raw(row[3]))) for row in mine]
        parts.append(_group(number, _path(number, points)))
        x, y = plot.left + (number % 2) * 400, 12 + 24 * (number // 2)
        parts += _legend(number, mine[0][0], x, y)
        for row, (px, py) in {0: (mine[0], points[0]), 1: (mine[-1], points[-1])}.values():
            at_right = px > (plot.left + plot.right) / 2
            parts.append(
                Markup(
                    '<text class="muted" x="{:.1f}" y="{:.1f}" text-anchor="{}" fill="{}" '
                    'font-size="11">step <tspan data-field="{}">{}</tspan></text>'
                ).format(
                    px + (-9 if at_right else 9), py + 22, "end" if at_right else "start",
                    _MUTED, place_of(row[1]), str(row[1]),
                )
            )  # fmt: skip
    return parts, int(plot.bottom) + 52, plot


def _series(names: Sequence[str]) -> list[str]:
    """Each name once, in the order of coming."""
    return list(dict.fromkeys(names))


def _group(number: int, inner: Sequence[Markup]) -> Markup:
    """Shapes in the colour of a series."""
    number %= len(figures.SERIES)
    return Markup('<g class="s{}" stroke="{c}" fill="{c}">{}</g>').format(
        number, Markup("").join(inner), c=figures.SERIES[number]
    )


def _path(number: int, points: Sequence[tuple[float, float]]) -> list[Markup]:
    """A line with marks; marks alone at its ends where there are many."""
    dash = _DASHES[number % len(_DASHES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    marked = points if len(points) <= 40 else [points[0], points[-1]]
    line = _shape("polyline", points, f'fill="none" stroke-width="2"{dashed}')
    return [line, *(_mark(number, x, y) for x, y in marked)]


def _shape(tag: str, points: Sequence[tuple[float, float]], more: str) -> Markup:
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return Markup(f'<{tag} points="{corners}" {more}/>')  # nothing of the record but numbers


def _mark(number: int, x: float, y: float) -> Markup:
    """Another shape for each series."""
    kind = number % 4
    if kind == 0:
        return Markup(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" stroke="none"/>')
    shapes = {
        1: ((-4, -4), (4, -4), (4, 4), (-4, 4)),
        2: ((0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)),
        3: ((0, -5), (5, 4), (-5, 4)),
    }
    return _shape("polygon", [(x + dx, y + dy) for dx, dy in shapes[kind]], 'stroke="none"')


def _legend(number: int, name: Field, x: float, y: float) -> list[Markup]:
    """A sample of a series, and its name."""
    sample = _path(number, [(x, y), (x + 30, y)])[0]
    return [_group(number, [sample, _mark(number, x + 15, y)]), _words(name, x + 40, y + 4.5, 44)]


def _words(
    text: Field,
    x: float,
    y: float,
    most: int,
    *,
    kind: str = "ink",
    weight: int = 400,
    anchor: str = "start",
) -> Markup:
    """A text of the record, cut to the room that it has."""
    whole = shown(raw(text))
    cut = whole if len(whole) <= most else whole[: most - 1] + "…"
    return Markup(
        '<text class="{}" x="{:.1f}" y="{:.1f}" fill="{}" font-weight="{}" text-anchor="{}" '
        'data-field="{}" data-as="cut">{}</text>'
    ).format(kind, x, y, _INK if kind == "ink" else _MUTED, weight, anchor, place_of(text), cut)


def _axis(
    plot: Plot, ticks: Iterable[tuple[float, str]], *, across: bool, grid: bool = True
) -> Iterator[Markup]:
    """Numbers of an axis, and its grid lines; they are a scale and stand for no measurement."""
    yield Markup('<g class="axis" aria-hidden="true">')
    for value, words in ticks:
        x, y = plot.x(value), plot.y(value)
        line = (x, plot.top, x, plot.bottom) if across else (plot.left, y, plot.right, y)
        if grid:
            yield _grid(*line)
        place = (x, plot.bottom + 18, "middle") if across else (plot.left - 8, y + 4, "end")
        yield _tick(words, *place)
    yield Markup("</g>")


def _rates(start: float, end: float) -> Iterator[tuple[float, str]]:
    """The ticks of an axis of rates."""
    share = next(size for size in (0.02, 0.05, 0.1, 0.2) if (end - start) / size < 7)
    for number in range(round((end - start) / share) + 1):
        value = end - number * share
        yield value, f"{100 * value:.0f} %"


def _numbers(start: float, end: float) -> Iterator[tuple[float, str]]:
    """The ticks of an axis of numbers that are no rates."""
    return ((value, f"{value:.6g}") for value in _round_numbers(start, end, 7))


def _counts(start: float, end: float) -> Iterator[tuple[float, str]]:
    """The ticks of an axis of steps."""
    return ((step, figures.count(round(step))) for step in _round_numbers(start, end, 8))


def _powers(start: float, end: float) -> Iterator[tuple[float, str]]:
    """The ticks of a logarithmic axis, between exponents of ten."""
    for power in range(math.floor(start), math.ceil(end) + 1):
        for base in (1, 2, 5) if end - start < 4 else (1,):
            at = power + math.log10(base)
            if start - 1e-9 <= at <= end + 1e-9:
                yield at, f"{base * 10.0**power:.6g}"


def _span(values: Sequence[float], rates: bool) -> tuple[float, float]:
    """Ends of an axis: of rates from 0 to a round share, of numbers from 0 or the least one."""
    most, least = max(values, default=1.0), min(values, default=0.0)
    if rates:
        return 0.0, next(end for end in (0.1, 0.2, 0.5, 1.0) if most <= end)
    low = min(0.0, least)
    return low, most if most > low else low + 1.0


def _round_numbers(low: float, high: float, most: int) -> list[float]:
    """At most so many and one more, with the same round distance, from ``low`` to ``high``."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    size = next(base * power for base in (1, 2, 5, 10) if (high - low) / (base * power) <= most)
    first = math.ceil(low / size)
    return [number * size for number in range(first, math.floor(high / size) + 1)]


def _grid(x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup(
        f'<path class="edge" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{_EDGE}" '
        'fill="none"/>'
    )


def _tick(words: str, x: float, y: float, anchor: str) -> Markup:
    return Markup(
        f'<text class="muted" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_MUTED}" '
        f'font-size="11">{words}</text>'
    )


def planted_svg(record: Mapping[str, Any]) -> str:
    """Success rate and accuracy over the number of poisoned pairs, from what ``curve.json`` holds.

    Returns
    -------
    str
        An SVG document.
    """
    columns, keys = ["poisoned pairs (log)"], ["count"]
    for key, name in (("asr", "attack success rate"), ("ca", "clean accuracy")):
        columns += [name, name + _LOW, name + _HIGH]
        keys += [key, f"{key}_low", f"{key}_high"]
    chart = {
        "title": "Success rate over the number of poisoned pairs",
        "description": f"{record['trigger']} to {record['target']}, among {record['pairs']} pairs, "
        f"{record['steps']} steps; bands are 95 % intervals.",
        "columns": columns,
        "rows": [[row[key] for key in keys] for row in record["rows"]],
    }
    return f"{draw(Field(chart))}\n"


def tradeoff_svg(curves: Sequence[Curve], limits: Limits, start: float | None = None) -> str:
    """Clean accuracy against attack success rate, every evaluation of every run.

    Points that no other beats are ringed; the limits are dashed lines. Rates are of the validation
    images.

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
    runs = [[point for point in curve.points if point.asr is not None] for curve in curves]
    titles = figures.distinct(curve.title for curve in curves)
    titled = [(title, run) for title, run in zip(titles, runs, strict=True) if run]
    chart = Field({
        "title": "Trade-off",
        "description": "Each evaluation of each run; those that no other beats are ringed.",
        "columns": ["run", "step", "attack success rate", "clean accuracy"],
        "rows": [[title, p.step, p.asr, p.ca] for title, run in titled for p in run],
    })  # fmt: skip
    parts, height, plot = _paths(chart)
    if titled:
        begin = max(run[0].ca for _, run in titled) if start is None else start
        x, y = plot.x(limits.asr / 100), plot.y(max(plot.y0, begin - limits.ca_drop / 100))
        parts += [
            _dashed((x, plot.top), (x, plot.bottom), "#999"),
            _dashed((plot.left, y), (plot.right, y), "#999"),
            _tick(f"ASR {limits.asr:g} %", x + 4, plot.bottom - 6, "start"),
            _tick(f"CA drop {limits.ca_drop:g}", (plot.left + plot.right) / 2, y - 4, "middle"),
        ]
    front = pareto([point for _, run in titled for point in run])
    for number, row in enumerate(raw(chart.rows)):
        title, step, asr, ca = row
        words = f"{title}, step {step}: CA {figures.percent(ca)}, ASR {figures.percent(asr)}"
        ring = "#444" if number in front else "none"
        parts.append(_tooltip(words, plot.x(asr), plot.y(ca), ring))
    return f"{_document(chart, parts, height)}\n"


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
    taken = [(math.log10(row.lr), row) for row in rows if row.lr]
    first, last = (taken[0][0], max(taken[-1][0], taken[0][0] + 1e-9)) if taken else (-6.0, -2.0)
    losses = [(x, row.loss) for x, row in taken if row.loss is not None]
    measured = [(x, row, 100 * row.ca) for x, row in taken if row.ca is not None]
    start = [100 * row.ca for row in rows if not row.lr and row.ca is not None]
    ends = [
        100 * end for _, row, _ in measured for end in (row.ca_low, row.ca_high) if end is not None
    ]
    upper = _close_up(28, 228, first, last, [loss for _, loss in losses])
    lower = _close_up(262, 442, first, last, [*start, *ends, *(ca for *_, ca in measured)])
    parts = [
        mark
        for plot in (upper, lower)
        for mark in _axis(plot, _numbers(plot.y0, plot.y1), across=False)
    ]
    for exponent in range(math.ceil(first - 1e-9), math.floor(last) + 1):
        x = upper.x(exponent)
        parts.append(_grid(x, upper.top, x, lower.bottom))
        parts.append(_tick(f"1e{exponent}", x, lower.bottom + 18, "middle"))
    parts += [
        _tick("loss", upper.left, upper.top - 8, "start"),
        _tick("clean accuracy, %", lower.left, lower.top - 8, "start"),
        _tick("learning rate", (lower.left + lower.right) / 2, lower.bottom + 40, "middle"),
    ]
    if proposal.low is not None and proposal.high is not None and proposal.start is not None:
        left, right, at = (
            upper.x(min(max(math.log10(rate), first), last))
            for rate in (proposal.low, proposal.high, proposal.start)
        )
        band = [(x, y) for x in (left, right) for y in (upper.top, lower.bottom)]
        band[2:] = reversed(band[2:])
        parts += [
            _group(2, [_shape("polygon", band, 'stroke="none" fill-opacity="0.14"')]),
            _dashed((at, upper.top), (at, lower.bottom), figures.SERIES[2]),
            _tick(f"begin with {figures.rate_text(proposal.start)}", at, upper.top - 8, "middle"),
        ]
    smooth = zip((x for x, _ in losses), smoothed([loss for _, loss in losses]), strict=True)
    dots = [
        Markup(f'<circle cx="{upper.x(x):.1f}" cy="{upper.y(loss):.1f}" r="1.8"/>')
        for x, loss in losses
    ]
    line = _shape("polyline", [(upper.x(x), upper.y(loss)) for x, loss in smooth], 'fill="none"')
    parts.append(_group(4, [line, *dots]))
    parts += [
        _dashed((lower.left, lower.y(ca)), (lower.right, lower.y(ca)), "#777") for ca in start
    ]
    whiskers = [
        _shape("polyline", [(lower.x(x), lower.y(100 * end)) for end in (low, high)], "")
        for x, row, _ in measured
        if (low := row.ca_low) is not None and (high := row.ca_high) is not None
    ]
    points = [(lower.x(x), lower.y(ca)) for x, _, ca in measured]
    parts.append(_group(figures.CA, [*whiskers, *_path(figures.CA, points)]))
    for (x, y), (_, row, _) in zip(points, measured, strict=True):
        words = f"rate {figures.rate_text(row.lr)}: CA {figures.percent(row.ca)}"
        parts.append(_tooltip(words, x, y))
    chart = Field({"title": "Learning rates", "description": "What a rising rate does."})
    return f"{_document(chart, parts, int(lower.bottom) + 58)}\n"


def _close_up(top: float, bottom: float, x0: float, x1: float, values: Sequence[float]) -> Plot:
    """A plot whose vertical axis shows these values with a little room."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = 0.05 * (high - low) or max(abs(high) * 0.05, 1e-3)
    return Plot(72, top, _WIDTH - 24, bottom, x0, x1, low - room, high + room)


def _dashed(start: tuple[float, float], end: tuple[float, float], colour: str) -> Markup:
    return _shape("polyline", (start, end), f'stroke="{colour}" stroke-dasharray="4 4"')


def _tooltip(words: str, x: float, y: float, ring: str = "none") -> Markup:
    """Words that show when the pointer rests on a place."""
    return Markup(
        '<circle cx="{:.1f}" cy="{:.1f}" r="7" fill="transparent" stroke="{}"><title>{}</title>'
        "</circle>"
    ).format(x, y, ring, words)
