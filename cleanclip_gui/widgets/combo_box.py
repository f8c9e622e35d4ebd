"""Combo boxes that fit where there is little room."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QComboBox, QStyle, QStyleOptionComboBox, QStylePainter, QWidget

_USUAL = 24  # letters of an entry


class ElidingComboBox(QComboBox):
    """Wide enough for its entries where there is room; else the one in use ends in an ellipsis."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(4)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Of the longest entry, up to the length of a usual one."""
        hint, letters = super().sizeHint(), self.fontMetrics()
        longest = max((letters.horizontalAdvance(e) for e in self._entries()), default=0)
        least = self.minimumContentsLength() * letters.horizontalAdvance("X")
        usual = min(longest, _USUAL * letters.averageCharWidth())
        return hint + QSize(max(0, usual - least), 0)

    def _entries(self) -> list[str]:
        return [self.itemText(number) for number in range(self.count())]

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """As ever, with as much of the entry as there is room for."""
        painter, option = QStylePainter(self), QStyleOptionComboBox()
        self.initStyleOption(option)
        part = QStyle.SubControl.SC_ComboBoxEditField
        control = QStyle.ComplexControl.CC_ComboBox
        field = self.style().subControlRect(control, option, part, self)
        option.currentText = self.fontMetrics().elidedText(
            option.currentText, Qt.TextElideMode.ElideRight, field.width()
        )
        painter.drawComplexControl(control, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
