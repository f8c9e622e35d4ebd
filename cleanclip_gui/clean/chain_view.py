"""The steps of *Clean it*, how each stands and what it came to, and the answer at the end."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.proof import ReboundView
from cleanclip_gui.widgets.controls import Label, Note, push_button
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import card, column
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.step_row import StepLook, StepRow
from cleanclip_gui.widgets.text import plain, unbroken
from ml_core.events import Event, Finding, Metric
from ml_core.jobs.auto import TITLE, AutoResult, AutoStep, Outcome, StepStatus
from ml_core.jobs.chain_folder import Chain
from ml_core.jobs.proofs import ReboundSpec

_STATES: dict[StepStatus, StepLook] = {
    "running": StepLook("play", "accent", "running"),
    "finished": StepLook("check", "success", "done"),
    "stopped": StepLook("stop", "muted", "stopped"),
    "failed": StepLook("danger", "danger", "failed"),
    "skipped": StepLook("next", "muted", "skipped"),
}
_ANSWERS: dict[Outcome, tuple[str, str]] = {  # and the card's tone
    "nothing_found": ("the same scan finds nothing", "ok"),
    "still_found": ("something is left", "caution"),
    "not_scanned": ("nobody knows what is left", "caution"),
    "worse": ("every round cost too much accuracy", "caution"),
}


_WITH_PAGE = {("scan", "finished"), ("clean", "finished"), ("clean", "stopped")}
_PROOFS: dict[bool | None, tuple[str, str]] = {  # where the scan finds nothing
    True: ("the scan finds nothing, but the backdoor comes back", "danger"),
    None: ("the scan finds nothing; whether the backdoor comes back is not tested", "caution"),
}


def answer_of(result: AutoResult) -> tuple[str, str]:
    """What a chain came to, in a few words, and the tone of them."""
    answer, tone = _ANSWERS[result.outcome]
    if tone != "ok" or (result.called_for and result.comes_back is False):
        return answer, tone
    return _PROOFS[result.comes_back] if result.called_for else ("nothing called for cleaning", "")


class ChainView(QWidget):
    """The steps of a chain with the rebound test at work, then what the chain came to.

    ``step_chosen(Chain, AutoStep)`` asks to show what a step made.
    """

    step_chosen = Signal(object, object)

    def __init__(self, prompts: Prompts) -> None:
        super().__init__(accessibleName=TITLE)
        self._chain: Chain | None = None
        self.rows: list[StepRow] = []
        self.has_answer = False  # of a round that is kept, with what can be done with it
        self.sentences = Note()
        self.save, self.open_saved = push_button(), push_button()
        self.report = push_button("Write the report", icon="report")
        self.steps = QWidget()
        self._list = column(of=self.steps, spacing=theme.SPACE_S)
        self.more = push_button("Show the steps", look="quiet")
        self.more.setCheckable(True)
        self.more.toggled.connect(self._on_more_toggled)
        self.rebound = ReboundView(prompts)
        self.failed = self.rebound.chart.failed
        self.answer = Label(TITLE, "heading", wrap=True)
        self.acts = FoldingRow(self.save, self.open_saved, self.report, self.more)
        self.sheet = card(
            self.answer, self.sentences, self.acts, self.steps, self.rebound,
            spacing=theme.SPACE_S,
        )  # fmt: skip
        column(self.sheet, None, of=self)

    def show_chain(self, chain: Chain | None, *, at_work: bool) -> None:
        """Show a chain as it stands, or none; a step runs only while the chain is ``at_work``."""
        self._chain = chain
        steps = () if chain is None else chain.steps
        self.setVisible(bool(steps))
        while len(self.rows) < len(steps):
            line = StepRow()
            line.show_clicked.connect(partial(self._on_show_clicked, len(self.rows)))
            self.rows.append(line)
            self._list.addWidget(line)
        rounds = [step.folder for step in steps if step.kind == "clean"]
        best = chain.result.best if chain and chain.result and len(rounds) > 1 else None
        for number, line in enumerate(self.rows):
            line.setVisible(number < len(steps))
            if number < len(steps):
                step = steps[number]
                is_best = step.kind == "clean" and step.folder == best
                _show_step(line, step, ", kept" * is_best, at_work=at_work)
        result = None if chain is None or not chain.is_whole else chain.result
        words = "" if result is None else "\n".join(result.sentences)
        answer, tone = ("", "") if result is None else answer_of(result)
        self.answer.setText(f"{TITLE}: {answer}" if answer else TITLE)
        self.sentences.setText(unbroken(plain(words, 4000, lines=True)))
        self.has_answer = bool(chain and chain.best and words)
        self.save.setVisible(self.has_answer)
        self.acts.setVisible(bool(words))  # then the answer comes first
        self.steps.setVisible(not words or self.more.isChecked())
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

    def _on_more_toggled(self, on: bool) -> None:
        self.more.setText("Hide the steps" if on else "Show the steps")
        self.steps.setVisible(on)

    def _on_show_clicked(self, number: int) -> None:
        if self._chain is not None:
            self.step_chosen.emit(self._chain, self._chain.steps[number])


def _show_step(line: StepRow, step: AutoStep, suffix: str, *, at_work: bool) -> None:
    """Show how a step stands; one that was cut off with its chain is stopped."""
    is_cut_off = step.status == "running" and not at_work
    # A test stands on the page of its round.
    has_page = (step.kind, step.status) in _WITH_PAGE
    line.show_step(
        step.title + suffix, _STATES["stopped" if is_cut_off else step.status],
        f"{step.why} {step.sentence}".strip(), seconds=step.seconds,
        can_show=has_page,
    )  # fmt: skip
