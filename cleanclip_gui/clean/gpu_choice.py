"""Where a run computes: on one device, or on every GPU of this machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.recipe_fields import Chooser
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.text import device_text

HELP = (
    "Each GPU takes its part of every batch: the run is the same, and ends sooner. Estimate "
    "measures one GPU."
)
BATCH_NORM = (
    "A ResNet whose BatchNorm takes each batch's statistics cannot be divided: set BatchNorm to "
    "frozen."
)


class GpuChoice(QWidget):
    """Shown where there are two GPUs or more; ``changed`` comes after a choice by the user."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.choice = Chooser()
        self.choice.setAccessibleName("Device of the run")
        self._help = Label(HELP, "caption", wrap=True)
        self._gpus = 0
        row = QHBoxLayout()
        row.setSpacing(theme.SPACE_S)
        row.addWidget(Label("Runs on", "field", buddy=self.choice))
        row.addWidget(self.choice, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.SPACE_XS)
        layout.addLayout(row)
        layout.addWidget(self._help)
        self.choice.activated.connect(self._on_activated)
        self.hide()

    def set_devices(self, names: Sequence[str], one: str) -> None:
        """Offer all GPUs among ``names`` beside ``one``, which runs alone; keeps the choice."""
        everything = self.processes() > 1
        self._gpus = count_gpus(names)
        self.choice.clear()
        self.choice.addItem(device_text(one), 1)
        if self._gpus > 1:
            self.choice.addItem(f"All {self._gpus} GPUs", self._gpus)
        self.set_processes(self._gpus if everything else 1)
        self.setVisible(self._gpus > 1)

    def processes(self) -> int:
        """In how many processes a run is started: one for each GPU that it takes."""
        return int(self.choice.currentData() or 1)

    def set_processes(self, count: int) -> None:
        """Choose every GPU for a run of several processes, else the one device."""
        self.choice.setCurrentIndex(1 if count > 1 and self._gpus > 1 else 0)
        self._help.setVisible(self.processes() > 1)

    def warn(self, text: str) -> None:
        """Say why all GPUs will not do; empty if they will."""
        self._help.setText(text or HELP)

    def _on_activated(self, _: int) -> None:
        self._help.setVisible(self.processes() > 1)
        self.changed.emit()


def count_gpus(names: Sequence[str]) -> int:
    """GPUs that can train together; torch connects none on Windows."""
    return 0 if sys.platform == "win32" else sum(name.startswith("cuda:") for name in names)
