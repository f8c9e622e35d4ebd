"""The one mutable record of the window; changed in the GUI thread only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psygnal import SignalGroupDescriptor

from cleanclip_gui.session.records import CheckpointFacts, ImagesState, Role, RunState, is_live
from ml_core.evaluation.records import Evaluation
from ml_core.events import Progress
from ml_core.triggers import Trigger


@dataclass(eq=False)
class Session:
    """What is open. ``session.events.<field>.connect(handler)`` follows one field.

    ``role`` names the checkpoint that Studio looks at: the suspect one or the cleaned one.
    ``speed`` says how that one is computed, in short and in full. ``station`` is the page on show,
    ``label_set`` the name or file of the classes in use, ``run_progress`` how far the
    stage of the run is; None while that is unknown.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    checkpoint: CheckpointFacts | None = None
    cleaned: CheckpointFacts | None = None
    reference: CheckpointFacts | None = None
    role: Role = "suspect"
    images: ImagesState | None = None
    trigger: Trigger | None = None
    target: int = 0
    evaluation: Evaluation | None = None
    selected_image: int = 0
    run: RunState | None = None
    device: str = "cpu"
    devices: tuple[str, ...] = ()
    speed: tuple[str, str] = ("", "")
    station: str = "welcome"
    label_set: str = "demo"
    run_progress: Progress | None = None

    @property
    def shown(self) -> CheckpointFacts | None:
        """The checkpoint that Studio looks at, by ``role``."""
        return self.checkpoint if self.role == "suspect" else self.cleaned

    def start_over(self, target: int) -> None:
        """Forget the trigger and a run that has ended, and aim at ``target``."""
        if not is_live(self.run):
            self.run = None
        self.trigger, self.target = None, target
