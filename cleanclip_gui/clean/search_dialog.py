"""A search for the recipe that fits: budget and limits, what is tried, the choice."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QDialog, QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.runs.tradeoff_chart import TradeoffChart
from cleanclip_gui.clean.runs.tradeoff_plot import Track
from cleanclip_gui.widgets.busy_row import BusyRow
from cleanclip_gui.widgets.dialog_frame import resize_within
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.number_box import Kind, NumberBox, number_text
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.rows_table import Cell, Row, RowsTable, rate
from cleanclip_gui.widgets.text import percent, plain
from ml_core.cleaning.catalogue import FACTS
from ml_core.events import Progress
from ml_core.jobs.search_spec import MEANS, SearchRecord, SearchRow
from ml_core.jobs.search_tables import curves_of

LEAD = (
    "The attacker's trigger is unknown, so triggers of our own (canaries) are planted in a copy of "
    "this checkpoint. Recipes run on the copy, many short and the better half twice as long. What "
    "removes the canaries within the limits is chosen. The checkpoint itself is left alone."
)
_STAGES = {
    "open": "Opening the checkpoint and the data…",
    "data": "Reading the data…",
    "before": "Measuring the checkpoint…",
    "canaries": "Planting canaries…",
    "estimate": "Timing a few steps of each method…",
}
_COLUMNS = (
    ("Method", "Which method ran."),
    ("Rate", "Its peak learning rate."),
    ("Steps", "Length of the run; a longer one begins anew."),
    ("CA", "Clean accuracy on the validation images after the run."),
    ("Drop", "Points of clean accuracy lost since the checkpoint."),
    ("Mean ASR", "Mean success rate of the canaries after the run."),
    ("Worst ASR", "Highest success rate, also after the rebound."),
    ("Best", "The recipe that the search chose."),
)
_WIDTHS = (72, 64, 74, 62, 94, 98, 54)


class SearchDialog(QDialog):
    """Shows one search.

    ``start_clicked`` and ``cancel_clicked`` ask for what they say; ``used(recipe)`` carries the
    recipe that the user took, and ``closed`` tells that the dialog is gone.
    """

    start_clicked = Signal()
    cancel_clicked = Signal()
    used = Signal(object)
    closed = Signal()

    def __init__(
        self, checkpoint: str, peak_lr: float, prompts: Prompts, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.record: SearchRecord | None = None
        self.setWindowTitle(plain(f"Search for a recipe: {checkpoint}", 120))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.minutes = _box("float", 0.5, 10_000.0, "min", 10.0, "Time for the search")
        self.ca_drop = _box("float", 0.0, 100.0, "points", 1.0, "Limit of lost clean accuracy")
        self.asr = _box("float", 0.0, 100.0, "%", 2.0, "Limit of the canaries' success")
        self.rebound = _box("int", 0, 100_000, "steps", 0, "Steps of the rebound")
        self.peak = _box("log", 1e-7, 1.0, "", peak_lr, "Pretraining rate")
        self.rebound.setToolTip(
            "Ordinary finetuning after each run, after which the canaries are measured again."
        )
        self.peak.setToolTip(
            "Peak learning rate of the checkpoint's pretraining; the rates that are tried are "
            "multiples of it."
        )
        self.start = QPushButton("Start the search")
        self.start.setProperty("primary", True)
        self.start.clicked.connect(self.start_clicked)
        self.busy = BusyRow("Progress of the search")
        self.busy.cancel_clicked.connect(self.cancel_clicked)
        self.state = Label("", "subtle", wrap=True)
        self.table = RowsTable("Recipes that were tried", _COLUMNS, numbers=range(1, 7))
        self.table.set_widths([theme.px(width) for width in _WIDTHS])
        self.chart = TradeoffChart(
            prompts,
            empty="Each run becomes a point: clean accuracy against the highest success rate of a "
            "canary.",
            opens=False,
        )
        self.said = Label("", wrap=True)
        self.said.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.use = QPushButton("Use this recipe")
        self.use.setEnabled(False)
        self.use.clicked.connect(self._on_use_clicked)
        self.ca_drop.valueChanged.connect(self.chart.ca_drop.setValue)
        self.asr.valueChanged.connect(self.chart.asr.setValue)
        self.chart.ca_drop.setValue(self.ca_drop.value())
        self.chart.asr.setValue(self.asr.value())
        self._lay_out(checkpoint)
        self.busy.hide()
        self.card.hide()
        self.state.hide()

    def show_running(self) -> None:
        """A search begins."""
        self._set_busy(True)
        self.busy.bar.setRange(0, 0)
        self._say("Opening the checkpoint and the data…")

    def show_progress(self, event: Progress) -> None:
        """How far it is: of the search as a whole, else which part is at work."""
        if event.stage in ("canaries", "search", "estimate"):
            self.busy.bar.setRange(0, max(0, event.total))
            self.busy.bar.setValue(event.done)
        if event.stage in _STAGES and self.busy.cancel.isEnabled():
            self._say(_STAGES[event.stage])

    def show_words(self, words: str) -> None:
        """What it does now."""
        if self.busy.cancel.isEnabled():
            self._say(words)

    def show_cancelling(self) -> None:
        """It was told to end."""
        self.busy.cancel.setEnabled(False)
        self._say("Cancelling…")

    def show_record(self, record: SearchRecord) -> None:
        """Every run so far, and the best of them."""
        self.record = record
        self.table.set_rows(
            [
                _cells(place, row, place == record.chosen)
                for place, row in reversed(list(enumerate(record.rows)))
            ]
        )
        self.chart.set_tracks(
            [
                Track(curve.title, mark, curve.title, curve.points, start=record.ca_before)
                for mark, curve in enumerate(curves_of(record))
            ]
        )
        self.said.setText(plain(f"{record.said} {MEANS}", 2000))
        theme.set_property(self.card, "tone", "ok" if record.keeps else "caution")
        self.card.setVisible(record.best is not None)
        self.use.setEnabled(record.best is not None)
        # The main button takes a recipe only where one keeps the limits.
        theme.set_property(self.use, "primary", record.keeps)
        theme.set_property(self.start, "primary", not record.keeps)

    def show_ended(self, words: str, *, error: bool = False) -> None:
        """It is over, or could not begin."""
        self._set_busy(False)
        self._say(words, "error" if error else "subtle")

    def done(self, result: int) -> None:
        """Tell that it closes, by a button, a key or its frame."""
        super().done(result)
        self.closed.emit()

    @Slot()
    def _on_use_clicked(self) -> None:
        if self.record is not None and self.record.best is not None:
            self.used.emit(self.record.best.recipe)

    def _say(self, words: str, role: str = "subtle") -> None:
        theme.set_property(self.state, "role", role)
        self.state.setText(plain(words, 1000))
        self.state.setVisible(bool(words))

    def _set_busy(self, busy: bool) -> None:
        self.busy.setVisible(busy)
        self.busy.cancel.setEnabled(True)
        self.start.setEnabled(not busy)
        for box in (self.minutes, self.ca_drop, self.asr, self.rebound, self.peak):
            box.setEnabled(not busy)

    def _lay_out(self, checkpoint: str) -> None:
        fields = FoldingRow()
        for name, box in (
            ("Time", self.minutes), ("CA drop ≤", self.ca_drop), ("Canary ASR ≤", self.asr),
            ("Rebound", self.rebound), ("Pretraining rate", self.peak),
        ):  # fmt: skip
            fields.add(Label(name, "field", buddy=box), box)
        first = QHBoxLayout()
        first.setSpacing(theme.SPACE_M)
        first.addWidget(fields, 1)
        first.addWidget(self.start, 0, Qt.AlignmentFlag.AlignTop)
        middle = QHBoxLayout()
        middle.setSpacing(theme.SPACE_M)
        middle.addWidget(self.table, 3)
        middle.addWidget(self.chart, 2)
        self.card = QFrame()
        self.card.setProperty("card", True)
        self.card.setAccessibleName("What the search found")
        inside = QVBoxLayout(self.card)
        inside.setContentsMargins(*(theme.SPACE_L,) * 4)
        inside.addWidget(self.said)
        close = QPushButton("Close")
        close.clicked.connect(self.reject)
        buttons = QHBoxLayout()
        buttons.setSpacing(theme.SPACE_S)
        buttons.addStretch()
        buttons.addWidget(close)
        buttons.addWidget(self.use)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(*(theme.SPACE_XL,) * 4)
        layout.setSpacing(theme.SPACE_M)
        layout.addWidget(Label(plain(f"A recipe for {checkpoint}", 100), "title"))
        layout.addWidget(Label(LEAD, "subtle", wrap=True))
        layout.addLayout(first)
        layout.addWidget(self.busy)
        layout.addWidget(self.state)
        layout.addLayout(middle, 1)
        layout.addWidget(self.card)
        layout.addLayout(buttons)
        for button in self.findChildren(QPushButton):
            button.setAutoDefault(button in (self.start, self.use))
        self.start.setDefault(True)  # of the fields; Use is pressed by Enter where it has the focus
        resize_within(self, 1180, 760)


def _cells(place: int, row: SearchRow, chosen: bool) -> Row:
    """A run as a row of the table."""
    drop = "–" if row.ca_drop is None else f"{row.ca_drop:.1f}"
    worst = row.status if row.worst_asr is None else percent(row.worst_asr)
    return Row(
        place,
        (
            Cell(FACTS[row.recipe.method].title, row.recipe.method),
            Cell(number_text(row.recipe.lr, "log"), row.recipe.lr),
            Cell(str(row.steps), row.steps),
            rate(row.ca),
            Cell(drop, row.ca_drop),
            rate(row.mean_asr),
            Cell(worst, row.worst_asr),
            Cell("best" if chosen else "", float(chosen)),
        ),
    )


def _box(kind: Kind, low: float, high: float, unit: str, value: float, name: str) -> NumberBox:
    box = NumberBox(kind, low, high, unit)
    box.setAccessibleName(name)
    box.setValue(value)
    box.setFixedWidth(theme.px(112))
    return box
