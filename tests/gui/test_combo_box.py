"""Combo boxes: the list shows every entry whole, and a narrow one ends in an ellipsis."""

import pytest
from PySide6.QtWidgets import QApplication, QComboBox, QWidget

from cleanclip_gui.widgets.number_box import ElidingComboBox


@pytest.mark.parametrize(("count", "quiet"), [(2, True), (7, False)])
def test_the_open_list_shows_every_entry_whole(qtbot, count, quiet):
    box = QComboBox()
    qtbot.addWidget(box)
    box.setProperty("quiet", quiet)
    box.addItems([f"Entry {number}" for number in range(count)])
    box.show()
    box.showPopup()
    qtbot.wait(50)
    view = box.view()
    frame = view.parentWidget()
    try:
        last = view.visualRect(view.model().index(count - 1, 0))
        assert view.viewport().rect().contains(last)
        assert view.verticalScrollBar().maximum() == 0
        assert view.geometry() == frame.rect()  # no second frame, no arrows to scroll
        others = [w for w in frame.findChildren(QWidget) if w.parent() is frame and w is not view]
        assert not [w for w in others if w.isVisible()]
    finally:
        box.hidePopup()


def test_a_narrow_one_ends_in_an_ellipsis(qtbot):
    wide, narrow = ElidingComboBox(), ElidingComboBox()
    for box in (wide, narrow):
        qtbot.addWidget(box)
        box.addItem("Largest change toward the target, the highest first")
    assert narrow.minimumSizeHint().width() < 120
    narrow.resize(120, 30)
    wide.resize(600, 30)
    pictures = [box.grab().toImage() for box in (narrow, wide)]
    # Right of the letters, before the arrow, there is nothing: the text was not merely cut.
    ground = pictures[1].pixelColor(560, 15)
    strip = [pictures[0].pixelColor(97, y) for y in range(4, 26)]
    assert all(colour == ground for colour in strip)
    QApplication.processEvents()
