"""The one mutable record of the window; changed in the GUI thread only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psygnal import SignalGroupDescriptor

from cleanclip_gui.session.records import (
    CheckpointFacts,
    ImagesState,
    OtherSnapshot,
    Prediction,
    Role,
    RunProgress,
    RunState,
    ScanState,
)
from ml_core.evaluation.records import Evaluation
from ml_core.triggers import Trigger


@dataclass(eq=False)
class Session:
    """What is open. ``session.events.<field>.connect(handler)`` follows one field.

    Each field has one writer; who wants another value asks it, through a signal of the shell.

    ``checkpoint``: the suspect one. Writer: the Checkpoint station.
    ``cleaned``: the one after cleaning, as the inference thread holds it, whatever was asked for
    since; None again before another ``checkpoint`` is written, so that nobody sees the two
    together. Writer: the Clean station's ``TryCleaned``.
    ``reference``: what the suspect one is compared with. Writer: Studio's page of two checkpoints.
    ``trusted``: path of the clean reference that a cleaning method is given; may not be there.
    Writer: the Clean station.
    ``role``: which of them Studio looks at. Writer: Studio.
    ``images``, ``label_set``: images in use, and the name or file of their classes. Writer: the
    data bar.
    ``trigger``: what is on Studio's canvas, as it was last measured. Writer: Studio's live loop.
    ``other_snapshot``: the one that Studio's canvas flips to; None before the first flip. Writer:
    Studio.
    ``target``: the class that it aims at. Writer: Studio, which keeps the class of that name when
    other images come.
    ``selected_image``: Writer: Studio.
    ``prediction``: what the model says of that image, None until it has. Writer: Studio.
    ``evaluation``: the newest numbers of trigger and target. Writer: Studio's live loop.
    ``speed``: how the checkpoint that Studio looks at is computed, in short and in full. Writer:
    Studio's :class:`AutoSpeed`.
    ``run``, ``run_progress``: the run at work or last shown, and how far it is, None before it has
    told. Writer: the Clean station's ``CleaningRun``.
    ``scan``, ``scan_progress``: the same of the scan at work or on show. Writer: the Scan station.
    ``device``, ``devices``: where Studio computes, and could. Writer: :class:`StudioDevice`.
    ``station``: the page on show. Writer: the window.
    ``folder``: where the session was saved by name; empty if it was not. ``runs``: folders of all
    runs of it, the newest last. Writer of these: the window's :class:`SessionKeeper`.
    ``notes``: what the analyst wrote down. Writers: the dialog of the notes and the keeper.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    checkpoint: CheckpointFacts | None = None
    cleaned: CheckpointFacts | None = None
    reference: CheckpointFacts | None = None
    role: Role = "suspect"
    images: ImagesState | None = None
    trigger: Trigger | None = None
    other_snapshot: OtherSnapshot | None = None
    target: int = 0
    evaluation: Evaluation | None = None
    selected_image: int = 0
    prediction: Prediction | None = None
    run: RunState | None = None
    device: str = "cpu"
    devices: tuple[str, ...] = ()
    speed: tuple[str, str] = ("", "")
    station: str = "welcome"
    label_set: str = "demo"
    trusted: str = ""
    run_progress: RunProgress | None = None
    scan: ScanState | None = None
    scan_progress: RunProgress | None = None
    folder: str = ""
    runs: tuple[str, ...] = ()
    notes: str = ""

    @property
    def can_measure(self) -> bool:
        """Whether there is a checkpoint to look at, and an image to show to it."""
        return self.shown is not None and self.images is not None and self.images.n > 0

    @property
    def shown(self) -> CheckpointFacts | None:
        """The checkpoint that Studio looks at, by ``role``."""
        return self.checkpoint if self.role == "suspect" else self.cleaned
