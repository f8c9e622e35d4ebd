"""What all tables of rows have in common: rows are chosen whole, read only, and of one height."""

from __future__ import annotations

from collections.abc import Container, Sequence

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from cleanclip_gui import theme


def show_rows(view: QTableView, height: int = 26) -> None:
    """Set up a table whose rows are ``height`` pixels high at 100 %; Tab leaves it."""
    view.setAlternatingRowColors(True)
    view.setShowGrid(False)
    view.setWordWrap(False)
    view.setTabKeyNavigation(False)
    view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    rows = view.verticalHeader()
    rows.hide()
    rows.setDefaultSectionSize(theme.px(height))
    rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
    view.horizontalHeader().setHighlightSections(False)


class FilledTable(QTableView):
    """A table in which one column, the first unless another is named, takes what others leave."""

    filling, narrowest = 0, 130

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Fill the new width."""
        super().resizeEvent(event)
        self.fit()

    def fit(self) -> None:
        """Give the column what the others leave."""
        others = set(range(self.model().columnCount())) - {self.filling}
        left = self.viewport().width() - sum(map(self.columnWidth, others))
        self.setColumnWidth(self.filling, max(theme.px(self.narrowest), left))

    def follow_columns(self) -> None:
        """Fit the column whenever the user widens another one."""
        header = self.horizontalHeader()
        header.setSectionResizeMode(self.filling, QHeaderView.ResizeMode.Fixed)
        header.sectionResized.connect(self._on_section_resized)

    def _on_section_resized(self, section: int, *_: object) -> None:
        if section != self.filling:
            self.fit()


def alignment(column: int, numbers: Container[int] = ()) -> Qt.AlignmentFlag:
    """Numbers stand right, and so do their titles; everything else stands left."""
    side = Qt.AlignmentFlag.AlignRight if column in numbers else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter


def title_data(
    titles: Sequence[str],
    section: int,
    orientation: Qt.Orientation,
    role: int,
    numbers: Container[int] = (),
    tips: Sequence[str] = (),
) -> object:
    """What a model's ``headerData`` says of its column titles; ``numbers`` are columns of them."""
    if orientation != Qt.Orientation.Horizontal:
        return None
    if role == Qt.ItemDataRole.DisplayRole:
        return titles[section]
    if role == Qt.ItemDataRole.ToolTipRole and tips:
        return tips[section]
    return alignment(section, numbers) if role == Qt.ItemDataRole.TextAlignmentRole else None
