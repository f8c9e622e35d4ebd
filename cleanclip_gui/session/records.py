"""Frozen records that the session holds."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from psygnal import SignalGroupDescriptor

from cleanclip_gui.session.settings import PastResult
from ml_core.atomic import replace_files
from ml_core.cleaning.pretraining import UNKNOWN, Pretraining
from ml_core.data.labels import label_sets, load_label_set
from ml_core.data.specs import ImageSpec
from ml_core.detection.scan.records import Verdict
from ml_core.evaluation.records import Evaluation
from ml_core.jobs.auto import AutoStep
from ml_core.jobs.demo import demo_checkpoint
from ml_core.reading import Inspection
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger

Role = Literal["suspect", "cleaned", "reference"]
Tone = Literal["", "info", "caution", "danger"]


@dataclass(frozen=True, eq=False)
class ShownCheckpoint:
    """An opened checkpoint as the window shows it; the model itself lives in the inference thread.

    ``architecture`` is one line such as "ResNet, 64 px"; ``assumptions`` are what its source could
    not tell, ``notes`` what the file holds beside the model; ``donor`` is the file that gave the
    encoder which this one lacks; ``choice`` names settings that the user chose with the loader
    doctor, and is among the assumptions. ``of_demo``: it is the built-in demo's, or a model of its
    architecture. ``pretraining`` is the learning rate at which another model was pretrained.
    """

    path: str
    inspection: Inspection
    architecture: str
    architecture_source: str
    assumptions: tuple[str, ...]
    image_size: int
    parameters: int
    notes: tuple[str, ...] = ()
    donor: str = ""
    choice: str = ""
    of_demo: bool = False
    pretraining: Pretraining = UNKNOWN

    @property
    def title(self) -> str:
        """The architecture, and what in the model does not come from the file."""
        parts = [self.architecture, *(["chosen settings"] if self.choice else [])]
        parts += [f"other encoder of {Path(self.donor).name}"] if self.donor else []
        return ", ".join(parts)

    @property
    def is_demo(self) -> bool:
        """Whether it is the built-in demo."""
        with suppress(InputError):
            return self.path == str(demo_checkpoint())
        return False

    @property
    def demo_twin(self) -> str:
        """Path of the demo's clean twin, for every other model of the demo; else empty."""
        with suppress(InputError):  # an installation without the demo
            twin = demo_checkpoint(twin=True)
            return str(twin) if self.of_demo and Path(self.path) != twin else ""
        return ""


@dataclass(frozen=True)
class OtherSnapshot:
    """The one of Studio's two snapshots, A and B, that is not on the canvas; it may be empty."""

    slot: Literal["A", "B"]
    trigger: Trigger | None


@dataclass(frozen=True, eq=False)
class ImagesState:
    """The evaluation images in use. ``labels`` holds -1 where a picture has no label.

    ``known_by`` says what ``key`` was made of, see `ml_core.data.known_files`.
    """

    spec: ImageSpec
    name: str
    key: str
    n: int
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    problems: tuple[str, ...] = ()
    known_by: str = ""

    @property
    def too_few_to_scan(self) -> str:
        """Why a scan cannot search on them; empty if there are enough."""
        if self.n >= 144:  # the job says so again, with what it could read
            return ""
        return (
            f"A scan needs 144 pictures, 16 to search on and 128 others to measure on; there are "
            f"{self.n}. Choose a larger image set."
        )

    def label_set_in(self, folder: Path) -> str:
        """Name of the built-in label set, or a file in ``folder`` with the classes.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        for name in label_sets():
            if load_label_set(name).class_names == self.class_names:
                return name
        path = folder / "classes.txt"
        replace_files({path: ("\n".join(self.class_names) + "\n").encode()})
        return str(path)

    def first_to_flip(self, target: int) -> int:
        """Number of the first picture that is not of the target class; 0 if there is none."""
        others = (self.labels >= 0) & (self.labels != target)
        return int(others.argmax()) if others.any() else 0


@dataclass(frozen=True)
class ShownPrediction:
    """What the model takes the selected image for, without the trigger and with it.

    ``triggered`` is None where there is no trigger.
    """

    image: int
    clean: str
    triggered: str | None = None


@dataclass(frozen=True, eq=False)
class RunState:
    """A cleaning run: where its files are and how it stands; a chain without a round has none.

    ``source`` is the checkpoint that it cleans, ``chain`` the folder of the chain that it is,
    ``outcome`` what that came to, in a few words.
    ``interrupted`` is one whose process was ended before its last word.
    """

    output_dir: str
    method: str
    status: Literal[
        "running", "paused", "finished", "stopped", "cancelled", "failed", "interrupted"
    ]
    device: str = "cpu"
    result: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    title: str = ""
    source: str = ""
    chain: str = ""
    outcome: str = ""


@dataclass(frozen=True)
class RunProgress:
    """How far the job at work is: its stage, the share of the whole, and seconds left if known.

    ``asr`` is the attack success rate that was measured last on the way, ``step`` what a
    chain does at the moment.
    """

    stage: str
    fraction: float
    seconds_left: float | None = None
    asr: float | None = None
    step: AutoStep | None = None


@dataclass(frozen=True)
class JobState:
    """A job at work, or the one on show: its folder, how it stands, and what it says."""

    folder: str
    status: Literal["running", "finished", "cancelled", "failed"]
    verdict: Verdict | None = None
    target: str = ""


def is_live(run: RunState | None) -> bool:
    """Whether a run is going on, or is paused."""
    return run is not None and run.status in ("running", "paused")


BEING_CLEANED = "Being cleaned"


@dataclass(frozen=True)
class Answer:
    """What is known about a backdoor, in a few words.

    Attributes
    ----------
    words, tone
        The answer and its colour; empty is neutral.
    station
        Id of the station with the evidence, or with the means to get some.
    scan
        The newest scan of the checkpoint, if there is one.
    measured
        The attack success rate that Studio measured, and of which trigger; empty without one.
    cleaned, cleaned_tone
        What is known of a copy that was cleaned, and its colour; empty without one. While the
        cleaning goes on: `BEING_CLEANED`.
    """

    words: str
    tone: Tone
    station: str
    scan: PastResult | None = None
    measured: str = ""
    cleaned: str = ""
    cleaned_tone: Tone = ""

    @property
    def all_words(self) -> str:
        """The answer, and what is known of a cleaned copy."""
        return " · ".join(filter(None, (self.words, self.cleaned)))


@dataclass(eq=False)
class Session:
    """What is open. ``session.events.<field>.connect(handler)`` follows one field.

    Each field has one writer. Others who want to change it ask the writer, through a signal of the
    shell.

    ``checkpoint``: the suspect one. Writer: the Checkpoint station.
    ``answer``: what is known about its backdoor. Writer: :class:`AnswerKeeper`.
    ``cleaned``: the one after cleaning, as the inference thread holds it, whatever was asked for
    since; None again before another ``checkpoint`` is written, so that nobody sees the two
    together. Writer: the Clean station's ``TryCleaned``.
    ``reference``: what the suspect one is compared with. Writer: Studio's page of two checkpoints.
    ``trusted``: path of the clean reference that a cleaning method is given; may not be there.
    Writer: the Clean station.
    ``scan_reference``: path of the one that scans compare with; empty without. Writer: the Scan
    station.
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
    ``speed``: how the checkpoint that Studio looks at is computed, as a sentence. Writer:
    Studio's :class:`AutoSpeed`.
    ``run``, ``run_progress``: the run at work or last shown, and how far it is, None before it has
    told. Writer: the Clean station's ``CleaningRun``.
    ``jobs``, ``job_progress``: the same of other jobs that others follow, by the title of their
    kind; see :meth:`show_job`. Writers: the stations with such a job.
    ``device``, ``devices``: where Studio computes, and could. Writer: :class:`StudioDevice`.
    ``station``: the page on show. Writer: the window.
    ``folder``: where the session was saved by name; empty if it was not. ``runs``: folders of all
    runs of it, the newest last. Writer of these: the window's :class:`SessionKeeper`.
    ``notes``: what the analyst wrote down. Writers: the dialog of the notes and the keeper.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    checkpoint: ShownCheckpoint | None = None
    answer: Answer | None = None
    cleaned: ShownCheckpoint | None = None
    reference: ShownCheckpoint | None = None
    role: Role = "suspect"
    images: ImagesState | None = None
    trigger: Trigger | None = None
    other_snapshot: OtherSnapshot | None = None
    target: int = 0
    evaluation: Evaluation | None = None
    selected_image: int = 0
    prediction: ShownPrediction | None = None
    run: RunState | None = None
    device: str = "cpu"
    devices: tuple[str, ...] = ()
    speed: str = ""
    station: str = "welcome"
    label_set: str = "demo"
    trusted: str = ""
    scan_reference: str = ""
    run_progress: RunProgress | None = None
    jobs: Mapping[str, JobState] = field(default_factory=dict)
    job_progress: Mapping[str, RunProgress] = field(default_factory=dict)
    folder: str = ""
    runs: tuple[str, ...] = ()
    notes: str = ""

    def show_job(self, kind: str, job: JobState | None) -> None:
        """Publish the job of a kind that is at work or on show; its progress begins anew."""
        self.job_progress = {name: p for name, p in self.job_progress.items() if name != kind}
        others = {name: other for name, other in self.jobs.items() if name != kind}
        self.jobs = others if job is None else {**others, kind: job}

    def show_progress(self, kind: str, progress: RunProgress) -> None:
        """Publish how far the job of a kind is."""
        self.job_progress = {**self.job_progress, kind: progress}

    @property
    def can_measure(self) -> bool:
        """Whether there is a checkpoint to look at, and an image to show to it."""
        return self.shown is not None and self.images is not None and self.images.n > 0

    @property
    def shown(self) -> ShownCheckpoint | None:
        """The checkpoint that Studio looks at, by ``role``."""
        return self.checkpoint if self.role == "suspect" else self.cleaned

    @property
    def in_header(self) -> ShownCheckpoint | None:
        """The checkpoint that the station on show works on, which the header names."""
        return self.shown if self.station == "studio" else self.checkpoint
