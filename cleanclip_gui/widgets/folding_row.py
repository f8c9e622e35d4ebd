"""Groups of controls that continue on another line if there is no room side by side."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QSize
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from cleanclip_gui import theme


class FoldingRow(QWidget):
    """Each call of :meth:`add` makes a group, which stays in one line; hidden widgets take no room.

    Parameters
    ----------
    groups
        The first ones; a single widget is a group too.
    spacing
        Between widgets, in pixels.
    """

    def __init__(self, *groups: QWidget | Sequence[QWidget], spacing: int | None = None) -> None:
        super().__init__()
        self._groups: list[tuple[QWidget, ...]] = []
        self._lines: list[list[int]] = []  # numbers of the groups in each
        self._rows: list[QHBoxLayout] = []
        self._wanted_spacing = spacing
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(theme.SPACE_S)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        for group in groups:
            self.add(*([group] if isinstance(group, QWidget) else group))

    def add(self, *widgets: QWidget) -> None:
        """Append a group."""
        self._groups.append(widgets)
        row = QHBoxLayout()
        row.setSpacing(self._spacing)
        self._layout.addLayout(row)
        self._rows.append(row)
        self._fold(self._broken(self.width() if self.isVisible() else None))

    @property
    def _spacing(self) -> int:
        return theme.SPACE_S if self._wanted_spacing is None else self._wanted_spacing

    @property
    def lines(self) -> int:
        """How many lines there are now."""
        return len(self._lines)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Wide enough for one line, and as high as it stands now."""
        width = sum(self._widths()) + self._spacing * (len(self._groups) - 1)
        return QSize(width, self._layout.minimumSize().height())

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """As narrow as the widest group, and as high as it stands now."""
        return QSize(max(self._widths(), default=0), self._layout.minimumSize().height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Fold, or unfold."""
        super().resizeEvent(event)
        self._fold(self._broken(self.width()))

    def event(self, event: QEvent) -> bool:
        """Fold again when a widget has come, gone or changed its words."""
        if event.type() == QEvent.Type.LayoutRequest:
            self._fold(self._broken(self.width()))
        return super().event(event)

    def _widths(self) -> list[int]:
        return [
            sum(needed) + self._spacing * (len(needed) - 1)
            for group in self._groups
            if (needed := [_needed(widget) for widget in group if not widget.isHidden()])
        ]

    def _broken(self, room: int | None) -> list[list[int]]:
        """Which groups stand in which line; all in one where ``room`` is not known yet."""
        lines: list[list[int]] = [[]]
        used = 0
        for number, group in enumerate(self._groups):
            needed = [_needed(widget) for widget in group if not widget.isHidden()]
            width = sum(needed) + self._spacing * len(needed)
            if room is not None and used and used + width - self._spacing > room:
                lines.append([])
                used = 0
            lines[-1].append(number)
            used += width
        return lines

    def _fold(self, lines: list[list[int]]) -> None:
        if lines == self._lines:
            return
        self._lines = lines
        for row in self._rows:
            while row.count():
                row.takeAt(0)
        for row, line in zip(self._rows, lines, strict=False):
            for number in line:
                for widget in self._groups[number]:
                    row.addWidget(widget)
            row.addStretch(1)
        self.updateGeometry()


def _needed(widget: QWidget) -> int:
    """Narrowest width: what a layout gives the widget at least."""
    policy = widget.sizePolicy().horizontalPolicy()
    shrinks = bool(policy.value & QSizePolicy.PolicyFlag.ShrinkFlag.value)
    hint = widget.minimumSizeHint() if shrinks else widget.sizeHint()
    return min(widget.minimumWidth() or hint.width(), widget.maximumWidth())
