"""The window in little room: nothing is off the screen, cut off or without its words."""

from collections import defaultdict
from itertools import product

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QComboBox, QLabel, QToolButton, QWidget

from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.studio.canvas.paint_bar import PaintBar
from cleanclip_gui.studio.canvas.trigger_bars import PlacementBar
from cleanclip_gui.studio.station import MIDDLE, SIDE
from cleanclip_gui.widgets.columns import HANDLE, Columns, Needs, Room, Widths, fitted, usual_widths
from tests.gui.layout_faults import lasting_faults

ONE, TWO = 150, 266
ROOM = Room(Needs(ONE, TWO), MIDDLE, SIDE)


def test_everything_is_on_a_screen_of_900_by_540(opened_window, qtbot):
    assert (opened_window.width(), opened_window.height()) == (900, 540)
    assert opened_window.minimumSizeHint().height() <= 540
    for name in ("welcome", "checkpoint", "studio"):
        opened_window.show_station(name)
        qtbot.wait(20)
        page = opened_window.pages.currentWidget()
        assert page.minimumSizeHint().width() <= page.width(), name
        assert page.minimumSizeHint().height() <= page.height(), name
    tools = opened_window.rail.findChildren(QToolButton)
    for part in (*tools, opened_window.status, opened_window.status.memory):
        corner = part.mapTo(opened_window, QPoint(part.width(), part.height()))
        assert corner.x() <= 900, part
        assert corner.y() <= 540, part


def test_beside_the_log_rail_and_first_page_lose_no_words(opened_window, qtbot):
    opened_window.show_station("welcome")
    opened_window.log_dock.show()
    assert lasting_faults(opened_window.rail, qtbot) == []
    assert lasting_faults(opened_window.welcome, qtbot) == []
    first = opened_window.rail.findChildren(QToolButton)[0]
    assert first.toolButtonStyle() == Qt.ToolButtonStyle.ToolButtonIconOnly
    opened_window.log_dock.hide()
    qtbot.waitUntil(lambda: first.toolButtonStyle() == Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
    assert lasting_faults(opened_window.rail, qtbot) == []
    opened_window.resize(1366, 768)
    qtbot.waitUntil(lambda: first.height() >= first.sizeHint().height())  # its name is whole


def test_studios_columns_are_chosen_and_remembered(opened_window, qtbot, tmp_path):
    studio = opened_window.stations["studio"]
    opened_window.show_station("studio")
    assert not studio.columns.left_open
    assert studio.columns.right_open
    opened_window.actions_["view.gallery"].trigger()
    assert studio.columns.left_open
    assert not studio.columns.right_open  # there is no room for all three
    opened_window.actions_["view.numbers"].trigger()
    assert studio.columns.right_open
    opened_window.actions_["view.numbers"].trigger()
    assert not studio.columns.right_open
    assert opened_window.actions_["view.numbers"].isChecked() is False
    assert SettingsStore(tmp_path / "config").value.model_extra["studio_columns"][1] == 0
    opened_window.resize(1500, 800)
    qtbot.wait(20)
    assert not studio.columns.right_open  # as it was chosen


def test_the_middle_has_always_room():
    for total, wish, last in product(
        (784, 908, 977, 1240, 1800),
        (Widths(0, 0), Widths(TWO, SIDE.usual), Widths(700, 700)), ("left", "right"),
    ):  # fmt: skip
        widths = fitted(wish, total, ROOM, last)
        gaps = HANDLE * ((widths.left > 0) + (widths.right > 0))
        assert total - widths.left - widths.right - gaps >= MIDDLE.least
        assert widths.left in (0, *range(ONE, 701))
        assert widths.right in (0, *range(SIDE.least, 701))
        assert (widths == (0, 0)) is (wish == (0, 0))
    assert fitted(Widths(ONE, SIDE.least), 784, ROOM, "left").right == 0  # the last one stays
    assert fitted(Widths(ONE, SIDE.least), 784, ROOM, "right").left == 0
    assert usual_widths(1240, ROOM) == (TWO, SIDE.usual)
    assert usual_widths(908, ROOM) == (ONE, SIDE.least)  # 1024 x 768
    assert usual_widths(784, ROOM) == (0, SIDE.least)  # 900 x 540


def test_dragging_a_column_is_a_choice(qtbot, tmp_path):
    settings = SettingsStore(tmp_path)
    columns = Columns(QWidget(), QWidget(), QWidget(), ROOM, settings, "studio")
    qtbot.addWidget(columns)
    columns.resize(1240, 500)
    columns.show()
    assert columns.sizes()[0] == TWO
    columns.moveSplitter(ONE + 20, 1)
    assert settings.value.model_extra["studio_columns"][0] == ONE + 20
    columns.resize(1440, 500)
    assert columns.sizes()[0] == ONE + 20


def uncut(widget: QWidget) -> bool:
    """Whether all the words of a widget that shows are seen."""
    return not widget.isVisible() or widget.width() >= widget.minimumSizeHint().width()


def test_bars_keep_their_words_in_the_narrowest_middle(qtbot):
    paint, placement = PaintBar(defaultdict(QAction)), PlacementBar()
    outers = [QWidget(), QWidget()]
    for outer, bar in zip(outers, (paint, placement), strict=True):
        qtbot.addWidget(outer)
        bar.setParent(outer)
        bar.resize(MIDDLE.least, 40)
        outer.resize(MIDDLE.least, 40)
        outer.show()
    for tool in ("brush", "rectangle", "text", "fill", "noise", "move", "hand"):
        paint.set_tool(tool)
        qtbot.wait(30)
        sliders = [
            s for s in (paint.width_slider, paint.hardness, paint.opacity) if not s.isHidden()
        ]
        assert all(not s.caption.isHidden() and not s.value.isHidden() for s in sliders)
        assert [label.text() for label in paint.findChildren(QLabel) if not uncut(label)] == []
    assert all(uncut(box) for box in placement.findChildren(QComboBox))
    assert [label.text() for label in placement.findChildren(QLabel) if not uncut(label)] == []
