"""What a method takes, each with a mark for there or missing."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtWidgets import QVBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.label import Label


class NeedsList(QWidget):
    """Lines such as ``✓ Trigger: the one in Studio`` and ``✗ Clean reference: none yet``."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("What the method needs")
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(2)
        self._lines: list[Label] = []
        self.hide()

    def show_needs(self, needs: Sequence[tuple[str, bool]]) -> None:
        """Show what is needed: a text, and whether it is there."""
        while len(self._lines) < len(needs):
            line = Label("", "caption", wrap=True)
            self._lines.append(line)
            self._layout.addWidget(line)
        for number, line in enumerate(self._lines):
            line.setVisible(number < len(needs))
            if number < len(needs):
                text, there = needs[number]
                line.setText(f"{'✓' if there else '✗'}  {text}")
                theme.set_property(line, "role", "caption" if there else "warning")
        self.setVisible(bool(needs))

    def texts(self) -> list[str]:
        """The lines on show."""
        return [line.text() for line in self._lines if not line.isHidden()]
