"""The real window with the demo open, for benchmarks that need it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from cleanclip_gui import theme
from cleanclip_gui.app import make_window as build
from cleanclip_gui.talk.script import Scenario, Wait
from cleanclip_gui.window import headless
from cleanclip_gui.window.main_window import MainWindow


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


def stroke(window: MainWindow, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Drag the brush over the canvas; places are image pixels."""
    canvas = window.stations["studio"].canvas
    viewport = canvas.viewport()

    def at(place: tuple[int, int]) -> QPoint:
        return canvas.mapFromScene(*place)

    left = Qt.MouseButton.LeftButton
    QTest.mousePress(viewport, left, pos=at(start))
    for part in (0.25, 0.5, 0.75, 1.0):
        x = start[0] + (end[0] - start[0]) * part
        y = start[1] + (end[1] - start[1]) * part
        QTest.mouseMove(viewport, at((round(x), round(y))))
    QTest.mouseRelease(viewport, left, pos=at(end))
