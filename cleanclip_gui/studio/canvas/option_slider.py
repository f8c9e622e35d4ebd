"""A slider with caption and value; and a bar of controls for narrow windows too."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, QSize, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QSlider, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.label import Label

_NARROW = 280


class OptionSlider(QWidget):
    """A caption, a slider and its value; ``set_compact`` leaves the slider alone."""

    changed = Signal(int)

    def __init__(self, caption: str, name: str, low: int, high: int, unit: str) -> None:
        super().__init__()
        self._unit = unit
        self.caption = Label(caption, "caption")
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(low, high)
        self.slider.setAccessibleName(name)
        self.slider.setToolTip(name)
        self.slider.setMinimumWidth(36)
        self.slider.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.value = Label("", "caption")
        self.value.setMinimumWidth(
            self.value.fontMetrics().horizontalAdvance(f"{high}\u2009{unit}") + 2
        )
        self.value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(theme.SPACE_XS)
        row.addWidget(self.caption)
        row.addWidget(self.slider, 1)
        row.addWidget(self.value)
        self.slider.valueChanged.connect(self._on_value)
        self._on_value(self.slider.value())

    def set_value(self, value: int | None) -> None:
        """Show a value without telling anybody; None where there is none."""
        blocker = QSignalBlocker(self)
        self.setEnabled(value is not None)
        if value is not None:
            self.slider.setValue(value)
        blocker.unblock()
        self._write("" if value is None else f"{value}\u2009{self._unit}")

    def set_compact(self, compact: bool) -> None:
        """Leave out caption and value, which the tool tip has too."""
        self.caption.setVisible(not compact)
        self.value.setVisible(not compact)

    def _on_value(self, value: int) -> None:
        self._write(f"{value}\u2009{self._unit}")
        self.changed.emit(value)

    def _write(self, text: str) -> None:
        self.value.setText(text)
        name = self.slider.accessibleName()
        self.slider.setToolTip(f"{name}: {text}" if text else name)


class CompactBar(QWidget):
    """A row of controls that leaves out words where there is no room for them.

    A subclass adds its controls to ``row`` and leaves out what else it can in ``set_compact``.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.row = QHBoxLayout(self)
        self.row.setContentsMargins(0, 0, 0, 0)
        self.row.setSpacing(2)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self._compact = False

    def set_compact(self, compact: bool) -> None:
        """Leave out words, or show them again."""
        self._compact = compact
        for option in self.findChildren(OptionSlider):
            option.set_compact(compact)

    def fit(self) -> None:
        """Leave out what does not fit into the present width."""
        if self._compact:
            self.set_compact(False)
            self.row.activate()
        if self.row.minimumSize().width() > self.width():
            self.set_compact(True)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Narrow: a small window need not be wider for the words' sake."""
        return QSize(min(_NARROW, self.row.minimumSize().width()), self.row.minimumSize().height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Fit into the new width."""
        super().resizeEvent(event)
        self.fit()
