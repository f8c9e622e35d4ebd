"""The comparison of runs: both charts, side by side where there is room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QButtonGroup, QPushButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.charts.charts import Chart, SeriesStyle
from cleanclip_gui.clean.charts.parts import SYMBOLS
from cleanclip_gui.clean.charts.run_marks import letter
from cleanclip_gui.clean.run_folders.history import PastRun
from cleanclip_gui.clean.runs.tradeoff_chart import TradeoffChart
from cleanclip_gui.clean.runs.tradeoff_plot import Track
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import percent, plain
from ml_core.cleaning.tradeoff import Head, Point

# So wide that two charts can stand side by side.
_BOTH = 1100
_PLOT = 190  # pixels of height; the page scrolls where there are fewer


class Comparison(QWidget):
    """Both charts that compare runs; one at a time where there is no room for two."""

    def __init__(self, prompts: Prompts, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Comparison of runs")
        self.tradeoff = TradeoffChart(prompts)
        self.curves = Chart(
            "Runs over their steps",
            prompts,
            show=percent,
            whole=True,
            legend_columns=2,
            empty="Tick runs in the table: their clean accuracy and attack success on validation "
            "images are drawn in one chart.",
        )
        for chart in (self.tradeoff, self.curves):
            chart.stack.setMinimumHeight(theme.px(_PLOT))
        self.pick_tradeoff = QPushButton("Trade-off")
        self.pick_tradeoff.setToolTip("Clean accuracy against attack success.")
        self.pick_curves = QPushButton("Over steps")
        self.pick_curves.setToolTip("Both rates over the steps of each run.")
        picks = QButtonGroup(self)
        self._switch = QWidget()
        for button in (self.pick_tradeoff, self.pick_curves):
            button.setCheckable(True)
            picks.addButton(button)
        row(self.pick_tradeoff, self.pick_curves, None, of=self._switch, spacing=theme.SPACE_XS)
        charts = row((self.tradeoff, 1), (self.curves, 1), spacing=theme.SPACE_M)
        self.said = Label("", "caption", wrap=True)
        self.said.hide()
        column(self._switch, (charts, 1), self.said, of=self, spacing=theme.SPACE_S)
        self.pick_tradeoff.setChecked(True)
        picks.buttonToggled.connect(self._arrange)
        self._arrange()

    def draw(self, shown: Sequence[tuple[int, PastRun, Mapping[Head, tuple[Point, ...]]]]) -> None:
        """Draw runs, each with its mark and its evaluations by head."""
        styles = [style for mark, run, _ in shown for style in _styles(mark, run)]
        labels = {style.key: style.label for style in styles}
        for key in self.curves.keys():  # noqa: SIM118
            if self.curves.series(key).style.label != labels.get(key):  # gone, or renamed
                self.curves.remove_series(key)
        for style in styles:
            self.curves.add_series(style)
        tracks = []
        for mark, run, by_head in shown:
            zero_shot, title = by_head["zero-shot"], plain(run.title, 60)
            tracks.append(Track(str(run.folder), mark, title, zero_shot, by_head["linear"]))
            fill_curves(self.curves, letter(mark), zero_shot)
        self.curves.update_now()
        self.tradeoff.set_tracks(tracks)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Show both charts where there is room."""
        super().resizeEvent(event)
        self._arrange()

    def _arrange(self) -> None:
        both = self.width() >= theme.px(_BOTH)
        self._switch.setVisible(not both)
        self.tradeoff.setVisible(both or self.pick_tradeoff.isChecked())
        self.curves.setVisible(both or self.pick_curves.isChecked())


def _styles(mark: int, run: PastRun) -> tuple[SeriesStyle, ...]:
    """How the two curves of a run look and are called."""
    name = plain(run.title, 24)
    symbol = SYMBOLS[mark % len(SYMBOLS)]
    return tuple(
        SeriesStyle(
            f"{letter(mark)}.{part}", f"{letter(mark)} {name}, {words}", mark, markers=True,
            dash=number, symbol=symbol,
        )
        for number, (part, words) in enumerate((("ca", "CA"), ("asr", "ASR")))
    )  # fmt: skip


def fill_curves(chart: Chart, key: str, points: tuple[Point, ...]) -> None:
    """Put a run's evaluations into its two series, ``KEY.ca`` and ``KEY.asr``."""
    for name in ("ca", "asr"):
        chart.series(f"{key}.{name}").clear()
    for point in points:
        chart.append(f"{key}.ca", point.step, point.ca)
        if point.asr is not None:
            chart.append(f"{key}.asr", point.step, point.asr)
