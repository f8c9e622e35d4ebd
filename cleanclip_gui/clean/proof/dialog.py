"""What the proofs of a result use: which image-caption pairs, and the pretraining's rate."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QPushButton, QWidget

from cleanclip_gui.clean.proof.rebound_view import pairs_text
from cleanclip_gui.clean.training_data import TrainingData
from cleanclip_gui.widgets.dialog_frame import FittedDialog, field_form, frame, primary_button
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.number_box import NumberBox, number_text
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plain
from ml_core.cleaning.pretraining import DEMO_PEAK, PRETRAINING_PEAK
from ml_core.data.specs import PairSpec
from ml_core.reading.errors import InputError

_LEAD = (
    "The rebound test finetunes on these pairs, and the hold-outs measure retrieval among them. "
    "Pairs that the cleaning saw are left out, in the rebound test also those that name the target "
    "class."
)
_RATE = (
    "The rebound test finetunes at 0.1, 0.3 and 1 times this rate: enter the peak learning rate "
    "that the checkpoint was pretrained with, if you know it. CLIP's RN50 and ViT-B/32 had "
    f"{number_text(PRETRAINING_PEAK, 'log')} (Radford et al. 2021, table 20), the demo's "
    f"checkpoint has {number_text(DEMO_PEAK, 'log')}."
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
        Peak rate of the pretraining.
    """

    pairs: PairSpec | None = None
    peak_lr: float | None = None


class ProofDialog(FittedDialog):
    """Emits ``chosen(ProofChoice)``.

    Parameters
    ----------
    usual
        Pairs that the tests take unless others are chosen; None if the run had none.
    peak_lr
        Peak rate that they take unless another is chosen.
    choice
        What was chosen before.
    """

    chosen = Signal(object)

    def __init__(
        self,
        usual: PairSpec | None,
        peak_lr: float,
        choice: ProofChoice,
        prompts: Prompts,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Options of the tests")
        self._has_usual, self._peak_lr = usual is not None, peak_lr
        self.data = TrainingData(prompts)
        self.data.demo.setText(_usual_text(usual))
        self.data.demo.setEnabled(self._has_usual)
        self.rate = NumberBox("log", _LOWEST, 1.0)
        self.rate.setAccessibleName("Peak rate of the pretraining")
        form = field_form()
        form.addRow(Label("Peak rate of the pretraining", "field", buddy=self.rate), self.rate)
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
        self.rate.setValue(self._peak_lr if choice.peak_lr is None else choice.peak_lr)
        self._on_changed()

    @Slot()
    def _on_changed(self) -> None:
        self.data.exclude_row.setVisible(not self.data.demo.isChecked())
        self.state.hide()

    @Slot()
    def _on_defaults(self) -> None:
        self._show(ProofChoice())

    @Slot()
    def _on_accepted(self) -> None:
        self.rate.interpretText()
        rate = self.rate.value()
        try:
            pairs = None if self.data.demo.isChecked() else self.data.pairs()
        except InputError as error:
            self.state.setText(plain(error.sentence, 600))
            self.state.show()
            return
        self.accept()
        self.chosen.emit(ProofChoice(pairs, None if rate == self._peak_lr else rate))


def _usual_text(usual: PairSpec | None) -> str:
    """What the tests take unless told otherwise."""
    if usual is None:
        return "Those of the run (it had none)"
    if usual.kind == "demo":
        return "Other compositions of the demo"
    return f"Those of the run: {pairs_text(usual.kind, usual.path)}"
