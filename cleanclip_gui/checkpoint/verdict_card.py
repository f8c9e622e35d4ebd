"""What a file is and whether it can be opened, told calmly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QWidget

from cleanclip_gui import theme
from cleanclip_gui.commands import Actions
from cleanclip_gui.widgets.controls import ElidedLabel, IconLabel, Label, bind, push_button
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.text import bytes_text, day_and_time, fitting, plain, tip
from ml_core.reading import Inspection
from ml_core.reading.inspection import REFUSED, verdict_words

if TYPE_CHECKING:
    from ml_core.checkpoints.inspection_record import Assessment

    Judged = Inspection | Assessment

# verdict -> icon, tone
LOOKS = {
    "loads": ("info", "info"),  # not green: what can be read is not known to be harmless
    "caution": ("warning", "caution"),
    "dangerous": ("danger", "danger"),
    "damaged": ("warning", "caution"),
    "unsupported": ("warning", "caution"),
}
_READABLE = "Readable. Nothing was run."
_NOT_TESTED = "Backdoor: not tested yet"
_TESTED = "Backdoor: tested only with the triggers tried in Studio"
_NOT_RULED_OUT = "Reading the file runs no code; that does not rule out a backdoor in its weights."


_SCANNED = {
    "found": "Backdoor-like behaviour",
    "suspicious": "Suspicious behaviour",
    "nothing": "Backdoor: nothing found within the search",
    "unknown": "Backdoor: cannot say",
}
_SCAN_LOOKS = {
    "found": LOOKS["dangerous"],
    "suspicious": LOOKS["caution"],
}  # nothing is welcome: nothing is proved


class VerdictCard(QFrame):
    """A tinted card: picture, file name, verdict, first reason; Cancel while it is being read.

    ``test_clicked`` asks to try a trigger on the model that was loaded.

    Parameters
    ----------
    actions
        With those of ``file.examine`` and ``file.examine_clean``.
    """

    cancel_clicked = Signal()
    test_clicked = Signal()

    def __init__(self, actions: Actions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.setAccessibleName("Verdict")
        self._name = ""
        self._picture = IconLabel(34)
        self.name = ElidedLabel("", "title")  # a name has no spaces to be wrapped at
        self.verdict = self._label("heading")
        self.backdoor = self._label("heading")
        self.scanned = self._label("heading")
        self.reason = self._label("")
        self.state = self._label("subtle")
        self.examine = bind(push_button(look="primary"), actions["file.examine"], text=True)
        self.clean = bind(push_button(), actions["file.examine_clean"], text=True)
        self.test = push_button("Test a trigger in Studio", self.test_clicked)
        text = column(
            self.name, self.scanned, self.verdict, self.backdoor, self.reason, self.state,
            theme.SPACE_XS, FoldingRow(self.examine, self.clean, self.test), spacing=theme.SPACE_XS,
        )  # fmt: skip
        self._tested, self._scan = False, ("", "", 0.0)
        self._read_as = "loads"
        self._hide_backdoor()
        self.cancel = push_button(
            "Cancel", self.cancel_clicked, tip="Stop reading; the file is not opened"
        )
        self.cancel.hide()
        row(
            (self._picture, Qt.AlignmentFlag.AlignTop), (text, 1),
            (self.cancel, Qt.AlignmentFlag.AlignTop),
            of=self, margins=theme.SPACE_L, spacing=theme.SPACE_L,
        )  # fmt: skip

    def _label(self, role: str) -> Label:
        label = Label("", role, wrap=True)
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        label.setMinimumWidth(1)
        return label

    def show_reading(self, name: str, size: int | None) -> None:
        """Say which file is being read, and how large it is."""
        self._set_look("checkpoint", "")
        self._set_texts(name, "Reading…", "", "" if size is None else bytes_text(size))
        self.cancel.show()

    def show_cancelled(self, name: str) -> None:
        """Say that the user cancelled the reading."""
        self._set_look("checkpoint", "")
        self._set_texts(name, "Not read", "Reading was cancelled; the file was not opened.", "")

    def show_inspection(self, inspection: Inspection) -> None:
        """Give the verdict and its first reason."""
        if inspection.refused:
            self._set_look(*LOOKS[inspection.verdict])
            title = verdict_words(inspection.verdict, inspection.reason_code)
            reason = inspection.reasons[0] if inspection.reasons else ""
            state = "Nothing in it was run, and it was not opened."
            self._set_texts(inspection.name, title, reason, state)
        else:
            self._show_readable(inspection.name, inspection)

    def show_assessment(self, judged: Judged) -> None:
        """Give the verdict on the same file anew, with what its tensors are for."""
        self._show_readable(self._name, judged)

    def _show_readable(self, name: str, judged: Judged) -> None:
        """Say that the file can be read, and that its weights may still hide something."""
        reason = _caution(judged) or _NOT_RULED_OUT
        self._set_texts(name, _headline(judged), reason, "Loading the model…")
        self._tested, self._scan, self._read_as = False, ("", "", 0.0), judged.verdict
        self.examine.show()
        self._show_backdoor()

    def show_loaded(self, state: str, *, can_clean: bool = True) -> None:
        """Show that the model is loaded, so that it can be tested and cleaned."""
        self.set_state(state)
        self.test.show()
        self.clean.setVisible(can_clean)

    def set_tested(self, tested: bool) -> None:
        """Say whether a trigger was tried on the model."""
        self._tested = tested
        self._show_backdoor()

    def set_scan(self, verdict: str, target: str = "", made: float = 0.0) -> None:
        """Say first what the last scan of the file found; empty where none was made."""
        self._scan = verdict, target, made
        self._show_backdoor()

    def _show_backdoor(self) -> None:
        words, scanned = scan_words(*self._scan), self._scan[0] in _SCAN_LOOKS
        look = _SCAN_LOOKS.get(self._scan[0], LOOKS[self._read_as])
        self._set_look(*look)
        self.scanned.setText(plain(words, 240))
        theme.set_property(self.scanned, "tone", look[1] if scanned else "")
        self.backdoor.setText(_TESTED if self._tested else _NOT_TESTED)
        self.backdoor.setVisible(not words)
        self.scanned.setVisible(bool(words))
        # One headline: beside what a scan found, that the file can be read is a side note.
        theme.set_property(self.verdict, "role", "subtle" if words else "heading")
        self.reason.setVisible(not (scanned and self.reason.text() == _NOT_RULED_OUT))
        description = ". ".join(filter(None, (plain(self._name), words, self.verdict.text())))
        self.setAccessibleDescription(f"{description}. {self.reason.text()}")

    def _hide_backdoor(self) -> None:
        self.backdoor.hide()
        self.scanned.hide()
        theme.set_property(self.verdict, "role", "heading")
        for button in (self.examine, self.clean, self.test):
            button.hide()

    def show_problem(self, name: str, sentence: str, code: str = "usage") -> None:
        """Say why it cannot be opened after all; ``code`` is an InputError's."""
        self._set_look(*LOOKS.get(code, LOOKS["unsupported"]))
        title = verdict_words(code) if code in REFUSED else "It could not be opened"
        self._set_texts(name, title, sentence, "")

    def show_incomplete(self, name: str, judged: Judged, sentence: str, state: str) -> None:
        """Say that the file is sound, and what must be chosen before it is used."""
        self._set_look(*LOOKS[judged.verdict])
        self._set_texts(name, _headline(judged), sentence, f"Not in use yet: {state}.")

    def show_several(self, name: str, sentence: str) -> None:
        """Say that an archive or folder holds several checkpoints, each with its own verdict."""
        self._set_look("checkpoint", "")
        self._set_texts(name, "Several checkpoints", sentence, "")

    def set_state(self, text: str) -> None:
        """Say how far the loading is."""
        self.state.setText(plain(text))
        self.state.setVisible(bool(text))

    def _set_look(self, icon: str, tone: str) -> None:
        self._picture.show_icon(icon)
        theme.set_property(self, "tone", tone)

    def _set_texts(self, name: str, verdict: str, reason: str, state: str) -> None:
        self.cancel.hide()
        self._hide_backdoor()
        self._name = name
        for label, text in (
            (self.name, name),
            (self.verdict, verdict),
            (self.reason, reason),
            (self.state, state),
        ):
            shown = plain(text, 1000)
            label.setText(fitting(shown, 26 if label is self.name else 46))
            label.setToolTip("" if label.text() == shown else tip(shown))
            label.setVisible(bool(text))
        self.setAccessibleDescription(f"{plain(name)}. {verdict}. {plain(reason)}")


def scan_words(verdict: str, target: str = "", made: float = 0.0) -> str:
    """What a scan found, in a line; empty for an unknown verdict."""
    if verdict not in _SCANNED:
        return ""
    aim = f": {target}" if target and verdict in _SCAN_LOOKS else ""
    return f"{_SCANNED[verdict]}{aim} (scan{f', {day_and_time(made)}' if made else ''})"


def _headline(judged: Judged) -> str:
    """What the file is: one that is only readable is not called good."""
    if judged.verdict == "loads":
        return _READABLE
    return verdict_words(judged.verdict, judged.reason_code)


def _caution(judged: Judged) -> str:
    """The first reason of a caution."""
    return judged.reasons[0] if judged.reasons and judged.verdict == "caution" else ""
