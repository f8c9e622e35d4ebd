"""Every command by name: type a few letters, press Enter."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QAction, QKeyEvent, QKeySequence
from PySide6.QtWidgets import (
    QApplication,
    QDialog,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import named
from cleanclip_gui.widgets.layout import column

_MOVES = (Qt.Key.Key_Down, Qt.Key.Key_Up, Qt.Key.Key_PageDown, Qt.Key.Key_PageUp)


class CommandPalette(QDialog):
    """Lists actions; triggers the chosen one after it has closed.

    Those that cannot be used now stand below the others, greyed, with what they need.

    Parameters
    ----------
    actions
        In their order.
    needs
        What a disabled action needs, in a few words.
    """

    def __init__(
        self, actions: Sequence[QAction], parent: QWidget, needs: Callable[[QAction], str]
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Commands")
        self.setWindowFlag(Qt.WindowType.FramelessWindowHint)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._actions = list(actions)
        self._needs = needs
        self.field = named(QLineEdit(), "Type a command")
        self.field.setPlaceholderText("Type a command")
        self.field.addAction(
            theme.icon("search", "muted"), QLineEdit.ActionPosition.LeadingPosition
        )
        self.field.textChanged.connect(self._on_text_changed)
        self.field.returnPressed.connect(self._on_chosen)
        self.field.installEventFilter(self)
        self.list = named(QListWidget(), "Commands")
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.itemClicked.connect(self._on_chosen)
        column(self.field, self.list, of=self, margins=theme.SPACE_M, spacing=theme.SPACE_S)
        self.resize(520, 400)
        self.move(
            parent.mapToGlobal(parent.rect().center()).x() - 260,
            parent.mapToGlobal(parent.rect().topLeft()).y() + 90,
        )
        self._on_text_changed("")

    def _on_text_changed(self, text: str) -> None:
        """List the actions whose words hold every typed word.

        Those that can be used come first, and names before descriptions.
        """
        self.list.clear()
        words = text.lower().split()
        matches: list[tuple[bool, int, int, str, QAction]] = []
        for action in self._actions:
            name = action.text().replace("&", "")
            if all(word in f"{name} {action.statusTip()}".lower() for word in words):
                in_name = sum(word in name.lower() for word in words)
                matches.append((not action.isEnabled(), -in_name, len(matches), name, action))
        for disabled, _, _, name, action in sorted(matches, key=lambda row: row[:3]):
            keys = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
            more = self._needs(action) if disabled else keys
            item = QListWidgetItem(action.icon(), f"{name}    {more}" if more else name)
            item.setToolTip(action.statusTip())
            item.setData(Qt.ItemDataRole.UserRole, action)
            if disabled:
                item.setFlags(Qt.ItemFlag.NoItemFlags)
            self.list.addItem(item)
        if not matches:
            nothing = QListWidgetItem(f"No command matches “{text.strip()}”")
            nothing.setFlags(Qt.ItemFlag.NoItemFlags)
            self.list.addItem(nothing)
        elif not all(row[0] for row in matches):
            self.list.setCurrentRow(0)

    def _on_chosen(self) -> None:
        item = self.list.currentItem()
        if item is None or not item.flags() & Qt.ItemFlag.ItemIsEnabled:
            return
        self.accept()
        item.data(Qt.ItemDataRole.UserRole).trigger()

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
