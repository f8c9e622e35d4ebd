"""What is missing for a full report, each with the button that gets it."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme
from cleanclip_gui.commands import Actions
from cleanclip_gui.report.missing import Missing
from cleanclip_gui.widgets.action_button import push_button
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.layout import column

COMPLETE = "Nothing: this is a full report."


class MissingList(QWidget):
    """``wanted(Missing)`` tells that a button was pressed.

    Parameters
    ----------
    actions
        Say whether a command can be done now, and what it needs if not.
    """

    wanted = Signal(object)

    def __init__(self, actions: Actions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Missing for a full report")
        self._actions = actions
        self._shown: tuple[Missing, ...] | None = None
        self.rows: list[MissingRow] = []
        self._complete = Label(COMPLETE, "subtle", wrap=True)
        self._layout = column(self._complete, of=self, spacing=theme.SPACE_M)

    def show_missing(self, found: Sequence[Missing] | None) -> None:
        """Show other lines, or the same with buttons that follow what can be done.

        Parameters
        ----------
        found
            None while it is not known: nothing is shown, not even that nothing is missing.
        """
        self._complete.setVisible(found is not None and not found)
        found = found or ()
        if self._shown != tuple(found):
            self._shown = tuple(found)
            while len(self.rows) > len(found):
                row = self.rows.pop()
                row.hide()
                self._layout.removeWidget(row)
                row.deleteLater()
            while len(self.rows) < len(found):
                row = MissingRow()
                row.wanted.connect(self.wanted)
                self._layout.insertWidget(len(self.rows), row)
                self.rows.append(row)
        for row, one in zip(self.rows, found, strict=True):
            action = self._actions.by_id.get(one.command)
            # A run that is not on show is shown first, and then the command can be done.
            possible = action is not None and (action.isEnabled() or one.run is not None)
            row.show_missing(one, possible, "" if action is None else action.toolTip())


class MissingRow(QWidget):
    """A sentence above its button."""

    wanted = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._missing: Missing | None = None
        self.sentence = Label("", wrap=True)
        self.button = push_button(clicked=self._on_clicked)
        column(
            self.sentence, (self.button, Qt.AlignmentFlag.AlignLeft),
            of=self, spacing=theme.SPACE_XS,
        )  # fmt: skip

    def show_missing(self, missing: Missing, possible: bool, why: str) -> None:
        """Show another line; ``why`` is the button's tool tip."""
        self._missing = missing
        self.sentence.setText(missing.sentence)
        self.button.setText(missing.button)
        self.button.setAccessibleDescription(missing.sentence)
        self.button.setToolTip(why)
        self.button.setEnabled(possible)

    def _on_clicked(self) -> None:
        if self._missing is not None:
            self.wanted.emit(self._missing)
