"""Charts: thinning, bands, read-out, export, theme, and no work while hidden."""

from __future__ import annotations

import ast
import math
import time
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QPixmap
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QMenu, QScrollArea, QVBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.charts.charts import LOSSES, Chart, CleaningCharts
from cleanclip_gui.clean.charts.parts import Series, SeriesStyle, series_csv
from cleanclip_gui.widgets.prompts import Prompts
from ml_core.cleaning.methods import contrastive
from ml_core.events import Metric
from ml_core.reading.errors import InputError
from tests.gui.fakes import turn_wheel

CLEANCLIP_PAR = ("loss", "clip", "image", "text", "image_distance", "text_distance")


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


def curve_points(chart, key):
    x, _ = chart.drawn[key].curve.getData()
    return 0 if x is None else len(x)


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


def test_every_point_that_a_zoom_shows_is_drawn(qtbot, chart):
    for i in range(10_000):
        chart.append("a", i, math.sin(i))
    qtbot.waitUntil(lambda: bool(chart.drawn), timeout=5000)
    chart.plot.getViewBox().setXRange(4000, 4100, padding=0)
    x, _ = chart.drawn["a"].curve.getData()
    assert set(range(4000, 4101)) <= set(x.tolist())
    assert len(x) < 200


def test_a_series_keeps_numbers_only():
    series = Series(SeriesStyle("a", "A"))
    assert not series.append(1, math.nan)
    assert not series.append(1, math.inf)
    assert series.append(2, 5.0, 4.0, 6.0)
    assert series.append(4, 7.0)
    assert len(series) == 2
    assert [series.at(x) for x in (0, 2.9, 3.1, 99)] == [0, 0, 1, 1]
    x, y, low, high = series.arrays()
    assert (x.tolist(), y.tolist(), low[0], high[0]) == ([2, 4], [5, 7], 4, 6)
    assert math.isnan(low[1])


def test_csv_holds_every_point_and_interval():
    first, second = Series(SeriesStyle("ca", "CA")), Series(SeriesStyle("lr", "LR"))
    first.append(1, 0.5, 0.4, 0.6)
    second.append(1, 1.5e-3)
    second.append(2, 1 / 3)
    assert series_csv("step", [first, second]) == (
        "step,ca,ca_low,ca_high,lr\n1,0.5,0.4,0.6,0.0015\n2,,,,0.333333333\n"
    )


def test_redraws_come_at_most_ten_times_a_second(qtbot, chart, monkeypatch):
    chart.append("a", 0, 1.0)
    qtbot.waitUntil(lambda: bool(chart.drawn), timeout=5000)
    count = []
    redraw = chart.drawn["a"].update
    monkeypatch.setattr(chart.drawn["a"], "update", lambda s: (count.append(1), redraw(s)))
    began = time.monotonic()
    for i in range(100):
        chart.append("a", i + 1, 1.0)
        QTest.qWait(4)
    seconds = time.monotonic() - began
    assert 1 <= len(count) <= seconds / 0.1 + 1


def test_a_hidden_chart_draws_nothing_and_catches_up(qtbot, chart):
    chart.hide()
    chart.append("a", 1, 1.0)
    QTest.qWait(250)
    assert not chart.redraw_timer.isActive()
    assert chart.plot is None
    chart.show()
    qtbot.waitUntil(lambda: chart.plot is not None and curve_points(chart, "a") == 1, timeout=5000)


def test_a_band_is_drawn_where_there_is_an_interval(qtbot, chart):
    chart.append("a", 0, 0.5)
    chart.append("a", 1, 0.5, 0.4, 0.6)
    chart.append("a", 2, 0.6, 0.5, 0.7)
    qtbot.waitUntil(lambda: bool(chart.drawn), timeout=5000)
    drawn = chart.drawn["a"]
    assert drawn.edges[0].getData()[1].tolist() == [0.4, 0.5]
    assert drawn.edges[1].getData()[1].tolist() == [0.6, 0.7]
    assert not drawn.band.path().isEmpty()
    low, high = chart.plot.getViewBox().viewRange()[1]  # a band is seen whole
    assert low <= 0 < 0.7 <= high
    assert chart.drawn["b"].band is None


def test_arrow_keys_move_the_read_out(qtbot, chart):
    for i, y in enumerate((1.0, 2.0, 3.0)):
        chart.append("a", i * 10, y)
    qtbot.waitUntil(lambda: bool(chart.drawn), timeout=5000)
    assert chart.readout("a") == "3.000"
    QTest.keyClick(chart, Qt.Key.Key_Left)
    assert chart.place.text() == "step 20"
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
    assert not chart.crosshair.isVisible()


def test_the_mouse_moves_the_read_out(qtbot, chart):
    for i in range(11):
        chart.append("a", i, float(i))
    qtbot.waitUntil(lambda: bool(chart.drawn), timeout=5000)
    QTest.qWait(50)
    point = chart.plot.getViewBox().mapViewToScene(chart.plot.getViewBox().viewRect().center())
    chart.follow_mouse((point,))
    assert chart.place.text() == "step 5"
    chart.reset_view()
    assert chart.readout("a") == "10.000"


def test_the_wheel_scrolls_the_page_and_zooms_with_ctrl(qtbot, prompts):
    page = QScrollArea()
    qtbot.addWidget(page)
    inside = QWidget()
    chart = Chart("Loss", prompts, (SeriesStyle("a", "First"),))
    layout = QVBoxLayout(inside)
    layout.addWidget(chart)
    inside.setMinimumHeight(2000)
    page.setWidgetResizable(True)
    page.setWidget(inside)
    page.resize(500, 400)
    page.show()
    chart.append("a", 10, 1.0)
    qtbot.waitUntil(lambda: bool(chart.drawn), timeout=5000)
    assert chart.reset_button.isHidden()
    before = chart.plot.getViewBox().viewRange()
    turn_wheel(chart.plot.viewport(), -240)
    assert chart.plot.getViewBox().viewRange() == before
    assert page.verticalScrollBar().value() > 0
    scrolled = page.verticalScrollBar().value()
    turn_wheel(chart.plot.viewport(), -240, Qt.KeyboardModifier.ControlModifier)
    assert chart.plot.getViewBox().viewRange() != before
    assert page.verticalScrollBar().value() == scrolled
    chart.append("a", 11, 1.0)
    chart.redraw()
    assert chart.plot.getViewBox().viewRange() != before  # a new point leaves the zoom
    chart.reset_button.click()
    assert chart.plot.getViewBox().viewRange()[0][1] > 10
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
    asked: list[tuple[str, str]] = []

    def save_file(_parent, _title, name, kind):
        asked.append((name, kind))
        return str(tmp_path / name)

    prompts.save_file = save_file
    chart.append("a", 1, 1.0)
    qtbot.waitUntil(lambda: bool(chart.drawn), timeout=5000)
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".csv", b"step,a,b\n1,1,")):
        chart.save_as(suffix)
        name, kind = asked[-1]
        assert kind == f"*{suffix}"  # the dialog gives this ending, and asks before it overwrites
        assert (tmp_path / name).read_bytes().startswith(start)
    assert len(list(tmp_path.iterdir())) == 3
    chart.copy()
    assert QGuiApplication.clipboard().pixmap().width() == chart.width()


def test_a_bad_place_to_save_is_one_sentence(qtbot, chart, prompts, tmp_path):
    chart.append("a", 1, 1.0)
    with pytest.raises(InputError, match=r"\.png, \.svg or \.csv"):
        chart.save(tmp_path / "chart.bmp")
    prompts.save_file = lambda *_: str(tmp_path / "nowhere" / "c.csv")
    with qtbot.waitSignal(chart.failed) as blocker:
        chart.save_as(".csv")
    assert blocker.args[0].sentence == "c.csv could not be written; choose another folder."


def test_the_theme_is_followed(qtbot, chart):
    chart.append("a", 1, 1.0)
    qtbot.waitUntil(lambda: bool(chart.drawn), timeout=5000)
    colours = []
    for name in ("light", "dark"):
        theme.apply_theme(QApplication.instance(), name)
        QTest.qWait(20)
        colours.append(chart.drawn["a"].curve.opts["pen"].color().name())
        assert chart.plot.backgroundBrush().color() == theme.colour("surface")
    theme.apply_theme(QApplication.instance(), "light")
    assert colours == [theme.series_colours("light")[0], theme.series_colours("dark")[0]]


def test_metrics_go_to_their_charts(qtbot):
    charts = CleaningCharts(Prompts())
    qtbot.addWidget(charts)
    charts.add(Metric(0, 40, {"ca": 0.97, "ca_low": 0.95, "ca_high": 0.98, "asr_excl": 0.9}))
    charts.add(
        Metric(1, 40, {"loss": 2.0, "clip": 1.0, "image": 0.5, "text": 1.5, "lr": 1e-3,
                       "grad_norm": 7.0, "pairs_per_second": 99.0})
    )  # fmt: skip
    assert charts.losses.keys() == ("loss", "clip", "image", "text")
    assert charts.losses.series("text").point(0) == (1, 1.5)
    assert charts.rate.series("lr").point(0) == (1, 1e-3)
    assert [len(charts.rates.series(k)) for k in ("ca", "asr_excl", "poisoned_accuracy")] == [
        1, 1, 0,
    ]  # fmt: skip
    charts.clear()
    assert [len(charts.losses.series(key)) for key in ("loss", "clip")] == [0, 0]


def test_every_part_of_every_loss_has_a_line():
    """A method's parts are the keys beside "loss" in what its loss returns."""
    named: set[str] = set()
    for path in Path(contrastive.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Dict):
                keys = {k.value for k in node.keys if isinstance(k, ast.Constant)}
                named |= (
                    keys if "loss" in keys or any("distance" in str(k) for k in keys) else set()
                )
            elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "parts":
                named.add(ast.literal_eval(node.slice))
    assert {"loss", "clip", "image_distance", "ce", "triggered"} <= named
    assert named - {"accuracy", "learnt"} <= {key for key, *_ in LOSSES}
    looks = [(look, dash) for key, _, look, dash in LOSSES if key in CLEANCLIP_PAR]
    assert len(looks) == len(set(looks)) == len(CLEANCLIP_PAR)
