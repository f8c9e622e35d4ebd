"""What a screen reader hears, and what somebody without a mouse comes to and sees."""

from types import SimpleNamespace

import numpy as np
import pytest
import shiboken6
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QApplication,
    QDialog,
    QLineEdit,
    QListView,
    QPushButton,
    QStackedWidget,
    QTabBar,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui.studio.canvas.canvas import TriggerCanvas
from cleanclip_gui.studio.canvas.document import PaintDocument
from cleanclip_gui.window.main_window import FocusKeeper
from tests.gui.access_faults import area, changes_with_focus, focus_faults, name_faults, seen_area
from tests.gui.shell_fakes import write_safetensors

# Commands that open a dialog of this program, with a checkpoint open.
DIALOGS = (
    "view.palette", "help.about", "session.notes", "file.hub", "file.classes",
    "file.templates", "file.convert", "file.doctor", "file.known", "trigger.library",
    "trigger.parameters", "clean.audit", "clean.find_rate",
)  # fmt: skip


@pytest.fixture
def checkpoint(tmp_path):
    return write_safetensors(tmp_path / "m.safetensors", {"a": [1.0], "visual.proj": [[1.0]]})


@pytest.fixture
def window(opened_window):
    opened_window.activateWindow()
    return opened_window


def pages(window):
    """Show every tab of every station, one after the other."""
    for station in ("welcome", *window.stations):
        window.show_station(station)
        yield station
        for bar in window.pages.currentWidget().findChildren(QTabBar):
            for number in range(bar.count()) if bar.isVisible() else ():
                if bar.isTabVisible(number) and bar.isTabEnabled(number):
                    bar.setCurrentIndex(number)
                    yield f"{station}, {bar.tabText(number)}"


def test_everything_is_named_and_the_focus_is_seen_wherever_tab_comes(window, qtbot):
    found = {}
    for page in pages(window):
        qtbot.wait(20)
        if wrong := [*name_faults(window), *focus_faults(window)]:
            found[page] = wrong
    assert found == {}


def test_the_focus_stays_in_sight_when_the_page_grows_above_it(window, qtbot):
    for station in window.stations:
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


def test_the_canvas_says_what_is_painted_and_where_the_cursor_is(qtbot):
    canvas = TriggerCanvas(PaintDocument(32))
    canvas.document.setParent(canvas)
    qtbot.addWidget(canvas)
    canvas.set_images(np.full((32, 32, 3), 200, np.uint8), None)
    canvas.set_ink(width=1)
    assert "Nothing is painted." in canvas.accessibleDescription()
    QTest.keyClick(canvas, Qt.Key.Key_Space)
    QTest.keyClick(canvas, Qt.Key.Key_Right)
    said = canvas.accessibleDescription()
    assert "Painted from x 16, y 16 to x 16, y 16." in said
    assert "Cursor at x 17, y 16." in said


def test_a_widget_that_draws_nothing_for_the_focus_is_a_fault(qtbot):
    box = QWidget()
    qtbot.addWidget(box)
    dull, field = QWidget(box), QLineEdit(box)
    dull.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    field.move(0, 50)
    box.show()
    box.activateWindow()
    for widget, changes in ((dull, False), (field, True)):
        widget.setFocus()
        qtbot.waitUntil(widget.hasFocus)
        assert changes_with_focus(widget) == changes


@pytest.fixture
def page(qtbot):
    """A window with a rail, and a page with a row of Start and Cancel and a list below it."""
    window, rail, pages, row = QWidget(), QPushButton("Rail"), QStackedWidget(), QWidget()
    page, start, cancel, below = QWidget(), QPushButton("Start"), QPushButton("Cancel"), QListView()
    for parent, children in ((row, (start, cancel)), (page, (row, below)), (window, (rail, pages))):
        layout = QVBoxLayout(parent)
        for child in children:
            layout.addWidget(child)
    pages.addWidget(page)
    cancel.hide()
    qtbot.addWidget(window)
    keeper = FocusKeeper(QApplication.instance(), pages)
    window.show()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    start.setFocus()
    yield SimpleNamespace(rail=rail, start=start, cancel=cancel, below=below, row=row)
    keeper.deleteLater()


def test_the_focus_goes_to_what_takes_the_buttons_place(page, qtbot):
    page.start.setEnabled(False)
    page.cancel.show()  # afterwards, as most stations do
    qtbot.waitUntil(page.cancel.hasFocus)
    page.cancel.hide()
    page.start.setEnabled(True)
    qtbot.waitUntil(page.start.hasFocus)
    page.rail.setFocus()
    page.start.setEnabled(False)
    qtbot.wait(20)
    assert page.rail.hasFocus()  # what was moved is left alone
    page.start.setEnabled(True)
    page.start.setFocus()
    page.row.hide()  # with all that could succeed it
    qtbot.waitUntil(page.below.hasFocus)


def test_a_button_that_had_the_focus_goes_alone(page, qtbot):
    bar = page.below.verticalScrollBar()  # made by Qt: a wrong owner would take it along
    page.start.setEnabled(False)
    page.cancel.show()
    qtbot.waitUntil(page.cancel.hasFocus)
    page.start.deleteLater()
    qtbot.waitUntil(lambda: not shiboken6.isValid(page.start))
    assert shiboken6.isValid(bar)
