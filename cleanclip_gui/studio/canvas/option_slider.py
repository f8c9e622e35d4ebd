"""A slider with caption and value; and a bar of controls for narrow windows too."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QSignalBlocker, QSize, Qt, Signal
from PySide6.QtGui import QResizeEvent, QShowEvent
from PySide6.QtWidgets import QGridLayout, QSizePolicy, QSlider, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import Label, named
from cleanclip_gui.widgets.layout import row

_NARROW = 280


class OptionSlider(QWidget):
    """A caption, a slider and its value; compact, the slider stands below the two words."""

    changed = Signal(int)

    def __init__(self, caption: str, name: str, low: int, high: int, unit: str) -> None:
        super().__init__()
        self._unit = unit
        self.caption = Label(caption, "caption")
        self.slider = named(QSlider(Qt.Orientation.Horizontal), name, name)
        self.slider.setRange(low, high)
        self.slider.setMinimumWidth(theme.px(36))
        self.slider.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.value = Label("", "caption")
        self.value.setMinimumWidth(
            self.value.fontMetrics().horizontalAdvance(f"{high}\u2009{unit}") + 2
        )
        self.value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(0)
        self._grid.setHorizontalSpacing(theme.SPACE_XS)
        self.set_compact(False)
        self.slider.valueChanged.connect(self._on_value)
        self._on_value(self.slider.value())

    def set_value(self, value: int | None) -> None:
        """Show a value without emitting a signal; None: no value."""
        with QSignalBlocker(self):
            self.setEnabled(value is not None)
            if value is not None:
                self.slider.setValue(value)
        self._write("" if value is None else f"{value}\u2009{self._unit}")

    def set_compact(self, compact: bool) -> None:
        """Put caption and value above the slider, or beside it again."""
        grid = self._grid
        grid.addWidget(self.caption, 0, 0)
        if compact:
            grid.addWidget(self.value, 0, 1)
            grid.addWidget(self.slider, 1, 0, 1, 2)
        else:
            grid.addWidget(self.slider, 0, 1)
            grid.addWidget(self.value, 0, 2)
        grid.setColumnStretch(1, 1)
        self.lay_out()  # or the row goes on with the room that it took before

    def lay_out(self) -> None:
        """Take in at once what is shown now."""
        self._grid.invalidate()
        self._grid.activate()
        self.setMinimumSize(0, 0)  # that of the other way, set while it had no parent
        self.updateGeometry()

    def _on_value(self, value: int) -> None:
        self._write(f"{value}\u2009{self._unit}")
        self.changed.emit(value)

    def _write(self, text: str) -> None:
        self.value.setText(text)
        name = self.slider.accessibleName()
        self.slider.setToolTip(f"{name}: {text}" if text else name)


class CompactBar(QWidget):
    """A row of controls that takes less room where there is little.

    A subclass adds its controls to ``row``, and in ``set_compact`` saves what room it can besides.
    """

    least = 0  # pixels of height at 100 %

    def __init__(self) -> None:
        super().__init__()
        self.row = row(of=self, spacing=2)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self._compact = self._is_fitting = False

    def set_compact(self, compact: bool) -> None:
        """Leave out words, or show them again."""
        self._compact = compact
        for option in self.findChildren(OptionSlider):
            option.set_compact(compact)

    def fit(self) -> None:
        """Leave out what does not fit into the present width."""
        if self._is_fitting:  # what is shown and hidden here resizes the row
            return
        self._is_fitting = True
        if self._compact:
            self.set_compact(False)
        self._show_values(True)
        if self._is_too_wide():
            self.set_compact(True)
            if self._is_too_wide():
                self._show_values(False)
                self.row.invalidate()
        self.row.invalidate()
        self.setMinimumHeight(max(theme.px(self.least), self.row.minimumSize().height()))
        self._is_fitting = False

    def _is_too_wide(self) -> bool:
        for option in self.findChildren(OptionSlider):
            option.updateGeometry()  # the row keeps what it knows of them
        self.row.invalidate()
        return self.row.minimumSize().width() > self.width()

    def _show_values(self, shown: bool) -> None:
        """Show the values or hide them; they are hidden last, since tool tips show them too."""
        for option in self.findChildren(OptionSlider):
            option.value.setVisible(shown)
            option.lay_out()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """What it was fitted for while hidden may have had another font."""
        super().showEvent(event)
        self.fit()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Fit again when type has another size."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and self.isVisible():
            self.fit()

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """A narrow width, so that the words do not force a small window to be wider."""
        return QSize(
            min(theme.px(_NARROW), self.row.minimumSize().width()), self.row.minimumSize().height()
        )

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Fit into the new width."""
        super().resizeEvent(event)
        self.fit()
