"""How an audit is to be done: on how many pairs, compared with what, among how many."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QSpinBox, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.failing import failing
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.layout import row
from cleanclip_gui.widgets.name_filters import CAPTION_PAIRS
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plain
from ml_core.data.captioned.detect import detect
from ml_core.data.specs import PairSpec
from ml_core.detection.records import FEWEST_FOLDS

_TABLE = "table"
_DEMO_PAIRS = 4096
_MOST = 100_000_000
_FEWEST = 64


@dataclass(frozen=True)
class AuditWish:
    """What was chosen; ``n`` None takes every pair, ``reference`` None the set itself."""

    n: int | None
    reference: PairSpec | None
    k: int
    chunk_size: int


class AuditSetup(QWidget):
    """Four fields; ``failed`` carries an InputError of a reference that holds no pairs."""

    failed = Signal(object)

    def __init__(self, prompts: Prompts, pairs: PairSpec, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._prompts, self._pairs = prompts, pairs
        self.reference = QComboBox()
        self.reference.setAccessibleName("Compare with")
        self.reference.addItem("Other pairs in this set", None)
        self.reference.addItem("Pairs known to be clean…", _TABLE)
        self.reference.setToolTip(
            "Where neighbours are searched: within the set, or among pairs that you trust. A "
            "planted pair has no planted neighbours among trusted ones."
        )
        self.reference.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.reference.setMinimumContentsLength(24)
        self.n = _box("How many pairs", 0, _MOST, 0, 1000)
        self.n.setSpecialValueText("All")
        self.n.setToolTip("A random sample of the pairs; All takes every one.")
        self.n.setMinimumWidth(theme.px(104))
        if pairs.kind == "demo":
            self.n.setValue(_DEMO_PAIRS)
        self.k = _box("Neighbours", 2, 256, 16, 1)
        self.k.setToolTip(
            "Nearest neighbours compared with each picture; published values are 16 and 32."
        )
        self.chunk = _box("Chunk", _FEWEST, 16_384, 1024, 256)
        self.chunk.setToolTip(
            f"Random pairs among which neighbours are searched: at least {FEWEST_FOLDS} times the "
            "number of neighbours."
        )
        fields = FoldingRow((Label("Compare with", "field", buddy=self.reference), self.reference))
        fields.add(Label("Pairs", "field", buddy=self.n), self.n)
        fields.add(
            Label("Nearest", "field", buddy=self.k), self.k,
            Label("of", "field", buddy=self.chunk), self.chunk,
        )  # fmt: skip
        row(fields, of=self)
        self.reference.activated.connect(self._on_reference_activated)
        self.k.valueChanged.connect(self._on_neighbours_changed)

    def chosen(self) -> AuditWish:
        """The fields."""
        reference = self.reference.currentData()
        assert reference is None or isinstance(reference, PairSpec)
        return AuditWish(self.n.value() or None, reference, self.k.value(), self.chunk.value())

    def show_wish(self, wish: AuditWish) -> None:
        """Show the numbers of an audit that was made before."""
        self.n.setValue(wish.n or 0)
        self.k.setValue(wish.k)
        self.chunk.setValue(wish.chunk_size)

    def take(self, path: str) -> None:
        """Compare with the pairs at a path, whose columns are called as the set's.

        Raises
        ------
        InputError
            If there are none.
        """
        spec = PairSpec(
            kind=detect(path),
            path=path,
            image_column=self._pairs.image_column,
            caption_column=self._pairs.caption_column,
        )
        self.reference.insertItem(0, plain(Path(path).name, 60), spec)
        self.reference.setCurrentIndex(0)

    def _on_neighbours_changed(self, k: int) -> None:
        self.chunk.setMinimum(max(_FEWEST, FEWEST_FOLDS * k))

    def _on_reference_activated(self, place: int) -> None:
        if self.reference.itemData(place) != _TABLE:
            return
        self.reference.setCurrentIndex(self.reference.findText("Other pairs in this set"))
        path = self._prompts.open_file(self, "Pairs known to be clean", "", CAPTION_PAIRS)
        with failing(self.failed, "Could not open the clean pairs"):
            if path:
                self.take(path)


def _box(name: str, low: int, high: int, value: int, step: int) -> QSpinBox:
    box = QSpinBox()
    box.setRange(low, high)
    box.setValue(value)
    box.setSingleStep(step)
    box.lineEdit().setTextMargins(6, 0, 0, 0)
    box.setAccessibleName(name)
    return box
