"""Every kind of job in one table: what worker, command line, window and tests know of it.

A new kind is a module with its spec, a module with its work, and a row here. Torch-free: the work
is imported when it begins.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ml_core.events import Event
from ml_core.jobs import overall
from ml_core.jobs.audit import AUDIT_FILE, AuditSpec
from ml_core.jobs.auto import AUTO_FILE, AutoSpec
from ml_core.jobs.doctor import DoctorSpec
from ml_core.jobs.examination import EXAMINATION_FILE, ExamineSpec
from ml_core.jobs.measurement import MeasurementSpec
from ml_core.jobs.overall import Plan
from ml_core.jobs.plant import CURVE_FILE, PLANT_FILE, CurveSpec, PlantSpec
from ml_core.jobs.proofs import HOLDOUTS_FILE, REBOUND_FILE, HoldoutSpec, ReboundSpec
from ml_core.jobs.rates import RATES_FILE, RateSpec
from ml_core.jobs.report import ReportSpec
from ml_core.jobs.scan import SCAN_FILE, ScanSpec
from ml_core.jobs.search import SEARCH_FILE, SearchSpec
from ml_core.jobs.specs import (
    BENCH_FILE,
    RESULT_FILE,
    BenchSpec,
    CleanSpec,
    read_spec,
    read_spec_file,
)
from ml_core.jobs.verify import VerifySpec

Work = Callable[..., Generator[Event, None, None]]

TITLES: Mapping[str, str] = {
    "open": "Opening",
    "data": "Reading the data",
    "before": "Before",
    "prepare": "Choosing precision",
    "texts": "Class texts",
    "validate": "Validation",
    "train": "Cleaning",
    "alpha": "Choosing alpha",
    "after": "After",
    "evaluate": "Evaluating",
    "reference": "Reference",
    "estimate": "Measuring steps",
    "canaries": "Planting canaries",
    "plant": "Planting",
    "twin": "Clean twin",
    "search": "Search",
    "rebound": "Finetuning again",
    "ramp": "Raising the rate",
    "overlap": "Overlap",
    "embed": "Embedding",
    "pictures": "Pictures",
    "speed": "Measuring speed",
    "accuracy": "Clean accuracy",
    "pull": "Classes the model leans to",
    "probes": "Known triggers",
    "patches": "Patches",
    "refine": "Best patch",
    "beside": "Reference",
    "overlays": "Overlays",
    "thorough": "Every class",
    "words": "Words",
    "swap": "Encoders",
    "weights": "Weights",
    "doctor": "Trying settings",
    "measure": "Measuring",
    "intact": "Hashing",
    "arithmetic": "Arithmetic",
    "identity": "Pictures",
    "inference": "Predicting again",
    "again": "Measuring again",
    "print": "Printing again",
    "write": "Writing",
}
"""A word or two for each stage of any job, as the command line shows it."""

_AUDIT_WORDS = {
    "open": "Opening the checkpoint and the pairs…",
    "overlap": "Looking for evaluation images among the pairs…",
    "reference": "Embedding the clean reference",
    "embed": "Embedding and scoring",
    "pictures": "Writing the worst…",
}
_EVIDENCE_WORDS = {
    "open": "Opening",
    "data": "Reading the pictures",
    "texts": "Embedding the class texts",
    "measure": "Measuring",
    "again": "Measuring pictures again",
    "write": "Writing the bundle",
    "intact": "Checking that no file was changed",
    "arithmetic": "Computing every figure again",
    "print": "Printing the report again",
    "identity": "Comparing the pictures",
    "inference": "Predicting pictures again",
}
_CLEAN_WORDS = {
    "open": "Opening checkpoint and data",
    "data": "Reading the data",
    "estimate": "Measuring a few steps",
    "texts": "Embedding class texts",
    "before": "Measuring the checkpoint before cleaning",
    "prepare": "Choosing the fastest precision",
    "train": "Training",
    "alpha": "Choosing alpha on validation images",
    "validate": "Measuring on validation images",
    "after": "Measuring the cleaned checkpoint",
}
_SEARCH_WORDS = {
    "open": "Opening the checkpoint and the data…",
    "data": "Reading the data…",
    "validate": "Measuring the checkpoint…",
    "canaries": "Planting canaries…",
    "estimate": "Timing a few steps of each method…",
}
_SCAN_WORDS = {
    "open": "Opening the checkpoint and its reference",
    "data": "Reading the pictures",
    "texts": "Embedding class texts",
    "accuracy": "Classifying clean pictures",
    "pull": "Classes the model leans to",
    "probes": "Known triggers",
    "patches": "Patches",
    "refine": "Refining the best patch",
    "beside": "The same search on the reference",
    "overlays": "Overlays",
    "thorough": "Thorough",
    "weights": "Changed weights",
    "words": "Words in prompts",
    "swap": "Encoders exchanged",
    "measure": "Measuring on other pictures",
}
_PLANT_WORDS = _CLEAN_WORDS | {
    "plant": "Training on the poisoned pairs",
    "twin": "Training the clean twin",
    "after": "Measuring the poisoned model",
    "reference": "Measuring the clean twin",
}
_RATES_WORDS = _CLEAN_WORDS | {
    "open": "Opening the checkpoint and the data",
    "prepare": "Choosing the precision",
    "validate": "Measuring accuracy",
    "ramp": "Raising the rate",
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One kind of job.

    Attributes
    ----------
    kind
        Its name in the table, and the worker's option.
    title
        What a sentence calls it.
    spec
        Record of what it is asked to do.
    work
        ``module:function``: a generator of events from spec and control. It raises what goes
        wrong, see `ml_core.jobs.runner`.
    estimate
        The same for its estimate; empty if it has none.
    result
        File in its folder that holds the result; empty if it leaves none.
    stages
        Sentence for each of its stages, as the window shows it.
    plan
        Expected stages of a spec, for the share that is done and the time left.
    read
        Reads the spec from its file.
    folder
        Folder of a spec that the job locks while it works; None locks nothing.
    shared
        Whether several processes do it together: the work takes ``ranks``.
    needs_model
        Whether the libraries of models are loaded before it begins.
    saves
        Whether a stop lets it save what it has; it cancels any other.
    resumes
        Whether it goes on from its last save when it is asked to: the work takes ``resume``.
    keeps_spec
        Whether the file of the spec stays when the job has ended.
    """

    kind: str
    title: str
    spec: type[BaseModel]
    work: str
    estimate: str = ""
    result: str = ""
    stages: Mapping[str, str] = field(default_factory=dict)
    plan: Callable[[Any], Plan] | None = None
    read: Callable[[Path], BaseModel] | None = None
    folder: Callable[[Any], str] | None = None
    shared: bool = False
    needs_model: bool = True
    saves: bool = False
    resumes: bool = False
    keeps_spec: bool = True

    def read_spec(self, path: Path) -> BaseModel:
        """Read a spec of this kind from its file.

        Raises
        ------
        InputError
            If the file is missing, is not JSON, or a field is missing or out of range.
        """
        return read_spec_file(path, self.spec) if self.read is None else self.read(path)

    def load(self, *, estimate: bool = False) -> Work:
        """Import the work, or the estimate, with all that it needs."""
        module, _, name = (self.estimate if estimate else self.work).partition(":")
        work: Work = getattr(import_module(module), name)
        return work

    def words(self, stage: str) -> str:
        """Sentence for a stage, or the stage's own name."""
        return self.stages.get(stage, stage)


JOBS: dict[str, Job] = {
    job.kind: job
    for job in (
        Job(
            kind="clean", title="cleaning job", spec=CleanSpec, read=read_spec,
            work="ml_core.jobs.clean.run:run", estimate="ml_core.jobs.clean.estimate:estimate",
            result=RESULT_FILE, stages=_CLEAN_WORDS, plan=overall.cleaning_plan,
            folder=lambda spec: spec.output_dir, shared=True, saves=True, resumes=True,
        ),
        Job(
            kind="auto", title="automatic cleaning", spec=AutoSpec,
            work="ml_core.jobs.clean_it:clean_it",
            result=AUTO_FILE, stages=_CLEAN_WORDS | _SCAN_WORDS,
            folder=lambda spec: spec.base.output_dir, saves=True,
        ),
        Job(
            kind="examine", title="examination", spec=ExamineSpec,
            work="ml_core.jobs.examining:examination", result=EXAMINATION_FILE,
            stages=_CLEAN_WORDS | _SCAN_WORDS | {"identity": "Reading the tensors"},
            plan=overall.examination_plan, needs_model=False, saves=True,
        ),
        Job(
            kind="bench", title="comparison", spec=BenchSpec, work="ml_core.jobs.bench:bench",
            result=BENCH_FILE, stages=_CLEAN_WORDS, saves=True,
        ),
        Job(
            kind="doctor", title="loader doctor", spec=DoctorSpec,
            work="ml_core.jobs.doctor.run:examine_settings", keeps_spec=False,
            stages={"open": "Opening the checkpoint and the images"},
        ),
        Job(
            kind="audit", title="audit", spec=AuditSpec, work="ml_core.jobs.audit.run:audit",
            result=AUDIT_FILE, stages=_AUDIT_WORDS, plan=overall.audit_plan,
        ),
        Job(
            kind="report", title="report", spec=ReportSpec, work="ml_core.jobs.report.run:report",
            stages=_EVIDENCE_WORDS, keeps_spec=False,
        ),
        Job(
            kind="rebound", title="rebound test", spec=ReboundSpec,
            work="ml_core.jobs.proofs.rebound:rebound", result=REBOUND_FILE,
            plan=overall.rebound_plan,
        ),
        Job(
            kind="holdouts", title="hold-outs test", spec=HoldoutSpec,
            work="ml_core.jobs.proofs.holdouts:holdouts", result=HOLDOUTS_FILE,
            plan=overall.holdouts_plan,
        ),
        Job(
            kind="scan", title="scan", spec=ScanSpec, work="ml_core.jobs.scan.run:scan",
            estimate="ml_core.jobs.scan.run:estimate_scan", result=SCAN_FILE, stages=_SCAN_WORDS,
            plan=overall.scan_plan,
        ),
        Job(
            kind="plant", title="planting", spec=PlantSpec, work="ml_core.jobs.plant.run:run",
            estimate="ml_core.jobs.plant.run:estimate", result=PLANT_FILE, stages=_PLANT_WORDS,
            plan=overall.plant_plan, folder=lambda spec: spec.output_dir, saves=True, resumes=True,
        ),
        Job(
            kind="curve", title="curve of plantings", spec=CurveSpec,
            work="ml_core.jobs.plant.curve:curve", estimate="ml_core.jobs.plant.curve:estimate",
            result=CURVE_FILE, stages=_PLANT_WORDS, folder=lambda spec: spec.base.output_dir,
            saves=True,
        ),
        Job(
            kind="search", title="search for a recipe", spec=SearchSpec,
            work="ml_core.jobs.search.run:search", result=SEARCH_FILE, stages=_SEARCH_WORDS,
            folder=lambda spec: spec.base.output_dir,
        ),
        Job(
            kind="measurement", title="measurement", spec=MeasurementSpec,
            work="ml_core.jobs.measurement.run:measurement", stages=_EVIDENCE_WORDS,
            keeps_spec=False,
        ),
        Job(
            kind="verify", title="verification", spec=VerifySpec,
            work="ml_core.jobs.verify.run:verify", stages=_EVIDENCE_WORDS, needs_model=False,
            keeps_spec=False,
        ),
        Job(
            kind="rates", title="rate finder", spec=RateSpec,
            work="ml_core.jobs.rates.run:find_rate",
            estimate="ml_core.jobs.rates.run:estimate_find_rate", result=RATES_FILE,
            stages=_RATES_WORDS, plan=overall.rates_plan, keeps_spec=False,
        ),
    )
}  # fmt: skip


def job_of(spec: BaseModel) -> Job:
    """Find the kind of job that a spec asks for."""
    return next(job for job in JOBS.values() if type(spec) is job.spec)
