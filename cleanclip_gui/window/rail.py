"""The stations, down the left side of the window."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QAction, QResizeEvent
from PySide6.QtWidgets import QFrame, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.label import Label

_LOGO, _STATION, _ICON = 48, 52, 34  # pixels of height
_WIDE, _NARROW = 100, 56


class Rail(QFrame):
    """Buttons of actions: stations on top, small ones at the bottom."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("rail", True)
        self.setFixedWidth(_WIDE)
        self.setAccessibleName("Stations")
        self._logo = Label()
        self._logo.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._logo.setFixedHeight(_LOGO)
        self._stations = QVBoxLayout()
        self._stations.setSpacing(theme.SPACE_XS)
        self._named: list[QToolButton] = []
        self._wants_names = True
        self._tools = QVBoxLayout()
        self._tools.setSpacing(theme.SPACE_XS)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.SPACE_S, theme.SPACE_S, theme.SPACE_S, theme.SPACE_S)
        layout.addWidget(self._logo)
        layout.addSpacing(theme.SPACE_S)
        layout.addLayout(self._stations, 1)
        layout.addStretch()
        layout.addLayout(self._tools)
        self._paint()

    def add_station(self, action: QAction) -> QToolButton:
        """Add a large button with its icon above its name."""
        button = self._button(action, 24, Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        button.setMinimumHeight(_STATION)
        button.setMaximumHeight(68)
        self._stations.addWidget(button)
        self._named.append(button)
        return button

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Where there is no room, the logo goes, and then the names, which tool tips tell."""
        super().resizeEvent(event)
        self._fit()

    def set_named(self, on: bool) -> None:
        """Show the names of the stations, or their icons alone in a narrow rail."""
        self._wants_names = on
        self.setFixedWidth(_WIDE if on else _NARROW)
        self._fit()

    def _fit(self) -> None:
        needed = len(self._named) * (_STATION + theme.SPACE_XS)
        needed += self._tools.sizeHint().height() + 5 * theme.SPACE_S
        named = self._wants_names and self.height() >= needed
        self._logo.setVisible(self.height() >= needed + _LOGO)
        style = Qt.ToolButtonStyle
        for button in self._named:
            button.setToolButtonStyle(
                style.ToolButtonTextUnderIcon if named else style.ToolButtonIconOnly
            )
            button.setMinimumHeight(_STATION if named else _ICON)

    def add_tool(self, action: QAction) -> QToolButton:
        """Add a small button at the bottom."""
        button = self._button(action, 20, Qt.ToolButtonStyle.ToolButtonIconOnly)
        self._tools.addWidget(button, 0, Qt.AlignmentFlag.AlignHCenter)
        return button

    def _button(self, action: QAction, size: int, style: Qt.ToolButtonStyle) -> QToolButton:
        button = QToolButton()
        button.setDefaultAction(action)
        button.setAccessibleName(action.text().replace("&", ""))
        button.setIconSize(QSize(size, size))
        button.setToolButtonStyle(style)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        if style == Qt.ToolButtonStyle.ToolButtonTextUnderIcon:
            button.setProperty("station", True)
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        return button

    def changeEvent(self, event) -> None:  # noqa: N802
        """Repaint the logo in the new theme's colours."""
        super().changeEvent(event)
        if event.type() == event.Type.PaletteChange:
            self._paint()

    def _paint(self) -> None:
        self._logo.setPixmap(theme.icon("logo", "accent").pixmap(32, 32))
