"""The loader doctor's page: which images, what was tried, what is proposed, and who decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QDialog, QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.image_choice import ImageChoice
from cleanclip_gui.checkpoint.trials_table import TrialsTable
from cleanclip_gui.widgets.busy_row import BusyRow
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plain, plural

_LEAD = (
    "What a file does not say, or says wrong, is tried on labelled images: activation, mean and "
    "std, heads, resolution, logit scale. The doctor proposes; nothing changes until you choose."
)
_AS_IT_IS = "The checkpoint is best as it is opened: there is nothing to choose."


class DoctorDialog(QDialog):
    """Shows what it is told; ``start_clicked``, ``cancel_clicked``, ``use_clicked``,
    ``forget_clicked`` and ``closed`` are the user's."""

    start_clicked = Signal()
    cancel_clicked = Signal()
    use_clicked = Signal()
    forget_clicked = Signal()
    closed = Signal()

    def __init__(self, name: str, prompts: Prompts, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(plain(f"Loader doctor: {name}", 120))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.images = ImageChoice(prompts)
        self.trials = TrialsTable()
        self.start = QPushButton("Try the settings")
        self.start.setProperty("primary", True)
        self.start.clicked.connect(self.start_clicked)
        self.busy = BusyRow("Progress of the doctor")
        self.busy.cancel_clicked.connect(self.cancel_clicked)
        self.state = Label("", "subtle", wrap=True)
        self.verdict = Label("", "heading", wrap=True)
        self.words = Label("", wrap=True)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.use = QPushButton("Use this")
        self.use.setProperty("primary", True)
        self.use.clicked.connect(self.use_clicked)
        self.forget = QPushButton("Forget the choice")
        self.forget.clicked.connect(self.forget_clicked)
        close = QPushButton("Close")
        close.clicked.connect(self.reject)

        first = QHBoxLayout()
        first.setSpacing(theme.SPACE_M)
        first.addWidget(self.images, 1)
        first.addWidget(self.start)
        self.card = QFrame()
        self.card.setProperty("card", True)
        self.card.setAccessibleName("What the doctor proposes")
        inside = QVBoxLayout(self.card)
        inside.setContentsMargins(*(theme.SPACE_L,) * 4)
        inside.setSpacing(theme.SPACE_S)
        inside.addWidget(self.verdict)
        inside.addWidget(self.words)
        buttons = QHBoxLayout()
        buttons.setSpacing(theme.SPACE_S)
        buttons.addWidget(self.forget)
        buttons.addStretch()
        buttons.addWidget(close)
        buttons.addWidget(self.use)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(*(theme.SPACE_XL,) * 4)
        layout.setSpacing(theme.SPACE_M)
        layout.addWidget(Label(plain(name, 100), "title"))
        layout.addWidget(Label(_LEAD, "subtle", wrap=True))
        layout.addLayout(first)
        layout.addWidget(self.busy)
        layout.addWidget(self.state)
        layout.addWidget(self.trials, 1)
        layout.addWidget(self.card)
        layout.addLayout(buttons)
        for button in self.findChildren(QPushButton):
            button.setAutoDefault(button in (self.start, self.use))
        self.resize(1080, 700)
        self.busy.hide()
        self.card.hide()
        self.use.setEnabled(False)
        self.show_remembered("")

    def show_remembered(self, sentence: str) -> None:
        """Say what was chosen before; empty if nothing was."""
        self.forget.setVisible(bool(sentence))
        self._say(sentence)

    def show_running(self) -> None:
        """The settings are being tried."""
        self.trials.clear_trials()
        self.card.hide()
        self.use.setEnabled(False)
        self._set_busy(True)
        self.busy.bar.setRange(0, 0)
        self._say("Opening the checkpoint and the images…")

    def show_cancelling(self) -> None:
        """The user gave up; the process has still to end."""
        self.busy.cancel.setEnabled(False)
        self._say("Cancelling…")

    def add(self, trial: Mapping[str, Any]) -> None:
        """One more setting was tried."""
        self.trials.add(trial)
        if self.busy.cancel.isEnabled():
            tried = plural(self.trials.rowCount(), "setting")
            self._say(f"{tried} tried on {plural(trial['n'], 'image')}…")

    def show_ended(self, words: str, *, error: bool = False) -> None:
        """It ended without a proposal: cancelled, or failed."""
        self._set_busy(False)
        self._say(words, "error" if error else "subtle")

    def show_result(self, result: Mapping[str, Any]) -> None:
        """What it proposes and why, warnings first."""
        self._set_busy(False)
        warnings: Sequence[str] = result["warnings"]
        choice = result["choice"]
        self.trials.mark(result["best"])
        tried = plural(len(result["trials"]), "setting")
        self._say(f"{tried} tried on {plain(result['images'], 80)}.")
        title = "File and behaviour disagree" if warnings else "The file leaves something open"
        self.verdict.setText(title if choice else _AS_IT_IS)
        proposal = (choice or {}).get("evidence", "").replace("Chosen with", "Proposed by", 1)
        sentences = (*warnings, *result["findings"], *([proposal] if proposal else []))
        self.words.setText("\n".join(plain(sentence, 600) for sentence in sentences))
        self.words.setVisible(bool(sentences))
        theme.set_property(self.card, "tone", "caution" if warnings else "" if choice else "ok")
        self.card.show()
        self.use.setEnabled(choice is not None)
        (self.use if choice else self.start).setFocus()

    def show_used(self, sentence: str) -> None:
        """The choice is in use from now on."""
        self.use.setEnabled(False)
        self.show_remembered(sentence)

    def done(self, result: int) -> None:
        """Closed, by whatever way."""
        self.closed.emit()
        super().done(result)

    @Slot(str)
    def _say(self, words: str, role: str = "subtle") -> None:
        theme.set_property(self.state, "role", role)
        self.state.setText(plain(words, 1000))
        self.state.setVisible(bool(words))

    def _set_busy(self, busy: bool) -> None:
        self.busy.setVisible(busy)
        self.busy.cancel.setEnabled(True)
        self.images.setEnabled(not busy)
        self.start.setEnabled(not busy)
