"""The pages of Studio's middle: the trigger's canvas, and three that show why."""

from __future__ import annotations

from PySide6.QtWidgets import QTabWidget, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.attribution_view import AttributionView
from cleanclip_gui.widgets.embedding_map import EmbeddingMapView
from cleanclip_gui.widgets.pair_view import PairView

PAGES = ("trigger", "attribution", "map", "pair")


class StudioPages(QTabWidget):
    """Tabs named by :data:`PAGES`."""

    def __init__(self, canvas: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("studioPages")
        self.setAccessibleName("Trigger, or why the model answers so")
        self.setDocumentMode(True)
        self.tabBar().setDrawBase(False)
        self.attribution = AttributionView()
        self.map = EmbeddingMapView()
        self.pair = PairView()
        self.addTab(canvas, theme.icon("stamp"), "Trigger")
        self.addTab(self.attribution, theme.icon("eye"), "Where it looks")
        self.addTab(self.map, theme.icon("dot"), "Embedding map")
        self.addTab(self.pair, theme.icon("compare"), "Two checkpoints")

    @property
    def page(self) -> str:
        """Name of the page on show."""
        return PAGES[self.currentIndex()]

    def show_page(self, name: str) -> None:
        """Show a page by its name."""
        self.setCurrentIndex(PAGES.index(name))
