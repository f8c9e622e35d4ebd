"""The evidence record: what a bundle claims, and what each claim stands on. Torch-free.

`evidence.json` of a bundle is an `Evidence`. Everything else that a bundle shows (HTML, PDF, SARIF,
CycloneDX, in-toto) is made from it alone.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from ml_core.records import Record

SCHEMA_VERSIONS = ("1.0", "1.1")
SCHEMA_VERSION = SCHEMA_VERSIONS[-1]
Role = Literal["suspect", "cleaned", "reference"]
When = Literal["before", "after", "reference", "evaluation"]
ROLE_OF: dict[When, Role] = {
    "before": "suspect", "evaluation": "suspect", "reference": "reference", "after": "cleaned",
}  # fmt: skip
"""What a checkpoint is called that was measured so."""
EVIDENCE_FILE = "evidence.json"
SCHEMA_FILE = "evidence.schema.json"
JSON_SCHEMA = "https://json-schema.org/draft/2020-12/schema"
SUMS_FILE = "SHA256SUMS"
SIGNATURE_FILE = "evidence.sig"
README_FILE = "README.txt"
ENVIRONMENT_FILE = "environment.json"
PDF_FILE = "report.pdf"
SESSION_FILE = "session.json"
"""Makes a folder a session, which grows, and which is no bundle before it is written as one."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
"""Of a checkpoint, image set, measurement, job or scan; also the name of its folder."""
BundlePath = Annotated[
    str,
    Field(
        max_length=200,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9][A-Za-z0-9._-]{0,99}){0,4}$",
    ),
]
"""A file of the bundle, from its root, with forward slashes; no part begins with a dot."""
Text = Annotated[str, Field(max_length=20_000)]
Count = Annotated[int, Field(ge=0, lt=2**53)]

Metric = Literal[
    "ca",
    "top5",
    "control_ca",
    "asr_excl",
    "asr_all",
    "baseline_target_rate",
    "poisoned_accuracy",
    "flip_rate",
]
"""A rate of an `Evaluation`; all of them can be counted again from ``per_image.csv``."""
HoldsBy = Literal["exact", "margin", "interval", "recorded"]
"""How a claim can be checked.

exact
    From files of the bundle, to the last digit.
margin
    Also by predicting the pictures again: each answer must be the same where its margin exceeds
    ``tau``.
interval
    By measuring again elsewhere: the value must lie in the interval.
recorded
    Not at all: seconds, hardware, notes.
"""
IntervalMethod = Literal["wilson", "newcombe", "bootstrap", "bonett-price"]


class Interval(Record):
    """A 95 % confidence interval. ``seed`` and ``resamples`` are of a bootstrap."""

    low: float = Field(ge=-1.0, le=1.0)
    high: float = Field(ge=-1.0, le=1.0)
    method: IntervalMethod
    seed: Count | None = None
    resamples: int | None = Field(default=None, ge=1, le=1_000_000)


class Counted(Record):
    """Hits among ``n``, and the decimal that is printed: ``value`` is ``hits / n``."""

    hits: Count
    n: int = Field(ge=1, lt=2**53)
    value: float = Field(ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.hits > self.n:
            raise ValueError("more hits than pictures")
        if not math.isclose(self.value, self.hits / self.n, rel_tol=0.0, abs_tol=1e-12):
            raise ValueError(f"{self.value} is not {self.hits} of {self.n}")
        return self


class _Claim(Record):
    """Attributes
    ----------
    id
        Unique in the bundle.
    sentence
        As the report prints it, figures included.
    holds_by
        See `HoldsBy`.
    evidence
        Files that it stands on.
    headline
        Whether it belongs to what the report says first.
    """

    id: Id
    sentence: Text
    holds_by: HoldsBy
    evidence: tuple[BundlePath, ...] = ()
    headline: bool = False


class RateClaim(_Claim):
    """A rate of one measurement."""

    kind: Literal["rate"] = "rate"
    metric: Metric
    measurement: Id
    rate: Counted
    interval: Interval


class DifferenceClaim(_Claim):
    """The same rate of two measurements on the same pictures: ``measurement`` minus ``against``.

    ``only_first`` and ``only_second`` are the discordant pictures (McNemar's b and c), with the
    exact and the mid-p value of his test.
    """

    kind: Literal["difference"] = "difference"
    metric: Metric
    measurement: Id
    against: Id
    first: Counted
    second: Counted
    difference: float = Field(ge=-1.0, le=1.0)
    interval: Interval
    adjusted_interval: Interval
    only_first: Count
    only_second: Count
    p_exact: float = Field(ge=0.0, le=1.0)
    p_mid: float = Field(ge=0.0, le=1.0)


class ContrastClaim(_Claim):
    """A found trigger on the suspect and beside it: on the reference, or without the trigger.

    ``at`` names the field of the scan that holds the counts, such as ``found.contrast``.
    """

    kind: Literal["contrast"] = "contrast"
    scan: Id
    at: str = Field(max_length=200)
    first: Counted
    second: Counted
    difference: float = Field(ge=-1.0, le=1.0)
    interval: Interval


class QuotedClaim(_Claim):
    """A statement that quotes fields of a file of the bundle: a verdict, a row of a proof.

    ``quotes`` maps a JSON pointer (RFC 6901) into ``evidence[0]`` to the value that stands there.
    ``rate`` and ``interval`` where the quoted row is one: they are computed from its counts.
    """

    kind: Literal["quoted"] = "quoted"
    topic: Literal["safety", "scan", "rebound", "holdout", "training", "weights"]
    quotes: dict[str, JsonValue] = Field(max_length=200)
    rate: Counted | None = None
    interval: Interval | None = None


Claim = Annotated[
    RateClaim | DifferenceClaim | ContrastClaim | QuotedClaim, Field(discriminator="kind")
]


class Tool(Record):
    """What wrote the bundle."""

    name: Text
    version: Text


class MeasuredCheckpoint(Record):
    """What is known of a checkpoint wherever it is recorded; fields as in `CheckpointFacts`."""

    name: Text
    sha256: Sha256 | None
    bytes: Count
    role: Any
    format: Text
    architecture: Text
    parameters: Count
    identity: Text = ""
    donor: Sha256 | None = None
    adapter: Sha256 | None = None
    choice: JsonValue = None
    assumptions: tuple[Text, ...] = ()
    cautions: tuple[Text, ...] = ()
    safety: Text
    safety_reasons: tuple[Text, ...] = ()


class CheckpointFacts(MeasuredCheckpoint):
    """A checkpoint that the evidence is about; its file is in the bundle only if asked.

    Attributes
    ----------
    name
        File name, without folder.
    sha256, bytes
        Of the file (of a folder: as the program's inspection has it).
    role
        What it is here. ``reference`` is a model to compare with.
    format, architecture, parameters
        As opened.
    identity
        Digest of weights and choices as measured, of the program's own.
    donor, adapter
        Other checkpoints or files that were put together with it: their SHA-256.
    choice, assumptions, cautions
        What was chosen with the loader doctor, and what had to be assumed.
    safety
        The verdict of the file's inspection (``loads``, ``caution``, ...), and its sentences.
    inspection
        The whole record of the inspection.
    file
        Where the bundle holds it.
    """

    role: Role
    inspection: BundlePath | None = None
    file: BundlePath | None = None


class MeasuredData(Record):
    """What is known of a set of pictures wherever it is recorded; fields as in `DataFacts`."""

    name: Text
    key: Text
    known_by: Text
    n: Count
    spec: Any


class DataFacts(MeasuredData):
    """A set of pictures. ``rows`` lists them: index, name, sha256, bytes, label.

    ``spec`` is how the program opened it, without its place: kind, split, seed, n.
    ``pictures`` is the folder of the bundle that holds them, if asked.
    """

    spec: dict[str, JsonValue]
    rows: BundlePath | None
    pictures: BundlePath | None = None


class MeasuredTrigger(Record):
    """What is known of a trigger wherever it is recorded; fields as in `TriggerFacts`."""

    digest: Text
    name: Text
    kind: Text
    convention: Text


class TriggerFacts(MeasuredTrigger):
    """A trigger by its digest; ``files`` are its exact bytes, the JSON first."""

    files: tuple[BundlePath, ...] = Field(min_length=1, max_length=4)


class Measured(Record):
    """What is known of an evaluation wherever it is recorded; fields as in `MeasurementFacts`."""

    when: When
    head: Literal["zero-shot", "linear"] = "zero-shot"
    heldout: bool = False
    job: Any = None
    checkpoint: Any
    data: Any
    trigger: Any
    target: Count | None
    target_name: Text | None
    classes: int = Field(ge=1, le=1_000_000)
    label_set: Text
    classifier_sha256: Text
    n: int = Field(ge=1, lt=2**53)
    n_broken: Count
    seed: Count
    precision: Text
    device: Text
    threads: Count
    batch: Count
    versions: dict[str, Text]


class MeasurementFacts(Measured):
    """One evaluation: a checkpoint, a set of pictures, at most one trigger.

    Attributes
    ----------
    when
        ``before`` or ``after`` cleaning, ``reference``, ``evaluation`` (of no job).
    head
        ``zero-shot`` or ``linear``.
    heldout
        Whether the pictures are a second set that nothing was chosen on.
    checkpoint, data, trigger
        What was measured; ids of `Evidence`.
    target, target_name
        Class that the trigger aims at; None where nobody named one.
    classes
        Number of classes; their names and templates stand in ``prompts``.
    classifier_sha256
        Of the class texts' embeddings.
    n, n_broken
        Pictures scored, and pictures that could not be read.
    seed, precision, device, threads, batch, versions
        How it was computed.
    tau
        Twice the largest change of a difference of two logits when pictures were measured again
        with another batch size and thread count, at least the resolution of fp32; None where that
        was not done. An answer whose margin is larger is expected everywhere.
    tau_pictures, tau_changed
        How many were measured again, and how many of them then had another top-1.
    evaluation, per_image, per_class, prompts, classifier
        Files.
    """

    job: Id | None = None
    checkpoint: Id
    data: Id
    trigger: Text | None
    tau: float | None = Field(default=None, gt=0.0)
    tau_pictures: Count = 0
    tau_changed: Count = 0
    evaluation: BundlePath
    per_image: BundlePath
    per_class: BundlePath | None
    prompts: BundlePath
    classifier: BundlePath | None


class JobFacts(Record):
    """A cleaning run. ``files`` maps spec, recipe, result, journal, rebound, holdouts to files."""

    method: Text
    title: Text
    preset: Text
    status: Text
    source: Id
    result: Id | None
    seed: Count
    steps: Count
    training_data: Text
    precision: Text
    device: Text
    seconds: float | None = Field(default=None, ge=0.0)
    files: dict[str, BundlePath] = Field(max_length=20)


class ScanFacts(Record):
    """A search for an unknown trigger. ``files`` maps scan, trigger, patches, ... to files."""

    suspect: Id
    reference: Id | None
    data: Text
    verdict: Literal["found", "suspicious", "nothing", "unknown"]
    title: Text
    target: Text
    reasons: tuple[Text, ...]
    searched: tuple[Text, ...]
    not_searched: tuple[Text, ...]
    warnings: tuple[Text, ...]
    files: dict[str, BundlePath] = Field(max_length=40)


class ChartFacts(Record):
    """A picture of numbers, and the same numbers as a table."""

    title: Text
    description: Text
    file: BundlePath
    columns: tuple[Text, ...]
    rows: tuple[tuple[JsonValue, ...], ...] = Field(max_length=100_000)
    source: BundlePath


class Evidence(Record):
    """All that a bundle says.

    Attributes
    ----------
    schema_version
        A reader of 1.x reads every 1.y. 1.1 added ``date``, ``author`` and ``pdf``.
    date
        Day on which it was written, in its writer's time zone.
    author
        Who says so, in his own words; nothing checks it.
    verdict
        Two sentences, made from headline claims alone.
    not_tested, limits
        What nobody looked at, and what no such test can see.
    claims
        In the order of the report.
    environment
        File with versions, CPU, GPU and system; no user, host or path.
    thumbnails
        Files and captions, 24 at most.
    pdf
        Where the report was printed, too.
    """

    schema_version: str = Field(default=SCHEMA_VERSION, pattern=r"^1\.\d{1,4}$")
    name: Text
    tool: Tool
    date: str | None = Field(default=None, pattern=r"^\d{4}-\d{2}-\d{2}$")
    author: Text | None = None
    verdict: tuple[Text, ...] = Field(max_length=4)
    not_tested: tuple[Text, ...]
    limits: tuple[Text, ...]
    checkpoints: dict[Id, CheckpointFacts] = Field(max_length=100)
    data: dict[Id, DataFacts] = Field(max_length=100)
    triggers: dict[Text, TriggerFacts] = Field(max_length=100)
    measurements: dict[Id, MeasurementFacts] = Field(max_length=200)
    jobs: dict[Id, JobFacts] = Field(max_length=100)
    scans: dict[Id, ScanFacts] = Field(max_length=100)
    claims: tuple[Claim, ...] = Field(max_length=5000)
    charts: tuple[ChartFacts, ...] = Field(default=(), max_length=100)
    thumbnails: dict[BundlePath, Text] = Field(default={}, max_length=24)
    environment: BundlePath
    notes: tuple[Text, ...] = ()
    pdf: Literal["report.pdf"] | None = None

    @model_validator(mode="after")
    def _names_what_is_there(self) -> Self:
        ids = [claim.id for claim in self.claims]
        if len(set(ids)) < len(ids):
            raise ValueError("two claims have the same id")
        for claim in self.claims:
            for name in ("measurement", "against", "scan"):
                item = getattr(claim, name, None)
                there = self.scans.keys() if name == "scan" else self.measurements.keys()
                if item is not None and item not in there:
                    raise ValueError(f"the claim {claim.id} stands on {item}, which is not there")
        for id_, facts in self.measurements.items():
            if facts.checkpoint not in self.checkpoints or facts.data not in self.data:
                raise ValueError(f"the measurement {id_} is of something that is not there")
            if facts.trigger is not None and facts.trigger not in self.triggers:
                raise ValueError(f"the trigger of the measurement {id_} is not there")
        return self


def schema(version: str = SCHEMA_VERSION) -> dict[str, Any]:
    """JSON Schema 2020-12 of `Evidence`, in one of `SCHEMA_VERSIONS`."""
    schema = Evidence.model_json_schema()
    if version == "1.0":
        schema["properties"]["schema_version"]["default"] = version
        for later in ("date", "author", "pdf"):
            del schema["properties"][later]
    return {"$schema": JSON_SCHEMA} | schema
