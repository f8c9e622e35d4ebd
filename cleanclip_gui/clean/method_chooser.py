"""The methods of cleaning in groups, by what they ask of the user."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QPalette, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem

from cleanclip_gui import theme
from cleanclip_gui.clean.recipe_fields import Chooser
from ml_core.cleaning.catalogue import FACTS, METHODS, Method, MethodFacts

# Headings in the order they are shown.
RECOMMENDED, TRIGGER, REFERENCE, CONTROLS = (
    "Recommended: clean data is enough",
    "Need the trigger",
    "Need a clean reference",
    "Controls, to compare with",
)


def group_of(facts: MethodFacts) -> str:
    """The heading under which a method stands."""
    if facts.control:
        return CONTROLS
    if "reference" in facts.needs:
        return REFERENCE
    return TRIGGER if "trigger" in facts.needs else RECOMMENDED


def grouped(methods: Iterable[Method] = METHODS) -> dict[str, list[Method]]:
    """Methods by heading; headings without a method are left out."""
    groups: dict[str, list[Method]] = {
        name: [] for name in (RECOMMENDED, TRIGGER, REFERENCE, CONTROLS)
    }
    for method in methods:
        groups[group_of(FACTS[method])].append(method)
    return {name: found for name, found in groups.items() if found}


class _Headings(QStyledItemDelegate):
    """Draws what cannot be chosen in muted colour; styles draw it as faint as what is disabled."""

    def initStyleOption(  # noqa: N802
        self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Read as text, though the item stays one that neither mouse nor keys can choose."""
        super().initStyleOption(option, index)
        if not index.flags() & Qt.ItemFlag.ItemIsEnabled:
            option.state |= QStyle.StateFlag.State_Enabled
            option.state &= ~QStyle.StateFlag.State_MouseOver
            option.palette.setColor(QPalette.ColorRole.Text, theme.colour("muted"))


class MethodChooser(Chooser):
    """A combo box whose headings cannot be chosen; its data are the methods' names."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Method")
        self.setItemDelegate(_Headings(self))
        model = cast(QStandardItemModel, self.model())
        for heading, methods in grouped().items():
            item = QStandardItem(heading)
            item.setFlags(Qt.ItemFlag.NoItemFlags)
            item.setFont(theme.figure_font(theme.FONT_POINTS - 1, bold=True))
            model.appendRow(item)
            for method in methods:
                self.addItem(FACTS[method].title, method)
                self.setItemData(self.count() - 1, FACTS[method].help, Qt.ItemDataRole.ToolTipRole)
        self.setMaxVisibleItems(24)
        self.setCurrentIndex(self.findData(METHODS[0]))

    @property
    def method(self) -> Method:
        """The method that is chosen."""
        return cast(Method, self.currentData())
