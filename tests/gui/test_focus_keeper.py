"""The focus stays where the work is when a button that has it goes."""

from types import SimpleNamespace

import pytest
from PySide6.QtWidgets import (
    QApplication,
    QListView,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui.window.main_window import FocusKeeper


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
