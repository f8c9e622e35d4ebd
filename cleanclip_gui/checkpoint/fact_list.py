"""Names and values in two columns; values can be selected and, where it helps, copied."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QGridLayout, QToolButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.label import Label, named
from cleanclip_gui.widgets.layout import column
from cleanclip_gui.widgets.text import fitting, plain, tip

_WORD = 36  # letters of a word that the column has room for


class _Copier(QObject):
    """Puts one text on the clipboard."""

    def __init__(self, text: str, parent: QObject) -> None:
        super().__init__(parent)
        self._text = text

    def copy(self) -> None:
        QGuiApplication.clipboard().setText(self._text)


class FactList(QFrame):
    """A card with a heading and rows of facts."""

    _values: list[tuple[Label, str]] = []  # noqa: RUF012 - a palette may change before there are any

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        heading = Label(title, "heading")
        self._title = title
        self._body = QWidget()
        self._grid = QGridLayout(self._body)
        self._layout = column(
            heading, self._body, of=self, margins=theme.SPACE_L, spacing=theme.SPACE_M
        )
        self._prepare()

    def _prepare(self) -> None:
        self._values = []
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(theme.SPACE_L)
        self._grid.setVerticalSpacing(theme.SPACE_S)
        self._grid.setColumnStretch(1, 1)

    def clear(self) -> None:
        """Remove every row."""
        old = self._body
        self._body = QWidget()
        self._grid = QGridLayout(self._body)
        self._prepare()
        self._layout.replaceWidget(old, self._body)
        old.hide()
        old.deleteLater()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Shorten words for another size of type."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            for label, shown in self._values:
                _fit(label, shown)

    def add(self, name: str, value: object, *, copy: str = "", role: str = "") -> Label:
        """Add a row; ``copy`` is what its copy button puts on the clipboard."""
        row = self._grid.rowCount()
        field = Label(name, "field")
        field.setAlignment(Qt.AlignmentFlag.AlignTop)
        shown = plain(value)
        label = named(Label(wrap=True), f"{name}: {shown}")
        self._values.append((label, shown))
        _fit(label, shown)
        label.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        label.setMinimumWidth(1)
        if role:
            label.setProperty("role", role)
        self._grid.addWidget(field, row, 0, Qt.AlignmentFlag.AlignTop)
        self._grid.addWidget(label, row, 1)
        if copy:
            button = named(QToolButton(), f"Copy {name}", f"Copy {name}")
            button.setIcon(theme.icon("copy", "muted"))
            button.setProperty("small", True)
            slot: Callable[[], None] = _Copier(copy, button).copy
            button.clicked.connect(slot)
            self._grid.addWidget(button, row, 2, Qt.AlignmentFlag.AlignTop)
        return label


def _fit(label: Label, shown: str) -> None:
    """Show a value whose words are short enough for the column; the tool tip has the whole one."""
    label.setText(fitting(shown, _WORD * 100 // theme.size()))
    label.setToolTip(tip(shown) if label.text() != shown else "")
