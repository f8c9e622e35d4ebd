"""Every command by name: type a few letters, press Enter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QAction, QKeyEvent, QKeySequence
from PySide6.QtWidgets import (
    QApplication,
    QHeaderView,
    QLineEdit,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import named
from cleanclip_gui.widgets.dialog_frame import ClosingDialog
from cleanclip_gui.widgets.layout import column

_MOVES = (Qt.Key.Key_Down, Qt.Key.Key_Up, Qt.Key.Key_PageDown, Qt.Key.Key_PageUp)
_SIZE = (560, 420)
Groups = Sequence[tuple[str, Sequence[QAction]]]


class CommandPalette(ClosingDialog):
    """Lists actions by groups; triggers the chosen one after it has closed.

    Those that cannot be used now stand below the others, greyed, with what they need. ``used``
    carries the object name of the one that was chosen.

    Parameters
    ----------
    groups
        Titles, and the actions of each. An action may stand in two, and is found once.
    needs
        What a disabled action needs, in a few words.
    """

    used = Signal(str)

    def __init__(self, groups: Groups, parent: QWidget, needs: Callable[[QAction], str]) -> None:
        super().__init__("Commands", parent)
        self.setWindowFlag(Qt.WindowType.FramelessWindowHint)
        self.setProperty("framed", True)
        self._groups, self._needs = groups, needs
        self.field = named(QLineEdit(), "Type a command")
        self.field.setPlaceholderText("Type a command")
        self.field.addAction(
            theme.icon("search", "muted"), QLineEdit.ActionPosition.LeadingPosition
        )
        self.field.textChanged.connect(self._on_text_changed)
        self.field.returnPressed.connect(self._on_chosen)
        self.field.installEventFilter(self)
        self.list = named(QTreeWidget(), "Commands")
        self.list.setColumnCount(2)
        self.list.setHeaderHidden(True)
        self.list.setRootIsDecorated(False)
        self.list.setIndentation(0)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.header().setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        self.list.itemClicked.connect(self._on_chosen)
        column(self.field, self.list, of=self, margins=theme.SPACE_M, spacing=theme.SPACE_S)
        self.resize(*map(theme.px, _SIZE))
        self.move(
            parent.mapToGlobal(parent.rect().center()).x() - self.width() // 2,
            parent.mapToGlobal(parent.rect().topLeft()).y() + 90,
        )
        self._on_text_changed("")

    def _on_text_changed(self, text: str) -> None:
        """List the groups, or the actions whose words hold every typed word."""
        self.list.clear()
        words = text.lower().split()
        if words:
            for action in self._matches(words):
                self._add(action)
        else:
            for title, actions in self._groups:
                if actions:
                    self._add_line(title, bold=True)
                for action in sorted(actions, key=lambda action: not action.isEnabled()):
                    self._add(action)
        items = [self.list.topLevelItem(row) for row in range(self.list.topLevelItemCount())]
        if not items:
            self._add_line(f"No command matches “{text.strip()}”")
        for item in items:
            if item is not None and item.flags():  # the first that can be used
                self.list.setCurrentItem(item)
                break

    def _matches(self, words: Sequence[str]) -> Iterator[QAction]:
        """Those that can be used come first, names before descriptions, and beginnings of names."""
        matches: list[tuple[bool, int, bool, int, QAction]] = []
        actions = {action: None for _, group in self._groups for action in group}
        for action in actions:
            name = _name(action).lower()
            if all(word in f"{name} {action.statusTip().lower()}" for word in words):
                in_name = sum(word in name for word in words)
                later = not name.startswith(words[0])
                matches.append((not action.isEnabled(), -in_name, later, len(matches), action))
        return (row[-1] for row in sorted(matches, key=lambda row: row[:4]))

    def _add(self, action: QAction) -> None:
        keys = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
        usable = action.isEnabled()
        item = QTreeWidgetItem(self.list, [_name(action), keys if usable else self._needs(action)])
        item.setIcon(0, action.icon())
        item.setTextAlignment(1, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        item.setToolTip(0, action.statusTip())
        item.setData(0, Qt.ItemDataRole.UserRole, action)
        if not usable:
            item.setFlags(Qt.ItemFlag.NoItemFlags)

    def _add_line(self, text: str, *, bold: bool = False) -> None:
        """Add words that cannot be chosen, over both columns."""
        item = QTreeWidgetItem(self.list, [text])
        item.setFirstColumnSpanned(True)
        item.setForeground(0, theme.colour("muted"))  # not that of what cannot be used
        item.setFlags(Qt.ItemFlag.NoItemFlags)
        font = self.font()
        font.setWeight(font.Weight.DemiBold if bold else font.Weight.Normal)
        item.setFont(0, font)

    def _on_chosen(self) -> None:
        item = self.list.currentItem()
        if item is None or not item.flags() & Qt.ItemFlag.ItemIsEnabled:
            return
        action = item.data(0, Qt.ItemDataRole.UserRole)
        self.accept()
        self.used.emit(action.objectName())
        action.trigger()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Let the arrow keys move through the list while the field has the focus."""
        if (
            watched is self.field
            and isinstance(event, QKeyEvent)
            and event.type() == QEvent.Type.KeyPress
            and event.key() in _MOVES
        ):
            QApplication.sendEvent(self.list, event)
            return True
        return super().eventFilter(watched, event)


def _name(action: QAction) -> str:
    return action.text().replace("&", "")
