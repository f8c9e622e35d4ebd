"""What a full report lacks, the command that gets it, and the list of it on the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme
from cleanclip_gui.commands import Actions
from cleanclip_gui.report.parts import ReportPart
from cleanclip_gui.session import Session
from cleanclip_gui.session.records import is_live
from cleanclip_gui.widgets.controls import Label, push_button
from cleanclip_gui.widgets.layout import column
from ml_core.jobs.proofs import HOLDOUTS_FILE, REBOUND_FILE

_PROOFS = (
    (REBOUND_FILE, "Whether the backdoor comes back when the model is finetuned again.",
     "Rebound test", "clean.rebound"),
    (HOLDOUTS_FILE, "Triggers and pictures that the cleaning never saw.", "Hold-outs",
     "clean.holdouts"),
)  # fmt: skip


@dataclass(frozen=True)
class Missing:
    """A sentence, the words of its button, and the command that this runs.

    ``run`` is the run that must be on show in Clean first; None where that does not matter.
    """

    sentence: str
    button: str
    command: str
    run: Path | None = None


def missing(session: Session, chosen: Sequence[ReportPart]) -> tuple[Missing, ...]:
    """What is missing, in the order in which it would be done.

    Parameters
    ----------
    chosen
        What goes into the report.
    """
    if session.checkpoint is None:
        return (
            Missing("The checkpoint that the report is about.", "Open a checkpoint", "file.open"),
        )
    return tuple(_missing(session, chosen))


def _missing(session: Session, chosen: Sequence[ReportPart]) -> Iterator[Missing]:
    runs = [part for part in chosen if part.kind == "run"]
    measured = [part for part in chosen if part.role == "suspect"]
    after = {part.cleaned for part in chosen if part.role == "cleaned" and part.with_trigger}
    untold = [run for run in runs if not run.with_trigger and run.cleaned not in after]
    if session.images is None:
        yield Missing(
            "Images to measure on: choose them in the bar above.", "Images from a folder",
            "file.images_folder",
        )  # fmt: skip
    elif not runs and not measured:
        yield Missing(
            "Accuracy and attack success, measured in fp32 and kept with every answer.",
            "Measure and keep", "report.measure",
        )  # fmt: skip
    elif not runs and not any(part.with_trigger for part in measured):
        yield _with_trigger(session, "the kept measurement was made without a trigger")
    elif any(run.has_cleaned for run in untold):
        yield _with_trigger(session, "the cleaned copy was measured without a trigger")
    if not any(part.role == "reference" for part in chosen) and (runs or measured):
        yield Missing(
            "The same figures of a clean reference, to compare with.", "Measure a reference",
            "report.measure_reference",
        )  # fmt: skip
    if not any(part.kind == "scan" for part in chosen):
        yield Missing("A scan for hidden triggers.", "Scan", "scan.start")
    live = session.run if is_live(session.run) else None
    if not runs and (session.answer is None or session.answer.tone != "info"):  # it needs none
        yield Missing(
            "A cleaned checkpoint: a run is going on." if live else "A cleaned checkpoint.",
            "Go to Clean", "view.clean",
        )  # fmt: skip
    scanned = {part.cleaned for part in chosen if part.kind == "scan"}
    for run in runs:
        named = f" ({run.title}, {run.when})" if len(runs) > 1 else ""
        at_work = live is not None and run.folder.parent == Path(live.chain)
        if at_work and len(run.proofs) < len(_PROOFS):
            yield Missing(f"Proofs{named}: a run is going on.", "Go to Clean", "view.clean")
            continue
        facts = session.checkpoint
        is_open = facts is not None and run.cleaned == facts.inspection.sha256
        if run.has_cleaned and run.cleaned not in scanned:
            sentence = f"What a scan finds in the cleaned checkpoint{named}."
            command, of = ("scan.start", None) if is_open else ("scan.cleaned", run.folder)
            yield Missing(sentence, "Scan again", command, of)
        for file, sentence, button, command in _PROOFS:
            if file not in run.proofs and is_open:
                words = f"{sentence} Open the checkpoint that was cleaned to test it."
                yield Missing(words, "Open a checkpoint", "file.open")
            elif file not in run.proofs:
                yield Missing(f"{sentence.removesuffix('.')}{named}.", button, command, run.folder)


def _with_trigger(session: Session, why: str) -> Missing:
    sentence = f"Attack success: {why}."
    if session.trigger is None:
        return Missing(sentence, "Go to Studio", "view.studio")
    return Missing(sentence, "Measure and keep", "report.measure")


COMPLETE = "Nothing: this is a full report."


class MissingList(QWidget):
    """Lines with buttons; ``requested(Missing)``: a button was pressed.

    Parameters
    ----------
    actions
        Say whether a command can be done now, and what it needs if not.
    """

    requested = Signal(object)

    def __init__(self, actions: Actions, parent: QWidget | None = None) -> None:
        super().__init__(parent, accessibleName="Missing for a full report")
        self._actions = actions
        self._shown: tuple[Missing, ...] | None = None
        self.rows: list[MissingRow] = []
        self._complete = Label(COMPLETE, "subtle", wrap=True)
        self._layout = column(self._complete, of=self, spacing=theme.SPACE_M)

    def show_missing(self, missing: Sequence[Missing] | None) -> None:
        """Show other lines, or the same with buttons that follow what can be done.

        Parameters
        ----------
        missing
            None while it is not known: nothing is shown, not even that nothing is missing.
        """
        self._complete.setVisible(missing is not None and not missing)
        missing = missing or ()
        if self._shown != tuple(missing):
            self._shown = tuple(missing)
            while len(self.rows) > len(missing):
                row = self.rows.pop()
                row.hide()
                self._layout.removeWidget(row)
                row.deleteLater()
            while len(self.rows) < len(missing):
                row = MissingRow()
                row.requested.connect(self.requested)
                self._layout.insertWidget(len(self.rows), row)
                self.rows.append(row)
        for row, item in zip(self.rows, missing, strict=True):
            action = self._actions.by_id.get(item.command)
            # A run that is not on show is shown first, and then the command can be done.
            possible = action is not None and (action.isEnabled() or item.run is not None)
            row.show_missing(item, possible, "" if action is None else action.toolTip())


class MissingRow(QWidget):
    """A sentence above its button."""

    requested = Signal(object)

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
            self.requested.emit(self._missing)
