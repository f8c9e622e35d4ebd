"""What the pickles of a file name, in groups from unknown to harmless."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtCore import Qt
from PySide6.QtGui import QFontDatabase
from PySide6.QtWidgets import QAbstractItemView, QTreeWidget, QTreeWidgetItem, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.label import Label, named
from cleanclip_gui.widgets.layout import column
from cleanclip_gui.widgets.text import count_text, plain, plural

_GROUPS = (
    ("unknown", "danger", "Unknown code", "an ordinary loader would import it and may run it"),
    ("code", "warning", "Program objects", "kept here as plain records, never created"),
    ("data", "text", "Plain data", "values and containers"),
    ("tensors", "text", "Builds tensors", "done by this program's own code"),
)
_SHOWN = 2000


class NamesView(QWidget):
    """A tree of two levels: groups, and the names in them."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.tree = named(QTreeWidget(), "Names in the file's pickles")
        self.tree.setHeaderHidden(True)
        self.tree.setUniformRowHeights(True)
        self.tree.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.tree.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.words = Label(
            "Names in the file's pickles. This app only checks these names against a list. Other "
            "programs would import them.",
            "subtle",
            wrap=True,
        )
        column(
            self.words, (self.tree, 1),
            of=self, margins=(0, theme.SPACE_M, 0, 0), spacing=theme.SPACE_S,
        )  # fmt: skip

    def set_names(self, groups: Mapping[str, Sequence[str]]) -> None:
        """Show other names; what is unknown comes first."""
        self.tree.clear()
        mono = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
        bold = theme.figure_font(theme.FONT_POINTS, bold=True)
        for group, tone, title, meaning in _GROUPS:
            names = groups.get(group, ())
            if not names:
                continue
            head = QTreeWidgetItem([f"{title}: {plural(len(names), 'name')} ({meaning})"])
            head.setFont(0, bold)
            head.setData(0, Qt.ItemDataRole.UserRole, tone)
            for name in names[:_SHOWN]:
                item = QTreeWidgetItem([plain(name, 300)])
                item.setFont(0, mono)
                head.addChild(item)
            if len(names) > _SHOWN:
                left = count_text(len(names) - _SHOWN)
                head.addChild(QTreeWidgetItem([f"and {left} more, which are not listed"]))
            self.tree.addTopLevelItem(head)
            head.setExpanded(True)
        self._tint()

    def changeEvent(self, event) -> None:  # noqa: N802
        """Take the new theme's colours."""
        super().changeEvent(event)
        if event.type() == event.Type.PaletteChange:
            self._tint()

    def _tint(self) -> None:
        """Colour the headings by how much they should worry."""
        for number in range(self.tree.topLevelItemCount()):
            head = self.tree.topLevelItem(number)
            assert head is not None
            head.setForeground(0, theme.colour(head.data(0, Qt.ItemDataRole.UserRole)))
