"""What *Clean it* is asked to do and what it reports: a chain of jobs as JSON. Torch-free."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ml_core.data.specs import ImageSpec, PathText
from ml_core.jobs.scan import SCAN_SPEC, ScanSettings, ScanSpec
from ml_core.jobs.specs import CleanSpec, JobSpec, read_spec_file
from ml_core.options import option
from ml_core.reading.errors import InputError
from ml_core.records import Record

TITLE = "Clean it"
AUTO_FILE = "auto.json"
MOST_CHARACTERS = 2000  # of a sentence

StepKind = Literal["scan", "clean", "rebound", "holdouts"]
StepStatus = Literal["running", "finished", "stopped", "failed", "skipped"]
Outcome = Literal["nothing_found", "still_found", "not_scanned", "worse"]
Sentence = Annotated[str, Field(max_length=MOST_CHARACTERS)]


class AutoSpec(JobSpec):
    """A chain of jobs: scan, clean, scan again, rebound test, hold-outs.

    ``base`` names checkpoint, data, classes and, where somebody knows one, the trigger; its recipe
    is not used, and its ``output_dir`` is the folder of the chain, in which each step has a folder
    of its own. Its ``reference`` is the clean model that scans compare with, its ``minutes`` are
    those of each round. ``scan`` says how the checkpoint is searched, each time with the same seed,
    which is that of the cleaning too. ``preset`` is that of each method, ``proof_images`` the most
    images of the rebound test and of each row of the hold-outs; None takes the usual number.
    """

    base: CleanSpec
    scan: ScanSettings = ScanSettings()
    # Real pictures that are searched; None takes the base's own.
    scan_images: ImageSpec | None = None
    # Which is then not run again; cleaned checkpoints are searched with its settings and pictures.
    scanned: PathText | None = option(
        None, help="Folder of a finished scan of the checkpoint, to begin with.", flag="--scan"
    )
    measure_only: bool = option(
        False, help="The named trigger is only measured; the cleaning does not learn from it."
    )
    rounds: int = option(
        3, "Rounds", "Highest number of rounds; each cleans the checkpoint and scans it again.",
        flag="--rounds", ge=1, le=10,
    )  # fmt: skip
    rebound_steps: int = option(
        300, "Rebound steps", "Steps of each finetuning of the rebound test.", unit="steps",
        flag="--rebound-steps", ge=1, le=100_000,
    )  # fmt: skip
    preset: str = Field(default="default", max_length=60)
    proof_images: int | None = Field(default=None, ge=2, lt=2**31)
    keep_stopped: bool = option(
        False, help="A round that was stopped by hand is taken as it is, and scanned."
    )


def scan_of(spec: AutoSpec) -> ScanSpec:
    """The scans of a chain, with settings and pictures of the one that was there.

    Raises
    ------
    InputError
        If there are no pictures to scan on.
    """
    base, settings = spec.base, spec.scan
    images = spec.scan_images or base.images or base.test_images or base.training_images
    if spec.scanned is not None and (path := Path(spec.scanned) / SCAN_SPEC).exists():
        settings = earlier = read_spec_file(path, ScanSpec)
        images = earlier.images
    if images is None:
        raise InputError("There are no pictures to scan on: choose images to measure on.")
    fields = settings.model_dump(include=set(ScanSettings.model_fields))
    return base.to(ScanSpec, images=images, **fields)


def round_title(folder: Path) -> str:
    """What the run in a folder is called as a round of a chain; empty where it is none."""
    kind, _, number = folder.name.partition("-")
    is_round = kind == "round" and os.path.isfile(folder.parent / AUTO_FILE)
    return f"{TITLE}, round {number.partition('-')[0]}" if is_round else ""


class AutoStep(Record):
    """One step of the chain.

    Attributes
    ----------
    kind, round
        Which job, and in which round; the first scan and the proofs count as round 0.
    title
        What it is called on the screen.
    folder
        Its folder inside that of the chain, or the whole path of a scan that was there before;
        empty for a proof without a round.
    why
        Why this step is taken, with this recipe: a sentence.
    sentence
        What it came to, with its figures, or why it did not finish; empty while it runs.
    """

    kind: StepKind
    round: int
    title: str
    folder: str
    why: str = ""
    status: StepStatus = "running"
    sentence: str = ""
    seconds: float = 0.0


class AutoResult(Record):
    """What the chain came to, as `AUTO_FILE` holds it.

    Attributes
    ----------
    steps
        All steps in order.
    best
        Folder of the round that is kept, a cleaning run like any other; None where none is.
    checkpoint
        Path of its cleaned checkpoint.
    outcome
        What the last scan of it says, or ``worse`` where no round was worth its accuracy;
        ``not_scanned`` where it could not be searched or is not yet.
    called_for
        Whether anything called for cleaning: somebody named a trigger, or the first scan did not
        end with nothing found.
    comes_back
        Whether the rebound test brought the backdoor back; None where it was not tested.
    sentences
        The answer for the screen: what it came to and cost, what is left, what else there is.
    reasons
        What it stands on: the scan before cleaning, and the round that is kept, with its method.
    checkpoint_sha256, reference_sha256
        Of the files that the chain began with.
    """

    schema_version: Literal[1] = 1
    spec: AutoSpec
    steps: tuple[AutoStep, ...]
    best: str | None
    checkpoint: str | None
    outcome: Outcome
    called_for: bool = True
    comes_back: bool | None = None
    sentences: tuple[Sentence, ...] = Field(max_length=64)
    reasons: tuple[Sentence, ...] = Field(default=(), max_length=64)
    seconds: float
    checkpoint_sha256: str | None = None
    reference_sha256: str | None = None

    @model_validator(mode="after")
    def _folders_are_its_own(self) -> Self:
        scanned = self.spec.scanned
        given = None if scanned is None else str(Path(scanned).absolute())
        own = [each.folder for each in self.steps if each.kind != "scan" or each.folder != given]
        if any(name and not re.fullmatch(r"\w[\w-]*", name) for name in (*own, self.best)):
            raise ValueError("a folder outside that of the chain")
        return self
