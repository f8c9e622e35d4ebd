"""A record as an in-toto Statement v1 with the predicate ``test-result`` v0.1. Torch-free."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from ml_core.reading.errors import InputError
from ml_core.reports.outcomes import State, outcomes_of, overall
from ml_core.reports.record import BundlePath, Evidence, Id
from ml_core.reports.rendering import Read, held, json_bytes, subject_of

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
        {
            "_type": STATEMENT,
            "subject": [{"name": facts.name, "digest": {"sha256": facts.sha256}}],
            "predicateType": PREDICATE,
            "predicate": {
                "result": overall(tests).upper(),
                "configuration": [
                    {
                        "name": "tool",
                        "uri": "pkg:generic/cleanclip-gui",
                        "annotations": {"name": tool.name, "version": tool.version},
                    },
                    *_descriptors(evidence, subject, read),
                ],
                "passedTests": named("passed"),
                "warnedTests": named("warned"),
                "failedTests": named("failed"),
            },
        }
    )


def _descriptors(evidence: Evidence, subject: Id, read: Read) -> Iterator[dict[str, Any]]:
    for path in dict.fromkeys(_paths(evidence, subject)):
        content = held(read, path)
        if content is None:
            continue
        made = {"name": path, "digest": {"sha256": hashlib.sha256(content).hexdigest()}}
        media = _MEDIA.get(PurePosixPath(path).suffix)
        yield made | ({"mediaType": media} if media else {})


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
