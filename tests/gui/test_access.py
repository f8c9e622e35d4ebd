"""What a screen reader hears, and what somebody without a mouse comes to and sees."""

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAccessible
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QDialog, QLineEdit, QTabBar, QToolButton, QWidget

from cleanclip_gui.studio.canvas.canvas import TriggerCanvas
from cleanclip_gui.studio.canvas.document import PaintDocument
from cleanclip_gui.studio.canvas.tool_strip import ToolStrip
from cleanclip_gui.studio.canvas.trigger_bars import PlacementBar
from cleanclip_gui.studio.gallery.gallery import Gallery
from cleanclip_gui.widgets.pictures import give_role
from tests.gui.access_faults import area, changes_with_focus, focus_faults, name_faults, seen_area
from tests.gui.shell_fakes import write_safetensors
from tests.keyboard import heard_name

STATIONS = ("welcome", "checkpoint", "studio", "scan", "clean", "report")
# Commands that open a dialog of this program, with a checkpoint open.
DIALOGS = (
    "view.palette", "help.keys", "help.about", "session.notes", "file.hub", "file.classes",
    "file.templates", "file.convert", "file.doctor", "file.known", "trigger.library",
    "trigger.parameters", "clean.audit", "clean.find_rate", "clean.search",
)  # fmt: skip


def test_a_combo_box_is_named_and_not_only_its_value(qtbot):
    gallery, bar = Gallery(), PlacementBar()
    for widget in (gallery, bar):
        qtbot.addWidget(widget)
        widget.show()
    boxes = gallery.filter, gallery.order, bar.placement
    assert list(map(heard_name, boxes)) == ["Show images", "Order", "Place of the trigger"]


@pytest.fixture
def checkpoint(tmp_path):
    return write_safetensors(tmp_path / "m.safetensors", {"a": [1.0], "visual.proj": [[1.0]]})


@pytest.fixture
def window(opened_window):
    opened_window.activateWindow()
    return opened_window


def pages(window, station):
    """Show every tab of a station, one after the other."""
    window.show_station(station)
    yield station
    for bar in window.pages.currentWidget().findChildren(QTabBar):
        for number in range(bar.count()) if bar.isVisible() else ():
            if bar.isTabVisible(number) and bar.isTabEnabled(number):
                bar.setCurrentIndex(number)
                yield f"{station}, {bar.tabText(number)}"


@pytest.mark.parametrize("station", STATIONS)
def test_everything_is_named_and_the_focus_is_seen_wherever_tab_comes(window, qtbot, station):
    found = {}
    for page in pages(window, station):
        qtbot.wait(20)
        if wrong := [*name_faults(window), *focus_faults(window)]:
            found[page] = wrong
    assert found == {}


def test_the_focus_stays_in_sight_when_the_page_grows_above_it(window, qtbot):
    for station in STATIONS:
        window.show_station(station)
    report = window.stations["report"]
    qtbot.waitUntil(lambda: not report.drafting.is_busy)
    report.nothing.hide()  # as before it is known what was measured
    button = report.empty_verify
    button.setFocus(Qt.FocusReason.TabFocusReason)
    qtbot.waitUntil(lambda: seen_area(button) == area(button))
    report.nothing.show()
    qtbot.wait(50)
    assert seen_area(button) == area(button)

    bar = report.pages.currentWidget().verticalScrollBar()
    bar.setValue(0)  # by the user, who reads something else
    report.nothing.setText(2 * report.nothing.text())
    qtbot.wait(50)
    assert bar.value() == 0


def test_dialogs_are_named_and_show_the_focus(window, qtbot):
    found = {}
    for command in DIALOGS:
        window.show_station("studio" if command.startswith("trigger") else "checkpoint")
        window.actions_.refresh()
        assert window.actions_[command].isEnabled(), command
        window.actions_.run(command)
        qtbot.waitUntil(lambda: open_dialogs() != [], timeout=5000)
        (dialog, *_) = open_dialogs()
        dialog.activateWindow()
        assert dialog.windowTitle() or dialog.accessibleName(), command
        if wrong := [*name_faults(dialog), *focus_faults(dialog)]:
            found[command] = wrong
        dialog.reject()
        window.activateWindow()
    assert found == {}


def open_dialogs():
    return [w for w in QApplication.topLevelWidgets() if isinstance(w, QDialog) and w.isVisible()]


def test_a_screen_reader_opens_a_station_and_toggles_what_a_click_would(window):
    button = next(b for b in window.rail.findChildren(QToolButton) if heard_name(b) == "Studio")
    for action in ("Press", "Toggle"):
        window.show_station("checkpoint")
        QAccessible.queryAccessibleInterface(button).actionInterface().doAction(action)
        assert window.station == "studio"
        assert button.isChecked()
    button.toggle()  # the station stays, and so does the look of its button
    assert window.station == "studio"
    assert button.isChecked()
    window.findChild(ToolStrip).tools["eraser"].toggle()
    assert window.findChild(TriggerCanvas).tool == "eraser"


def test_a_painted_widget_has_the_role_that_it_was_given(qtbot):
    widget = QWidget()
    qtbot.addWidget(widget)
    give_role(widget, QAccessible.Role.Chart)
    widget.setAccessibleName("Rates")
    widget.show()
    face = QAccessible.queryAccessibleInterface(widget)
    assert face.role() == QAccessible.Role.Chart
    assert face.text(QAccessible.Text.Name) == "Rates"


def test_the_canvas_says_what_is_painted_and_where_the_cursor_is(qtbot):
    document = PaintDocument(32)
    canvas = TriggerCanvas(document)
    document.setParent(canvas)
    qtbot.addWidget(canvas)
    canvas.show()
    assert "Nothing is painted." in canvas.accessibleDescription()
    canvas.setFocus(Qt.FocusReason.TabFocusReason)
    canvas.set_images(np.full((32, 32, 3), 200, np.uint8), None)
    canvas.set_ink(width=1)
    QTest.keyClick(canvas, Qt.Key.Key_Space)
    QTest.keyClick(canvas, Qt.Key.Key_Right)
    said = canvas.accessibleDescription()
    assert "Painted from x 16, y 16 to x 16, y 16." in said
    assert "Cursor at x 17, y 16." in said


def test_the_look_at_the_focus_can_fail(qtbot):
    """A widget that draws nothing for the focus is found out; a field is not."""
    box = QWidget()
    qtbot.addWidget(box)
    dull, field = QWidget(box), QLineEdit(box)
    for number, widget in enumerate((dull, field)):
        widget.setGeometry(10, 10 + 40 * number, 100, 30)
        widget.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    box.show()
    box.activateWindow()
    dull.setFocus()
    qtbot.waitUntil(dull.hasFocus)
    assert not changes_with_focus(dull)
    field.setFocus()
    qtbot.waitUntil(field.hasFocus)
    assert changes_with_focus(field)
