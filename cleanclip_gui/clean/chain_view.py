"""The steps of *Clean it*, how each stands and what it came to, and the answer at the end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.chain import Chain
from cleanclip_gui.clean.proof import ReboundView
from cleanclip_gui.widgets.controls import ElidedLabel, IconLabel, Label, push_button
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import card, column, row
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import duration_text, plain
from ml_core.events import Event, Finding, Metric
from ml_core.jobs.auto import TITLE, AutoStep, Outcome, StepStatus
from ml_core.jobs.proofs import ReboundSpec

_STATES: dict[StepStatus, tuple[str, str, str]] = {  # icon, its colour, word
    "running": ("play", "accent", "running"),
    "finished": ("check", "success", "done"),
    "stopped": ("stop", "muted", "stopped"),
    "failed": ("danger", "danger", "failed"),
    "skipped": ("next", "muted", "skipped"),
}
_ANSWERS: dict[Outcome, tuple[str, str]] = {  # and the card's tone
    "nothing_found": ("the same scan finds nothing", "ok"),
    "still_found": ("something is left", "caution"),
    "not_scanned": ("nobody knows what is left", "caution"),
    "worse": ("no round was worth what it cost", "caution"),
}
_MARK = 16  # pixels


class StepRow(QWidget):
    """A step: how it stands, why it is taken, what it came to, and a button for what it made."""

    def __init__(self, number: int, show: Callable[[int], object]) -> None:
        super().__init__()
        self.mark = IconLabel(_MARK)
        self.title = ElidedLabel("", "field")
        self.state = Label("", "caption")
        self.show_button = push_button("Show", partial(show, number), look="quiet")
        self.words = Label("", "caption", wrap=True)
        self.title.setMinimumHeight(self.show_button.sizeHint().height())  # with or without it
        head = row(
            self.mark, (self.title, 1), self.state, self.show_button, spacing=theme.SPACE_S,
        )  # fmt: skip
        indent = theme.px(_MARK) + theme.SPACE_S
        column(head, column(self.words, margins=(indent, 0, 0, 0)), of=self, spacing=2)

    def show_step(self, step: AutoStep, *, at_work: bool) -> None:
        """Show how a step stands; one that was cut off with its chain is stopped."""
        is_cut_off = step.status == "running" and not at_work
        icon, colour, word = _STATES["stopped" if is_cut_off else step.status]
        self.mark.show_icon(icon, colour)
        self.title.setText(plain(step.title, 100))
        took = f", {duration_text(step.seconds)}" if step.seconds else ""
        self.state.setText(f"{word}{took}")
        self.words.setText(plain(f"{step.why} {step.sentence}".strip(), 1000))
        self.words.setVisible(bool(self.words.text()))
        has_page = step.kind in ("scan", "clean")  # a test stands on the page of its round
        self.show_button.setVisible(has_page and step.status == "finished")
        self.show_button.setAccessibleName(f"Show {self.title.text()}")
        self.show_button.setAccessibleDescription(self.words.text())


class ChainView(QWidget):
    """The steps of a chain with the rebound test at work, then what the chain came to.

    ``step_chosen(Chain, AutoStep)`` asks to show what a step made.
    """

    step_chosen = Signal(object, object)

    def __init__(self, prompts: Prompts) -> None:
        super().__init__()
        self.setAccessibleName(TITLE)
        self._chain: Chain | None = None
        self.rows: list[StepRow] = []
        self.sentences = Label("", wrap=True)
        self.back = push_button("Show the original in Studio", icon="studio")
        self._list = column(spacing=theme.SPACE_S)
        self.rebound = ReboundView(prompts)
        self.failed = self.rebound.chart.failed
        self.answer = Label(TITLE, "heading", wrap=True)
        self.sheet = card(
            self.answer, self.sentences, FoldingRow(self.back), self._list,
            self.rebound, spacing=theme.SPACE_S,
        )  # fmt: skip
        column(self.sheet, of=self)

    def show_chain(self, chain: Chain | None, *, at_work: bool, offers_back: bool) -> None:
        """Show a chain as it stands, or none; a step runs only while the chain is ``at_work``."""
        self._chain = chain
        steps = () if chain is None else chain.steps
        self.setVisible(bool(steps))
        while len(self.rows) < len(steps):
            self.rows.append(StepRow(len(self.rows), self._on_show_clicked))
            self._list.addWidget(self.rows[-1])
        for number, line in enumerate(self.rows):
            line.setVisible(number < len(steps))
            if number < len(steps):
                line.show_step(steps[number], at_work=at_work)
        result = None if chain is None or not chain.is_whole else chain.result
        words = "" if result is None else "\n".join(result.sentences)
        answer, tone = ("", "") if result is None else _ANSWERS[result.outcome]
        if result is not None and tone == "ok" and not result.called_for:
            answer, tone = "nothing called for cleaning", ""
        self.answer.setText(f"{TITLE}: {answer}" if answer else TITLE)
        self.sentences.setText(plain(words, 4000, lines=True))
        self.sentences.setVisible(bool(words))
        self.back.setVisible(bool(words) and offers_back)
        theme.set_property(self.sheet, "tone", tone)
        self.rebound.setVisible(at_work and bool(steps) and steps[-1].kind == "rebound")

    def add(self, event: Event) -> None:
        """Draw the rebound test of the chain at work."""
        if isinstance(event, Finding) and event.values.get("kind") == "rebound":
            if event.values["status"] == "running":
                steps = 0 if self._chain is None else self._chain.spec.rebound_steps
                self.rebound.begin(ReboundSpec.model_fields["limit"].default, steps)
        elif isinstance(event, Metric):
            self.rebound.add(event)

    def _on_show_clicked(self, number: int, *_: object) -> None:
        if self._chain is not None:
            self.step_chosen.emit(self._chain, self._chain.steps[number])
