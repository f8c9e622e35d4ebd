"""A record in SARIF 2.1.0 and as an in-toto statement: findings, and what speaks for a backdoor."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from ml_core.checkpoints.inspection_sarif import RULES, inspection_findings
from ml_core.reading.errors import InputError
from ml_core.reading.inspection import REFUSED, RULES_VERSION, ReasonCode, Verdict
from ml_core.reading.json_file import JsonFile
from ml_core.records import Record
from ml_core.reports.outcomes import Outcome, State, outcomes_of, overall
from ml_core.reports.record import BundlePath, CheckpointFacts, Count, Evidence, Id
from ml_core.reports.rendering import Read, held, json_bytes, shown, subject_of
from ml_core.sarif import PAPER, Artifact, Level, Rule, SarifResult, log_of, taxon_uri

POISONED = ("CWE-506", "AML.T0010.003", "AML.T0018.000")
ATLAS = taxon_uri("AML.T0018.000")
BACKDOOR_RULES = (
    Rule(
        "backdoor_found", "BackdoorLikeTriggerFound",
        "A search found a trigger that moves pictures to one class on this checkpoint alone.",
        "error", ATLAS, POISONED,
    ),
    Rule(
        "backdoor_suspected", "BackdoorSuspected",
        "A search found signs of a trigger that do not suffice for a finding.",
        "warning", ATLAS, POISONED,
    ),
    Rule(
        "known_trigger_works", "KnownTriggerWorks",
        "A known trigger moves pictures of other classes to its target class.",
        "error", ATLAS, POISONED,
    ),
    Rule(
        "backdoor_returns", "BackdoorReturns",
        "Ordinary finetuning brings a removed backdoor back.",
        "warning", PAPER, POISONED,
    ),
)  # fmt: skip
_FILE = JsonFile(
    "the record of an inspection", "make the bundle again", max_bytes=64 << 20, max_depth=16,
    max_parts=2_000_000, half_characters=True,
)  # fmt: skip
_CODES: dict[str, str] = {"loads": "ok", "caution": "note", **{code: code for code in REFUSED}}


def render_sarif(evidence: Evidence, read: Read) -> bytes:
    """One run: each checkpoint is an artifact.

    Raises
    ------
    InputError
        ``damaged`` if an inspection's record cannot be read.
    """
    ids = list(evidence.checkpoints)
    artifacts = [
        Artifact(facts.name, facts.sha256 or "", facts.bytes, folder="folder" in facts.format)
        for facts in evidence.checkpoints.values()
    ]
    log = log_of(
        evidence.tool.model_dump(),
        (*RULES, *BACKDOOR_RULES),
        artifacts,
        (row for index, id_ in enumerate(ids) for row in _findings(evidence, read, id_, index)),
        rules_version=RULES_VERSION,
        properties={
            "evidence": evidence.name,
            "verdict": list(evidence.verdict),
            "not_tested": list(evidence.not_tested),
            "checkpoints": ids,
        },
    )
    return json_bytes(log)


def _findings(evidence: Evidence, read: Read, id_: Id, index: int) -> Iterator[SarifResult]:
    facts = evidence.checkpoints[id_]
    yield from inspection_findings(_inspection(facts, read), index)
    for test in outcomes_of(evidence, id_):
        if (judged := _judged(evidence, test)) is None:
            continue
        rule, level, undecided = judged
        yield SarifResult(
            rule, test.sentence, index, level,
            same_as=test.about,
            undecided=undecided,
            properties={"test": test.test, "evidence": list(test.evidence)},
        )  # fmt: skip


def _judged(evidence: Evidence, test: Outcome) -> tuple[str, Level, bool] | None:
    """Rule, level, and whether nothing could be decided; None if it does not go into SARIF.

    That a scan found nothing is information, never a pass.
    """
    if test.topic == "scan":
        verdict = evidence.scans[test.test.removeprefix("scan:")].verdict
        if verdict == "found":
            return "backdoor_found", "error", False
        if verdict == "suspicious":
            return "backdoor_suspected", "warning", False
        return "backdoor_found", "none", verdict == "unknown"
    if test.state == "passed":
        return None
    level: Level = "error" if test.state == "failed" else "warning"
    if test.topic == "trigger":
        return "known_trigger_works", level, False
    if test.topic == "rebound":
        return "backdoor_returns", "warning" if level == "error" else "note", False
    return None


class _Part(Record):
    model_config = ConfigDict(extra="ignore")


class _Container(_Part):
    alignment: Count = 0


class _Shape(_Part):
    name: str
    found: tuple[Count, ...]
    expected: tuple[Count, ...]


class _Keys(_Part):
    wrong_shape: tuple[_Shape, ...] = ()
    unexpected: tuple[str, ...] = ()


class _Architecture(_Part):
    keys: _Keys | None = None


class _CodePlace(_Part):
    what: str
    offset: Count
    nbytes: Count


class _Tensor(_Part):
    name: str
    offset: Count
    nbytes: Count


class _Inspection(_Part):
    """What `inspection_findings` needs of the record of an inspection."""

    name: str
    verdict: Verdict
    reason_code: ReasonCode
    reasons: Annotated[tuple[str, ...], Field(max_length=10_000)]
    code_places: tuple[_CodePlace, ...] = ()
    container: _Container | None = None
    architecture: _Architecture | None = None
    tensors: tuple[_Tensor, ...] = ()


def _inspection(facts: CheckpointFacts, read: Read) -> dict[str, Any]:
    """The record of a checkpoint's inspection, or what the evidence itself says about it."""
    if (raw := held(read, facts.inspection)) is not None:
        assert facts.inspection is not None
        # What a pickle names may hold half characters, which no record takes.
        parsed = shown(_FILE.parse(raw, facts.inspection))
        return _FILE.check(parsed, _Inspection, facts.inspection).model_dump()
    return {
        "name": facts.name,
        "verdict": facts.safety if facts.safety in _CODES else "unsupported",
        "reason_code": _CODES.get(facts.safety, "unsupported"),
        "reasons": facts.safety_reasons,
    }


STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
_MEDIA = {
    ".json": "application/json",
    ".csv": "text/csv",
    ".txt": "text/plain",
    ".png": "image/png",
}


def render_intoto(evidence: Evidence, read: Read) -> bytes:
    """The statement about the checkpoint that the report decides about (`subject_of`).

    ``result`` is the worst of `outcomes_of`; each test is named as there. ``configuration`` lists
    what decided the figures: prompts, pictures, triggers, settings of jobs and scans.

    Raises
    ------
    InputError
        If that checkpoint has no SHA-256, which a statement needs.
    """
    subject = subject_of(evidence)
    facts = evidence.checkpoints[subject]
    if facts.sha256 is None:
        raise InputError(
            f"{facts.name} has no SHA-256, so no statement can be made about it; inspect it again."
        )
    tests = outcomes_of(evidence, subject)

    def named(state: State) -> list[str]:
        return [test.test for test in tests if test.state == state]

    tool = evidence.tool
    return json_bytes(
        statement(
            facts.name, facts.sha256, overall(tests).upper(),
            [
                {
                    "name": "tool",
                    "uri": "pkg:generic/cleanclip-gui",
                    "annotations": {"name": tool.name, "version": tool.version},
                },
                *_descriptors(evidence, subject, read),
            ],
            named("passed"), named("warned"), named("failed"),
        )
    )  # fmt: skip


def statement(
    name: str, sha256: str, result: str, configuration: Sequence[Mapping[str, Any]],
    passed: Sequence[str], warned: Sequence[str], failed: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """An in-toto statement that a file was tested, with the names of the tests by their end."""
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": sha256}}],
        "predicateType": PREDICATE,
        "predicate": {
            "result": result,
            "configuration": list(configuration),
            "passedTests": list(passed),
            "warnedTests": list(warned),
            "failedTests": list(failed),
        },
    }


def _descriptors(evidence: Evidence, subject: Id, read: Read) -> Iterator[dict[str, Any]]:
    for path in dict.fromkeys(_paths(evidence, subject)):
        content = held(read, path)
        if content is None:
            continue
        descriptor = {"name": path, "digest": {"sha256": hashlib.sha256(content).hexdigest()}}
        media = _MEDIA.get(PurePosixPath(path).suffix)
        yield descriptor | ({"mediaType": media} if media else {})


def _paths(evidence: Evidence, subject: Id) -> Iterator[BundlePath]:
    """Files that decided the figures of a checkpoint; some may stand twice."""
    for measured in evidence.measurements.values():
        if measured.checkpoint != subject:
            continue
        yield measured.prompts
        if (rows := evidence.data[measured.data].rows) is not None:
            yield rows
        if measured.trigger is not None:
            yield from evidence.triggers[measured.trigger].files
    for job in evidence.jobs.values():
        if job.result == subject:
            yield from (job.files[key] for key in ("spec", "recipe") if key in job.files)
    for scan in evidence.scans.values():
        if scan.suspect == subject and "scan" in scan.files:
            yield scan.files["scan"]
