"""Gaps of a 10 ms timer in the GUI thread while a cleaning job and live evaluation run."""

from __future__ import annotations

import time
from collections.abc import Iterator

from PySide6.QtCore import QObject, Qt, QTimer

from cleanclip_gui.talk.script import Wait
from tests.benchmarks.timing import Row, percentile
from tests.benchmarks.window import make_window, open_demo, play, stroke

SECONDS = 20.0


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


def run() -> list[Row]:
    app, window = make_window()
    session = window.session
    heart = Heartbeat()
    found: dict[str, list[float]] = {}

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
        found["idle"] = heart.take()
        window.stations["clean"].form.set_preset("default")
        window.stations["clean"].start()
        window.show_station("clean")
        yield Wait(
            lambda: window.stations["clean"].charts.losses.keys() != (), 240, "no step was taken"
        )
        heart.take()
        yield from pass_time(paint=False)
        found["charts"] = heart.take()
        window.show_station("studio")
        heart.take()
        yield from pass_time(paint=True)
        found["live"] = heart.take()
        window.stations["clean"].run.cancel()
        yield Wait(
            lambda: session.run is not None and session.run.status == "cancelled",
            20,
            "the run was not cancelled",
        )

    play(app, window, script())

    def p99(name: str) -> float:
        return 1000 * percentile(found[name], 0.99)

    return [
        Row(
            f"heartbeat p99, {what} while a job runs, against idle",
            f"{p99(name):.0f} ms (worst {1000 * max(found[name]):.0f})",
            f"{p99('idle'):.0f} ms (worst {1000 * max(found['idle']):.0f})",
            f"{p99(name) / p99('idle'):.1f}",
        )
        for name, what in (("charts", "charts shown"), ("live", "painting with live ASR"))
    ]
