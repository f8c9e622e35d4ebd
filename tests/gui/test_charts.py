"""Charts: thinning, bands, read-out, export, theme, and no work while hidden."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QPixmap
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QMenu, QScrollArea, QVBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.charts.charts import Chart
from cleanclip_gui.clean.charts.parts import SeriesStyle
from cleanclip_gui.widgets.prompts import Prompts
from ml_core.reading.errors import InputError
from tests.gui.fakes import turn_wheel


@pytest.fixture
def prompts():
    return Prompts()


@pytest.fixture
def chart(qtbot, prompts):
    theme.apply_theme(QApplication.instance(), "light")
    made = Chart("Loss", prompts, (SeriesStyle("a", "First"), SeriesStyle("b", "Second", 1)))
    qtbot.addWidget(made)
    made.resize(500, 260)
    made.show()
    qtbot.waitExposed(made)
    return made


def test_many_points_keep_every_peak(qtbot, chart):
    n = 10_007
    y = np.zeros(n)
    y[n // 3], y[2 * n // 3] = 9.0, -7.0
    for i, value in enumerate(y.tolist()):
        chart.append("a", i, value)
    qtbot.waitUntil(lambda: bool(chart.drawn), timeout=5000)
    x, drawn = chart.drawn["a"].curve.getData()
    assert len(x) <= 2 * chart.width()
    assert (np.diff(x) >= 0).all()
    width = n / chart.width()
    for value, at in ((9.0, n // 3), (-7.0, 2 * n // 3)):
        assert abs(x[drawn == value] - at) <= 2 * width
    assert x[0] <= 2 * width
    assert x[-1] >= n - 1 - 2 * width


def test_on_a_page_that_scrolls_a_chart_is_as_high_as_it_must_be(qtbot, chart):
    chart.append("a", 0, 1.0)
    qtbot.waitUntil(lambda: bool(chart.drawn), timeout=5000)
    chart.under_head.addWidget(QLabel("On validation pictures.", wordWrap=True))
    # Head and legend; the plot has what is left.
    qtbot.waitUntil(lambda: 0 < chart.heightForWidth(500) < 150, timeout=5000)


def test_arrow_keys_and_the_mouse_move_the_read_out(qtbot, chart):
    for i, y in enumerate((1.0, 2.0, math.nan, 3.0)):
        chart.append("a", i * 10, y)
    qtbot.waitUntil(lambda: bool(chart.drawn), timeout=5000)
    assert chart.readout("a") == "3.000"
    for _ in range(2):
        QTest.keyClick(chart, Qt.Key.Key_Left)
    assert (chart.place.text(), chart.readout("a")) == ("step 10", "2.000")
    assert chart.accessibleDescription() == "at step 10: First 2.000"
    QTest.keyClick(chart, Qt.Key.Key_Home)
    QTest.keyClick(chart, Qt.Key.Key_Left)
    assert chart.readout("a") == "1.000"
    QTest.keyClick(chart, Qt.Key.Key_End)
    assert chart.readout("a") == "3.000"
    QTest.keyClick(chart, Qt.Key.Key_Escape)
    assert chart.place.text() == "by step"
    QTest.qWait(50)
    box = chart.plot.getViewBox()
    chart.follow_mouse((box.mapViewToScene(box.viewRect().center()),))
    assert chart.readout("a") == "2.000"
    chart.reset_view()
    assert chart.readout("a") == "3.000"


def test_the_wheel_scrolls_the_page_and_zooms_with_ctrl(qtbot, prompts):
    page, inside = QScrollArea(), QWidget()
    chart = Chart("Loss", prompts, (SeriesStyle("a", "First"),))
    qtbot.addWidget(page)
    QVBoxLayout(inside).addWidget(chart)
    inside.setMinimumHeight(2000)
    page.setWidgetResizable(True)
    page.setWidget(inside)
    page.resize(500, 400)
    page.show()
    chart.append("a", 10, 1.0)
    qtbot.waitUntil(lambda: bool(chart.drawn), timeout=5000)
    box = chart.plot.getViewBox()
    before = box.viewRange()
    turn_wheel(chart.plot.viewport(), -240)
    assert box.viewRange() == before
    scrolled = page.verticalScrollBar().value()
    assert scrolled > 0
    turn_wheel(chart.plot.viewport(), -240, Qt.KeyboardModifier.ControlModifier)
    assert page.verticalScrollBar().value() == scrolled
    chart.append("a", 11, 1.0)
    chart.redraw()
    assert box.viewRange() != before  # a new point leaves the zoom
    chart.reset_button.click()
    assert box.viewRange()[0][1] > 10
    assert chart.reset_button.isHidden()


def test_the_way_to_a_file_is_seen_and_is_not_in_the_picture(qtbot, chart, tmp_path):
    assert chart.export_button.isHidden()
    chart.append("a", 10, 1.0)
    qtbot.waitUntil(lambda: bool(chart.drawn), timeout=5000)
    assert chart.export_button.isVisible()
    chart.export_button.click()
    menu = next(w for w in QApplication.topLevelWidgets() if isinstance(w, QMenu) and w.isVisible())
    assert "Save &PNG…" in [action.text() for action in menu.actions()]
    menu.close()
    seen = []
    chart.grab = lambda: seen.append(chart.export_button.isVisible()) or QPixmap(4, 4)
    chart.save(tmp_path / "chart.png")
    assert seen == [False]
    assert chart.export_button.isVisible()


@pytest.mark.usefixtures("styled")
def test_saving_and_copying(qtbot, chart, prompts, tmp_path):
    prompts.save_file = lambda _parent, _title, name, kind: str(tmp_path / f"chart{kind[1:]}")
    chart.append("a", 1, 1.0)
    qtbot.waitUntil(lambda: bool(chart.drawn), timeout=5000)
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".csv", b"step,a,b\n1,1,")):
        chart.save_as(suffix)
        assert (tmp_path / f"chart{suffix}").read_bytes().startswith(start)
    with pytest.raises(InputError, match=r"\.png, \.svg or \.csv"):
        chart.save(tmp_path / "chart.bmp")
    prompts.save_file = lambda *_: str(tmp_path / "nowhere" / "c.csv")
    with qtbot.waitSignal(chart.failed) as blocker:
        chart.save_as(".csv")
    assert blocker.args[0].sentence == "c.csv could not be written; choose another folder."
    chart.copy()
    assert QGuiApplication.clipboard().pixmap().width() == chart.width()
