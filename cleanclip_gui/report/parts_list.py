"""What goes into the report, each with a tick."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QCheckBox, QSizePolicy, QWidget

from cleanclip_gui import theme
from cleanclip_gui.report.parts import Part
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.layout import column
from cleanclip_gui.widgets.text import tip

_TICK = 40  # pixels of the tick and what is empty beside it


class PartsList(QWidget):
    """``picked(Part, bool)`` tells that the user ticked or unticked one."""

    picked = Signal(object, bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("What goes into the report")
        self.rows: dict[Path, PartRow] = {}
        self._none = Label("Nothing was measured and kept yet.", "subtle", wrap=True)
        self._layout = column(self._none, of=self, spacing=theme.SPACE_S)

    def show_parts(
        self, parts: Sequence[Part], chosen: Container[Path], *, known: bool = True
    ) -> None:
        """Show what there is; rows that stay keep the focus.

        Parameters
        ----------
        known
            Whether it was looked: else it is not said that there is nothing.
        """
        wanted = {part.folder: part for part in parts}
        for folder in list(self.rows):
            if folder not in wanted:
                gone = self.rows.pop(folder)
                self._layout.removeWidget(gone)
                gone.hide()
                gone.deleteLater()
        for number, (folder, part) in enumerate(wanted.items()):
            row = self.rows.get(folder)
            if row is None:
                row = self.rows[folder] = PartRow()
                row.picked.connect(self.picked)
                self._layout.insertWidget(number, row)
            elif self._layout.indexOf(row) != number:
                self._layout.insertWidget(number, row)
            row.show_part(part, folder in chosen)
        self._none.setVisible(known and not wanted)


class PartRow(QWidget):
    """A tick with a title, and the day below it."""

    picked = Signal(object, bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._part: Part | None = None
        self._words = ""
        self.box = QCheckBox()
        self.box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.box.toggled.connect(self._on_toggled)
        self.detail = Label("", "caption", wrap=True)
        column(self.box, self.detail, of=self, spacing=0)
        self.detail.setIndent(theme.SPACE_XL)

    def show_part(self, part: Part, chosen: bool) -> None:
        """Show another part."""
        self._part = part
        kind = {"run": "Run: ", "scan": "Scan: ", "measurement": ""}[part.kind]
        with QSignalBlocker(self.box):
            self.box.setChecked(chosen)
        self._words = f"{kind}{part.title}"
        self.box.setAccessibleName(self._words)
        self.box.setToolTip(tip(f"{self._words}\n{part.folder}"))
        self._fit()
        self.detail.setText(f"{part.when}. {part.later}" if part.later else part.when)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Show as much of the title as there is room for."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        room = max(self.width() - theme.px(_TICK), 60)
        metrics = self.box.fontMetrics()
        self.box.setText(metrics.elidedText(self._words, Qt.TextElideMode.ElideRight, room))

    def _on_toggled(self, on: bool) -> None:
        if self._part is not None:
            self.picked.emit(self._part, on)
