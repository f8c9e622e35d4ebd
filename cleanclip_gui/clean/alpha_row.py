"""A slider along a result's line in weight space, with what is measured at its place."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QSlider, QVBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.label import Label

_STEPS = 200
_FURTHEST = 2.0


class AlphaRow(QWidget):
    """``moved(alpha)`` comes while the slider moves; ``save_asked(alpha)`` from its button."""

    moved = Signal(float)
    save_asked = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._top = _FURTHEST
        self._own = (0, 0.0)  # the step that stands for the result's alpha, and that alpha
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, _STEPS)
        self.slider.setPageStep(_STEPS // 10)
        self.slider.setAccessibleName("Alpha")
        self.slider.setToolTip("0 is the checkpoint before cleaning.")
        self._value = Label("")
        self._value.setFont(theme.figure_font(theme.FONT_POINTS, bold=True))
        self._value.setMinimumWidth(self._value.fontMetrics().horizontalAdvance("0.00000"))
        self.save = QPushButton(theme.icon("save"), "Save at this alpha…")
        self._said = Label("", "caption", wrap=True)
        row = QHBoxLayout()
        row.setSpacing(theme.SPACE_S)
        row.addWidget(Label("Alpha", buddy=self.slider))
        row.addWidget(self.slider, 1)
        row.addWidget(self._value)
        row.addWidget(self.save)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.SPACE_XS)
        layout.addLayout(row)
        layout.addWidget(self._said)
        self.slider.valueChanged.connect(self._on_slid)
        self.save.clicked.connect(self._on_save_clicked)
        self.hide()

    @property
    def alpha(self) -> float:
        """Where the slider stands; exactly the result's own at the step nearest to it."""
        step, own = self._own
        at = self.slider.value()
        return own if at == step else round(self._top * at / _STEPS, 3)

    def show_alpha(self, alpha: float) -> None:
        """Show a result's own alpha, without telling anybody; the line goes twice as far, or 2."""
        self._top = max(_FURTHEST, 2 * alpha)
        self._own = (round(_STEPS * alpha / self._top), alpha)
        self.slider.blockSignals(True)
        self.slider.setValue(self._own[0])
        self.slider.blockSignals(False)
        self._write()
        self.say("This is the result's alpha. Move the slider to measure another one in Studio.")
        self.show()

    def say(self, text: str) -> None:
        """Say what was measured, or that it is under way."""
        self._said.setText(text)
        self.slider.setAccessibleDescription(f"{self.alpha:g}. {text}")

    def said(self) -> str:
        """What is said under the slider."""
        return self._said.text()

    def _write(self) -> None:
        self._value.setText(f"{self.alpha:g}")

    def _on_slid(self, _: int) -> None:
        self._write()
        self.moved.emit(self.alpha)

    def _on_save_clicked(self) -> None:
        self.save_asked.emit(self.alpha)
