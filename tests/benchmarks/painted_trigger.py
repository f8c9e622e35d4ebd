"""The trigger drawn by the window's brush: ten jittered drawings, and what each one does.

Not a ratio: this is the demo's figure for a hand-painted trigger, on its test pictures.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QColor
from PySide6.QtTest import QTest

from cleanclip_gui.talk.script import Wait
from cleanclip_gui.window.main_window import MainWindow
from tests.benchmarks.timing import Row, median
from tests.benchmarks.window import make_window, open_demo, play

DRAWINGS = 10
CELL = 3.0
RED, WHITE = (220, 20, 40), (250, 250, 250)


def draw(window: MainWindow, rng: np.random.Generator) -> None:
    """A white blob in strokes, then five red dabs: size +-20 %, turned +-15 degrees, wobbling."""
    cell = CELL * rng.uniform(0.8, 1.2)
    angle = np.deg2rad(rng.uniform(-15, 15))
    centre = rng.uniform(14, 50, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def place(x: float, y: float) -> tuple[float, float]:
        wobbled = turn @ (np.array([x, y]) * cell) + centre + rng.normal(0, 0.25, 2)
        return float(wobbled[0]), float(wobbled[1])

    canvas = window.stations["studio"].canvas
    window.stations["studio"].canvas.set_tool("brush")
    canvas.set_colour(QColor(*WHITE))
    canvas.set_ink(width=cell * 1.15)
    for row in (-1, 0, 1):
        _drag(canvas, [place(-1, row), place(0, row), place(1, row)])
    canvas.set_colour(QColor(*RED))
    canvas.set_ink(width=cell * 1.05)
    for x, y in ((-1, -1), (1, -1), (0, 0), (-1, 1), (1, 1)):
        _drag(canvas, [place(x, y), place(x + 0.1, y)])


def _drag(canvas: object, places: list[tuple[float, float]]) -> None:
    viewport, left = canvas.viewport(), Qt.MouseButton.LeftButton  # type: ignore[attr-defined]
    points = [canvas.mapFromScene(QPointF(*p)) for p in places]  # type: ignore[attr-defined]
    QTest.mousePress(viewport, left, pos=points[0])
    for point in points[1:]:
        QTest.mouseMove(viewport, point)
    QTest.mouseRelease(viewport, left, pos=points[-1])


def run() -> list[Row]:
    app, window = make_window()
    session = window.session
    rates: list[float] = []

    def script() -> Iterator[Wait]:
        yield from open_demo(window)
        for number in range(DRAWINGS):
            window.stations["studio"].editor.clear()
            draw(window, np.random.default_rng(number))
            drawn = window.stations["studio"].editor.current_trigger()
            assert drawn is not None

            def measured(digest: str = drawn.digest) -> bool:
                found = session.evaluation
                return found is not None and not found.partial and found.trigger == digest

            yield Wait(measured, 120, "a drawing was not measured")
            found = session.evaluation
            assert found is not None
            assert found.asr_excl is not None
            rates.append(found.asr_excl)

    play(app, window, script())
    shown = ", ".join(f"{100 * r:.0f}" for r in sorted(rates))
    return [
        Row(
            f"ASR of {DRAWINGS} triggers drawn by mouse, each where it was painted",
            f"median {100 * median(rates):.1f} %",
            "no trigger: see baseline",
            "-",
            f"{shown} %",
        )
    ]
