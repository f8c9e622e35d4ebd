"""How the Clean station is laid out; what it does is in ``clean.py``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QStackedWidget,
    QTabBar,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.clean.alpha_row import AlphaRow
from cleanclip_gui.clean.before_after import BeforeAfter, duration_text
from cleanclip_gui.clean.charts.cleaning_charts import CleaningCharts
from cleanclip_gui.clean.once_button import OnceButton
from cleanclip_gui.clean.proof.section import ProofSection
from cleanclip_gui.clean.run_bar import RunBar
from cleanclip_gui.clean.setup import CleanSetup
from cleanclip_gui.widgets.label import ElidedLabel, Label
from cleanclip_gui.widgets.text import bytes_text, count_text, plain

SETUP_WIDTH = 396
CHARTS_HEIGHT = 430
ESTIMATE_HELP = "Measures a few steps in a child process."
ESTIMATE_WAITS = "Another job is at work; measure when it has ended."


class CleanView(QWidget):
    """Set-up on the left with Start below it; on the right this run, and all runs.

    ``page_shown(number)``: 0 is this run, 1 queue and history, 2 the comparison.
    """

    page_shown = Signal(int)

    def __init__(self, runs: QWidget, comparison: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("clean")
        self.setAccessibleName("Clean")
        self.setup = CleanSetup()
        self.form, self.data, self.output = self.setup.form, self.setup.data, self.setup.output
        self.start_button = OnceButton(theme.icon("play", "on_accent"), "Start cleaning")
        self.start_button.setProperty("primary", True)
        self.start_button.setProperty("large", True)
        self.estimate_button = QPushButton("Estimate")
        self.estimate_button.setToolTip(ESTIMATE_HELP)
        self._estimate = Label("", "caption", wrap=True)
        self._hint = Label("", "caption", wrap=True)
        self.run_bar = RunBar()
        self.charts = CleaningCharts()
        self.before_after = BeforeAfter()
        self.try_button = QPushButton(theme.icon("studio", "on_accent"), "Try in Studio")
        self.try_button.setProperty("primary", True)
        self.save_button = QPushButton(theme.icon("save"), "Save cleaned checkpoint…")
        self.resume_button = OnceButton(theme.icon("play", "on_accent"), "Resume")
        self.resume_button.setProperty("primary", True)
        self.halve_button = OnceButton("Start again at half the batch")
        self.halve_button.setToolTip("For a run that was ended because memory was short.")
        self.details_button = QPushButton("Details")
        self._trouble_text = Label(wrap=True)
        self.log_line = ElidedLabel("", "caption")
        self.log_line.hide()  # an empty line would leave the charts short of the set-up's end
        self.alpha = AlphaRow()
        self.proof = ProofSection()
        self._result_card = self._make_result_card()
        self._trouble_card = self._make_trouble_card()
        self.tabs = QTabBar()
        self.tabs.setAccessibleName("Pages of the Clean station")
        self.tabs.setDrawBase(False)
        self.tabs.addTab("This run")
        self.tabs.addTab("Queue and history")
        self.tabs.addTab("Compare runs")
        self.tabs.setExpanding(False)
        self._pages = QStackedWidget()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(theme.SPACE_M, theme.SPACE_M, theme.SPACE_M, theme.SPACE_M)
        layout.setSpacing(theme.SPACE_M)
        layout.addWidget(self._make_left())
        layout.addLayout(self._make_right(runs, comparison), 1)
        self.tabs.currentChanged.connect(self._on_tab_changed)
        self.show_estimate("")
        self.run_bar.show_idle("Ready", "Estimate measures a few steps; Start runs them all.")

    def show_page(self, number: int) -> None:
        """Show this run (0), queue and history (1) or the comparison (2)."""
        self.tabs.setCurrentIndex(number)

    def tell_queue(self, waiting: int, held: bool) -> None:
        """Say on the tab how many runs wait, and whether for the user."""
        title = "Queue and history"
        how = "held" if held else "waiting"
        self.tabs.setTabText(1, f"{title}, {waiting} {how}" if waiting else title)

    def _on_tab_changed(self, number: int) -> None:
        self._pages.setCurrentIndex(number)
        self.page_shown.emit(number)

    def show_estimate(self, text: str) -> None:
        """Show what was measured; nothing is shown that was not."""
        self._estimate.setText(text)
        self._estimate.setVisible(bool(text))

    def estimate_text(self) -> str:
        """The estimate on show; empty if none was measured for these settings."""
        return self._estimate.text()

    def show_hint(self, text: str) -> None:
        """Say what is missing or will not be measured."""
        self._hint.setText(text)
        self._hint.setVisible(bool(text))

    def show_log(self, line: str) -> None:
        """Show the newest line of the run's log."""
        self.log_line.setText(plain(line, 400))
        self.log_line.setVisible(bool(line))

    def show_result(self, result: Mapping[str, Any]) -> None:
        """Show before and after."""
        self.before_after.show_result(result)
        adapter = bool(result.get("adapter"))  # the weights beside it are untouched
        self.save_button.setText("Save adapter…" if adapter else "Save cleaned checkpoint…")
        self._trouble_card.hide()
        self._result_card.show()
        self._scroll.verticalScrollBar().setValue(0)

    def show_trouble(
        self, sentence: str, *, resumable: bool, failed: bool, halve: bool = False
    ) -> None:
        """Show why there is no result, and the way on."""
        self.halve_button.setVisible(halve)
        self._trouble_text.setText(plain(sentence))
        theme.set_property(self._trouble_card, "tone", "danger" if failed else "info")
        self.resume_button.setText("Resume" if resumable else "Start again")
        self.details_button.setVisible(failed)
        self._result_card.hide()
        self._trouble_card.show()

    def shows_result(self) -> bool:
        """Whether before and after are on the page of this run."""
        return not self._result_card.isHidden()

    def hide_outcome(self) -> None:
        """Take away what the run before left."""
        self._result_card.hide()
        self._trouble_card.hide()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Fits a small laptop."""
        return QSize(1200, 700)

    def _make_left(self) -> QWidget:
        """The set-up, scrolling, above the buttons, which always show."""
        card = QFrame()
        card.setProperty("card", True)
        card.setFixedWidth(SETUP_WIDTH)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(self.setup)
        rule = QFrame()
        rule.setProperty("rule", True)
        buttons = QHBoxLayout()
        buttons.setSpacing(theme.SPACE_S)
        buttons.addWidget(self.start_button, 1)
        buttons.addWidget(self.estimate_button)
        foot = QVBoxLayout()
        foot.setContentsMargins(theme.SPACE_L, theme.SPACE_M, theme.SPACE_L, theme.SPACE_M)
        foot.setSpacing(theme.SPACE_S)
        foot.addWidget(self._hint)
        foot.addWidget(self._estimate)
        foot.addLayout(buttons)
        layout = QVBoxLayout(card)
        layout.setContentsMargins(1, 1, 1, 1)
        layout.setSpacing(0)
        layout.addWidget(scroll, 1)
        layout.addWidget(rule)
        layout.addLayout(foot)
        return card

    def _make_right(self, runs: QWidget, comparison: QWidget) -> QVBoxLayout:
        """Run bar; this run's outcome and charts, or the bench; and the log line."""
        page = QWidget()
        page.setObjectName("page")
        self.charts.setMinimumHeight(CHARTS_HEIGHT)
        inside = QVBoxLayout(page)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(theme.SPACE_M)
        inside.addWidget(self._trouble_card)
        inside.addWidget(self._result_card)
        inside.addWidget(self.charts, 1)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setWidget(page)
        self._pages.addWidget(self._scroll)
        self._pages.addWidget(runs)
        self._pages.addWidget(comparison)
        right = QVBoxLayout()
        right.setSpacing(theme.SPACE_S)
        right.addWidget(self.run_bar)
        right.addWidget(self.tabs)
        right.addWidget(self._pages, 1)
        right.addWidget(self.log_line)
        return right

    def _make_result_card(self) -> QFrame:
        buttons = QHBoxLayout()
        buttons.setSpacing(theme.SPACE_S)
        buttons.addWidget(self.try_button)
        buttons.addWidget(self.save_button)
        buttons.addStretch(1)
        card = _card(self.before_after, buttons)
        layout = card.layout()
        if layout is not None:
            layout.addWidget(self.alpha)
            layout.addWidget(self.proof)
        return card

    def _make_trouble_card(self) -> QFrame:
        buttons = QHBoxLayout()
        buttons.setSpacing(theme.SPACE_S)
        buttons.addWidget(self.resume_button)
        buttons.addWidget(self.halve_button)
        buttons.addWidget(self.details_button)
        buttons.addStretch(1)
        return _card(self._trouble_text, buttons)


def estimate_sentence(found: Mapping[str, Any]) -> str:
    """What the measured steps mean for the whole run."""
    text = (
        f"About {duration_text(found['seconds'])} for {count_text(found['steps'])} steps "
        f"({found['step_seconds']:.2f} s a step, measured)"
    )
    if found.get("memory_bytes"):
        text += f", {bytes_text(found['memory_bytes'])} of memory"
    if found.get("disk_bytes"):
        text += f", {bytes_text(found['disk_bytes'])} on disk"
    return f"{text}."


def _card(widget: QWidget, buttons: QHBoxLayout) -> QFrame:
    """Return a sheet, hidden at first, with a widget and a row of buttons."""
    card = QFrame()
    card.setProperty("card", True)
    layout = QVBoxLayout(card)
    layout.setContentsMargins(theme.SPACE_L, theme.SPACE_M, theme.SPACE_L, theme.SPACE_M)
    layout.setSpacing(theme.SPACE_M)
    layout.addWidget(widget)
    layout.addLayout(buttons)
    card.hide()
    return card
