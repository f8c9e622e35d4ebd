"""The pages of Studio's middle as tabs that are known by a name."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QAction, QResizeEvent
from PySide6.QtWidgets import QTabWidget, QToolButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.action_button import bind


class PageTabs(QTabWidget):
    """The trigger's canvas, and the pages that show why the model answers so.

    Where the titles do not fit, each has its short form.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("studioPages")
        self.setAccessibleName("Trigger and explanations")
        self.setDocumentMode(True)
        self.tabBar().setDrawBase(False)
        self._names: list[str] = []
        self._titles: list[tuple[str, str]] = []  # in full, and short

    def add_page(self, name: str, page: QWidget, title: str, short: str, tool_tip: str) -> None:
        """Append a page; ``name`` is for :meth:`show_page`, the titles are for the user."""
        self._names.append(name)
        self._titles.append((title, short))
        self.setTabToolTip(self.addTab(page, title), tool_tip)

    def add_corner(self, corner: Qt.Corner, action: QAction) -> None:
        """Put the button of an action beside the tabs."""
        button = QToolButton()
        button.setIconSize(QSize(theme.ICON_SIZE, theme.ICON_SIZE))
        button.setProperty("quiet", True)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.setAccessibleName(action.text().replace("&", ""))
        bind(button, action, icon=True)
        self.setCornerWidget(button, corner)

    @property
    def page(self) -> str:
        """Name of the page on show."""
        return self._names[self.currentIndex()]

    def show_page(self, name: str) -> None:
        self.setCurrentIndex(self._names.index(name))

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Take the long titles if there is room for them."""
        super().resizeEvent(event)
        self._write(short=False)
        if self.tabBar().sizeHint().width() > self.width() - self._corners():
            self._write(short=True)

    def _corners(self) -> int:
        places = (Qt.Corner.TopLeftCorner, Qt.Corner.TopRightCorner)
        found = [self.cornerWidget(corner) for corner in places]
        return sum(widget.sizeHint().width() for widget in found if widget is not None)

    def _write(self, *, short: bool) -> None:
        for number, titles in enumerate(self._titles):
            self.setTabText(number, titles[short])
