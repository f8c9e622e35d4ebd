"""What all tables of rows have in common: rows are chosen whole, read only, and of one height."""

from __future__ import annotations

from collections.abc import Container, Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView


def show_rows(view: QTableView, height: int = 26) -> None:
    """Set up a table whose rows are ``height`` pixels high; Tab leaves it."""
    view.setAlternatingRowColors(True)
    view.setShowGrid(False)
    view.setWordWrap(False)
    view.setTabKeyNavigation(False)
    view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    rows = view.verticalHeader()
    rows.hide()
    rows.setDefaultSectionSize(height)
    rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
    view.horizontalHeader().setHighlightSections(False)


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
