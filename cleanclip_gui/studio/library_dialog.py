"""The library of triggers: published ones with their source, the shipped one, one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QModelIndex, QSize, Qt, Signal
from PySide6.QtGui import QFont, QIcon, QImage, QPixmap
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QHeaderView,
    QLineEdit,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import BusyRow, Label, named, push_button
from cleanclip_gui.widgets.dialog_frame import resize_within
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.text import percent, plain, tip

_KEY = Qt.ItemDataRole.UserRole
_PICTURE = 40


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

    ``file_wanted(key)`` asks for the file that makes it the published one. ``measure_wanted`` asks
    for the rates of all, ``cancel_wanted`` for no more of them.
    """

    measure_wanted = Signal()
    cancel_wanted = Signal()
    chosen = Signal(str, bool)
    file_wanted = Signal(str)
    delete_wanted = Signal(str)

    def __init__(self, entries: tuple[LibraryEntry, ...], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Trigger library")
        self._entries: dict[str, LibraryEntry] = {}
        self._groups: dict[str, QTreeWidgetItem] = {}
        self.items: dict[str, QTreeWidgetItem] = {}  # lines of the tree, by key
        self.search = named(QLineEdit(), "Search the library")
        self.search.setPlaceholderText("Search by name or paper")
        self.search.setClearButtonEnabled(True)
        self.tree = named(QTreeWidget(), "Triggers")
        self.tree.setHeaderLabels(["Trigger", "ASR", "Source", "Size"])
        self.tree.setRootIsDecorated(False)
        self.tree.setIndentation(theme.SPACE_M)
        self.tree.setIconSize(QSize(theme.px(_PICTURE), theme.px(_PICTURE)))
        self.tree.setAllColumnsShowFocus(True)
        self.tree.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.tree.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.details = Label("", "subtle", wrap=True)
        self.details.setMinimumHeight(4 * self.details.fontMetrics().height())
        self.details.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._rates: dict[str, tuple[float | None, str]] = {}
        self._pictures: dict[str, QIcon] = {}
        self.measure = push_button(
            "Measure all", self.measure_wanted,
            tip="Measure the attack success rate of every trigger in the list",
        )  # fmt: skip
        self.measure.hide()
        self.busy = BusyRow("Triggers measured")
        self.busy.hide()
        self.busy.cancel_clicked.connect(self.cancel_wanted)
        self.scan_summary = Label("", "subtle", wrap=True)
        self.scan_summary.hide()
        self.use = push_button("Use", self._on_use, look="primary")
        self.use.setDefault(True)
        self.add = push_button("Combine with current trigger", self._on_add)
        self.file = push_button("With its file…", self._on_file)
        self.delete = push_button("Delete", self._on_delete, look="danger")
        close = push_button("Close", self.reject)
        self._lay_out(close)
        self.search.textChanged.connect(self._filter)
        self.tree.currentItemChanged.connect(self._on_current)
        self.tree.itemActivated.connect(self._on_use)
        self.set_entries(entries)
        resize_within(self, 760, 560)

    def _lay_out(self, close: QPushButton) -> None:
        column(
            Label("Trigger library", "title"), self.search, (self.tree, 1), self.scan_summary,
            self.busy, self.details,
            row(self.delete, self.measure, None, close, self.file, self.add, self.use),
            of=self, margins=theme.SPACE_XL, spacing=theme.SPACE_M,
        )  # fmt: skip
        header = self.tree.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(3, QHeaderView.ResizeMode.ResizeToContents)

    def set_entries(self, entries: tuple[LibraryEntry, ...]) -> None:
        """Offer these, group by group in their order."""
        self._entries = {entry.key: entry for entry in entries}
        self._list([(entry, entry.group) for entry in entries])

    def _list(self, entries: Sequence[tuple[LibraryEntry, str]]) -> None:
        """Write the lines, each under a heading."""
        self._groups, self.items = {}, {}
        self._heading_of = {entry.key: heading for entry, heading in entries}
        self.tree.clear()
        for entry, heading in entries:
            if heading not in self._groups:
                group = QTreeWidgetItem(self.tree, [heading])
                group.setFlags(Qt.ItemFlag.ItemIsEnabled)
                font = group.font(0)
                font.setWeight(QFont.Weight.DemiBold)
                group.setFont(0, font)
                self._groups[heading] = group
            words = [plain(text, 80) for text in (entry.name, "", entry.source, entry.standing)]
            item = self.items[entry.key] = QTreeWidgetItem(self._groups[heading], words)
            item.setData(0, _KEY, entry.key)
            item.setSizeHint(0, QSize(0, theme.px(_PICTURE) + theme.SPACE_XS))
            item.setToolTip(0, tip(plain(entry.name, 200)))
            if entry.key in self._pictures:
                item.setIcon(0, self._pictures[entry.key])
            if entry.key in self._rates:
                self._write_rate(entry.key)
        self.tree.expandAll()
        self._filter(self.search.text())

    @property
    def current(self) -> LibraryEntry | None:
        """The entry that is marked."""
        item = self.tree.currentItem()
        return None if item is None else self._entries.get(item.data(0, _KEY))

    # What a scan of the whole library finds

    def offer_measuring(self, can: bool) -> None:
        """Offer to measure all, where a checkpoint and images are open."""
        self.measure.setVisible(can)

    def set_picture(self, key: str, picture: QImage) -> None:
        """Show what a trigger does to the selected picture."""
        ratio = self.devicePixelRatioF()
        side = round(theme.px(_PICTURE) * ratio)
        pixmap = QPixmap.fromImage(picture).scaled(
            side,
            side,
            Qt.AspectRatioMode.KeepAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        )
        pixmap.setDevicePixelRatio(ratio)
        self._pictures[key] = QIcon(pixmap)
        if key in self.items:
            self.items[key].setIcon(0, self._pictures[key])

    def set_rate(self, key: str, rate: float | None, words: str) -> None:
        """Show an attack success rate, fraction of 1; None: show why it was not measured."""
        self._rates[key] = rate, words
        self._write_rate(key)

    def _write_rate(self, key: str) -> None:
        rate, words = self._rates[key]
        if key in self.items:
            self.items[key].setText(1, percent(rate, "–"))
            self.items[key].setToolTip(1, tip(plain(words, 300)))

    def set_progress(self, done: int, total: int) -> None:
        """Show how many triggers are measured; 0 of 0 ends it."""
        self.busy.setVisible(total > 0)
        self.measure.setEnabled(total == 0)
        self.busy.bar.setRange(0, max(total, 1))
        self.busy.bar.setValue(done)

    def sort_by_rate(self) -> None:
        """List what was measured first, the highest rate on top, and say what it means."""
        marked = self.current
        measured = [key for key, (rate, _) in self._rates.items() if rate is not None]
        measured = [key for key in measured if key in self._entries]
        measured.sort(key=lambda key: -(self._rates[key][0] or 0.0))
        rest = [key for key in self._entries if key not in measured]
        self._list(
            [(self._entries[key], "By attack success rate") for key in measured]
            + [(self._entries[key], self._entries[key].group) for key in rest]
        )
        self._filter(self.search.text())
        if measured:
            top = measured[0]
            self.scan_summary.setText(
                f"Highest: {plain(self._entries[top].name, 60)}, {percent(self._rates[top][0])}. "
                "Low rates hold for these triggers and this target only."
            )
            self.scan_summary.show()
            self.mark(top if marked is None else marked.key)

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
            searched = f"{entry.name} {entry.key} {entry.source} {entry.details}".lower()
            shown = all(word in searched for word in words)
            item.setHidden(not shown)
            if shown:
                groups.add(self._heading_of[key])
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
