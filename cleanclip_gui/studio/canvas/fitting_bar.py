"""A bar of controls that leaves out words where there is little room."""

from __future__ import annotations

from abc import abstractmethod

from PySide6.QtCore import QSize
from PySide6.QtGui import QResizeEvent, QShowEvent
from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme


class FittingBar(theme.Themed, QWidget):
    """A subclass gives itself a layout, and calls :meth:`fit` when it shows something else."""

    @abstractmethod
    def set_compact(self, compact: bool) -> None:
        """Leave out words, or show them again."""

    def fit(self) -> None:
        """Leave out words if all of them do not fit into the present width."""
        self.set_compact(False)
        if self.needed_width() > self.width():
            self.set_compact(True)

    def needed_width(self) -> int:
        """Pixels for what it shows now; layouts keep what they knew of it before."""
        for widget in (*self.findChildren(QWidget), self):
            if (layout := widget.layout()) is not None:
                layout.invalidate()
        return super().minimumSizeHint().width()

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """No width, so that words do not force a small window to be wider."""
        return QSize(0, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Fit into the new width."""
        super().resizeEvent(event)
        self.fit()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """What it was fitted for while hidden may have had another font."""
        super().showEvent(event)
        self.fit()

    def dress(self) -> None:
        """Fit again when type has another size."""
        if self.isVisible():
            self.fit()
