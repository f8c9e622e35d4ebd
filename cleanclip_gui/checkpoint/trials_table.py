"""What the loader doctor tried: each setting, how it scores, and the interval around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import QLineF, QModelIndex, QPersistentModelIndex, QRectF, Qt
from PySide6.QtGui import QPainter, QPen
from PySide6.QtWidgets import (
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.theme import look
from cleanclip_gui.widgets.table_rows import show_rows
from cleanclip_gui.widgets.text import count_text, percent, percent_range, plain, tip

_COLUMNS = ("Choice", "Question", "Answer", "Accuracy", "95 % interval", "Images", "Bar")
_MARK, _QUESTION, _ANSWER, _ACCURACY, _INTERVAL, _IMAGES, _BAR = range(len(_COLUMNS))
_RATES = Qt.ItemDataRole.UserRole
_INNER = 6
_FIRST = "as opened"
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


class _RateDelegate(QStyledItemDelegate):
    """A bar from 0 to 1 with the interval as a whisker."""

    def __init__(self, table: QWidget) -> None:
        super().__init__(table)
        self._table = table

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        """Draw the row's background, then bar and whisker."""
        super().paint(painter, option, index)
        rates = index.data(_RATES)
        if not rates:
            return
        rate, low, high, best = rates
        area = QRectF(option.rect).adjusted(_INNER, 8, -_INNER, -8)
        painter.save()
        painter.fillRect(area, look.track_colour(self._table))
        bar = QRectF(area.left(), area.top(), rate * area.width(), area.height())
        colour = look.clean_colour()
        painter.fillRect(bar, colour if best else look.faded(colour, True))
        painter.setPen(QPen(look.text_colour(self._table), 1.5))
        left, right = (area.left() + value * area.width() for value in (low, high))
        middle = area.center().y()
        painter.drawLine(QLineF(left, middle, right, middle))
        for end in (left, right):
            painter.drawLine(QLineF(end, middle - 3, end, middle + 3))
        painter.restore()


class TrialsTable(QTableWidget):
    """Rows as they arrive; :meth:`mark` tells which one is proposed."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(_COLUMNS), parent)
        self._trials: list[Mapping[str, Any]] = []
        self._best: Mapping[str, Any] | None = None
        self._word = ""
        self.setHorizontalHeaderLabels(list(_COLUMNS))
        self.setAccessibleName("Settings that were tried")
        show_rows(self, 28)
        header = self.horizontalHeader()
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        for column, width in ((_MARK, 76), (_QUESTION, 212), (_ACCURACY, 84), (_INTERVAL, 136)):
            self.setColumnWidth(column, theme.px(width))
        self.setColumnWidth(_IMAGES, theme.px(72))
        self.setColumnWidth(_BAR, theme.px(150))
        header.setSectionResizeMode(_ANSWER, QHeaderView.ResizeMode.Stretch)
        for column in (_ACCURACY, _INTERVAL, _IMAGES):
            title = QTableWidgetItem(_COLUMNS[column])
            title.setTextAlignment(_RIGHT)
            self.setHorizontalHeaderItem(column, title)
        self.setItemDelegateForColumn(_BAR, _RateDelegate(self))

    def clear_trials(self) -> None:
        """Show nothing."""
        self._trials, self._best = [], None
        self.setRowCount(0)

    def add(self, trial: Mapping[str, Any]) -> None:
        """Show one more trial, a dictionary as the doctor's job tells it."""
        self._trials.append(trial)
        self.insertRow(self.rowCount())
        self._fill(self.rowCount() - 1)
        self.scrollToBottom()

    def mark(self, best: Mapping[str, Any], *, proposed: bool) -> None:
        """Tell the proposed trial from the others, or the one that there is no reason to leave."""
        self._best = best["settings"]
        self._word = "proposed" if proposed else "now"
        for row in range(self.rowCount()):
            self._fill(row)
        row = next((n for n, t in enumerate(self._trials) if t["settings"] == self._best), 0)
        self.scrollTo(self.model().index(row, _ANSWER))

    def _fill(self, row: int) -> None:
        trial = self._trials[row]
        best = self._best is not None and trial["settings"] == self._best
        first = trial["question"] == _FIRST
        texts = {
            _MARK: self._word if best else "now" if first else "",
            _QUESTION: plain(trial["question"], 80),
            _ANSWER: plain(trial["answer"], 300),
            _ACCURACY: percent(trial["accuracy"]),
            _INTERVAL: percent_range((trial["low"], trial["high"])),
            _IMAGES: count_text(trial["n"]),
            _BAR: "",
        }
        font = theme.figure_font(theme.FONT_POINTS, bold=best)
        for column, text in texts.items():
            item = QTableWidgetItem(text)
            item.setFont(font)
            if column == _ANSWER:
                item.setToolTip(tip(text))
            if column in (_ACCURACY, _INTERVAL, _IMAGES):
                item.setTextAlignment(_RIGHT)
            if column == _BAR:
                item.setData(_RATES, (trial["accuracy"], trial["low"], trial["high"], best))
            self.setItem(row, column, item)
