"""What a file is and whether it can be opened, told calmly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QMenu, QWidget

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.examination_inputs import ExaminationInputs
from cleanclip_gui.commands import Actions
from cleanclip_gui.session.records import BEING_CLEANED, Answer, Tone
from cleanclip_gui.widgets.controls import (
    ElidedLabel,
    IconLabel,
    Label,
    Note,
    bind,
    push_button,
    show_fitting,
)
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.text import bytes_text, day_and_time, plain
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
_NOT_RULED_OUT = "Reading the file runs no code; that does not rule out a backdoor in its weights."
_ANSWERS: dict[Tone, tuple[str, str]] = {  # the others look as the file does
    "danger": LOOKS["dangerous"], "caution": LOOKS["caution"],
}  # fmt: skip
# Of the menu beside the next step; what cannot be done with a file is left out.
_MORE = (
    ("file.examine", "file.examine_clean", "view.studio"),
    ("file.identify", "file.compare", "file.doctor", "file.known", "file.part"),
    ("file.convert", "file.export", "file.head"),
)


class VerdictCard(QFrame):
    """A tinted card: the answer about a backdoor, the safety of the file, and what to do next.

    ``cancel_clicked`` ends the reading.

    Parameters
    ----------
    actions
        Of the commands for the file on show.
    """

    cancel_clicked = Signal()

    def __init__(self, actions: Actions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.setAccessibleName("Verdict")
        self._actions = actions
        self._name = ""
        self._picture = IconLabel(34)
        self.name = ElidedLabel("", "title")  # a name has no spaces to be wrapped at
        self.answer = Label("", "heading", wrap=True, selectable=True)
        self.verdict = Label("", "heading", wrap=True, selectable=True)
        self.reason = Label(wrap=True, selectable=True)
        self.state = Note("subtle", selectable=True)
        self.next = push_button(look="primary")
        self.more = push_button("More", name="More that can be done with the file")
        self._menu = QMenu(self.more)
        self._menu.aboutToShow.connect(self._list_more)
        self.more.setMenu(self._menu)
        self.inputs = ExaminationInputs(actions)
        self._buttons = row(self.next, self.more, None, spacing=theme.SPACE_S)
        text = column(
            self.name, self.answer, self.verdict, self.reason, self.state,
            theme.SPACE_XS, self._buttons, self.inputs, spacing=theme.SPACE_XS,
        )  # fmt: skip
        self._read_as = "loads"
        self._next = ""
        self._hide_answer()
        self.cancel = push_button(
            "Cancel", self.cancel_clicked, tip="Stop reading; the file is not opened"
        )
        self.cancel.hide()
        row(
            (self._picture, Qt.AlignmentFlag.AlignTop), (text, 1),
            (self.cancel, Qt.AlignmentFlag.AlignTop),
            of=self, margins=theme.SPACE_L, spacing=theme.SPACE_L,
        )  # fmt: skip

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
            self.more.show()
        else:
            self._name = inspection.name
            self.show_assessment(inspection)

    def show_assessment(self, judged: Judged) -> None:
        """Say that the same file can be read, and that its weights may still hide something."""
        self._set_look(*LOOKS[judged.verdict])
        cautions = judged.reasons if judged.verdict == "caution" else ()
        reason = next(iter(cautions), _NOT_RULED_OUT)
        self._set_texts(self._name, _headline(judged), reason, "Loading the model…")
        self._read_as = judged.verdict
        self.offer("file.examine")

    def show_answer(self, answer: Answer) -> None:
        """Say first what is known about a backdoor; that the file can be read is a side note."""
        self._set_look(*_ANSWERS.get(answer.tone, LOOKS[self._read_as]))
        words = answer_text(answer)
        self.answer.setText(plain(words, 240))
        self.answer.show()
        theme.set_property(self.answer, "tone", answer.tone)
        theme.set_property(self.verdict, "role", "subtle")
        known = answer.tone in _ANSWERS and self.reason.text() == _NOT_RULED_OUT
        self.reason.setVisible(not known)
        description = ". ".join((plain(self._name), words, self.verdict.text()))
        self.setAccessibleDescription(f"{description}. {self.reason.text()}")
        self.offer(_next_step(answer))

    def offer(self, name: str) -> None:
        """Make a command the first button; one that is not there leaves it as it is."""
        if name in self._actions.by_id and name != self._next:
            button = bind(push_button(look="primary"), self._actions[name], text=True)
            self._buttons.replaceWidget(self.next, button)
            QWidget.setTabOrder(self.next, button)  # else it comes last in the window
            self.next.deleteLater()
            self.next, self._next = button, name
        self.next.setVisible(bool(self._next))
        self.inputs.setVisible(self._next == "file.examine")
        self.more.show()

    def _list_more(self) -> None:
        """Fill the menu with what can be done now besides the next step."""
        self._menu.clear()
        self._actions.refresh()
        for group in _MORE:
            names = (name for name in group if name in self._actions.by_id and name != self._next)
            actions = map(self._actions.__getitem__, names)
            self._menu.addActions([action for action in actions if action.isEnabled()])
            self._menu.addSeparator()

    def _hide_answer(self) -> None:
        self.answer.hide()
        theme.set_property(self.verdict, "role", "heading")
        self._next = ""
        self.next.hide()
        self.inputs.hide()
        self.more.hide()

    def show_problem(self, name: str, sentence: str, code: str = "usage") -> None:
        """Say why it cannot be opened after all; ``code`` is an InputError's."""
        self._set_look(*LOOKS.get(code, LOOKS["unsupported"]))
        title = verdict_words(code) if code in REFUSED else "It could not be opened"
        self._set_texts(name, title, sentence, "")
        self.more.show()

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

    def _set_look(self, icon: str, tone: str) -> None:
        self._picture.show_icon(icon, {"danger": "danger", "caution": "warning"}.get(tone, "text"))
        theme.set_property(self, "tone", tone)

    def _set_texts(self, name: str, verdict: str, reason: str, state: str) -> None:
        self.cancel.hide()
        self._hide_answer()
        self._name = name
        labels = (self.name, self.verdict, self.reason, self.state)
        for label, text in zip(labels, (name, verdict, reason, state), strict=True):
            shown = plain(text, 1000)
            show_fitting(label, shown, 26 if label is self.name else 34)
            label.setVisible(bool(text))
        self.setAccessibleDescription(f"{plain(name)}. {verdict}. {plain(reason)}")


def answer_text(answer: Answer) -> str:
    """An answer with what it stands on, e.g. ``Backdoor-like: banana (scan, 29 Nov 20:06)``."""
    scan = "" if answer.scan is None else f"scan, {day_and_time(answer.scan.made)}"
    if answer.scan is not None and answer.scan.answer not in ("", answer.words):
        scan += f": {answer.scan.answer}"
    measured = "" if answer.measured == answer.words else answer.measured
    bases = "; ".join(filter(None, (scan, measured)))
    words = f"{answer.words} ({bases})" if bases else answer.words
    return f"{words}. {answer.cleaned}" if answer.cleaned else words


def _next_step(answer: Answer) -> str:
    """Id of the command that an analyst goes on with."""
    if BEING_CLEANED in (answer.words, answer.cleaned):
        return "view.clean"
    if answer.cleaned_tone == "info":
        return "view.report"
    if answer.tone in _ANSWERS:
        return "clean.it"
    return "file.examine" if answer.scan is None and answer.station != "clean" else "view.report"


def _headline(judged: Judged) -> str:
    """What the file is: one that is only readable is not called good."""
    if judged.verdict == "loads":
        return _READABLE
    return verdict_words(judged.verdict, judged.reason_code)
