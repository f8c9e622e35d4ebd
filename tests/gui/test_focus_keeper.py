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
    pages.addWidget(QPushButton("Another page"))
    cancel.hide()
    qtbot.addWidget(window)
    keeper = FocusKeeper(QApplication.instance(), pages)
    window.show()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    start.setFocus()
    yield SimpleNamespace(
        window=window, rail=rail, pages=pages, start=start, cancel=cancel, below=below, row=row
    )
    keeper.deleteLater()


@pytest.mark.parametrize("lose", [lambda w: w.setEnabled(False), lambda w: w.hide()])
def test_the_focus_goes_to_what_takes_the_buttons_place(page, qtbot, lose):
    lose(page.start)
    page.cancel.show()  # afterwards, as most stations do
    qtbot.waitUntil(page.cancel.hasFocus)
    lose(page.cancel)
    page.start.setEnabled(True)
    page.start.show()
    qtbot.waitUntil(page.start.hasFocus)


def test_without_a_successor_beside_it_the_rest_of_the_page_has_the_focus(page, qtbot):
    page.row.hide()
    qtbot.waitUntil(page.below.hasFocus)
