"""Program code that a file carries, to be read and not run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from PySide6.QtCore import QModelIndex, QStringListModel, Qt
from PySide6.QtGui import QFontDatabase
from PySide6.QtWidgets import QAbstractItemView, QListView, QPlainTextEdit, QSplitter, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import Label, named, text_field
from cleanclip_gui.widgets.layout import column
from cleanclip_gui.widgets.text import count_text, plain, plural

MAX_CHARACTERS = 200_000


class CodeView(QWidget):
    """A list of records, and the text of the chosen one with every odd character escaped."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._records: list[tuple[str, str]] = []
        self._names = QStringListModel(self)
        self.words = Label("", "subtle", wrap=True)
        self.list = named(QListView(), "Records with program code")
        self.list.setModel(self._names)
        self.list.setUniformItemSizes(True)
        self.list.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.list.setTextElideMode(Qt.TextElideMode.ElideLeft)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.selectionModel().currentRowChanged.connect(self._on_current_changed)
        self.text = text_field("Program code, not run")
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        mono = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
        mono.setPointSizeF(self.font().pointSizeF())
        self.text.setFont(mono)
        split = QSplitter(Qt.Orientation.Horizontal, childrenCollapsible=False)
        split.setHandleWidth(theme.SPACE_S)
        split.addWidget(self.list)
        split.addWidget(self.text)
        split.setSizes([230, 560])
        split.setStretchFactor(1, 1)
        column(
            self.words, (split, 1), of=self, margins=(0, theme.SPACE_M, 0, 0), spacing=theme.SPACE_S
        )

    def set_code(self, records: Sequence[tuple[str, str]]) -> None:
        """Show other records; the first one is chosen."""
        self._records = list(records)
        folder = _common_folder([name for name, _ in self._records])
        names = [name.removeprefix(folder) for name, _ in self._records]
        self._names.setStringList([plain(name, 300) for name in names])
        where = f" below {plain(folder, 80)}" if folder else ""
        self.words.setText(
            f"The file carries program code in {plural(len(self._records), 'record')}{where}. "
            "None of it was run; only the tensors are used."
        )
        self.text.clear()
        if self._records:
            self.list.setCurrentIndex(self._names.index(0))

    def _on_current_changed(self, current: QModelIndex, previous: QModelIndex) -> None:
        if not current.isValid():
            return
        text = self._records[current.row()][1]
        shown = plain(text, MAX_CHARACTERS, lines=True)
        if len(text) > MAX_CHARACTERS:
            length = count_text(len(text))
            shown += f"\n\nOnly the beginning is shown: the record has {length} characters."
        self.text.setPlainText(shown)


def _common_folder(names: Sequence[str]) -> str:
    """The folders in which all records lie."""
    if len(names) < 2:
        return ""
    pairs = zip(min(names), max(names), strict=False)
    shared = "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return shared[: shared.rfind("/") + 1]
