"""The pages of Studio's middle as tabs that are known by a name."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QResizeEvent
from PySide6.QtWidgets import QTabWidget, QWidget

from cleanclip_gui.widgets.action_button import action_tool
from cleanclip_gui.widgets.tab_titles import fit_titles


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
        self.setCornerWidget(action_tool(action), corner)

    @property
    def page(self) -> str:
        """Name of the page on show."""
        return self._names[self.currentIndex()]

    def show_page(self, name: str) -> None:
        self.setCurrentIndex(self._names.index(name))

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Take the long titles if there is room for them."""
        super().resizeEvent(event)
        fit_titles(self.tabBar(), self._titles, self.width() - self._corners())

    def _corners(self) -> int:
        places = (Qt.Corner.TopLeftCorner, Qt.Corner.TopRightCorner)
        found = [self.cornerWidget(corner) for corner in places]
        return sum(widget.sizeHint().width() for widget in found if widget is not None)
