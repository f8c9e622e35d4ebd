"""For how many GPUs and machines a job is written."""

from __future__ import annotations

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QWidget

from cleanclip_gui.clean.setup import BATCH_NORM
from cleanclip_gui.widgets.dialog_frame import FittedDialog, field_form, frame, primary_button
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.number_box import NumberBox
from ml_core.cleaning.recipes import Recipe

_LEAD = (
    "The job is written with a Slurm script and one for torchrun. Each GPU takes its part of every "
    "batch: the run is the same and finishes sooner."
)
_UNTESTED = "Several machines follow torchrun's documentation; this was not tested."
_MOST_GPUS, _MOST_MACHINES = 64, 1024


class ExportDialog(FittedDialog):
    """Emits ``chosen(gpus, machines)``: GPUs of each machine, and how many machines.

    Parameters
    ----------
    recipe
        Of the job: whether its batches can be divided.
    gpus
        Offered at first.
    """

    chosen = Signal(int, int)

    def __init__(self, recipe: Recipe, gpus: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export for a cluster")
        self._recipe = recipe
        self.gpus = NumberBox("int", 1, _MOST_GPUS)
        self.machines = NumberBox("int", 1, _MOST_MACHINES)
        form = field_form()
        for text, box, value in (
            ("GPUs a machine", self.gpus, gpus), ("Machines", self.machines, 1)
        ):  # fmt: skip
            box.setAccessibleName(text)
            box.setValue(value)
            box.valueChanged.connect(self._on_changed)
            form.addRow(Label(text, "field", buddy=box), box)
        self.state = Label("", "warning", wrap=True)
        self.ok = primary_button("Choose folder…")
        self.ok.clicked.connect(self._on_accepted)
        parts = (
            Label(_LEAD, "subtle", wrap=True), form, Label(_UNTESTED, "caption", wrap=True),
            self.state,
        )  # fmt: skip
        frame(self, "Export for a cluster", parts, self.ok)
        self.resize(460, 0)
        self._on_changed()

    def _problem(self) -> str:
        """Why the job would be refused there, as far as it is known here; empty if it is not."""
        recipe, together = self._recipe, round(self.gpus.value() * self.machines.value())
        if together > 1 and recipe.batch_size < 2 * together:
            return (
                f"A batch of {recipe.batch_size} cannot be divided among {together} GPUs: each "
                "needs at least two examples."
            )
        whole = recipe.batch_norm == "train" and not recipe.facts.frozen
        return BATCH_NORM if together > 1 and whole else ""

    @Slot()
    def _on_changed(self) -> None:
        problem = self._problem()
        self.state.setText(problem)
        self.state.setVisible(bool(problem))

    @Slot()
    def _on_accepted(self) -> None:
        for box in (self.gpus, self.machines):
            box.interpretText()
        self.accept()
        self.chosen.emit(round(self.gpus.value()), round(self.machines.value()))
