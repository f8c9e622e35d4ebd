"""What a full report lacks, and the command that gets it. No Qt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cleanclip_gui.report.parts import Part
from cleanclip_gui.session import Session
from cleanclip_gui.session.records import is_live
from ml_core.jobs.proof_specs import HOLDOUTS_FILE, REBOUND_FILE

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


def missing(session: Session, chosen: Sequence[Part]) -> tuple[Missing, ...]:
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


def _missing(session: Session, chosen: Sequence[Part]) -> Iterator[Missing]:
    runs = [part for part in chosen if part.kind == "run"]
    measured = [part for part in chosen if part.role == "suspect"]
    if session.images is None:
        yield Missing(
            "Pictures to measure on: choose them in the bar above.", "Images from a folder",
            "file.images_folder",
        )  # fmt: skip
    elif not runs and not measured:
        yield Missing(
            "Accuracy and attack success, measured in fp32 and kept with every answer.",
            "Measure and keep", "report.measure",
        )  # fmt: skip
    elif not runs and not any(part.with_trigger for part in measured):
        if session.trigger is None:
            yield Missing("A trigger: none was tried.", "Go to Studio", "view.studio")
        else:
            yield Missing(
                "Attack success: what was kept was measured without a trigger.",
                "Measure and keep", "report.measure",
            )  # fmt: skip
    if not any(part.role == "reference" for part in chosen) and (runs or measured):
        yield Missing(
            "The same figures of a clean reference, to compare with.", "Measure a reference",
            "report.measure_reference",
        )  # fmt: skip
    if not any(part.kind == "scan" for part in chosen):
        yield Missing("A search for triggers that nobody named.", "Scan", "scan.start")
    if not runs:
        live = is_live(session.run)
        yield Missing(
            "A cleaned checkpoint: a run is going on." if live else "A cleaned checkpoint.",
            "Go to Clean", "view.clean",
        )  # fmt: skip
    for run in runs:
        for file, sentence, button, command in _PROOFS:
            if file not in run.proofs:
                named = f" ({run.title}, {run.when})" if len(runs) > 1 else ""
                yield Missing(f"{sentence.removesuffix('.')}{named}.", button, command, run.folder)
