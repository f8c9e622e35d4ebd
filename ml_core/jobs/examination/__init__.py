"""What an examination of a checkpoint is asked to do and what it reports, as JSON. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import Field

from ml_core.data.specs import ImageSpec, PathText
from ml_core.jobs.auto import AutoSpec, Sentence
from ml_core.jobs.scan import ScanSettings
from ml_core.jobs.specs import Classes, Machine, OnModel
from ml_core.options import option
from ml_core.records import Record

SCHEMA_VERSION: Final = "1.0"
EXAMINATION_FILE = "examination.json"
EXAMINATIONS = "examinations"
"""Folder of the examinations that the program keeps, among its data."""
UNFINISHED_FILE = "examination-unfinished.json"  # the finished one stays until its end
SCAN_FOLDER, CLEAN_FOLDER = "scan", "clean"

Kind = Literal[
    "file", "identity", "accuracy", "known", "scan", "weights", "attack", "clean", "report"
]
State = Literal["running", "done", "skipped", "unknown"]
"""``skipped``: it was not asked for or does not apply; ``unknown``: it cannot be said."""
Verdict = Literal[
    "dangerous", "damaged", "unsupported", "found", "suspicious", "nothing", "unknown"
]
Advice = Literal[
    "do not load", "get again", "other file", "choose a part", "choose a donor", "doctor", "clean",
    "clean again", "more time", "reference", "report", "none",
]  # fmt: skip
Station = Literal["checkpoint", "studio", "scan", "clean", "report"]

TITLES: dict[Kind, str] = {
    "file": "File safety",
    "identity": "Which CLIP",
    "accuracy": "Clean accuracy",
    "known": "Known triggers",
    "scan": "Unknown triggers",
    "weights": "Changed weights",
    "attack": "Found trigger",
    "clean": "Cleaning",
    "report": "Report",
}
STATIONS: dict[Kind, Station] = {
    "file": "checkpoint", "identity": "checkpoint", "accuracy": "scan", "known": "scan",
    "scan": "scan", "weights": "checkpoint", "attack": "studio", "clean": "clean",
    "report": "report",
}  # fmt: skip
"""Which station shows a step's details."""


class ExamineSpec(Machine, Classes, OnModel):
    """One examination: is the file safe, which CLIP is it, does it work, is it backdoored?

    Attributes
    ----------
    reference
        The clean model to compare with; None takes the known file that is nearest, if any is.
    images
        Pictures that are searched, with or without labels; None takes the built-in ones, which
        are of the classes ``demo``.
    scan
        How unknown triggers are searched.
    output_dir
        Folder of everything that is written; None takes one for this file, these pictures and
        classes among the program's own.
    auto
        How it is cleaned if a trigger was found; None does not clean. Its checkpoint, scan and
        folder are those of the examination.
    report
        New bundle of evidence at the end; None writes none.
    """

    reference: PathText | None = None
    images: ImageSpec | None = None
    scan: ScanSettings = ScanSettings()
    minutes: float | None = option(
        None,
        help="Most minutes of the scan, of the loader doctor, and of each round of a cleaning. A "
        "scan that would take longer searches less.",
        gt=0.0,
        le=10_000.0,
    )
    output_dir: PathText | None = None
    auto: AutoSpec | None = None
    report: PathText | None = None


class ExamineStep(Record):
    """One step of an examination.

    Attributes
    ----------
    kind, state
        What is looked at, and how far that is.
    figure
        The number that it came to, in words; empty where there is none.
    sentences
        What it came to, or why it was not done.
    seconds
        How long it took; steps that the scan answers take their time from it.
    """

    kind: Kind
    state: State = "running"
    figure: str = ""
    sentences: tuple[Sentence, ...] = ()
    seconds: float = 0.0

    @property
    def title(self) -> str:
        """What it is called on the screen."""
        return TITLES[self.kind]


class Examination(Record):
    """What an examination came to, as `EXAMINATION_FILE` holds it.

    Attributes
    ----------
    spec
        What was asked for.
    name, sha256, reference_sha256
        The file, its SHA-256, and that of the reference; empty where nothing could be read.
    architecture
        Which CLIP it is by its shapes; empty where that is not known.
    steps
        In their order.
    verdict, target
        That of the scan; without one that of the file, and the class that it names.
    headline
        The answer in one sentence.
    looked_at, not_looked_at
        What the answer stands on, and what it says nothing about.
    advice, advice_sentence
        What to do next.
    settings
        How unknown triggers were searched, with what ``minutes`` allowed.
    checkpoint
        Path of the cleaned checkpoint; None where there is none.
    inputs
        Digest of all that decided it, see `ml_core.jobs.examination.kept.inputs_of`.
    known
        Digest of the known files, where the reference was taken from them.
    identity
        Of a folder: digest of its weights, config, tokenizer, and what was chosen for it.
    folder
        Where it is kept; empty in the file itself, which may be moved.
    """

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    spec: ExamineSpec
    name: str
    sha256: str
    reference_sha256: str = ""
    architecture: str = ""
    steps: tuple[ExamineStep, ...]
    verdict: Verdict
    target: str = ""
    headline: Sentence
    looked_at: tuple[Sentence, ...] = Field(max_length=64)
    not_looked_at: tuple[Sentence, ...] = Field(max_length=64)
    advice: Advice
    advice_sentence: Sentence
    settings: ScanSettings
    checkpoint: str | None = None
    inputs: str = ""
    known: str = ""
    identity: str = ""
    seconds: float
    folder: str = ""


_WORST_FIRST: tuple[Verdict, ...] = ("found", "suspicious", "nothing")


def worst_of(records: Sequence[Examination]) -> Examination:
    """The worst answer of several about a file, of equals the first; none hides one that says."""
    ranks = {verdict: rank for rank, verdict in enumerate(_WORST_FIRST)}
    return min(records, key=lambda record: ranks.get(record.verdict, len(ranks)))
