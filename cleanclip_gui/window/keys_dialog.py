"""Every key of the window, by menu."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QDialog, QHeaderView, QTreeWidget, QTreeWidgetItem, QWidget

from cleanclip_gui import theme
from cleanclip_gui.commands import MENUS, Command, KeyTable
from cleanclip_gui.widgets.action_button import push_button
from cleanclip_gui.widgets.dialog_frame import resize_within
from cleanclip_gui.widgets.label import named
from cleanclip_gui.widgets.layout import column


class KeysDialog(QDialog):
    """A table of commands with their keys, then the keys of parts with keys of their own.

    Closes and deletes itself with Escape.
    """

    def __init__(
        self, commands: Sequence[Command], tables: Sequence[KeyTable], parent: QWidget
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keyboard shortcuts")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.tree = named(QTreeWidget(), "Keyboard shortcuts")
        self.tree.setHeaderLabels(["Command", "Key", "What it does"])
        self.tree.setRootIsDecorated(False)
        self.tree.setIndentation(theme.SPACE_M)
        self.tree.setUniformRowHeights(True)
        for menu in MENUS:
            keyed = [c for c in commands if c.menu == menu and c.shortcut]
            self._add(menu.replace("&", ""), [_row(command) for command in keyed])
        for table in tables:
            self._add(table.title, table.rows)
        self.tree.expandAll()
        header = self.tree.header()
        for section in (0, 1):
            header.setSectionResizeMode(section, QHeaderView.ResizeMode.ResizeToContents)
        close = push_button("Close", self.accept)
        column(
            (self.tree, 1), (close, Qt.AlignmentFlag.AlignRight),
            of=self, margins=theme.SPACE_L, spacing=theme.SPACE_M,
        )  # fmt: skip
        resize_within(self, 760, 480)

    def _add(self, title: str, rows: Sequence[tuple[str, str, str]]) -> None:
        """Add a group, if it has any key."""
        if not rows:
            return
        group = QTreeWidgetItem(self.tree, [title])
        group.setFlags(Qt.ItemFlag.ItemIsEnabled)
        for texts in rows:
            QTreeWidgetItem(group, list(texts))


def _row(command: Command) -> tuple[str, str, str]:
    keys = QKeySequence(command.shortcut).toString(QKeySequence.SequenceFormat.NativeText)
    return command.text.replace("&", ""), keys, command.help
