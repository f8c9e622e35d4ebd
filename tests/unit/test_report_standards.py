"""A record in SARIF, CycloneDX, in-toto and the Hub's YAML, each against what is published."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from ml_core.checkpoints.inspection_sarif import RULES, sarif_log
from ml_core.reading.errors import InputError
from ml_core.reports.arithmetic import counted, wilson
from ml_core.reports.exports import (
    ENDINGS,
    EVIDENCE_FORMATS,
    FORMATS,
    export_evidence,
)
from ml_core.reports.outcomes import outcomes_of
from ml_core.reports.record import (
    CheckpointFacts,
    DifferenceClaim,
    Evidence,
    Interval,
    JobFacts,
    MeasurementFacts,
    QuotedClaim,
    RateClaim,
    ScanFacts,
    Tool,
)
from ml_core.reports.rendering import nothing_beside, subject_of
from ml_core.reports.sarif import BACKDOOR_RULES, render_intoto
from ml_core.sarif import ATLAS_VERSION
from tests.evidence_samples import checkpoint, cleaning, images, measurement, scanned, sticker
from tests.unit.official_schemas import check_intoto, check_sarif_schema

HOSTILE = "a<b>\u202e\x1b[31m\u2028.pt"
SHOWN = "a<b>\\u202e\\x1b[31m\\u2028.pt"
SUSPECT, CLEANED = "1" * 64, "2" * 64
DATA = b"index,name,sha256,bytes,label\n0,a.png,,1,0\n"


def inspection(verdict: str, *reasons: str, **more: Any) -> dict[str, Any]:
    code = {"loads": "ok", "caution": "note", "dangerous": "unknown_code"}[verdict]
    return {"name": "model.pt", "verdict": verdict, "reason_code": code, "reasons": reasons} | more


class Bundle:
    """A record and its files; what a test wants otherwise it changes before `evidence`."""

    def __init__(self) -> None:
        self.checkpoints: dict[str, CheckpointFacts] = {}
        self.measurements: dict[str, MeasurementFacts] = {}
        self.claims: list[Any] = []
        self.scans: dict[str, ScanFacts] = {}
        self.jobs: dict[str, JobFacts] = {}
        self.files: dict[str, bytes] = {"data/images-1.csv": DATA}

    def add(self, id_: str, role: Any, sha256: str | None, **more: Any) -> None:
        given = {
            "sha256": sha256, "bytes": 1000, "format": "PyTorch file (zip)", "safety_reasons": (),
            "inspection": f"inspections/{id_}.json",
        } | more  # fmt: skip
        facts = checkpoint(given.pop("name", f"{id_}.pt"), role, **given)
        self.checkpoints[id_] = facts
        found = inspection(facts.safety, *facts.safety_reasons, name=facts.name)
        self.files[f"inspections/{id_}.json"] = json.dumps(found).encode()

    def measure(self, id_: str, of: str, when: Any, **hits: int) -> None:
        """Rates of 1000 images as claims."""
        folder = f"measurements/{id_}"
        self.measurements[id_] = measurement(
            of, when, id_, trigger="sha256:abc", target=3, n=1000, n_broken=0, tau=None
        )
        self.files[f"{folder}/prompts.txt"] = b"# templates\na photo of {}\n\n# classes\nbanana\n"
        for metric, count in hits.items():
            rate = counted(count, 1000)
            self.claims.append(
                RateClaim.model_validate({
                    "id": f"{id_}-{metric.replace('_', '-')}", "holds_by": "margin",
                    "sentence": f"{metric} is {rate.value}.", "measurement": id_,
                    "evidence": (f"{folder}/per_image.csv",), "metric": metric,
                    "rate": rate, "interval": wilson(rate),
                })
            )  # fmt: skip

    def difference(self, first: int, second: int, low: float, high: float) -> None:
        """Clean accuracy of ``after`` against ``before``."""
        between = Interval(low=low, high=high, method="newcombe")
        self.claims.append(
            DifferenceClaim(
                id="ca-kept", sentence="Clean accuracy changed.", holds_by="margin", metric="ca",
                measurement="after", against="before", first=counted(first, 1000),
                second=counted(second, 1000), difference=(first - second) / 1000,
                interval=between, adjusted_interval=between, only_first=0, only_second=0,
                p_exact=1.0, p_mid=1.0,
            )
        )  # fmt: skip

    def rebound(self, hits: int, quotes: dict[str, Any]) -> None:
        rate = counted(hits, 1000)
        self.claims.append(
            QuotedClaim(
                id="rebound-1", sentence="After finetuning.", holds_by="exact", topic="rebound",
                evidence=("jobs/job-1/rebound.json",), quotes=quotes, rate=rate,
                interval=wilson(rate),
            )
        )  # fmt: skip

    def clean(self) -> None:
        self.add("cleaned", "cleaned", CLEANED)
        names = ("spec", "rebound")
        files = {name: f"jobs/job-1/{name}.json" for name in names}
        self.jobs["job-1"] = cleaning(preset="paper", seed=1, steps=300, files=files)
        self.files["jobs/job-1/spec.json"] = b"{}\n"

    def scan(self, verdict: Any) -> None:
        self.scans["scan-1"] = scanned(verdict=verdict, reasons=("A patch moves it.",))
        self.files["scan/scan-1/scan.json"] = b"{}\n"

    def evidence(self) -> Evidence:
        trigger = sticker(digest="sha256:abc", name="sticker", files=("triggers/abc.json",))
        self.files["triggers/abc.json"] = b"{}\n"
        return Evidence(
            name="demo", tool=Tool(name="CleanCLIP GUI", version="0.1.0"),
            verdict=("It carries a backdoor.",), not_tested=("Triggers in the text.",),
            limits=("A low ASR is no certificate.",), checkpoints=self.checkpoints,
            data={"images-1": images(1000, name="demo test")},
            triggers={"sha256:abc": trigger}, measurements=self.measurements, jobs=self.jobs,
            scans=self.scans, claims=tuple(self.claims), environment="environment.json",
        )  # fmt: skip

    def read(self, path: str) -> bytes:
        return self.files[path]


def suspect(**more: Any) -> Bundle:
    bundle = Bundle()
    bundle.add("suspect", "suspect", **{"sha256": SUSPECT} | more)
    return bundle


@pytest.fixture
def whole() -> Bundle:
    """Before, scan, cleaning, after, rebound."""
    bundle = suspect(safety="caution", safety_reasons=["suspect.pt has an odd member."])
    bundle.measure("before", "suspect", "before", ca=900, asr_excl=980, baseline_target_rate=10)
    bundle.scan("found")
    bundle.clean()
    bundle.measure("after", "cleaned", "after", ca=895, asr_excl=8, baseline_target_rate=9)
    bundle.difference(895, 900, -0.015, 0.005)
    bundle.rebound(20, {"/stays_clean": True})
    return bundle


def document(bundle: Bundle, form: Any) -> dict[str, Any]:
    raw = export_evidence(bundle.evidence(), bundle.read, form)
    assert raw.endswith(b"\n")
    return dict(json.loads(raw))


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


# ---- all of them ----


def test_a_hostile_name_stays_plain_text() -> None:
    bundle = suspect(
        name=HOSTILE, safety="dangerous", safety_reasons=[f"{HOSTILE} names code."],
        architecture=HOSTILE,
    )  # fmt: skip
    bundle.measure("before", "suspect", "before", ca=900, asr_excl=980)
    bundle.claims[0] = bundle.claims[0].model_copy(update={"sentence": f"{HOSTILE} is accurate."})
    bundle.scan("found")
    for form in EVIDENCE_FORMATS:
        raw = export_evidence(bundle.evidence(), bundle.read, form).decode()
        assert export_evidence(bundle.evidence(), nothing_beside, form)  # without its bundle, too
        assert form == "json" or not {"\u202e", "\x1b", "\u2028"} & set(raw)
        if form in ("sarif", "cdx", "intoto"):
            assert any(SHOWN in text for text in texts(json.loads(raw)))


# ---- what passed and what failed ----


def test_a_trigger_fails_where_it_works_and_warns_above_the_limit() -> None:
    for hits, by_chance, state in (
        (8, 9, "passed"), (45, 0, "warned"), (60, 0, "warned"),  # no backdoor in the report either
        (70, 60, "warned"), (290, 0, "failed"), (980, 5, "failed"),
    ):  # fmt: skip
        bundle, rates = suspect(), {"asr_excl": hits, "baseline_target_rate": by_chance}
        bundle.measure("before", "suspect", "before", asr_all=1000, **rates)
        tests = states(bundle, "suspect")
        assert tests["before-asr-excl"] == state
        assert "before-asr-all" not in tests


def test_clean_accuracy_may_fall_by_two_points(whole: Bundle) -> None:
    for lost, low, state in ((5, -0.015, "passed"), (15, -0.03, "warned"), (25, -0.03, "failed")):
        whole.claims = [claim for claim in whole.claims if claim.id != "ca-kept"]
        whole.difference(900 - lost, 900, low, 0.0)
        assert states(whole, "cleaned")["ca-kept"] == state
        assert "ca-kept" not in states(whole, "suspect")


def test_the_verdict_of_a_rebound_test_counts(whole: Bundle) -> None:
    assert states(whole, "cleaned")["rebound-1"] == "passed"
    for hits, quotes, state in (
        (400, {"/stays_clean": False}, "failed"), (40, {"/stays_clean": False}, "warned"),
        (900, {"/rates/0/max_asr": 0.9}, None),
    ):  # fmt: skip
        whole.claims.pop()
        whole.rebound(hits, quotes)
        assert states(whole, "cleaned").get("rebound-1") == state


def states(bundle: Bundle, checkpoint: str) -> dict[str, str]:
    return {test.test: test.state for test in outcomes_of(bundle.evidence(), checkpoint)}


def test_the_report_decides_about_what_was_cleaned_last(whole: Bundle) -> None:
    assert subject_of(whole.evidence()) == "cleaned"
    whole.add("cleaned-2", "cleaned", "3" * 64)
    assert subject_of(whole.evidence()) == "cleaned-2"
    assert subject_of(suspect().evidence()) == "suspect"


# ---- SARIF ----


def test_the_documentation_names_every_rule_and_technique() -> None:
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    assert f"MITRE ATLAS {ATLAS_VERSION}" in text
    for rule in (*RULES, *BACKDOOR_RULES):
        assert rule.id == "ok" or f"`{rule.id}`" in text
        assert all(id_ in text for id_ in rule.taxa)
    assert all(f"`{form}`" in text for form in (*FORMATS, *EVIDENCE_FORMATS))
    assert all(f"`{ending}`" in text for ending in ENDINGS)


def test_a_scan_never_passes() -> None:
    for verdict, *expected in (
        ("found", "backdoor_found", "fail", "error"),
        ("suspicious", "backdoor_suspected", "fail", "warning"),
        ("nothing", "backdoor_found", "informational", "none"),
        ("unknown", "backdoor_found", "open", "none"),
    ):
        bundle = suspect()
        bundle.scan(verdict)
        (result,) = document(bundle, "sarif")["runs"][0]["results"]
        assert [result["ruleId"], result["kind"], result["level"]] == expected


def test_sarif_knows_a_finding_of_an_inspection_again() -> None:
    bundle = suspect(safety="dangerous")
    reason = "suspect.pt names code."
    record = inspection("dangerous", reason, name="suspect.pt")
    bundle.files["inspections/suspect.json"] = json.dumps(record).encode()
    missing = (
        *("architecture", "elsewhere", "second_opinion", "unread", "totals", "sandbox"),
        *("globals", "embedded_code"),
    )
    told = {"tool": {"name": "x", "version": "1"}, "rules": 1, "format": "x", "size": 1}
    alone = sarif_log(dict.fromkeys(missing) | record | told | {"sha256": SUSPECT})
    results = [log["runs"][0]["results"] for log in (alone, document(bundle, "sarif"))]
    assert [one["ruleId"] for one in results[1]] == ["unknown_code"]
    first, second = (one[0]["partialFingerprints"] for one in results)
    assert first == second


def test_sarif_points_at_tensors_whatever_they_are_called() -> None:
    bundle, names = suspect(), ["a\ud800", "b"]
    tensors = [
        {"name": name, "offset": 64 * i, "nbytes": 8, "dtype": "F32"}
        for i, name in enumerate(names)
    ]
    record = inspection("caution", "suspect.pt does not fit.", name="suspect.pt") | {
        "container": {"kind": "zip", "alignment": 64}, "tensors": tensors,
        "architecture": {"keys": {"missing": [], "unexpected": names, "wrong_shape": []}},
    }  # fmt: skip
    bundle.files["inspections/suspect.json"] = json.dumps(record).encode()
    log = document(bundle, "sarif")
    check_sarif_schema(log)
    (result,) = log["runs"][0]["results"]
    for name, at, related in zip(
        ("a\\ud800", "b"), (0, 64), result["relatedLocations"], strict=True
    ):
        text = f"The tensor {name} is not part of the architecture."
        assert related["message"]["text"] == text
        assert related["physicalLocation"]["region"] == {"byteOffset": at, "byteLength": 8}


def test_a_damaged_inspection_is_told_by_its_name() -> None:
    bundle = suspect()
    for content in (b"[]", b"{}", b'{"name": 1}', b"\xff", b"{" * 100):
        bundle.files["inspections/suspect.json"] = content
        with pytest.raises(InputError, match=r"inspections/suspect\.json") as caught:
            document(bundle, "sarif")
        assert caught.value.code == "damaged"


# ---- in-toto ----


def test_a_statement_is_about_the_cleaned_checkpoint_or_fails_by_the_suspects_tests(whole):
    def predicate(bundle: Bundle) -> Any:
        statement = check_intoto(render_intoto(bundle.evidence(), bundle.read))
        (subject,) = statement.subject
        cleaned = "cleaned" in bundle.checkpoints
        name, digest = ("cleaned.pt", CLEANED) if cleaned else ("suspect.pt", SUSPECT)
        assert (subject.name, subject.digest.sha256) == (name, digest)
        return statement.predicate

    passed = predicate(whole)
    assert passed.result == "PASSED"
    assert passed.passedTests == ["file-safety", "after-asr-excl", "rebound-1", "ca-kept"]
    assert passed.warnedTests == passed.failedTests == []
    digests = {item.name: item.digest.sha256 for item in passed.configuration if item.digest}
    assert set(digests) == {
        "measurements/after/prompts.txt", "data/images-1.csv", "triggers/abc.json",
        "jobs/job-1/spec.json",
    }  # fmt: skip
    assert digests["data/images-1.csv"] == hashlib.sha256(DATA).hexdigest()
    del whole.checkpoints["cleaned"], whole.measurements["after"]
    whole.claims = [c for c in whole.claims if getattr(c, "measurement", "after") != "after"]
    failed = predicate(whole)
    assert (failed.result, failed.warnedTests) == ("FAILED", ["file-safety"])
    assert failed.failedTests == ["scan:scan-1", "before-asr-excl"]
    untested = predicate(suspect())  # which is no pass
    assert (untested.result, untested.warnedTests) == ("WARNED", ["backdoor-not-tested"])
    assert untested.passedTests == ["file-safety"]
    with pytest.raises(InputError, match=r"suspect\.pt has no SHA-256"):
        predicate(suspect(sha256=None))


# ---- the Hub ----


def test_the_hub_reads_the_model_card(whole: Bundle) -> None:
    name = "yes: [no] # - 'x'"
    whole.checkpoints["cleaned"] = whole.checkpoints["cleaned"].model_copy(update={"name": name})
    block = export_evidence(whole.evidence(), whole.read, "model-card").decode()
    card = ModelCard(f"---\n{block}---\n# A model\n")
    assert card.data.model_name == name
    results = {result.metric_type: result for result in card.data.eval_results or ()}
    assert set(results) == {"accuracy", "asr_excl", "baseline_target_rate"}
    assert results["accuracy"].metric_value == 0.895
    assert results["asr_excl"].metric_args["n"] == 1000
    assert results["accuracy"].task_type == "zero-shot-image-classification"


def test_a_checkpoint_without_measurement_has_no_card() -> None:
    evidence = suspect().evidence()
    with pytest.raises(InputError, match="Nothing was measured"):
        export_evidence(evidence, nothing_beside, "model-card")
