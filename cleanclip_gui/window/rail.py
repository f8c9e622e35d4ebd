"""The stations, down the left side of the window."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QAction, QResizeEvent
from PySide6.QtWidgets import QFrame, QSizePolicy, QToolButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import Label, bind
from cleanclip_gui.widgets.layout import column

_LOGO, _STATION, _ICON = 48, 62, 34  # pixels of height
_WIDE, _BARE = 100, 44  # pixels of width, with names and without
_NARROW = 800  # pixels of a window that has no room for names


class Rail(theme.Themed, QFrame):
    """Buttons of actions: stations on top, small ones at the bottom."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("rail", True)
        self.setFixedWidth(theme.px(_WIDE))
        self.setAccessibleName("Stations")
        self._logo = Label()
        self._logo.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._logo.setFixedHeight(theme.px(_LOGO))
        self._stations = column(spacing=theme.SPACE_XS)
        self._named: list[QToolButton] = []
        self._tools = column(spacing=theme.SPACE_XS)
        column(
            self._logo, theme.SPACE_S, (self._stations, 1), (None, 0), self._tools,
            of=self, margins=theme.SPACE_S,
        )  # fmt: skip
        self._paint()

    def add_station(self, action: QAction) -> QToolButton:
        """Add a large button with its icon above its name."""
        button = self._button(action, 24, Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        button.setMinimumHeight(theme.px(_STATION))
        button.setMaximumHeight(theme.px(68))
        self._stations.addWidget(button)
        self._named.append(button)
        return button

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Where there is no room, the logo goes, and then the names, which tool tips tell."""
        super().resizeEvent(event)
        self.fit(self.window().width())

    def fit(self, window: int) -> None:
        """Give what the height and a window so wide have room for."""
        needed = len(self._named) * (theme.px(_STATION) + theme.SPACE_XS)
        needed += self._tools.sizeHint().height() + 5 * theme.SPACE_S
        wide = window >= theme.px(_NARROW)
        named = wide and self.height() >= needed
        self._logo.setVisible(wide and self.height() >= needed + theme.px(_LOGO))
        style = Qt.ToolButtonStyle
        for button in self._named:
            button.setToolButtonStyle(
                style.ToolButtonTextUnderIcon if named else style.ToolButtonIconOnly
            )
            button.setMinimumHeight(theme.px(_STATION if named else _ICON))
        self.setFixedWidth(theme.px(_WIDE if wide else _BARE))

    def add_tool(self, action: QAction) -> QToolButton:
        """Add a small button at the bottom."""
        button = self._button(action, 20, Qt.ToolButtonStyle.ToolButtonIconOnly)
        self._tools.addWidget(button, 0, Qt.AlignmentFlag.AlignHCenter)
        return button

    def _button(self, action: QAction, size: int, style: Qt.ToolButtonStyle) -> QToolButton:
        button = bind(QToolButton(), action, text=True, icon=True)
        button.setAccessibleName(action.text().replace("&", ""))
        button.setIconSize(QSize(theme.px(size), theme.px(size)))
        button.setToolButtonStyle(style)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        if style == Qt.ToolButtonStyle.ToolButtonTextUnderIcon:
            button.setProperty("station", True)
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        return button

    def dress(self) -> None:
        """Repaint the logo in the new theme's colours."""
        self._paint()
        if self.isVisible():
            self.fit(self.window().width())

    def _paint(self) -> None:
        self._logo.setPixmap(theme.icon("logo", "accent").pixmap(theme.px(32), theme.px(32)))
