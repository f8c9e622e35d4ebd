"""Ask how a checkpoint is to be converted: for open_clip, or as an exact copy."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QRadioButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.dialog_frame import FittedDialog, frame, primary_button
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.text import plain

_LEAD = (
    "Neither kind of file contains a pickle. The original is not changed, and nothing in it is run."
)
_OPEN_CLIP = (
    "The model alone, with the names that open_clip loads. Optimizer state and everything else "
    "in the file are left out."
)
_AS_IS = "Every tensor under its own name, bit for bit. Other programs may not know the names."


class ConvertDialog(FittedDialog):
    """Two choices; ``chosen(bool)`` is true for an exact copy.

    Parameters
    ----------
    name
        Of the checkpoint.
    problem
        Why no model can be made of it, as a sentence; empty if one can.
    """

    chosen = Signal(bool)

    def __init__(self, name: str, problem: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Convert to safetensors")
        self.open_clip = QRadioButton("For open_clip (recommended)")
        self.as_is = QRadioButton("Exact copy of all tensors")
        self.open_clip.setEnabled(not problem)
        (self.as_is if problem else self.open_clip).setChecked(True)
        why = f"Not possible for this file: {problem}" if problem else _OPEN_CLIP
        self.why = Label(plain(why, 600), "subtle", wrap=True)
        copied = Label(_AS_IS, "subtle", wrap=True)
        for button, words in ((self.open_clip, self.why), (self.as_is, copied)):
            button.setAccessibleDescription(words.text())
            words.setIndent(theme.SPACE_XL)
        self.ok = primary_button("Choose where to save…")
        self.ok.clicked.connect(self._on_accepted)
        parts = (Label(_LEAD, wrap=True), self.open_clip, self.why, self.as_is, copied)
        frame(self, plain(name, 80), parts, self.ok)
        self.resize(560, 0)

    def _on_accepted(self) -> None:
        self.accept()
        self.chosen.emit(self.as_is.isChecked())
