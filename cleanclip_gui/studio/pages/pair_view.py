"""Two checkpoints on the same images and trigger: rates side by side, and what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.widgets.busy_row import BusyRow
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.text import count_text, percent, plain, signed

if TYPE_CHECKING:
    from cleanclip_gui.inference.questions import Pair
    from ml_core.evaluation.paired import PairedDifference

NAMES = {
    "ca": "Clean accuracy",
    "baseline_target_rate": "Target, no trigger",
    "asr_excl": "ASR, other classes",
    "asr_all": "ASR, all images",
    "poisoned_accuracy": "Poisoned accuracy",
    "flip_rate": "Flips",
    "target_margin": "Target margin",
}
_COLUMNS = ("", "A", "B", "A − B", "95 % interval", "p")
_TIPS = {
    1: "The checkpoint that Studio looks at",
    2: "The checkpoint to compare with",
    3: "Percentage points; logits for the margin",
    4: "Of the difference: Bonett and Price's for rates, bootstrap over images for the margin",
    5: "McNemar's exact test: how often chance alone would give such a difference",
}
_EMPTY = (
    "A is the checkpoint that is open. Choose what to compare it with: the one after cleaning, or "
    "a reference such as its clean twin. Both see the same images and the same trigger."
)


class PairView(QWidget):
    """``other_chosen(role)`` and ``open_clicked`` choose B, ``measure_clicked`` compares."""

    other_chosen = Signal(str)
    open_clicked = Signal()
    measure_clicked = Signal()
    cancel_clicked = Signal()
    differing_clicked = Signal()
    save_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.found: Pair | None = None
        self.other = QComboBox()
        self.other.setAccessibleName("Checkpoint B")
        self.open = QPushButton("Open a reference…")
        self.measure = QPushButton("Compare")
        self.save = QPushButton(theme.icon("save"), "")
        self.save.setAccessibleName("Save the comparison")
        self.save.setToolTip("Save the comparison as CSV or JSON")
        self.says = Label(_EMPTY, wrap=True)
        self.says.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setAccessibleName("Rates of both checkpoints")
        self.table.setHorizontalHeaderLabels(_COLUMNS)
        for column, words in _TIPS.items():
            self.table.horizontalHeaderItem(column).setToolTip(words)
        self.table.verticalHeader().hide()
        self.table.setShowGrid(False)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setTabKeyNavigation(False)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.differing = QPushButton("Show the images that differ")
        self.busy = BusyRow("Comparison")
        head = QHBoxLayout()
        head.setSpacing(theme.SPACE_S)
        head.addWidget(Label("Compare with", "subtle", buddy=self.other))
        head.addWidget(self.other, 1)
        head.addWidget(self.open)
        head.addWidget(self.measure)
        head.addWidget(self.save)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, theme.SPACE_S, 0, 0)
        layout.setSpacing(theme.SPACE_S)
        layout.addLayout(head)
        layout.addWidget(self.says)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.differing, 0, Qt.AlignmentFlag.AlignLeft)
        layout.addWidget(self.busy)
        self.other.currentIndexChanged.connect(self._on_other_changed)
        self.open.clicked.connect(self.open_clicked)
        self.measure.clicked.connect(self.measure_clicked)
        self.save.clicked.connect(self.save_clicked)
        self.busy.cancel_clicked.connect(self.cancel_clicked)
        self.differing.clicked.connect(self.differing_clicked)
        self.set_others(())
        self.set_busy(None)
        self.show_found(None)

    def set_others(self, others: tuple[tuple[str, str], ...]) -> None:
        """Offer checkpoints to compare with: role and title of each."""
        chosen = self.other.currentData()
        with QSignalBlocker(self.other):
            self.other.clear()
            for role, title in others:
                self.other.addItem(plain(title, 60), role)
            self.other.setCurrentIndex(max(0, self.other.findData(chosen)))
        self.other.setEnabled(bool(others))
        if not others:
            self.other.addItem("nothing is open yet")
        self.measure.setEnabled(bool(others) and self.busy.isHidden())

    def show_found(self, found: Pair | None, differing: int = 0) -> None:
        """Show a comparison; ``differing`` images get another class of the two."""
        self.found = found
        self.save.setEnabled(found is not None)
        self.differing.setVisible(found is not None)
        self.differing.setEnabled(differing > 0)
        self.table.setVisible(found is not None)
        if found is None:
            self.says.setText(_EMPTY)
            return
        n = found.evaluations[0].n
        self.says.setText(
            f"{count_text(differing)} of {count_text(n)} triggered images get another class from "
            "the two checkpoints. Differences are paired image by image."
        )
        rows = sorted(found.differences, key=lambda one: -abs(one.difference))
        rows.sort(key=lambda one: one.p_exact is None)  # rates first, then means
        self.table.setRowCount(len(rows))
        for row, one in enumerate(rows):
            for column, text in enumerate(cells(one)):
                item = QTableWidgetItem(text)
                if column:
                    flags = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    item.setTextAlignment(flags)
                item.setToolTip(behind(one) if column > 3 else "")
                self.table.setItem(row, column, item)

    def set_busy(self, share: float | None) -> None:
        """Show how far the comparison is, 0 to 1; None when there is none."""
        self.busy.setVisible(share is not None)
        self.measure.setEnabled(share is None and self.other.isEnabled())
        self.busy.bar.setRange(0, 100)
        self.busy.bar.setValue(round(100 * (share or 0.0)))

    def _on_other_changed(self) -> None:
        role = self.other.currentData()
        if role:
            self.other_chosen.emit(role)


def cells(one: PairedDifference) -> tuple[str, ...]:
    """One line of the table; rates in per cent, differences in percentage points."""
    name = NAMES.get(one.name, one.name)
    low, high = one.adjusted_interval or one.interval
    if one.p_exact is None:
        shown = (
            f"{one.value:.2f}".replace("-", "−"), f"{one.reference:.2f}".replace("-", "−"),
            signed(one.difference, 2), f"{signed(low, 2)} to {signed(high, 2)}", "",
        )  # fmt: skip
    else:
        shown = (
            percent(one.value), percent(one.reference),
            signed(100 * one.difference), f"{signed(100 * low)} to {signed(100 * high)}",
            "< 0.001" if one.p_exact < 0.001 else f"{one.p_exact:.3f}",
        )  # fmt: skip
    return (name, *shown)


def behind(one: PairedDifference) -> str:
    """What interval and p of a line stand on: discordant images, and the bootstrap's interval."""
    scale = 1.0 if one.p_exact is None else 100.0
    low, high = (signed(scale * end, 2) for end in one.interval)
    text = f"Bootstrap over {count_text(one.n)} images, 95 %: {low} to {high}."
    if one.p_exact is None or one.p_mid is None:
        return text
    return (
        f"{text} In A alone: {count_text(one.only_mine)} images, in B alone: "
        f"{count_text(one.only_reference)}; McNemar's mid-p {one.p_mid:.3g}."
    )
