"""Everything that is needed to get a number again, to read, copy and save."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.text import plain, tip

_LONGEST = 400


class ResultDetails(QDialog):
    """Shown with ``open()``; ``save_clicked(record)`` when it is to be written to a file."""

    save_clicked = Signal(object)

    def __init__(
        self, title: str, record: Mapping[str, Any], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("How this was measured")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(720, 560)
        self.record = dict(record)
        self.tree = QTreeWidget()
        self.tree.setAccessibleName("What the number was measured with")
        self.tree.setColumnCount(2)
        self.tree.setHeaderLabels(["What", "Value"])
        self.tree.setAlternatingRowColors(True)
        self.tree.header().setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        self.tree.header().setStretchLastSection(True)
        for key, value in self.record.items():
            self.tree.addTopLevelItem(_item(str(key), value))
        self.tree.expandToDepth(0)
        self.copy = QPushButton(theme.icon("copy"), "Copy as JSON")
        self.save = QPushButton(theme.icon("save"), "Save…")
        close = QPushButton("Close")
        close.setDefault(True)
        self.copy.clicked.connect(self.copy_json)
        self.save.clicked.connect(self._on_save)
        close.clicked.connect(self.accept)
        says = Label(
            "The digest stands for all that decides the number; the machine and the versions are "
            "listed beside it. Equal digests mean the same measurement.",
            "subtle",
            wrap=True,
        )
        foot = QHBoxLayout()
        foot.setSpacing(theme.SPACE_S)
        foot.addWidget(self.copy)
        foot.addWidget(self.save)
        foot.addStretch(1)
        foot.addWidget(close)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(*[theme.SPACE_L] * 4)
        layout.setSpacing(theme.SPACE_M)
        layout.addWidget(Label(plain(title, 120), "heading"))
        layout.addWidget(says)
        layout.addWidget(self.tree, 1)
        layout.addLayout(foot)

    @Slot()
    def copy_json(self) -> None:
        """Put the record on the clipboard."""
        QGuiApplication.clipboard().setText(json.dumps(self.record, indent=1))

    @Slot()
    def _on_save(self) -> None:
        self.save_clicked.emit(self.record)


def rows_of(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every value with its path, e.g. ``trigger.parameters.opacity``."""
    for key, value in record.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from rows_of(value, f"{path}.")
        elif isinstance(value, list | tuple):
            yield path, json.dumps(value)
        else:
            yield path, _text(value)


def _item(key: str, value: object) -> QTreeWidgetItem:
    """A line of the tree, with lines below it for what it holds."""
    words = plain(key.replace("_", " "), 80)
    if isinstance(value, Mapping) and value:
        item = QTreeWidgetItem([words, ""])
        for name, inner in value.items():
            item.addChild(_item(str(name), inner))
        return item
    if isinstance(value, list | tuple) and len(value) > 3:
        item = QTreeWidgetItem([words, f"{len(value)} entries"])
        for number, inner in enumerate(value, start=1):
            item.addChild(_item(str(number), inner))
        return item
    listed = isinstance(value, list | tuple)
    text = ", ".join(map(_text, value)) if listed else _text(value)  # type: ignore[call-overload]
    item = QTreeWidgetItem([words, plain(text, _LONGEST)])
    item.setToolTip(1, tip(plain(text, _LONGEST)))
    return item


def _text(value: object) -> str:
    """A value as words; None is "none"."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
