"""A card with a heading and a few sentences."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.layout import column
from cleanclip_gui.widgets.text import fitting, plain, tip


class NoteCard(QFrame):
    """Says one thing; hidden while there is nothing to say."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.setAccessibleName(title)
        self.text = Label("", wrap=True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setMinimumWidth(1)
        heading = Label(title, "heading", wrap=True)
        heading.setMinimumWidth(1)
        column(heading, self.text, of=self, margins=theme.SPACE_L, spacing=theme.SPACE_S)
        self.say("")

    def say(self, text: str) -> None:
        """Show other sentences; none hides the card."""
        shown = plain(text)
        self.text.setText(fitting(shown))
        self.text.setToolTip("" if self.text.text() == shown else tip(shown))
        self.setAccessibleDescription(shown)
        self.setVisible(bool(text))
