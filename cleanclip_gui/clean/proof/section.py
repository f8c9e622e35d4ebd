"""Proof of a cleaned checkpoint: two tests, each with its button, progress and result."""

from __future__ import annotations

from PySide6.QtWidgets import QFrame, QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.proof.holdouts_table import HoldoutsView
from cleanclip_gui.clean.proof.rebound_view import ReboundView
from cleanclip_gui.widgets.label import Label

HELP = (
    "One low number is no proof. The rebound test finetunes the cleaned model once more on clean "
    "pairs and watches whether the backdoor comes back; hold-outs measure what the run was not "
    "told: the trigger moved, scaled and recoloured, other triggers, retrieval, other classes."
)


class ProofSection(QWidget):
    """Stands under before and after; hidden until there is a result."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Proof")
        self.rebound_button = QPushButton("Rebound test")
        self.holdouts_button = QPushButton("Hold-outs")
        self.options_button = QPushButton("Options…")
        self.options_button.setProperty("quiet", True)
        self.options_button.setAccessibleName("Options of the tests")
        self.cancel = QPushButton("Cancel")
        self.cancel.setProperty("danger", True)
        self.cancel.setAccessibleName("Cancel the test")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName("Progress of the test")
        self.uses = Label("", "caption", wrap=True)
        self._state = Label("", "caption")
        self.rebound = ReboundView()
        self.holdouts = HoldoutsView()
        rule = QFrame()
        rule.setProperty("rule", True)
        head = QHBoxLayout()
        head.setSpacing(theme.SPACE_S)
        head.addWidget(Label("Proof", "heading"), 1)
        head.addWidget(self.options_button)
        head.addWidget(self.rebound_button)
        head.addWidget(self.holdouts_button)
        head.addWidget(self.cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, theme.SPACE_S, 0, 0)
        layout.setSpacing(theme.SPACE_S)
        layout.addWidget(rule)
        layout.addLayout(head)
        layout.addWidget(Label(HELP, "caption", wrap=True))
        layout.addWidget(self.uses)
        layout.addWidget(self.bar)
        layout.addWidget(self._state)
        layout.addWidget(self.rebound)
        layout.addWidget(self.holdouts)
        self.show_idle("")
        self.hide()

    def show_running(self, text: str) -> None:
        """Show that a test runs; it can only be cancelled."""
        self.bar.setRange(0, 0)
        self.bar.show()
        self.cancel.show()
        self.cancel.setEnabled(True)
        self.say(text)

    def show_share(self, done: int, total: int) -> None:
        """Show how far it is."""
        self.bar.setRange(0, 1000 if total else 0)
        if total:
            self.bar.setValue(round(1000 * min(done / total, 1.0)))

    def show_idle(self, text: str) -> None:
        """Show that no test runs, and why if it ended early."""
        self.bar.hide()
        self.cancel.hide()
        self.say(text)

    def show_uses(self, text: str) -> None:
        """Say what was chosen for the tests, or has to be; empty where neither is so."""
        self.uses.setText(text)
        self.uses.setVisible(bool(text))

    def say(self, text: str) -> None:
        """Say one sentence under the bar."""
        self._state.setText(text)
        self._state.setVisible(bool(text))

    def said(self) -> str:
        """The sentence under the bar."""
        return self._state.text()

    def forget(self) -> None:
        """Take the results of another run away."""
        self.rebound.hide()
        self.holdouts.hide()
        self.show_idle("")
