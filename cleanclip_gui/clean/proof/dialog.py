"""What the proofs of a result use: which image-caption pairs, and the pretraining's rate."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QPushButton, QWidget

from cleanclip_gui.clean.proof.rebound_view import pairs_text
from cleanclip_gui.clean.training_data import TrainingData
from cleanclip_gui.widgets.dialog_frame import FittedDialog, field_form, frame, primary_button
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.number_box import NumberBox, number_text
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plain
from ml_core.cleaning.pretraining import UNKNOWN
from ml_core.data.specs import PairSpec
from ml_core.reading.errors import InputError

_LEAD = (
    "The rebound test finetunes on these pairs, and the hold-outs measure retrieval among them. "
    "Pairs that the cleaning saw are left out, in the rebound test also those that name the target "
    "class."
)
_RATE = (
    "The rebound test finetunes at 0.1, 0.3 and 1 times the peak learning rate that the checkpoint "
    "was pretrained at. Its file, its architecture or the list of known files tells it; where none "
    f"does, {number_text(UNKNOWN.assumed, 'log')} is assumed, the lowest that a CLIP is published "
    "with. The result says which."
)
_LOWEST = 1e-8


@dataclass(frozen=True)
class ProofChoice:
    """What the user chose for the tests; None leaves what they would take.

    Attributes
    ----------
    pairs
        Image-caption pairs of the rebound test and of retrieval.
    peak_lr
        Peak rate of the pretraining; None takes what is known of the checkpoint.
    """

    pairs: PairSpec | None = None
    peak_lr: float | None = None


class ProofDialog(FittedDialog):
    """Emits ``chosen(ProofChoice)``.

    Parameters
    ----------
    usual
        Pairs that the tests take unless others are chosen; None if the run had none.
    choice
        What was chosen before.
    """

    chosen = Signal(object)

    def __init__(
        self,
        usual: PairSpec | None,
        choice: ProofChoice,
        prompts: Prompts,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Options of the tests")
        self._has_usual = usual is not None
        self.data = TrainingData(prompts)
        self.data.demo.setText(_usual_text(usual))
        self.data.demo.setEnabled(self._has_usual)
        self.own_rate = QCheckBox("Enter the peak rate of the pretraining")
        self.rate = NumberBox("log", _LOWEST, 1.0, title="Peak rate of the pretraining")
        self.rate.setEnabled(False)
        self.own_rate.toggled.connect(self.rate.setEnabled)
        form = field_form()
        form.addRow(self.own_rate, self.rate)
        self.state = Label("", "error", wrap=True)
        self.defaults = QPushButton("Defaults")
        self.defaults.setProperty("quiet", True)
        self.ok = primary_button("Use these")
        parts = (
            Label(_LEAD, "subtle", wrap=True), Label("Image-caption pairs", "heading"), self.data,
            Label("Learning rate", "heading"), form, Label(_RATE, "caption", wrap=True), self.state,
        )  # fmt: skip
        frame(self, "Options of the tests", parts, self.ok, aside=self.defaults)
        self.resize(600, 0)
        self.data.changed.connect(self._on_changed)
        self.defaults.clicked.connect(self._on_defaults)
        self.ok.clicked.connect(self._on_accepted)
        self._show(choice)

    def _show(self, choice: ProofChoice) -> None:
        self.data.show_specs(choice.pairs, None)
        if choice.pairs is None and not self._has_usual:
            self.data.table.setChecked(True)
        self.own_rate.setChecked(choice.peak_lr is not None)
        self.rate.setValue(choice.peak_lr or UNKNOWN.assumed)
        self._on_changed()

    def _on_changed(self) -> None:
        self.data.exclude_row.setVisible(not self.data.demo.isChecked())
        self.state.hide()

    def _on_defaults(self) -> None:
        self._show(ProofChoice())

    def _on_accepted(self) -> None:
        self.rate.interpretText()
        rate = self.rate.value() if self.own_rate.isChecked() else None
        try:
            pairs = None if self.data.demo.isChecked() else self.data.pairs()
        except InputError as error:
            self.state.setText(plain(error.sentence, 600))
            self.state.show()
            return
        self.accept()
        self.chosen.emit(ProofChoice(pairs, rate))


def _usual_text(usual: PairSpec | None) -> str:
    """What the tests take unless told otherwise."""
    if usual is None:
        return "Those of the run (it had none)"
    if usual.kind == "demo":
        return "Other compositions of the demo"
    return f"Those of the run: {pairs_text(usual.kind, usual.path)}"
