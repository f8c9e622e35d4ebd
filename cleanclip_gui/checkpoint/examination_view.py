"""What an examination came to, on one page: the answer, its steps, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QFrame, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import (
    BusyRow,
    IconLabel,
    Label,
    Note,
    bind,
    focus_first,
    push_button,
)
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import card, column, page, row, scrolling
from cleanclip_gui.widgets.picture_grid import PictureCell, PictureGrid
from cleanclip_gui.widgets.step_row import StepLook, StepRow
from cleanclip_gui.widgets.text import count_text, day_and_time, duration_text, left_text, plain
from ml_core.events import Done, Progress
from ml_core.jobs.examination import (
    TITLES,
    Advice,
    Examination,
    ExamineSpec,
    ExamineStep,
    Kind,
    Verdict,
)
from ml_core.jobs.table import JOBS

# verdict -> icon, its colour, tone of the card, role of the headline; never a welcome one.
_LOOKS: dict[Verdict, tuple[str, str, str, str]] = {
    "dangerous": ("danger", "danger", "danger", "error"),
    "damaged": ("warning", "warning", "caution", "warning"),
    "unsupported": ("warning", "warning", "caution", "warning"),
    "found": ("danger", "danger", "danger", "error"),
    "suspicious": ("warning", "warning", "caution", "warning"),
    "nothing": ("scan", "text", "", ""),
    "unknown": ("info", "muted", "", ""),
}
_WAITING = StepLook("dot", "muted", "waiting")
_STATES: dict[str, StepLook] = {
    "running": StepLook("play", "accent_text", "running"),
    "done": StepLook("check", "accent_text", "done"),
    "skipped": StepLook("next", "muted", "skipped"),
    "unknown": StepLook("info", "warning", "cannot say"),
}
_SHOW: dict[Kind, str] = {
    "file": "Show the facts",
    "identity": "Show the facts",
    "accuracy": "Show the scan",
    "known": "Show the scan",
    "scan": "Show the scan",
    "weights": "Compare tensors",
    "attack": "Try in Studio",
    "clean": "Show the run",
    "report": "Show the report",
}
_TITLES, _WORDS, _LINKS = 130, 92, 136  # pixels of these columns
_BUTTONS: dict[Advice, tuple[str, str]] = {  # text and icon
    "choose a part": ("Choose which model…", "checkpoint"),
    "choose a donor": ("Choose a donor…", "checkpoint"),
    "doctor": ("Open the loader doctor", "settings"),
    "clean": ("Clean it", "clean"),
    "clean again": ("Clean it again", "clean"),
    "do not load": ("Show why", "checkpoint"),
    "get again": ("Choose another file…", "open"),
    "other file": ("Choose another file…", "open"),
    "reference": ("Choose a reference…", "open"),
    "report": ("Write the report", "report"),
}
_ENDS = {"cancelled": "was cancelled.", "stopped": "was stopped.", "failed": "failed."}
_GOES_ON = "“Go on” keeps the finished steps if pictures, classes and reference are the same."
_STEPS, _PICTURE = 1000, 72
# verdict -> the steps whose state is marked as the answer is
_MARKED: dict[Verdict, tuple[Kind, ...]] = {
    "dangerous": ("file",), "damaged": ("file",), "unsupported": ("file",),
    "found": ("scan", "attack"), "suspicious": ("scan", "attack"),
}  # fmt: skip


class ExaminationView(QWidget):
    """The page; it fills while the examination runs.

    ``step_clicked(Kind)`` asks for the details of a step, ``advice_clicked(Advice)`` to do what is
    advised, ``facts_clicked`` for the facts of the file, ``cancel_clicked`` to end it.

    Parameters
    ----------
    examine
        Action that examines the file again.
    inputs
        Shows what that would use.
    """

    step_clicked = Signal(str)
    advice_clicked = Signal(str)
    facts_clicked = Signal()
    cancel_clicked = Signal()

    def __init__(self, examine: QAction, inputs: QWidget) -> None:
        super().__init__()
        self.setObjectName("checkpoint.examination")
        self._advice: Advice = "none"
        self._picture = IconLabel(34)
        self.name = Label("", "subtle", wrap=True)
        self.headline = Label("", wrap=True)
        self.headline.setProperty("large", True)
        self.advice = Label("", wrap=True)
        self.measured_on = Note("warning", selectable=True)  # where something else is chosen now
        self.inputs = inputs
        for label in (self.name, self.headline, self.advice):
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            label.setMinimumWidth(1)
        self.next = push_button("", self._on_next_clicked, look="primary")
        self.again = bind(push_button(), examine)
        self.facts = push_button("Facts of the file", self.facts_clicked, icon="checkpoint")
        self.doing = Label("", "subtle", wrap=True)
        self.busy = BusyRow("Progress of the examination", self.cancel_clicked)
        text = column(
            self.name, self.headline, self.advice, self.measured_on, self.doing, self.busy,
            FoldingRow(self.next, self.again, self.facts), inputs, spacing=theme.SPACE_S,
        )  # fmt: skip
        self.answer = card(
            row(
                (self._picture, Qt.AlignmentFlag.AlignTop), (text, 1), spacing=theme.SPACE_L
            ), margins=theme.SPACE_L,
        )  # fmt: skip
        self.answer.setObjectName("checkpoint.answer")
        self.answer.setAccessibleName("Answer of the examination")
        self.rows: dict[Kind, StepRow] = {}
        for kind in TITLES:
            line = self.rows[kind] = StepRow(_SHOW[kind], _TITLES)
            line.state.setMinimumWidth(theme.px(_WORDS))
            line.show_button.setMinimumWidth(theme.px(_LINKS))
            line.show_clicked.connect(partial(self.step_clicked.emit, kind))
        self._steps = card(Label("Steps", "heading"), *self.rows.values(), spacing=theme.SPACE_S)
        self.pictures = PictureGrid("Pictures before and after", _PICTURE, 1, abreast=2)
        self._pictures = card(Label("The found trigger on pictures", "heading"), self.pictures)
        self._looked_at, self.looked_at = _list("Searched")
        self._not_looked_at, self.not_looked_at = _list("Not searched")
        self._scope = QWidget()
        row((self._looked_at, 1), (self._not_looked_at, 1), of=self._scope, spacing=theme.SPACE_M)
        self._area = scrolling(
            page(
                self.answer, self._pictures, self._steps, self._scope, None,
                spacing=theme.SPACE_M,
            )
        )  # fmt: skip
        column(self._area, of=self)

    def begin(self, name: str, spec: ExamineSpec) -> None:
        """Show an examination that begins."""
        self._show_answer("checkpoint", "text", "", "", "Examining…")
        self.measured_on.setText("")
        self.name.setText(plain(name, 80))
        self.show_steps({}, spec)
        self.show_advice("", "none")
        self._show_scope((), ())
        self.show_pictures(())
        self.busy.bar.setRange(0, _STEPS)
        self.busy.bar.setValue(0)
        self._set_busy(True)
        self.busy.cancel.setFocus()
        self._area.verticalScrollBar().setValue(0)

    def show_steps(
        self,
        steps: Mapping[Kind, ExamineStep],
        spec: ExamineSpec,
        *,
        verdict: Verdict | None = None,
        known_works: bool = False,
    ) -> None:
        """Show the steps as they stand, at the end with the verdict; unasked ones have no line."""
        marked = {*_MARKED.get(verdict or "unknown", ()), *(("known",) if known_works else ())}
        asked = {"clean": spec.auto is not None, "report": spec.report is not None}
        for kind, line in self.rows.items():
            line.setVisible(asked.get(kind, True))
            step = steps.get(kind)
            if step is None:
                line.show_step(TITLES[kind], _WAITING, "")
                continue
            first, *rest = step.sentences or ("",)
            # An accuracy that cannot be said may have no scan that shows it.
            shown = ("done",) if kind == "accuracy" else ("done", "unknown")
            look = _STATES[step.state]
            if verdict is not None and kind in marked and step.state == "done":
                look = StepLook(*_LOOKS[verdict][:2], look.word)
            line.show_step(
                step.title, look, "" if first == f"{step.figure}." else first,
                figure=step.figure,
                seconds=step.seconds if step.seconds >= 1 else 0.0, rest="\n".join(rest),
                can_show=verdict is not None and step.state in shown,
            )  # fmt: skip

    def show_progress(self, words: str, fraction: float, *, has_plan: bool) -> None:
        """Show how far it is; ``has_plan``: the share of the whole is known."""
        self.doing.setText(words)
        self.busy.bar.setRange(0, _STEPS if has_plan else 0)
        self.busy.bar.setValue(round(_STEPS * fraction))

    def show_end(self, last: Done, steps: Mapping[Kind, ExamineStep]) -> None:
        """Show that it ended without an answer; the scan keeps what it has finished."""
        self._set_busy(False)
        goes_on = "known" in steps
        self.again.setText("Go on" if goes_on else "Examine again")
        sentences = f"{last.error} {_GOES_ON if goes_on else ''}".strip()
        role = "error" if last.status == "failed" else ""
        words = f"The examination {_ENDS[last.status]}"
        self._show_answer("info", "muted", "", role, words)
        self.show_advice(sentences, "none")
        for kind, line in self.rows.items():
            if kind not in steps or steps[kind].state == "running":
                line.show_step(TITLES[kind], _WAITING._replace(word="not done"), "")

    def show_examination(self, record: Examination, made: float, *, known_works: bool) -> None:
        """Show a finished examination; ``made`` is in seconds since 1970.

        ``known_works``: a known trigger speaks for a backdoor, and is marked as the answer is.
        """
        self.again.setText("Examine again")
        icon, colour, tone, role = _LOOKS[record.verdict]
        self._show_answer(icon, colour, tone, role, record.headline)
        took = f"examined {day_and_time(made)}, {duration_text(record.seconds)}"
        self.name.setText(f"{plain(record.name, 80)} · {took}")
        steps = {step.kind: step for step in record.steps}
        self.show_steps(steps, record.spec, verdict=record.verdict, known_works=known_works)
        self.show_advice(record.advice_sentence, record.advice)
        self._show_scope(record.looked_at, record.not_looked_at)
        self._set_busy(False)

    def _show_answer(self, icon: str, colour: str, tone: str, role: str, headline: str) -> None:
        self._picture.show_icon(icon, colour)
        theme.set_property(self.answer, "tone", tone)
        theme.set_property(self.headline, "role", role)
        self.headline.setText(plain(headline))

    def show_pictures(self, cells: Sequence[PictureCell]) -> None:
        """Show pictures without and with the found trigger, and what is predicted; or none."""
        self.pictures.show_cells(cells)
        self._pictures.setVisible(bool(cells))

    def show_advice(self, sentence: str, advice: Advice, *, words: str = "") -> None:
        """Show what to do next, and the button that does it, with other ``words`` on it."""
        self._advice = advice
        self.advice.setText(plain(sentence))
        self.advice.setVisible(bool(sentence))
        self.answer.setAccessibleDescription(f"{self.headline.text()} {self.advice.text()}")
        text, icon = _BUTTONS.get(advice, ("", ""))
        self.next.setText(words or text)
        self.next.setVisible(bool(text))
        if icon:
            self.next.setIcon(theme.icon(icon, "on_accent"))

    def _show_scope(self, looked_at: Sequence[str], not_looked_at: Sequence[str]) -> None:
        for sheet, label, sentences in (
            (self._looked_at, self.looked_at, looked_at),
            (self._not_looked_at, self.not_looked_at, not_looked_at),
        ):
            label.show_list(sentences)
            sheet.setVisible(bool(sentences))

    def _set_busy(self, busy: bool) -> None:
        had_focus = self.busy.cancel.hasFocus()
        self.busy.setVisible(busy)
        self.doing.setVisible(busy)
        self.again.setVisible(not busy)
        if had_focus and not busy:
            focus_first(self.next, self.again)

    def _on_next_clicked(self) -> None:
        self.advice_clicked.emit(self._advice)


def doing_words(progress: Progress | None, seconds_left: float | None) -> str:
    """What an examination does now, and how long it will take."""
    words = JOBS["examine"].words("open" if progress is None else progress.stage).removesuffix("…")
    if progress is not None and progress.total > 1:
        words += f": {count_text(progress.done)} of {count_text(progress.total)}"
    left = left_text(seconds_left)
    return f"{words}, {left}" if left else f"{words}…"


def _list(title: str) -> tuple[QFrame, Note]:
    """A card with a heading and a list of sentences."""
    label = Note("subtle", selectable=True)
    sheet = card(Label(title, "heading"), label, None, spacing=theme.SPACE_S)
    sheet.setAccessibleName(title)
    return sheet, label
