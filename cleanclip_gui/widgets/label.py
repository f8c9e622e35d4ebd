"""Every label of the window: text from a file is never taken for markup."""

from __future__ import annotations

from typing import TypeVar

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QLabel, QWidget

from cleanclip_gui.widgets.text import tip


class Label(QLabel):
    """Shows text as it is; ``role`` is the style sheet's, ``buddy`` what the label names."""

    def __init__(
        self, text: str = "", role: str = "", *, wrap: bool = False, buddy: QWidget | None = None
    ) -> None:
        super().__init__()
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setText(text)
        self.setWordWrap(wrap)
        if role:
            self.setProperty("role", role)
        if buddy is not None:
            self.setBuddy(buddy)


_Widget = TypeVar("_Widget", bound=QWidget)


def named(widget: _Widget, name: str, tip: str = "") -> _Widget:
    """Give a widget an accessible name and a tool tip; an empty one leaves what there is."""
    if name:
        widget.setAccessibleName(name)
    if tip:
        widget.setToolTip(tip)
    return widget


def spoken_name(text: str, buddy: QWidget) -> Label:
    """A label that is heard but not seen: a screen reader takes a combo box's name from it.

    Without one it reads the value alone on Linux. The caller gives it a parent, and no place.
    """
    label = Label(text, buddy=buddy)
    label.hide()
    return label


class ElidedLabel(Label):
    """Lines that end in an ellipsis where there is no room, and are then their own tool tip."""

    least = 48  # pixels, if it is longer than that
    _why = ""

    def explain(self, why: str) -> None:
        """Say something in the tool tip besides what is not seen; empty: nothing."""
        self._why = why
        self._follow()

    def setText(self, text: str) -> None:  # noqa: N802
        """Show another text."""
        super().setText(text)
        self._follow()

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """A few letters."""
        hint = super().minimumSizeHint()
        return QSize(min(hint.width(), self.least), hint.height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Tell by a tool tip what is not seen."""
        super().resizeEvent(event)
        self._follow()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw as much as there is room for."""
        self.style().drawItemText(
            QPainter(self), self.contentsRect(), int(self.alignment()), self.palette(),
            self.isEnabled(), self._shown(), self.foregroundRole(),
        )  # fmt: skip

    def _follow(self) -> None:
        hidden = "" if self._shown() == self.text() else self.text()
        self.setToolTip(tip("\n".join(part for part in (hidden, self._why) if part)))

    def _shown(self) -> str:
        metrics, width = self.fontMetrics(), self.contentsRect().width()
        lines = self.text().split("\n")  # elidedText takes the line break for a letter
        return "\n".join(metrics.elidedText(ln, Qt.TextElideMode.ElideRight, width) for ln in lines)
