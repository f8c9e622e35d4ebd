"""The bar above the stations: what is open, and with which data."""

from __future__ import annotations

from PySide6.QtWidgets import QFrame, QHBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.text import plain, tip


class Header(QFrame):
    """Name and kind of the checkpoint on the left, ``side`` on the right."""

    def __init__(self, side: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("bar", True)
        self.setFixedHeight(52)
        self.title = Label("", "heading")
        self.subtitle = Label("", "subtle")
        row = QHBoxLayout(self)
        row.setContentsMargins(theme.SPACE_L, 0, theme.SPACE_L, 0)
        row.setSpacing(theme.SPACE_M)
        for label in (self.title, self.subtitle):
            row.addWidget(label)
        row.addStretch(1)
        row.addWidget(side)

    def tell(self, title: str, subtitle: str, why: str = "") -> None:
        """Say what is open; ``why`` is the subtitle's tool tip."""
        self.title.setText(plain(title, 40))
        self.subtitle.setText(plain(subtitle, 60))
        self.subtitle.setToolTip(tip(plain(why)))
