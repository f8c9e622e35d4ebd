"""The pages of Studio's middle as tabs that are known by a name."""

from __future__ import annotations

from PySide6.QtWidgets import QTabWidget, QWidget


class PageTabs(QTabWidget):
    """The trigger's canvas, and the pages that show why the model answers so."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("studioPages")
        self.setAccessibleName("Trigger, or why the model answers so")
        self.setDocumentMode(True)
        self.tabBar().setDrawBase(False)
        self._names: list[str] = []

    def add_page(self, name: str, page: QWidget, title: str, tool_tip: str) -> None:
        """Append a page; ``name`` is for :meth:`show_page`, ``title`` for the user."""
        self._names.append(name)
        self.setTabToolTip(self.addTab(page, title), tool_tip)

    @property
    def page(self) -> str:
        """Name of the page on show."""
        return self._names[self.currentIndex()]

    def show_page(self, name: str) -> None:
        self.setCurrentIndex(self._names.index(name))
