"""Shapes and axes of the charts that the program draws as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

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
        """The pixel of a value upwards."""
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
    """A mark that tells its numbers where the pointer rests on it."""
    return f"<g><title>{escape(words)}</title>{mark}</g>"
