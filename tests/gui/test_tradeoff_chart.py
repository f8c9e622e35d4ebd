"""The trade-off chart: what is drawn, said and chosen, by mouse and by keys."""

import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from cleanclip_gui import theme
from cleanclip_gui.clean.runs.tradeoff_chart import Track, TradeoffChart
from cleanclip_gui.widgets.prompts import Prompts
from ml_core.cleaning.tradeoff import Point

FIRST = Track(
    "a", 0, "CleanCLIP",
    (
        Point(0, 0.97, 0.98, 0.02, (0.96, 0.98), (0.97, 0.99)),
        Point(20, 0.90, 0.40, 0.5, checkpoint="/runs/a/step-20"),
        Point(40, 0.96, 0.03, 0.9, checkpoint="/runs/a/step-40"),
    ),
)  # fmt: skip
SECOND = Track("b", 1, "MMCL", (Point(0, 0.97, 0.98, 0.02), Point(40, 0.965, 0.60, 0.3)))


@pytest.fixture
def chart(qtbot):
    theme.apply_theme(QApplication.instance(), "light")
    made = TradeoffChart(Prompts())
    qtbot.addWidget(made)
    made.resize(760, 480)
    made.show()
    qtbot.waitExposed(made)
    return made


def at(chart, number):
    """Where a point is, in pixels of the plot's viewport."""
    spot = chart.spots[number]
    scene = chart.plot.getViewBox().mapViewToScene(QPointF(spot.x, spot.y))
    return chart.plot.mapFromScene(scene)


def test_a_click_chooses_and_pointing_reads_out(qtbot, chart):
    chart.set_tracks([FIRST, SECOND])
    QTest.qWait(50)
    with qtbot.waitSignal(chart.chosen) as blocker:
        QTest.mouseClick(chart.plot.viewport(), Qt.MouseButton.LeftButton, pos=at(chart, 1))
    assert blocker.args == ["a", FIRST.points[1]]
    spot = chart.spots[4]
    chart.point_at(QPointF(spot.x, spot.y))
    assert "B MMCL, step 40" in chart.readout()
    chart.point_at(QPointF(0.5, 0.93))  # nothing is near
    assert "B MMCL, step 40" in chart.readout()


def test_limits_can_be_changed(chart):
    chart.set_tracks([FIRST, SECOND])
    for key in (Qt.Key.Key_Home, Qt.Key.Key_Right, Qt.Key.Key_Right):
        QTest.keyClick(chart, key)
    assert "within both limits" in chart.readout()
    chart.asr.setValue(2)
    assert "outside the limits" in chart.readout()  # the cursor stayed where it was
    chart.asr.setValue(5)
    chart.ca_drop.setValue(0.5)
    assert "outside the limits" in chart.readout()
    assert chart.items.ca_limit.value() == pytest.approx(0.965)
    assert "≤ 0.5" in chart.items.ca_limit.label.toPlainText()


def test_every_point_is_exported(chart, tmp_path):
    chart.set_tracks([FIRST, SECOND])
    chart.save(tmp_path / "t.csv")
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[0] == ("run,step,ca,asr_excl,poisoned_accuracy,pareto,within_limits,checkpoint")
    assert lines[3] == "CleanCLIP,40,0.96,0.03,0.9,1,1,/runs/a/step-40"
    assert len(lines) == 6
