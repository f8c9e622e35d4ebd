"""How a run stands: what it does, how far it is, how long it takes, and how to steer it."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout
from PySide6.QtWidgets import QWidget as _Widget

from cleanclip_gui import theme
from cleanclip_gui.clean.before_after import duration_text
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.text import count_text
from ml_core.events import Progress

STAGES = {
    "open": "Opening checkpoint and data",
    "data": "Reading the data",
    "estimate": "Measuring a few steps",
    "before": "Measuring the checkpoint as it is",
    "prepare": "Choosing the fastest precision",
    "train": "Training",
    "alpha": "Choosing alpha on validation images",
    "validate": "Measuring on validation images",
    "after": "Measuring the cleaned checkpoint",
}


class RunBar(QFrame):
    """Title, progress and the buttons Pause, Stop and save, Cancel."""

    pause_clicked = Signal()
    stop_clicked = Signal()
    cancel_clicked = Signal()

    def __init__(self, parent: _Widget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.title = Label("", "heading")
        self.details = Label("", "caption")
        self.details.setFont(theme.figure_font(theme.FONT_POINTS - 1))
        self.throughput = Label("", "caption")
        self.throughput.setFont(theme.figure_font(theme.FONT_POINTS - 1))
        self.throughput.setAccessibleName("Throughput")
        self.notice = Label("", "caption")
        self.notice.setWordWrap(True)
        self.notice.hide()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName("Progress of the run")
        self.pause = QPushButton(theme.icon("pause"), "Pause")
        self.stop = QPushButton(theme.icon("save"), "Stop and save")
        self.stop.setToolTip("Finish the step, save the checkpoint as it is then, and measure it.")
        self.cancel = QPushButton("Cancel")
        self.cancel.setProperty("danger", True)
        self.cancel.setToolTip("End at once; the last save is kept.")
        self.buttons = (self.pause, self.stop, self.cancel)
        head = QHBoxLayout()
        head.setSpacing(theme.SPACE_S)
        head.addWidget(self.title, 1)
        for button in self.buttons:
            head.addWidget(button)
        foot = QHBoxLayout()
        foot.addWidget(self.details, 1)
        foot.addWidget(self.throughput)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.SPACE_L, theme.SPACE_M, theme.SPACE_L, theme.SPACE_M)
        layout.setSpacing(theme.SPACE_S)
        layout.addLayout(head)
        layout.addWidget(self.bar)
        layout.addLayout(foot)
        layout.addWidget(self.notice)
        self.pause.clicked.connect(self.pause_clicked)
        self.stop.clicked.connect(self.stop_clicked)
        self.cancel.clicked.connect(self.cancel_clicked)
        self.show_idle("Ready", "")

    def show_idle(self, title: str, details: str) -> None:
        """Show that nothing runs."""
        self.title.setText(title)
        self.details.setText(details)
        self.details.setVisible(bool(details))
        self.throughput.hide()
        self.bar.hide()
        self.show_notice("")
        for button in self.buttons:
            button.hide()

    def show_start(self, title: str, *, steerable: bool) -> None:
        """Show that a run begins; an estimate can only be cancelled."""
        self.title.setText(title)
        self.details.setText("Starting the child process")
        self.details.show()
        self.throughput.setText("")
        self.throughput.show()
        self.bar.setRange(0, 0)
        self.bar.show()
        for button in self.buttons:
            button.setVisible(steerable or button is self.cancel)
            button.setEnabled(True)
        self.set_paused(False)

    def show_progress(self, progress: Progress) -> None:
        """Show stage, share, throughput and time left."""
        self.bar.setRange(0, 1000 if progress.total else 0)
        if progress.total:
            self.bar.setValue(round(1000 * min(progress.done / progress.total, 1.0)))
        self.details.setText(progress_text(progress))
        unit = "examples" if progress.stage == "train" else "images"
        rate = progress.rate
        self.throughput.setText(f"{rate:.0f} {unit} a second" if rate else "")
        self.bar.setAccessibleDescription(self.details.text())

    def show_notice(self, text: str) -> None:
        """Say what the run means for the rest of the window."""
        self.notice.setText(text)
        self.notice.setVisible(bool(text))

    def set_paused(self, paused: bool) -> None:
        """Turn Pause into Resume and back."""
        self.pause.setText("Resume" if paused else "Pause")
        self.pause.setIcon(theme.icon("play" if paused else "pause"))

    def show_ending(self, title: str, *, cancelling: bool) -> None:
        """Show that the run was told to end."""
        self.title.setText(title)
        self.pause.setEnabled(False)
        self.stop.setEnabled(False)
        self.cancel.setEnabled(not cancelling)


def progress_text(progress: Progress) -> str:
    """A stage in words, with what is done and how long it still takes."""
    key, _, rest = progress.stage.partition(" ")
    name = STAGES.get(key.rstrip(","), progress.stage.capitalize())
    rest = rest.replace("heldout", "held-out style")
    parts = [f"{name} {rest}".strip() if rest else name]
    if progress.total > 1:
        parts.append(f"{count_text(progress.done)} of {count_text(progress.total)}")
    left = progress.seconds_left
    if left is not None and 0 < progress.done < progress.total:
        parts.append(f"{duration_text(max(left, 0))} left")
    return " · ".join(parts)
