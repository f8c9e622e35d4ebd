"""A verification as it goes on: level by level, each check with what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QWidget

from cleanclip_gui import theme
from cleanclip_gui.report.sentence_tree import SentenceRow, SentenceTree
from cleanclip_gui.widgets.controls import BusyRow, IconLabel, Label, Note, named
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.text import plain
from ml_core.reports.verify.checks import DAMAGED, HOLDS, LEVELS, Check, State

_TITLES = ("What", "Found", "Result")
LEVEL_TITLES = (
    "Level 0: is it intact?",
    "Level 1: does it add up?",
    "Level 2: is it about these files?",
    "Level 3: does the model answer so?",
)
assert len(LEVEL_TITLES) == len(LEVELS)
STATES: Mapping[State, tuple[str, str]] = {
    "holds": ("holds", "success"),
    "fails": ("does not hold", "danger"),
    "not checked": ("not checked", "muted"),
    "recorded": ("recorded", "muted"),
}
# exit code -> what it means, icon and tone of the card
_ENDS: Mapping[int, tuple[str, str, str]] = {
    HOLDS: ("What was checked holds", "tick", "ok"),
    1: ("Something that it claims does not hold", "warning", "danger"),
    DAMAGED: ("The bundle is damaged or was changed", "danger", "danger"),
}
_COLOURS = {"ok": "success", "danger": "danger", "": "muted"}
_SUBJECT = 200  # pixels


class ChecksView(QWidget):
    """What is being checked, how far it is, and the sum in the end.

    ``busy.cancel_clicked`` asks to end it; ``acts`` stand below the sum.
    """

    def __init__(self, acts: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.checks: list[Check] = []
        self._picture = IconLabel(28)
        self.title = Label("", "heading", wrap=True)
        self.title.setProperty("large", True)
        self.bundle = Label("", "subtle", wrap=True)
        self.summary = Note(selectable=True)
        self.error = Note("error")
        self.busy = BusyRow("Progress of the verification")
        self.words = Label("", "caption")
        self.card = named(QFrame(), "Result of the verification")
        self.card.setProperty("card", True)
        row(
            (self._picture, Qt.AlignmentFlag.AlignTop),
            (column(
                self.title, self.bundle, self.summary, self.error, self.busy, self.words, acts,
                spacing=theme.SPACE_S,
            ), 1),
            of=self.card, margins=theme.SPACE_L, spacing=theme.SPACE_L,
        )  # fmt: skip
        self.tree = SentenceTree("Checks of the bundle", _TITLES, 1, narrow=theme.px(_SUBJECT))
        column(self.card, (self.tree, 1), of=self, spacing=theme.SPACE_M)

    def begin(self, name: str) -> None:
        """Forget what was checked before: another verification begins."""
        self.checks = []
        self.tree.show_groups(())
        self.bundle.setText(plain(name, 200))
        self._look("Checking the bundle", "search", "")
        self.summary.setText("")
        self.error.setText("")
        self.busy.show()
        self.words.show()

    def add_check(self, check: Check) -> None:
        """Show one more."""
        self.checks.append(check)
        word, tone = STATES[check.state]
        texts = (plain(check.subject, 80), plain(check.sentence, 900), word)
        row = SentenceRow(
            len(self.checks), texts, ("", "", tone), bold=(2,) if check.state == "fails" else ()
        )
        self.tree.add_row(LEVEL_TITLES[check.level], row)

    def show_progress(self, fraction: float | None, words: str) -> None:
        """Show how far it is."""
        self.busy.show_share(fraction)
        self.words.setText(words)

    def end(self, result: Mapping[str, Any]) -> None:
        """Show the sum of a verification that came to its end."""
        code = result.get("exit")
        title, icon, tone = _ENDS.get(code if isinstance(code, int) else DAMAGED, _ENDS[DAMAGED])
        self._look(title, icon, tone)
        self.summary.setText(plain(result.get("summary", ""), 900))
        self._stop()
        self._show_first_fault()

    def fail(self, title: str, sentence: str) -> None:
        """Show why it did not come to its end."""
        self._look(title, "warning", "")
        self.error.setText(plain(sentence, 900))
        self._stop()

    @property
    def not_given(self) -> Sequence[Check]:
        """Checks that were not made because a file is missing."""
        return [check for check in self.checks if check.state == "not checked"]

    def _stop(self) -> None:
        self.busy.hide()
        self.words.hide()

    def _show_first_fault(self) -> None:
        for number, check in enumerate(self.checks, 1):
            if check.state == "fails":
                self.tree.select(number)
                return

    def _look(self, title: str, icon: str, tone: str) -> None:
        self._picture.show_icon(icon, _COLOURS[tone])
        self.title.setText(title)
        theme.set_property(self.card, "tone", tone)
        self.card.setAccessibleDescription(title)
