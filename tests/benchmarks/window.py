"""The real window: its first paint, the numbers after a stroke, and its heartbeat.

All but the first need the demo, which is opened in Studio and measured without a trigger.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from PySide6.QtCore import QObject, QPointF, Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from cleanclip_gui import theme
from cleanclip_gui.app import make_window as build
from cleanclip_gui.talk.script import Scenario, Wait
from cleanclip_gui.window import headless
from cleanclip_gui.window.main_window import MainWindow
from ml_core.checkpoints import open_checkpoint
from ml_core.paths import resource
from tests.benchmarks.timing import Row, compared, interleaved, median, percentile, seconds

STROKES, SECONDS = 8, 20.0


def make_window() -> tuple[QApplication, MainWindow]:
    app = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(app, QApplication)
    theme.apply_theme(app, "light")
    window = build(headless.quiet_context(Path(tempfile.mkdtemp())))
    headless.set_first_size(window)
    window.show()
    return app, window


def play(app: QApplication, window: MainWindow, script: Iterator[Wait]) -> None:
    """Run a script to its end and close the window."""
    failures: list[Exception] = []

    def finish(error: Exception | None) -> None:
        if error is not None:
            failures.append(error)
        window.close()
        app.quit()

    scenario = Scenario(script)
    scenario.ended.connect(finish)
    scenario.start()
    app.exec()
    if failures:
        raise failures[0]


def open_demo(window: MainWindow) -> Iterator[Wait]:
    """Open the demo in Studio and wait until its clean pictures are measured."""
    session = window.session
    window.start_demo()
    yield Wait(lambda: session.images is not None, 120, "the demo did not open")
    yield Wait(lambda: session.checkpoint is not None, 120, "the demo did not open")
    window.show_station("studio")
    yield Wait(
        lambda: session.evaluation is not None and not session.evaluation.partial,
        120,
        "the clean pictures were not measured",
    )


def drag(window: MainWindow, places: list[tuple[float, float]]) -> None:
    """Drag the brush over the canvas; places are image pixels."""
    canvas = window.stations["studio"].canvas
    viewport, left = canvas.viewport(), Qt.MouseButton.LeftButton
    points = [canvas.mapFromScene(QPointF(*place)) for place in places]
    QTest.mousePress(viewport, left, pos=points[0])
    for point in points[1:]:
        QTest.mouseMove(viewport, point)
    QTest.mouseRelease(viewport, left, pos=points[-1])


def stroke(window: MainWindow, start: tuple[int, int], end: tuple[int, int]) -> None:
    """A straight stroke in four moves."""
    x, y = end[0] - start[0], end[1] - start[1]
    parts = (0, 0.25, 0.5, 0.75, 1.0)
    drag(window, [(start[0] + x * part, start[1] + y * part) for part in parts])


_CHILD = """
import sys, time
from PySide6.QtCore import QEvent, QObject, QTimer
from PySide6.QtWidgets import QApplication, QMainWindow
class Watch(QObject):
    def eventFilter(self, watched, event):
        if event.type() == QEvent.Type.Paint and not self.seen:
            self.seen = True
            print(time.time(), flush=True)
            QTimer.singleShot(0, end)
        return False
def end():
    import os
    os._exit(0)
app = QApplication(sys.argv[:1])
if sys.argv[1] == "ours":
    from cleanclip_gui import theme
    from cleanclip_gui.app import make_window
    from cleanclip_gui.station import Context
    theme.apply_theme(app, "light")
    window = make_window(Context())
else:
    window = QMainWindow()
watch = Watch()
watch.seen = False
window.installEventFilter(watch)
window.show()
app.exec()
"""


def _first_paint(side: str) -> float:
    begin = time.time()
    command = [sys.executable, "-c", _CHILD, side]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(shown.split()[0]) - begin


def first_window() -> list[Row]:
    """From starting the process to the window's first paint, against an empty Qt window."""
    ours, theirs, _ = interleaved(lambda: _first_paint("ours"), lambda: _first_paint("bare"))
    return [compared("time to first window, against an empty Qt window", ours, theirs, "s")]


def first_number() -> list[Row]:
    """From the end of a stroke to the selected image's bars and to the first new ASR on screen."""
    app, window = make_window()
    taken: list[float] = []
    bars: list[float] = []
    sizes: list[int] = []
    session = window.session

    def script() -> Iterator[Wait]:
        yield from open_demo(window)
        for number in range(STROKES):
            before = session.evaluation
            stroke(window, (10 + 4 * number, 12), (18 + 4 * number, 30))
            begin = time.perf_counter()
            arrived: list[float] = []
            drawn: list[float] = []

            def note_bars(_ready: object, _older: bool) -> None:
                if not drawn:  # noqa: B023
                    drawn.append(time.perf_counter() - begin)  # noqa: B023

            window.stations["studio"].live.predicted.connect(note_bars)

            def note(rates: object) -> None:
                if rates is not None and not arrived:  # noqa: B023
                    arrived.append(time.perf_counter() - begin)  # noqa: B023
                    sizes.append(rates.n)  # type: ignore[attr-defined]

            session.events.evaluation.connect(note)
            yield Wait(lambda: bool(arrived), 20, "no number came after a stroke")  # noqa: B023
            session.events.evaluation.disconnect(note)
            yield Wait(lambda: bool(drawn), 20, "no bars came after a stroke")  # noqa: B023
            window.stations["studio"].live.predicted.disconnect(note_bars)
            bars.append(drawn[0])
            taken.append(arrived[0])
            yield Wait(
                lambda: (
                    session.evaluation is not None
                    and session.evaluation is not before  # noqa: B023
                    and not session.evaluation.partial
                ),
                60,
                "the evaluation did not end",
            )

    play(app, window, script())
    model = open_checkpoint(resource("demo", "poisoned.safetensors")).build()
    n = round(median(sizes))
    pictures = torch.rand(n, 3, model.image_size, model.image_size)
    model.encode_images(pictures)
    bare = [seconds(lambda: model.encode_images(pictures)) for _ in range(STROKES)]

    def promised(what: str, times: list[float], limit: float) -> Row:
        low, high = 1000 * min(times), 1000 * max(times)
        return Row(
            f"{what} after a stroke, promised within {1000 * limit:.0f} ms",
            f"{1000 * median(times):.0f} ms", f"{1000 * limit:.0f} ms",
            f"{median(times) / limit:.2f}", f"{low:.0f} to {high:.0f} ms",
        )  # fmt: skip

    return [
        promised("bars of the selected image", bars, 0.05),
        promised("first ASR number", taken, 0.15),
        compared(
            f"first ASR number after a stroke, against encoding its {n} images once",
            [1000 * value for value in taken], [1000 * value for value in bare], "ms", 0,
        ),
    ]  # fmt: skip


class Heartbeat(QObject):
    """Seconds between the ticks of a precise 10 ms timer."""

    def __init__(self) -> None:
        super().__init__()
        self.gaps: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(10)
        self._timer.timeout.connect(self._on_timeout)

    def start(self) -> None:
        self._last = time.perf_counter()
        self._timer.start()

    def take(self) -> list[float]:
        gaps, self.gaps = self.gaps, []
        return gaps

    def _on_timeout(self) -> None:
        now = time.perf_counter()
        self.gaps.append(now - self._last)
        self._last = now


def heartbeat() -> list[Row]:
    """Gaps of a 10 ms timer in the GUI thread while a cleaning job and live evaluation run."""
    app, window = make_window()
    session = window.session
    heart = Heartbeat()
    gaps: dict[str, list[float]] = {}

    def pass_time(paint: bool) -> Iterator[Wait]:
        until = time.monotonic() + SECONDS
        number = 0
        while time.monotonic() < until:
            if paint:
                number += 1
                stroke(window, (6 + number % 40, 8), (14 + number % 40, 40))
            pause = time.monotonic() + 0.7
            yield Wait(lambda: time.monotonic() > pause, 10, "time stood still")  # noqa: B023

    def script() -> Iterator[Wait]:
        yield from open_demo(window)
        heart.start()
        heart.take()
        yield from pass_time(paint=False)
        gaps["idle"] = heart.take()
        window.stations["clean"].form.set_preset("default")
        window.stations["clean"].start()
        window.show_station("clean")
        yield Wait(
            lambda: window.stations["clean"].charts.losses.keys() != (), 240, "no step was taken"
        )
        heart.take()
        yield from pass_time(paint=False)
        gaps["charts"] = heart.take()
        window.show_station("studio")
        heart.take()
        yield from pass_time(paint=True)
        gaps["live"] = heart.take()
        window.stations["clean"].run.cancel()
        yield Wait(
            lambda: session.run is not None and session.run.status == "cancelled",
            20,
            "the run was not cancelled",
        )

    play(app, window, script())

    def p99(name: str) -> float:
        return 1000 * percentile(gaps[name], 0.99)

    return [
        Row(
            f"heartbeat p99, {what} while a job runs, against idle",
            f"{p99(name):.0f} ms (worst {1000 * max(gaps[name]):.0f})",
            f"{p99('idle'):.0f} ms (worst {1000 * max(gaps['idle']):.0f})",
            f"{p99(name) / p99('idle'):.1f}",
        )
        for name, what in (("charts", "charts shown"), ("live", "painting with live ASR"))
    ]
