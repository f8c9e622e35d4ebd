"""A record in SARIF, CycloneDX, in-toto and the Hub's YAML: what passed, warned and failed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ml_core.reading.errors import InputError
from ml_core.reports.arithmetic import counted, wilson
from ml_core.reports.exports import EVIDENCE_FORMATS, export_evidence
from ml_core.reports.outcomes import outcomes_of
from ml_core.reports.record import Claim, Evidence, Interval
from ml_core.reports.rendering import nothing_beside
from ml_core.reports.sarif import render_intoto
from tests.evidence_samples import full
from tests.unit.official_schemas import check_intoto

HOSTILE = "a<b>\u202e\x1b[31m\u2028.pt"
SHOWN = "a<b>\\u202e\\x1b[31m\\u2028.pt"
BEFORE, AFTER = "job-1-before-asr-excl", "job-1-after-asr-excl"


def claim(id_: str, hits: int, **fields: Any) -> Claim:
    """The claim of the sample with other hits of 1000 pictures."""
    found = next(claim for claim in full()[0].claims if claim.id == id_)
    rate = counted(hits, 1000)
    return found.model_copy(update={"rate": rate, "interval": wilson(rate), **fields})


def state(id_: str, checkpoint: str, *claims: Claim) -> str | None:
    """How a test of the sample ends with these claims alone."""
    evidence = full()[0].model_copy(update={"claims": claims})
    states = {test.test: test.state for test in outcomes_of(evidence, checkpoint)}
    return states.get(id_)


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from texts([*value.keys(), *value.values()])
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def test_a_trigger_fails_where_it_works_and_warns_above_the_limit() -> None:
    for hits, by_chance, expected in (
        (8, 9, "passed"), (45, 0, "warned"), (70, 60, "warned"), (290, 0, "failed"),
        (980, 5, "failed"),
    ):  # fmt: skip
        chance = claim("job-1-before-baseline-target-rate", by_chance)
        assert state(BEFORE, "suspect", claim(BEFORE, hits), chance) == expected


def test_clean_accuracy_may_fall_by_two_points() -> None:
    name = "job-1-after-minus-job-1-before-ca"
    (change,) = (claim for claim in full()[0].claims if claim.id == name)
    for lost, low, expected in (
        (5, -0.015, "passed"), (15, -0.03, "warned"), (25, -0.03, "failed"),
    ):  # fmt: skip
        interval = Interval(low=low, high=0.0, method="newcombe")
        fields = {
            "first": counted(900 - lost, 1000), "second": counted(900, 1000),
            "difference": -lost / 1000, "interval": interval, "adjusted_interval": interval,
        }  # fmt: skip
        assert state(name, "cleaned", change.model_copy(update=fields)) == expected


def test_the_verdict_of_a_rebound_test_counts() -> None:
    name = "job-1-rebound-2"
    for hits, quotes, expected in (
        (20, {"/stays_clean": True}, "passed"), (400, {"/stays_clean": False}, "failed"),
        (40, {"/stays_clean": False}, "warned"), (900, {"/rates/0/max_asr": 0.9}, None),
    ):  # fmt: skip
        assert state(name, "cleaned", claim(name, hits, quotes=quotes)) == expected


def sample(**update: Any) -> tuple[Evidence, Any]:
    """A whole record with other fields; what reads the files that an export needs beside it."""
    evidence = full()[0].model_copy(update=update)
    facts = evidence.checkpoints["suspect"]
    files = {
        "inspections/suspect.json": {
            "name": facts.name, "verdict": facts.safety, "reasons": facts.safety_reasons,
            "reason_code": "note" if facts.safety == "caution" else "unknown_code",
        },
    }  # fmt: skip
    return evidence, lambda path: json.dumps(files.get(path, {})).encode()


def test_the_same_record_gives_the_same_bytes() -> None:
    evidence, read = sample()
    again = Evidence.model_validate_json(evidence.model_dump_json())
    for form in EVIDENCE_FORMATS:
        assert export_evidence(again, read, form) == export_evidence(evidence, read, form)
        assert export_evidence(again, nothing_beside, form)  # without its bundle, too


def test_a_hostile_name_stays_plain_text() -> None:
    fields = {
        "name": HOSTILE, "architecture": HOSTILE, "safety": "dangerous",
        "safety_reasons": (f"{HOSTILE} names code.",),
    }  # fmt: skip
    named = {k: facts.model_copy(update=fields) for k, facts in full()[0].checkpoints.items()}
    claims = (claim(BEFORE, 980, sentence=f"{HOSTILE} is attacked."), claim(AFTER, 980))
    evidence, read = sample(checkpoints=named, claims=claims)
    for form in EVIDENCE_FORMATS:
        raw = export_evidence(evidence, read, form).decode()
        assert form == "json" or not {"\u202e", "\x1b", "\u2028"} & set(raw)
        if form in ("sarif", "cdx", "intoto"):
            assert any(SHOWN in text for text in texts(json.loads(raw)))


def test_a_scan_never_passes() -> None:
    scans = full()[0].scans
    for verdict, *expected in (
        ("found", "backdoor_found", "fail", "error"),
        ("suspicious", "backdoor_suspected", "fail", "warning"),
        ("nothing", "backdoor_found", "informational", "none"),
        ("unknown", "backdoor_found", "open", "none"),
    ):
        scan = scans["scan-1"].model_copy(update={"verdict": verdict})
        evidence, read = sample(scans={"scan-1": scan}, claims=())
        results = json.loads(export_evidence(evidence, read, "sarif"))["runs"][0]["results"]
        (result,) = (one for one in results if one["ruleId"].startswith("backdoor"))
        assert [result["ruleId"], result["kind"], result["level"]] == expected


def test_a_statement_is_about_the_cleaned_checkpoint_or_fails_by_the_suspects_tests() -> None:
    def predicate(name: str, **update: Any) -> Any:
        statement = check_intoto(render_intoto(*sample(**update)))
        (subject,) = statement.subject
        assert subject.name == name
        return statement.predicate

    passed = predicate("cleaned.safetensors", claims=(claim(AFTER, 8),))
    assert (passed.result, passed.passedTests) == ("PASSED", ["file-safety", AFTER])
    whole = full()[0]
    alone = {"checkpoints": {"suspect": whole.checkpoints["suspect"]}, "jobs": {}}
    measured = {"measurements": {"job-1-before": whole.measurements["job-1-before"]}}
    attacked = (claim(BEFORE, 980),)
    failed = predicate("poisoned.safetensors", **alone, **measured, claims=attacked)
    assert (failed.result, failed.warnedTests) == ("FAILED", ["file-safety"])
    assert failed.failedTests == ["scan:scan-1", BEFORE]
    alone |= {"scans": {}, "claims": (), "measurements": {}}
    untested = predicate("poisoned.safetensors", **alone)  # which is no pass
    assert (untested.result, untested.passedTests) == ("WARNED", [])
    assert untested.warnedTests == ["file-safety", "backdoor-not-tested"]
    unknown = whole.checkpoints["suspect"].model_copy(update={"sha256": None})
    with pytest.raises(InputError, match="has no SHA-256"):
        predicate("", **alone | {"checkpoints": {"suspect": unknown}})
