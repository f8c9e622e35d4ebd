"""The charts of a cleaning run: accuracy and attack success, loss parts, learning rate."""

from __future__ import annotations

import math

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QHideEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.charts.charts import Chart, SeriesStyle, plain, scientific
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.layout import column
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import percent
from ml_core.cleaning.catalogue import FACTS
from ml_core.events import Metric

# Evaluation keys with the keys of their interval; the order gives colour and dash.
# Supervised finetuning also measures its linear head.
RATES: tuple[tuple[str, str, str, str], ...] = (
    ("ca", "Clean accuracy", "ca_low", "ca_high"),
    ("asr_excl", "Attack success", "asr_low", "asr_high"),
    ("poisoned_accuracy", "Poisoned accuracy", "", ""),
    ("linear_ca", "Clean, linear head", "linear_ca_low", "linear_ca_high"),
    ("linear_asr_excl", "Attack, linear head", "linear_asr_low", "linear_asr_high"),
)
# What losses are made of, over all methods; colour, and the dash where it is not the colour's.
LOSSES: tuple[tuple[str, str, int, int | None], ...] = (
    ("loss", "Total", 0, None),
    ("clip", "CLIP", 1, None),
    ("image", "Images", 2, None),
    ("text", "Captions", 3, None),
    ("image_distance", "Images moved", 4, None),
    ("text_distance", "Captions moved", 4, 1),
    ("ce", "Cross-entropy", 1, None),
    ("repulsion", "Moved", 2, None),
    ("triggered", "Triggered", 1, None),
    ("clean", "Clean", 2, None),
    ("match", "Contrast", 3, None),
)

_SETTLE_MS = 60
_NARROW, _RATES, _SMALL = 460, 150, 110  # pixels: width, and heights of the plots


class CleaningCharts(QWidget):
    """Fed with the metrics of a run; each number goes to its chart by its key."""

    failed = Signal(object)

    def __init__(self, prompts: Prompts, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE_MS)
        self._settle.timeout.connect(self._prepare)
        self.rates = Chart(
            "Accuracy and attack success",
            prompts,
            tuple(
                SeriesStyle(key, label, look, markers=True)
                for look, (key, label, _, _) in enumerate(RATES)
            ),
            show=percent,
            whole=True,
            legend_columns=5,
            empty="Clean accuracy and attack success on validation images appear here as the "
            "run goes on.",
        )
        self.losses = Chart(
            "Loss",
            prompts,
            show=plain,
            legend_columns=4,
            empty="Loss, total and per term, is drawn here.",
        )
        self.rate = Chart(
            "Learning rate",
            prompts,
            (SeriesStyle("lr", "", 4, solid=True),),
            show=scientific,
            empty="The learning-rate schedule is drawn here.",
        )
        self._note = Label("", "caption", wrap=True)
        self._note.hide()
        self.rates.under_head.addWidget(self._note)
        self._lower = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._lower.setSpacing(theme.SPACE_M)
        self._lower.addWidget(self.losses, 5)
        self._lower.addWidget(self.rate, 3)  # its title, value and button side by side
        column((self.rates, 4), (self._lower, 3), of=self, spacing=theme.SPACE_M)
        self._arrange(narrow=False)
        for chart, height in (
            (self.rates, theme.px(_RATES)),
            (self.losses, theme.px(_SMALL)),
            (self.rate, theme.px(_SMALL)),
        ):
            chart.stack.setMinimumHeight(height)
        for chart in self.all():
            chart.failed.connect(self.failed)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """The two small charts stand one below the other where it is narrow."""
        super().resizeEvent(event)
        self._arrange(narrow=self.width() < theme.px(_NARROW))

    def _arrange(self, *, narrow: bool) -> None:
        ways = QBoxLayout.Direction
        self._lower.setDirection(ways.TopToBottom if narrow else ways.LeftToRight)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Load the plotting library once the page is painted, not in the middle of a run."""
        super().showEvent(event)
        self._settle.start()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Whoever left already need not wait for the charts."""
        self._settle.stop()
        super().hideEvent(event)

    def _prepare(self) -> None:
        for chart in self.all():
            chart.prepare()

    def all(self) -> tuple[Chart, ...]:
        """Every chart."""
        return (self.rates, self.losses, self.rate)

    def clear(self) -> None:
        """Forget the run."""
        for chart in self.all():
            chart.clear()

    def explain(self, method: str) -> None:
        """Say under the rates what is known to happen to them with this method."""
        facts = FACTS.get(method)  # type: ignore[call-overload]
        note = "" if facts is None else facts.note
        self._note.setText(note)
        self._note.setVisible(bool(note))

    def add(self, metric: Metric) -> None:
        """Take in the numbers of one step."""
        for chart in self.all():
            chart.set_total(metric.total_steps)
        values = metric.values
        for key, _, low, high in RATES:
            if key in values and not (key == "poisoned_accuracy" and "linear_ca" in values):
                self.rates.append(
                    key,
                    metric.step,
                    values[key],
                    values.get(low, math.nan),
                    values.get(high, math.nan),
                )
        if "lr" in values:
            self.rate.append("lr", metric.step, values["lr"])
        for key, label, look, dash in LOSSES:
            if key in values:
                self.losses.add_series(SeriesStyle(key, label, look, dash=dash))
                self.losses.append(key, metric.step, values[key])
