"""The claims of a report by section, and what each stands on."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme
from cleanclip_gui.report.claim_rows import HOLDS, ClaimRow, sections
from cleanclip_gui.report.sentence_tree import Row, SentenceTree
from cleanclip_gui.widgets.action_button import push_button
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.text import plain
from ml_core.reports.record import Evidence

VERDICT, NOT_TESTED = "The report says", "What was not tested"
_TITLES = ("Claim", "Value", "95 % interval", "Holds by")
_BUTTONS = {
    "checkpoint": "Show the file",
    "measurement": "Show in Studio",
    "run": "Show the run",
    "scan": "Show the scan",
}
_NONE = "Choose a claim to see what it stands on; Return shows where it was measured."


class ClaimsView(QWidget):
    """``place_wanted(Place)`` asks for where a claim was measured."""

    place_wanted = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: dict[str, ClaimRow] = {}
        self.tree = SentenceTree("Claims of the report", _TITLES, 0, spare=(2, 3))
        self.basis = Label(_NONE, "subtle", wrap=True)
        self.basis.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.show_button = push_button(_BUTTONS["measurement"], self._on_show_clicked)
        self.show_button.hide()
        column(
            (self.tree, 1),
            row(
                (self.basis, 1), (self.show_button, Qt.AlignmentFlag.AlignTop),
                spacing=theme.SPACE_M,
            ),
            of=self, margins=(0, theme.SPACE_S, 0, 0), spacing=theme.SPACE_S,
        )  # fmt: skip
        self.tree.chosen.connect(self._on_chosen)
        self.tree.wanted.connect(self._on_wanted)

    @property
    def count(self) -> int:
        """How many claims are shown."""
        return len(self._rows)

    def show_evidence(self, evidence: Evidence | None) -> None:
        """Show what a report claims; nothing where there is none."""
        found = () if evidence is None else sections(evidence)
        self._rows = {row.id: row for _, rows in found for row in rows}
        groups = [(title, [_row(row) for row in rows]) for title, rows in found]
        if evidence is not None:
            groups.insert(0, (VERDICT, _sentences(evidence.verdict)))
            groups.append((NOT_TESTED, _sentences(evidence.not_tested)))
        self.tree.show_groups([(title, rows) for title, rows in groups if rows])
        self._on_chosen(self.tree.key)

    def _on_chosen(self, key: object) -> None:
        row = self._rows.get(str(key))
        self.show_button.setVisible(row is not None)
        if row is None:
            self.basis.setText(_NONE)
            return
        files = ", ".join(plain(one, 200) for one in row.evidence) or "no file"
        self.basis.setText(f"{HOLDS[row.holds_by]} It stands on {files}.")
        self.show_button.setText(_BUTTONS[row.place.kind])

    def _on_wanted(self, key: object) -> None:
        row = self._rows.get(str(key))
        if row is not None:
            self.place_wanted.emit(row.place)

    def _on_show_clicked(self) -> None:
        self._on_wanted(self.tree.key)


def _sentences(sentences: Sequence[str]) -> list[Row]:
    """What the report says of its claims, without figures of its own."""
    return [Row(None, (plain(one, 900), "", "", "")) for one in sentences]


def _row(row: ClaimRow) -> Row:
    texts = (row.sentence, row.value, row.interval, row.holds_by)
    return Row(row.id, texts, ("", "", "muted", "muted"), bold=(1,) if row.headline else ())
