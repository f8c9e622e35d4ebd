"""Two groups of controls that stand one below the other where there is no room side by side."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QHBoxLayout, QSizePolicy, QWidget

from cleanclip_gui import theme


class FoldingRow(QWidget):
    """Widgets are added to :attr:`first` and :attr:`second`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.first, self.second = QHBoxLayout(), QHBoxLayout()
        self._both = QBoxLayout(QBoxLayout.Direction.LeftToRight, self)
        self._both.setContentsMargins(0, 0, 0, 0)
        for layout in (self.first, self.second, self._both):
            layout.setSpacing(theme.SPACE_S)
        for group in (self.first, self.second):
            self._both.addLayout(group)
            self._both.setAlignment(group, Qt.AlignmentFlag.AlignLeft)
        self._both.addStretch(1)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """As narrow as the wider group, and as high as it stands now."""
        width = max(group.minimumSize().width() for group in (self.first, self.second))
        return QSize(width, self._both.minimumSize().height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Fold, or unfold."""
        super().resizeEvent(event)
        wide = sum(group.minimumSize().width() for group in (self.first, self.second))
        ways = QBoxLayout.Direction
        way = ways.LeftToRight if wide + theme.SPACE_S <= self.width() else ways.TopToBottom
        if way != self._both.direction():
            self._both.setDirection(way)
            self.updateGeometry()
