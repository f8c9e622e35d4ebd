"""Which labelled images to use: the demo's, those in use, a folder per class, or a table."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QSpinBox, QWidget

from cleanclip_gui import theme
from cleanclip_gui.data.images_chooser import DEMO_SPLITS, ImagesChooser
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.label import Label, named
from cleanclip_gui.widgets.layout import row
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plain
from ml_core.data.labels import label_sets
from ml_core.data.specs import ImageSpec

_FOLDER, _TABLE, _FILE, _LIST = "folder", "csv", "file", "list"
_FEW, _MANY, _USUAL = 20, 10_000, 300


class ImageChoice(QWidget):
    """Three fields; ``failed`` carries an InputError of a table that cannot be read."""

    failed = Signal(object)

    def __init__(self, prompts: Prompts, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._chooser = ImagesChooser(prompts, "labelled images", self)
        self._good = self._good_list = 0
        self.images = _combo("Labelled images")
        for split, text in DEMO_SPLITS:
            if split != "heldout":  # a style that the model never saw says little of its settings
                self.images.addItem(text, (ImageSpec(kind="demo", split=split), "demo"))
        self.images.addItem("A folder per class, or a published set…", _FOLDER)
        self.images.addItem("CSV or TSV table…", _TABLE)
        self.images.addItem("WebDataset shard or Parquet…", _FILE)
        self.labels = _combo("Label set")
        for name in label_sets():
            self.labels.addItem(name, name)
        self.labels.addItem("Text file…", _LIST)
        self.n = named(QSpinBox(), "How many images at most")
        self.n.setRange(_FEW, _MANY)
        self.n.setSingleStep(100)
        self.n.setValue(_USUAL)
        self.n.setGroupSeparatorShown(True)
        self.n.setMinimumWidth(theme.px(96))
        self.n.lineEdit().setTextMargins(6, 0, 0, 0)
        fields = FoldingRow()
        for title, box in (
            ("Labelled images", self.images), ("Label set", self.labels), ("At most", self.n)
        ):  # fmt: skip
            fields.add(Label(title, "field", buddy=box), box)
        row(fields, of=self)
        self._chooser.chosen.connect(self.take)
        self._chooser.failed.connect(self.failed)
        self.images.activated.connect(self._on_images_activated)
        self.labels.activated.connect(self._on_labels_activated)
        self._follow()

    def offer(self, spec: ImageSpec, label_set: str, name: str) -> None:
        """Put the images in use first."""
        self.images.insertItem(0, f"In use: {plain(name, 60)}", (spec, label_set))
        self.images.setCurrentIndex(0)
        self._good = 0
        self._follow()

    def chosen(self) -> tuple[ImageSpec, str]:
        """The image set, of at most that many images, and its label set."""
        spec: ImageSpec = self.images.currentData()[0]
        n = min(self.n.value(), spec.n or self.n.value())
        return spec.model_copy(update={"n": n}), str(self.labels.currentData())

    def take(self, spec: ImageSpec, label_set: str) -> None:
        """Use images of one's own with the classes that were chosen for them."""
        name = Path(spec.path or "").name
        self.images.insertItem(0, plain(name, 60), (spec, label_set))
        self.images.setCurrentIndex(0)
        self._good = 0
        self._follow()

    def _follow(self) -> None:
        """Some images come with their label set."""
        spec, label_set = self.images.currentData()
        if label_set:
            place = self.labels.findData(label_set)
            if place < 0:
                self.labels.insertItem(0, plain(Path(label_set).name, 60), label_set)
                place = 0
            self.labels.setCurrentIndex(place)
            self._good_list = place
        self.labels.setEnabled(spec.kind != "demo")

    def _on_images_activated(self, place: int) -> None:
        wanted = self.images.itemData(place)
        if wanted not in (_FOLDER, _TABLE, _FILE):
            self._good = place
            self._follow()
            return
        self.images.setCurrentIndex(self._good)  # until something is chosen
        self._chooser.choose(wanted, str(self.labels.currentData()))

    def _on_labels_activated(self, place: int) -> None:
        if self.labels.itemData(place) != _LIST:
            self._good_list = place
            return
        self.labels.setCurrentIndex(self._good_list)
        path = self._chooser.choose_class_list()
        if path:
            self.labels.insertItem(0, plain(Path(path).name, 60), path)
            self.labels.setCurrentIndex(0)
            self._good_list = 0


def _combo(name: str) -> QComboBox:
    box = named(QComboBox(), name)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(10)
    return box
