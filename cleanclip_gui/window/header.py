"""The bar above the stations: what is open, and with which data."""

from __future__ import annotations

from PySide6.QtWidgets import QFrame, QSizePolicy, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.label import ElidedLabel
from cleanclip_gui.widgets.layout import row
from cleanclip_gui.widgets.text import plain


class Header(QFrame):
    """Name and kind of the checkpoint on the left, ``side`` on the right."""

    def __init__(self, side: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("bar", True)
        self.setFixedHeight(theme.px(52))
        self.title = ElidedLabel("", "heading")
        self.subtitle = ElidedLabel("", "subtle")
        self.title.least = 160
        self.title.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Preferred)
        self.subtitle.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        row(
            self.title, (self.subtitle, 1), side,
            of=self, margins=(theme.SPACE_L, 0, theme.SPACE_L, 0), spacing=theme.SPACE_M,
        )  # fmt: skip

    def tell(self, title: str, subtitle: str, why: str = "") -> None:
        """Say what is open; ``why`` is the subtitle's tool tip."""
        self.title.setText(plain(title, 40))
        self.subtitle.setText(plain(subtitle, 60))
        self.subtitle.explain(plain(why))
