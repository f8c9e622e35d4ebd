"""Studio without the window around it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PySide6.QtCore import QPointF, Qt
from PySide6.QtTest import QTest

from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.session import Session
from cleanclip_gui.station import Context
from cleanclip_gui.studio.station import StudioStation
from ml_core.data.specs import ImageSpec
from tests.gui.shell_fakes import Wiring


def studio_station(context: Context) -> StudioStation:
    """Studio as a window of its own, on show, so that its commands can be used."""
    context.session.station = "studio"
    station = StudioStation(context)
    station.resize(1200, 660)
    station.show()
    return station


def settled(panel: StudioStation) -> bool:
    """Whether the numbers with a trigger are there, of all images."""
    evaluation = panel.session.evaluation
    return evaluation is not None and evaluation.trigger is not None and not evaluation.partial


def measured_studio(qtbot: Any, checkpoint: Path, n: int) -> Iterator[StudioStation]:
    """Studio over the real inference thread, with the demo's trigger measured; for a fixture."""
    session, inference = Session(), Inference()
    panel = studio_station(Context(session=session, inference=inference))
    qtbot.addWidget(panel)
    panel.wiring = Wiring(session, inference)
    panel.wiring.open(checkpoint)
    panel.wiring.load(ImageSpec(n=n))
    panel.editor.use_demo_trigger()
    qtbot.waitUntil(lambda: settled(panel), timeout=120_000)
    yield panel
    assert inference.close(20_000)


def paint(panel: StudioStation, *points: tuple[float, float]) -> None:
    """Drag over the canvas from pixel to pixel."""
    view = panel.canvas.viewport()
    places = [panel.canvas.viewportTransform().map(QPointF(*p)).toPoint() for p in points]
    QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=places[0])
    for place in places[1:]:
        QTest.mouseMove(view, place)
    QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=places[-1])
