"""The library of triggers: published ones with their source, own ones, and the rates of all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from PySide6.QtCore import QModelIndex, QObject, QSize, Qt, Signal
from PySide6.QtGui import QFont, QIcon, QImage, QPixmap
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.inference.questions import (
    Evaluate,
    EvaluationUpdated,
    Failed,
    Thumbnails,
    ThumbnailsReady,
)
from cleanclip_gui.station import Context
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.controls import BusyRow, Label, Note, named, push_button, search_field
from cleanclip_gui.widgets.dialog_frame import ClosingDialog, primary_button, resize_within
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.pictures import rgba_to_image
from cleanclip_gui.widgets.text import percent, plain, tip
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger

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


class TriggerLibrary(ClosingDialog):
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
        super().__init__("Trigger library", parent)
        self._entries: dict[str, LibraryEntry] = {}
        self._groups: dict[str, QTreeWidgetItem] = {}
        self.items: dict[str, QTreeWidgetItem] = {}  # lines of the tree, by key
        self.search = search_field("Search the library", "Search by name or paper")
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
        self.busy = BusyRow("Triggers measured", self.cancel_wanted)
        self.busy.hide()
        self.scan_summary = Note("subtle")
        self.use = primary_button("Use", partial(self._choose, False))
        self.add = push_button("Combine with current trigger", partial(self._choose, True))
        self.file = push_button("With its file…", self._on_file)
        self.delete = push_button("Delete", self._on_delete, look="danger")
        self._lay_out(push_button("Close", self.reject))
        self.search.textChanged.connect(self._filter)
        self.tree.currentItemChanged.connect(self._on_current)
        self.tree.itemActivated.connect(partial(self._choose, False))
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
        self.busy.show_share(done / max(total, 1))

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

    def _choose(self, add: bool, *_: object) -> None:
        if self.current is not None:
            self.chosen.emit(self.current.key, add)
            self.accept()

    def _on_file(self) -> None:
        if self.current is not None:
            self.file_wanted.emit(self.current.key)
            self.accept()

    def _on_delete(self) -> None:
        if self.current is not None:
            self.delete_wanted.emit(self.current.key)


SLOT = "library"  # its questions replace each other, and none of the live numbers
_SECONDS_EACH, _LEAST, _MOST = 1.0, 64, 256


def images_each(rate: float) -> int:
    """How many images a trigger is measured on, at ``rate`` images a second (0: not known)."""
    return round(min(max(rate * _SECONDS_EACH, _LEAST), _MOST))


class LibraryScan(QObject):
    """Serves a :class:`TriggerLibrary` that is open: pictures at once, rates when asked.

    Parameters
    ----------
    context
        Asks the models about the session's images, target class and selected picture.
    dialog
        Shows what is found; the scan ends with it.
    make
        The trigger of a key of the library; raises InputError where it cannot be made.
    keys
        Of the triggers that need no file from the user, in their order.
    rate
        Images a second; 0 while it is not known.
    """

    ended = Signal()

    def __init__(
        self,
        context: Context,
        dialog: TriggerLibrary,
        make: Callable[[str], Trigger],
        keys: tuple[str, ...],
        rate: float,
    ) -> None:
        super().__init__(dialog)
        self._session, self._inference = context.session, context.inference
        self._dialog, self._make, self._keys = dialog, make, keys
        self._n = images_each(rate)
        self._waiting: list[str] = []
        self._ticket = Ticket.closed()
        dialog.measure_wanted.connect(self.start)
        dialog.cancel_wanted.connect(self.cancel)
        dialog.finished.connect(self.cancel)
        dialog.measure.setVisible(self._session.can_measure)
        if self._session.can_measure:
            self._draw()

    def _draw(self) -> None:
        """Ask for the selected picture with each trigger on it."""
        session = self._session
        for key in self._keys:
            trigger = self._library_trigger(key)
            if trigger is not None and trigger.changes_pictures:
                asked = Thumbnails((session.selected_image,), 0, trigger, session.role)
                self._inference.ask(asked, partial(self._on_drawn, key), self._on_not_drawn)

    def _on_drawn(self, key: str, result: ThumbnailsReady) -> None:
        self._dialog.set_picture(key, rgba_to_image(result.images[0]))

    def _on_not_drawn(self, _: Failed) -> None:
        """The line has no picture."""

    def _library_trigger(self, key: str) -> Trigger | None:
        try:
            return self._make(key)
        except InputError as error:
            self._dialog.set_rate(key, None, error.sentence)
            return None

    def start(self) -> None:
        """Measure one after the other."""
        self._waiting = list(self._keys)
        self._next()

    def cancel(self) -> None:
        """End after the batch in flight; what was measured stays."""
        if self._ticket.is_open:
            self._ticket.cancel()
            self._finish()

    def _next(self) -> None:
        done = len(self._keys) - len(self._waiting)
        self._dialog.set_progress(done, len(self._keys))
        while self._waiting:
            key = self._waiting.pop(0)
            trigger = self._library_trigger(key)
            if trigger is None:
                continue
            session = self._session
            question = Evaluate(trigger, session.target, self._n, session.role)
            answered = partial(self._on_evaluated, key)
            failed = partial(self._on_failed, key)
            self._ticket = self._inference.ask(question, answered, failed, slot=SLOT)
            return
        self._finish()

    def _finish(self) -> None:
        self._waiting = []
        self._dialog.set_progress(0, 0)
        self._dialog.sort_by_rate()
        self.ended.emit()

    def _on_evaluated(self, key: str, result: EvaluationUpdated) -> None:
        evaluation = result.evaluation
        if evaluation.partial:
            return
        rate = evaluation.asr_all if evaluation.asr_excl is None else evaluation.asr_excl
        words = f"{evaluation.n} images, target {evaluation.target_name}"
        if evaluation.most_pulled is not None:
            words += (
                f"; class that gains most: {evaluation.most_pulled}, "
                f"+{100 * evaluation.most_pulled_rise:.1f} points"
            )
        self._dialog.set_rate(key, rate, words)
        self._next()

    def _on_failed(self, key: str, failed: Failed) -> None:
        self._dialog.set_rate(key, None, failed.sentence)
        self._next()
