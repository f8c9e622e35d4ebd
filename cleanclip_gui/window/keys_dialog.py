"""Every key of the window, by menu."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import (
    QDialog,
    QHeaderView,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.commands import MENUS, Command
from cleanclip_gui.widgets.dialog_frame import resize_within
from cleanclip_gui.widgets.label import Label


class KeysDialog(QDialog):
    """A table of commands with their keys; closes and deletes itself with Escape."""

    def __init__(self, commands: Sequence[Command], parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keyboard shortcuts")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.tree = QTreeWidget()
        self.tree.setAccessibleName("Keyboard shortcuts")
        self.tree.setHeaderLabels(["Command", "Key", "What it does"])
        self.tree.setRootIsDecorated(False)
        self.tree.setIndentation(theme.SPACE_M)
        self.tree.setUniformRowHeights(True)
        for menu in MENUS:
            keyed = [c for c in commands if c.menu == menu and c.shortcut]
            if not keyed:
                continue
            group = QTreeWidgetItem(self.tree, [menu.replace("&", "")])
            group.setFlags(Qt.ItemFlag.ItemIsEnabled)
            for command in keyed:
                keys = QKeySequence(command.shortcut)
                native = keys.toString(QKeySequence.SequenceFormat.NativeText)
                words = [command.text.replace("&", ""), native, command.help]
                QTreeWidgetItem(group, words)
        self.tree.expandAll()
        header = self.tree.header()
        for column in (0, 1):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        close = QPushButton("Close")
        close.clicked.connect(self.accept)
        hint = Label("The tool tips on the canvas name each tool's key.", "subtle", wrap=True)
        column_ = QVBoxLayout(self)
        column_.setContentsMargins(*(theme.SPACE_L,) * 4)
        column_.setSpacing(theme.SPACE_M)
        column_.addWidget(self.tree, 1)
        column_.addWidget(hint)
        column_.addWidget(close, 0, Qt.AlignmentFlag.AlignRight)
        resize_within(self, 760, 480)
