"""The pages of Studio's middle: the trigger's canvas, and those that show why."""

from __future__ import annotations

from PySide6.QtWidgets import QTabWidget, QWidget

from cleanclip_gui.studio.pages.attribution_view import AttributionView
from cleanclip_gui.studio.pages.class_view import ClassView
from cleanclip_gui.studio.pages.embedding_map import EmbeddingMapView
from cleanclip_gui.studio.pages.pair_view import PairView
from cleanclip_gui.studio.pages.text_view import TextView

PAGES = ("trigger", "attribution", "map", "pair", "classes", "text")


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
        self.classes = ClassView()
        self.text = TextView()
        for widget, name, words in (
            (canvas, "Trigger", "Paint or choose a trigger"),
            (self.attribution, "Where it looks", "Where the model looks on one picture"),
            (self.map, "Map", "Embedding map: pictures and class texts in the plane"),
            (self.pair, "Two checkpoints", "Both on the same pictures and trigger"),
            (self.classes, "By class", "Numbers of each class, and what triggered images become"),
            (self.text, "Text side", "Captions that pictures get, and templates one by one"),
        ):
            self.setTabToolTip(self.addTab(widget, name), words)

    @property
    def page(self) -> str:
        """Name of the page on show."""
        return PAGES[self.currentIndex()]

    def show_page(self, name: str) -> None:
        """Show a page by its name."""
        self.setCurrentIndex(PAGES.index(name))
