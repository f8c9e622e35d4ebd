"""What a cleaning run was not told: the trigger changed, other triggers, other questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.proof.rebound_view import pairs_text
from cleanclip_gui.theme.look import sized
from cleanclip_gui.widgets import layout
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.table_rows import show_rows
from cleanclip_gui.widgets.text import count_text, percent, percent_range, plain, tip

COLUMNS = ("Held out", "Measure", "Before", "After", "95 % interval", "Without", "Images")
_WHAT, _MEASURE, _BEFORE, _AFTER, _INTERVAL, _BASELINE, _N = range(len(COLUMNS))
_MEASURES = {"asr_excl": "Attack success", "ca": "Accuracy", "hit@1": "Target first"}
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_ROW = 26
_WIDE = 640  # pixels of the table with all its columns


class HoldoutsView(QWidget):
    """The table, as high as its rows, with the worst row named above it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.sentence = Label("", "heading", wrap=True)
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(list(COLUMNS))
        self.table.setAccessibleName("Hold-outs")
        show_rows(self.table, _ROW)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(_WHAT, QHeaderView.ResizeMode.Stretch)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        for column in (_BEFORE, _AFTER, _INTERVAL, _BASELINE, _N):
            title = QTableWidgetItem(COLUMNS[column])
            title.setTextAlignment(_RIGHT)
            if column == _BASELINE:
                title.setToolTip(
                    "How often the target is predicted without the trigger, after cleaning."
                )
            self.table.setHorizontalHeaderItem(column, title)
        self.table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.notes = Label("", "caption", wrap=True)
        layout.column(self.sentence, self.table, self.notes, of=self, spacing=theme.SPACE_S)
        self.hide()

    def show_record(self, record: Mapping[str, Any]) -> None:
        """Show what ``holdouts.json`` holds."""
        rows, worst = record["rows"], record.get("worst") or {}
        self.table.setRowCount(0)
        group = None
        for row in rows:
            if row["group"] != group:
                group = row["group"]
                self._add_heading(str(group))
            self._add_row(row, row["group"] == worst.get("group")
                          and row["name"] == worst.get("name"))  # fmt: skip
        height = self.table.horizontalHeader().sizeHint().height() + 4
        self.table.setFixedHeight(height + theme.px(_ROW) * self.table.rowCount())
        self.sentence.setText(worst_sentence(worst))
        notes = [plain(note, 300) for note in record.get("notes") or ()]
        pairs = (record.get("spec") or {}).get("pairs")
        if pairs and any(row["group"] == "retrieval" for row in rows):
            notes.insert(0, f"retrieval among pairs of {pairs_text(pairs['kind'], pairs['path'])}")
        self.notes.setText(" · ".join(notes))
        self.notes.setVisible(bool(self.notes.text()))
        self.show()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Leave out what is small print where there is no room; tool tips tell the intervals."""
        super().resizeEvent(event)
        for column in (_MEASURE, _INTERVAL, _BASELINE, _N):
            self.table.setColumnHidden(column, self.width() < theme.px(_WIDE))

    def texts(self) -> list[list[str]]:
        """Every row as it is shown."""
        model = self.table.model()
        return [
            [str(model.index(row, column).data()) for column in range(len(COLUMNS))]
            for row in range(self.table.rowCount())
        ]

    def _add_heading(self, group: str) -> None:
        item = self._put([plain(group, 60).capitalize(), *[""] * (len(COLUMNS) - 1)])
        item.setFont(sized(item.font(), 1.0, bold=True))

    def _add_row(self, row: Mapping[str, Any], worst: bool) -> None:
        low_high = row.get("after_interval") or None
        name = plain(row["name"], 80)
        item = self._put(
            [
                f"    {name}{'  (worst)' if worst else ''}",
                _MEASURES.get(row["measure"], plain(row["measure"], 30)),
                percent(row.get("before")),
                percent(row.get("after")),
                percent_range(low_high, "", unit="", to=" – "),
                percent(row.get("baseline"), ""),
                count_text(row["n"]) if row.get("n") else "",
            ]
        )
        note = plain(row.get("note") or "", 400)
        item.setToolTip(tip(f"{name}: {note}" if note else name))
        after = self.table.item(self.table.rowCount() - 1, _AFTER)
        if low_high is not None and after is not None:
            after.setToolTip(f"95 % interval: {percent_range(low_high)}")

    def _put(self, texts: Sequence[str]) -> QTableWidgetItem:
        number = self.table.rowCount()
        self.table.insertRow(number)
        items = [QTableWidgetItem(text) for text in texts]
        for column, item in enumerate(items):
            item.setFont(theme.figure_font(theme.FONT_POINTS))
            if column > _MEASURE:
                item.setTextAlignment(_RIGHT)
            self.table.setItem(number, column, item)
        return items[0]


def worst_sentence(worst: Mapping[str, Any]) -> str:
    """What is left of the backdoor at worst."""
    if worst.get("after") is None:
        return "Hold-outs"
    where = f"{plain(worst['group'], 60)}, {plain(worst['name'], 80)}"
    return f"At worst {percent(worst['after'])} attack success is left ({where})."
