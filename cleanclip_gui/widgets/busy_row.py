"""How far a piece of work is, and the button that ends it."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QProgressBar, QPushButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.layout import row


class BusyRow(QWidget):
    """A bar called ``name`` and Cancel; ``cancel_clicked`` when it is pressed."""

    cancel_clicked = Signal()

    def __init__(self, name: str) -> None:
        super().__init__()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName(name)
        self.cancel = QPushButton("Cancel")
        self.cancel.clicked.connect(self.cancel_clicked)
        row((self.bar, 1), self.cancel, of=self, spacing=theme.SPACE_M)
