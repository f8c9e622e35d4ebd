"""The bench's pages: the table of runs with what can be done with one, and the charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.clean.charts.charts import Chart, SeriesStyle
from cleanclip_gui.clean.charts.parts import SYMBOLS
from cleanclip_gui.clean.charts.tradeoff_chart import TradeoffChart
from cleanclip_gui.clean.charts.tradeoff_plot import Track
from cleanclip_gui.clean.once_button import OnceButton
from cleanclip_gui.clean.runs.history import PastRun
from cleanclip_gui.clean.runs.run_marks import letter
from cleanclip_gui.clean.runs.runs_table import RunsTable, run_title
from cleanclip_gui.clean.training_data import tool
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.text import percent
from ml_core.cleaning.catalogue import method_title
from ml_core.cleaning.tradeoff import Head, Point

# So wide that two charts can stand side by side.
_BOTH = 1100


class RunsView(QWidget):
    """Widgets and their places; what they do is in ``clean_runs.py``."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Runs: queue, history and comparison")
        self.table = RunsTable()
        self.up = _arrow("chevron-up", "Earlier in the queue")
        self.down = _arrow("chevron-down", "Later in the queue")
        self.start = _button("Start", "Run it, or let it wait for the one at work.")
        self.remove = _button("Remove", "Take it out of the queue; its folder stays.")
        self.open_ = _button("Show", "Show its result and charts under This run.")
        self.repeat = _button("Repeat", "Fill the form with everything this run was.")
        self.duplicate = _button("Duplicate", "Queue the same job once more, in a new folder.")
        self.resume = _button("Resume", "Go on from the last save.")
        self.halve = _button("Half the batch", "Queue it again with half the examples in a step.")
        self.export = _button("For a cluster…", "Write the job with a Slurm script.")
        self.hold = _button("Hold the queue", "Let nobody start after the run at work.")
        self.hold.setCheckable(True)
        self.hold.setProperty("toggle", True)
        self.start_queue = _button("Start the queue", "Run those that wait, one after the other.")
        self.start_queue.hide()
        self.add_folder = _button("Open results folder…", "Add a run that was made elsewhere.")
        self.note = QLineEdit()
        self.note.setPlaceholderText("Note on the selected run")
        self.note.setAccessibleName("Note on the selected run")
        self.note.setMaxLength(500)
        self.said = Label("", "caption", wrap=True)
        self.said.hide()
        self.comparison = Comparison()
        self.tradeoff, self.curves = self.comparison.tradeoff, self.comparison.curves
        self._lay_out()

    def say(self, text: str) -> None:
        """Say one sentence under the table and under the charts; nothing hides it."""
        for label in (self.said, self.comparison.said):
            label.setText(text)
            label.setVisible(bool(text))

    def _lay_out(self) -> None:
        acts = QHBoxLayout()
        acts.setSpacing(0)
        for button in (
            self.open_, self.repeat, self.duplicate, self.resume, self.halve, self.start,
            self.up, self.down, self.remove, self.export,
        ):  # fmt: skip
            acts.addWidget(button)
        acts.addStretch(1)
        head = QHBoxLayout()
        head.setSpacing(0)
        head.addWidget(Label("Queue and history", "heading"))
        head.addStretch(1)
        head.addWidget(self.start_queue)
        head.addWidget(self.hold)
        head.addWidget(self.add_folder)
        card = QFrame()
        card.setProperty("card", True)
        inside = QVBoxLayout(card)
        inside.setContentsMargins(theme.SPACE_M, theme.SPACE_S, theme.SPACE_M, theme.SPACE_S)
        inside.setSpacing(theme.SPACE_XS)
        inside.addLayout(head)
        inside.addWidget(self.table, 1)
        inside.addLayout(acts)
        inside.addWidget(self.note)
        inside.addWidget(self.said)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(card)


class Comparison(QWidget):
    """Both charts that compare runs; one at a time where there is no room for two."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Comparison of runs")
        self.tradeoff = TradeoffChart()
        self.curves = Chart(
            "Runs over their steps",
            show=percent,
            whole=True,
            legend_columns=2,
            empty="Tick runs in the table: their clean accuracy and attack success on validation "
            "images are drawn over each other.",
        )
        self.pick_tradeoff = QPushButton("Trade-off")
        self.pick_tradeoff.setToolTip("Clean accuracy against attack success.")
        self.pick_curves = QPushButton("Over steps")
        self.pick_curves.setToolTip("Both rates over the steps of each run.")
        picks = QButtonGroup(self)
        self._switch = QWidget()
        row = QHBoxLayout(self._switch)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(theme.SPACE_XS)
        for button in (self.pick_tradeoff, self.pick_curves):
            button.setCheckable(True)
            picks.addButton(button)
            row.addWidget(button)
        row.addStretch(1)
        charts = QHBoxLayout()
        charts.setSpacing(theme.SPACE_M)
        charts.addWidget(self.tradeoff, 1)
        charts.addWidget(self.curves, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.SPACE_S)
        layout.addWidget(self._switch)
        layout.addLayout(charts, 1)
        self.said = Label("", "caption", wrap=True)
        self.said.hide()
        layout.addWidget(self.said)
        self.pick_tradeoff.setChecked(True)
        self.pick_tradeoff.clicked.connect(self._arrange)
        self.pick_curves.clicked.connect(self._arrange)
        self._arrange()

    def draw(self, shown: Sequence[tuple[int, PastRun, Mapping[Head, tuple[Point, ...]]]]) -> None:
        """Draw runs, each with its mark and its evaluations by head."""
        wanted = {f"{letter(mark)}.{name}" for mark, _, _ in shown for name in ("ca", "asr")}
        for key in self.curves.keys():  # noqa: SIM118
            if key not in wanted:
                self.curves.remove_series(key)
        tracks = []
        for mark, run, found in shown:
            key, zero_shot = letter(mark), found["zero-shot"]
            title = run_title(run)
            tracks.append(Track(str(run.folder), mark, title, zero_shot, found["linear"]))
            name = f"{key} {method_title(run.spec.recipe.method)}"
            symbol = SYMBOLS[mark % len(SYMBOLS)]
            for number, (part, words) in enumerate((("ca", "CA"), ("asr", "ASR"))):
                self.curves.add_series(
                    SeriesStyle(
                        f"{key}.{part}", f"{name}, {words}", mark, markers=True,
                        dash=number, symbol=symbol,
                    )
                )  # fmt: skip
            fill_curves(self.curves, key, zero_shot)
        self.curves.update_now()
        self.tradeoff.set_tracks(tracks)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Show both charts where there is room."""
        super().resizeEvent(event)
        self._arrange()

    def _arrange(self) -> None:
        both = self.width() >= _BOTH
        self._switch.setVisible(not both)
        self.tradeoff.setVisible(both or self.pick_tradeoff.isChecked())
        self.curves.setVisible(both or self.pick_curves.isChecked())


def fill_curves(chart: Chart, key: str, points: tuple[Point, ...]) -> None:
    """Put a run's evaluations into its two series, ``KEY.ca`` and ``KEY.asr``."""
    for name in ("ca", "asr"):
        chart.series(f"{key}.{name}").clear()
    for point in points:
        chart.append(f"{key}.ca", point.step, point.ca)
        if point.asr is not None:
            chart.append(f"{key}.asr", point.step, point.asr)


def _button(text: str, help_line: str) -> OnceButton:
    button = OnceButton(text)
    button.setProperty("quiet", True)
    button.setToolTip(help_line)
    return button


def _arrow(icon: str, name: str) -> QToolButton:
    return tool(icon, name)
