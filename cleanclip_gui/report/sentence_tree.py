"""Rows under headings, whose sentences take as many lines as they need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PySide6.QtCore import QRect, QSize, Qt, Signal
from PySide6.QtGui import QFont, QFontMetrics, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.widgets.rows_table import Index
from cleanclip_gui.widgets.text import tip, unbroken

_PAD = 8  # above and below a sentence together
_SENTENCE = 200  # pixels that a sentence has at least
_SIDES = 14  # what the style leaves empty beside a cell's text
_KEY = Qt.ItemDataRole.UserRole
_TONE = Qt.ItemDataRole.UserRole + 1


@dataclass(frozen=True)
class SentenceRow:
    """Texts of the columns, a key of the caller's, and a named colour for each column's text.

    A column with a ``tone`` that is empty has the usual colour; ``bold`` are numbers of columns.
    """

    key: object
    texts: tuple[str, ...]
    tones: tuple[str, ...] = ()
    bold: tuple[int, ...] = ()


class SentenceTree(theme.Themed, QTreeWidget):
    """Groups of rows; one column has sentences and takes what the others leave.

    A sentence alone takes the whole width.

    ``chosen(object)`` carries the key of the row that is selected, None without one;
    ``opened(object)`` that of the row on which Return or a double click fell.

    Parameters
    ----------
    name
        For screen readers.
    titles
        Titles of the columns.
    wrapped
        The column with the sentences.
    narrow
        Pixels of the first column, whose long texts are elided; 0: as wide as its texts.
    """

    chosen = Signal(object)
    opened = Signal(object)

    def __init__(
        self,
        name: str,
        titles: Sequence[str],
        wrapped: int,
        parent: QWidget | None = None,
        *,
        narrow: int = 0,
    ) -> None:
        super().__init__(parent)
        self._wrapped = wrapped
        self.setAccessibleName(name)
        self.setHeaderLabels(list(titles))
        self.setWordWrap(True)
        self.setIndentation(theme.SPACE_M)
        self.setAlternatingRowColors(True)
        self.setAllColumnsShowFocus(True)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setTabKeyNavigation(False)
        self.setItemDelegate(_Delegate(wrapped, self))
        header = self.header()
        header.setStretchLastSection(False)
        header.setSectionsMovable(False)
        for column in range(len(titles)):
            header.setSectionResizeMode(
                column,
                QHeaderView.ResizeMode.Fixed
                if column == wrapped
                else QHeaderView.ResizeMode.ResizeToContents,
            )
        if narrow:
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.Interactive)
            header.resizeSection(0, narrow)
        header.sectionResized.connect(self._on_section_resized)
        self.currentItemChanged.connect(self._on_current_changed)
        self.itemActivated.connect(self._on_activated)

    def show_groups(self, groups: Sequence[tuple[str, Sequence[SentenceRow]]]) -> None:
        """Show other rows; the selected one stays so if its key is still there."""
        key, at = self.key, self.verticalScrollBar().value()
        closed = {head.text(0) for head in self._heads() if not head.isExpanded()}
        self.clear()
        for title, rows in groups:
            items = [self._item(row) for row in rows]
            self._add_group(title).addChildren(items)
            for item, row in zip(items, rows, strict=True):
                item.setFirstColumnSpanned(self._wrapped == 0 and not any(row.texts[1:]))
        for head in self._heads():
            head.setExpanded(head.text(0) not in closed)
        self.dress()
        self._fit()
        if key is not None:
            self.select(key)
        self.verticalScrollBar().setValue(at)

    def add_row(self, title: str, row: SentenceRow) -> None:
        """Append a row to the group of that title, which is made if missing."""
        matches = self.findItems(title, Qt.MatchFlag.MatchExactly, 0)
        head = matches[0] if matches else self._add_group(title)
        item = self._item(row)
        head.addChild(item)
        head.setExpanded(True)
        self._tint_item(item)

    def select(self, key: object) -> None:
        """Select the row with a key."""
        for item in self._items():
            if item.data(0, _KEY) == key:
                self.setCurrentItem(item)
                return

    @property
    def key(self) -> object:
        """The key of the selected row; None without one."""
        item = self.currentItem()
        return None if item is None else item.data(0, _KEY)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Sentences need other heights at another width."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        """Give the sentences what the other columns leave, and enough to be read."""
        others = set(range(self.columnCount())) - {self._wrapped}
        left = self.viewport().width() - sum(map(self.columnWidth, others))
        self.setColumnWidth(self._wrapped, max(theme.px(_SENTENCE), left))
        self.scheduleDelayedItemsLayout()

    def _heads(self) -> Iterator[QTreeWidgetItem]:
        for number in range(self.topLevelItemCount()):
            head = self.topLevelItem(number)
            assert head is not None
            yield head

    def _items(self) -> Iterator[QTreeWidgetItem]:
        """The rows, without the headings."""
        for head in self._heads():
            for place in range(head.childCount()):
                item = head.child(place)
                assert item is not None
                yield item

    def _add_group(self, title: str) -> QTreeWidgetItem:
        head = QTreeWidgetItem(self, [title])
        head.setFirstColumnSpanned(True)
        head.setFont(0, _bold())
        head.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
        return head

    def _item(self, row: SentenceRow) -> QTreeWidgetItem:
        item = QTreeWidgetItem([unbroken(text) for text in row.texts])
        item.setData(0, _KEY, row.key)
        for column, text in enumerate(row.texts):
            item.setTextAlignment(column, Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
            if column != self._wrapped:
                item.setToolTip(column, tip(text))
            if column < len(row.tones):
                item.setData(column, _TONE, row.tones[column])
            if column in row.bold:
                item.setFont(column, _bold())
        return item

    def dress(self) -> None:
        """Take the theme's colours."""
        for item in self._items():
            self._tint_item(item)

    def _tint_item(self, item: QTreeWidgetItem) -> None:
        for column in range(item.columnCount()):
            if tone := item.data(column, _TONE):
                item.setForeground(column, theme.colour(tone))

    def _on_section_resized(self, section: int, *_: int) -> None:
        if section != self._wrapped:
            self._fit()

    def _on_current_changed(self, *_: object) -> None:
        self.chosen.emit(self.key)

    def _on_activated(self, item: QTreeWidgetItem, _: int) -> None:
        key = item.data(0, _KEY)
        if key is not None:
            self.opened.emit(key)


def _bold() -> QFont:
    """The font of the tree, whichever it is, in bold."""
    font = QFont()
    font.setWeight(QFont.Weight.DemiBold)
    return font


class _Delegate(QStyledItemDelegate):
    """Gives a row the height of its sentence at the width of its column."""

    def __init__(self, wrapped: int, parent: SentenceTree) -> None:
        super().__init__(parent)
        self._wrapped, self._tree = wrapped, parent

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:  # noqa: N802
        """As high as the wrapped text, with some room."""
        hint = super().sizeHint(option, index)
        line = self._tree.fontMetrics().height()
        if not index.parent().isValid() or index.column() != self._wrapped:
            return QSize(hint.width(), line + theme.px(_PAD))
        indent = 2 * self._tree.indentation() if self._wrapped == 0 else 0
        item = self._tree.itemFromIndex(index)
        whole = item is not None and item.isFirstColumnSpanned()
        column = self._tree.viewport().width() if whole else self._tree.columnWidth(self._wrapped)
        width = column - indent - theme.px(_SIDES)
        metrics = QFontMetrics(option.font)
        flags = Qt.TextFlag.TextWordWrap | Qt.AlignmentFlag.AlignTop
        box = metrics.boundingRect(
            QRect(0, 0, max(width, 60), 100_000), int(flags), str(index.data() or "")
        )
        return QSize(hint.width(), box.height() + theme.px(_PAD))
