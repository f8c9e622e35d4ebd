"""The library of triggers: published ones with their source, the shipped one, one's own."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QModelIndex, Qt, Signal
from PySide6.QtGui import QFont
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.text import plain, tip

_KEY = Qt.ItemDataRole.UserRole


@dataclass(frozen=True)
class LibraryEntry:
    """A trigger on offer: its name, where it comes from, how it stands, and its conventions.

    ``group`` is the heading that it stands under; ``key`` comes back when it is chosen.
    ``own`` ones can be deleted; ``takes_file`` ones are made of a file or, without, of one of
    their kind.
    """

    key: str
    group: str
    name: str
    source: str
    standing: str = ""
    details: str = ""
    own: bool = False
    takes_file: bool = False


class TriggerLibrary(QDialog):
    """``chosen(key, add)`` puts a trigger on the canvas alone, or with what is there.

    ``file_wanted(key)`` asks for the file that makes it the published one.
    """

    chosen = Signal(str, bool)
    file_wanted = Signal(str)
    delete_wanted = Signal(str)

    def __init__(self, entries: tuple[LibraryEntry, ...], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Trigger library")
        self._entries: dict[str, LibraryEntry] = {}
        self._groups: dict[str, QTreeWidgetItem] = {}
        self.items: dict[str, QTreeWidgetItem] = {}  # lines of the tree, by key
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search by name or paper")
        self.search.setAccessibleName("Search the library")
        self.search.setClearButtonEnabled(True)
        self.tree = QTreeWidget()
        self.tree.setAccessibleName("Triggers")
        self.tree.setHeaderLabels(["Trigger", "Source", "At this model"])
        self.tree.setRootIsDecorated(False)
        self.tree.setUniformRowHeights(True)
        self.tree.setIndentation(theme.SPACE_M)
        self.tree.setAllColumnsShowFocus(True)
        self.tree.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.tree.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.details = Label("", "subtle", wrap=True)
        self.details.setMinimumHeight(4 * self.details.fontMetrics().height())
        self.details.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.use = QPushButton("Use")
        self.use.setProperty("primary", True)
        self.use.setDefault(True)
        self.add = QPushButton("Combine with current trigger")
        self.file = QPushButton("With its file…")
        self.delete = QPushButton("Delete")
        self.delete.setProperty("danger", True)
        close = QPushButton("Close")
        self._lay_out(close)
        self.search.textChanged.connect(self._filter)
        self.tree.currentItemChanged.connect(self._on_current)
        self.tree.itemActivated.connect(self._on_use)
        self.use.clicked.connect(self._on_use)
        self.add.clicked.connect(self._on_add)
        self.file.clicked.connect(self._on_file)
        self.delete.clicked.connect(self._on_delete)
        close.clicked.connect(self.reject)
        self.set_entries(entries)
        self.resize(760, 560)

    def _lay_out(self, close: QPushButton) -> None:
        buttons = QHBoxLayout()
        buttons.addWidget(self.delete)
        buttons.addStretch()
        for button in (close, self.file, self.add, self.use):
            buttons.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(*(theme.SPACE_XL,) * 4)
        column.setSpacing(theme.SPACE_M)
        column.addWidget(Label("Trigger library", "title"))
        column.addWidget(self.search)
        column.addWidget(self.tree, 1)
        column.addWidget(self.details)
        column.addLayout(buttons)
        header = self.tree.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.ResizeToContents)

    def set_entries(self, entries: tuple[LibraryEntry, ...]) -> None:
        """Offer these, group by group in their order."""
        self._entries = {entry.key: entry for entry in entries}
        self._groups, self.items = {}, {}
        self.tree.clear()
        for entry in entries:
            if entry.group not in self._groups:
                group = QTreeWidgetItem(self.tree, [entry.group])
                group.setFlags(Qt.ItemFlag.ItemIsEnabled)
                font = group.font(0)
                font.setWeight(QFont.Weight.DemiBold)
                group.setFont(0, font)
                self._groups[entry.group] = group
            words = [plain(text, 80) for text in (entry.name, entry.source, entry.standing)]
            item = self.items[entry.key] = QTreeWidgetItem(self._groups[entry.group], words)
            item.setData(0, _KEY, entry.key)
            item.setToolTip(0, tip(plain(entry.name, 200)))
        self.tree.expandAll()
        self._filter(self.search.text())

    @property
    def current(self) -> LibraryEntry | None:
        """The entry that is marked."""
        item = self.tree.currentItem()
        return None if item is None else self._entries.get(item.data(0, _KEY))

    def mark(self, key: str) -> None:
        """Mark an entry."""
        if key in self.items:
            self.tree.setCurrentItem(self.items[key])

    def _filter(self, text: str) -> None:
        """Show what has every word of the text, and mark the first."""
        words = text.lower().split()
        first: QTreeWidgetItem | None = None
        groups: set[str] = set()
        for key, item in self.items.items():
            entry = self._entries[key]
            said = f"{entry.name} {entry.source} {entry.details}".lower()
            shown = all(word in said for word in words)
            item.setHidden(not shown)
            if shown:
                groups.add(entry.group)
                first = first or item
        for name, group in self._groups.items():
            group.setHidden(name not in groups)
        now = self.tree.currentItem()
        if now is None or now.isHidden() or now.data(0, _KEY) is None:
            if first is None:
                self.tree.setCurrentIndex(QModelIndex())
            else:
                self.tree.setCurrentItem(first)
        self._on_current()

    def _on_current(self, *_: object) -> None:
        entry = self.current
        self.details.setText(plain(entry.details, 600, lines=True) if entry else "")
        self.use.setEnabled(entry is not None)
        self.add.setEnabled(entry is not None)
        self.file.setVisible(entry is not None and entry.takes_file)
        self.delete.setVisible(entry is not None and entry.own)

    def _on_use(self, *_: object) -> None:
        if self.current is not None:
            self.chosen.emit(self.current.key, False)
            self.accept()

    def _on_add(self) -> None:
        if self.current is not None:
            self.chosen.emit(self.current.key, True)
            self.accept()

    def _on_file(self) -> None:
        if self.current is not None:
            self.file_wanted.emit(self.current.key)
            self.accept()

    def _on_delete(self) -> None:
        if self.current is not None:
            self.delete_wanted.emit(self.current.key)
