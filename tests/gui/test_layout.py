"""Columns, rows and cards as one expression."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel

from cleanclip_gui import theme
from cleanclip_gui.widgets.layout import card, row


def test_a_number_stretches_and_a_flag_aligns(qapp) -> None:
    top, wide = QLabel("top"), QLabel("wide")
    line = row((top, Qt.AlignmentFlag.AlignTop), (wide, 2), None, 7, spacing=3)
    assert line.itemAt(0).alignment() == Qt.AlignmentFlag.AlignTop
    assert [line.stretch(place) for place in range(4)] == [0, 2, 1, 0]
    assert line.itemAt(3).spacerItem().sizeHint().width() == 7
    assert line.spacing() == 3


def test_the_margins_of_a_card_follow_the_size_of_the_theme(qapp) -> None:
    usual = theme.SPACE_L
    try:
        theme.set_size(200)
        assert card(QLabel("x")).layout().contentsMargins().left() == theme.SPACE_L > usual
    finally:
        theme.set_size(100)
