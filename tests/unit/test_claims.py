"""Every figure of a claim against formulas from elsewhere, and what a report may say first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from ml_core.detection.scan.records import Contrast, FoundTrigger, Rate
from ml_core.reports.claims import Claims, Material, claims_of, pairs_of
from ml_core.reports.derive import scan_facts
from ml_core.reports.record import (
    ContrastClaim,
    DifferenceClaim,
    JobFacts,
    MeasurementFacts,
    QuotedClaim,
    RateClaim,
)
from ml_core.reports.rows import Rows
from tests.evidence_samples import checkpoint, cleaning, images, measurement, scanned, sticker
from tests.gui.scans import scan as made_scan

CLASSES, TARGET = 7, 2


def _rows(seed: int, attacked: float, right: float, *, labelled: bool = True) -> Rows:
    """Made-up answers to 400 pictures."""
    rng = np.random.default_rng(seed)
    n = 400
    labels = rng.integers(0, CLASSES, n)

    def answers(first: Any) -> Any:
        order = rng.permuted(np.tile(np.arange(CLASSES), (n, 1)), axis=1)
        rest = np.array([row[row != one] for row, one in zip(order, first, strict=True)])
        return np.column_stack([first, rest[:, :4]])

    guess = rng.integers(0, CLASSES, n)
    clean = np.where(rng.random(n) < right, labels, guess)
    stamped = np.where(rng.random(n) < attacked, TARGET, clean)
    return Rows(
        indices=np.arange(n),
        labels=labels if labelled else np.full(n, -1),
        clean_top=answers(clean),
        clean_margin=np.ones(n, np.float32),
        triggered_top=answers(stamped),
        triggered_margin=np.ones(n, np.float32),
    )


def _measured(of: str, when: str, **fields: Any) -> MeasurementFacts:
    own = {"trigger": "t", "target": TARGET, "classes": CLASSES, "n": 400, "tau": 1e-3}
    return measurement(of, when, of, **(own | fields))


def _material(**changes: Any) -> Material:
    """A run: suspect before, cleaned after, and a clean reference."""
    fields: dict[str, Any] = {
        "checkpoints": {
            role: checkpoint(f"{role}.pt", role, inspection=f"inspections/{role}.json")
            for role in ("suspect", "cleaned", "reference")
        },
        "data": {"images-1": images(400, name="photos", rows=None)},
        "triggers": {"t": sticker(digest="t", name="sticker")},
        "measurements": {
            "job-1-before": _measured("suspect", "before", job="job-1"),
            "job-1-after": _measured("cleaned", "after", job="job-1"),
            "evaluation-1": _measured("reference", "reference"),
        },
        "rows": {
            "job-1-before": _rows(1, 0.9, 0.9),
            "job-1-after": _rows(1, 0.01, 0.85),
            "evaluation-1": _rows(1, 0.0, 0.9),
        },
    }
    return Material(**(fields | changes))


def _of(claims: Claims, kind: type[Any]) -> list[Any]:
    return [one for one in claims.claims if isinstance(one, kind)]


def test_rates_and_intervals_are_those_of_scipy() -> None:
    material = _material()
    found = _of(claims_of(material), RateClaim)
    assert {one.metric for one in found} == {
        "ca", "top5", "asr_excl", "asr_all", "baseline_target_rate", "poisoned_accuracy",
        "flip_rate",
    }  # fmt: skip
    for one in found:
        rows = material.rows[one.measurement]
        clean, stamped = rows.clean_top[:, 0], rows.triggered_top[:, 0]  # type: ignore[index]
        others = rows.labels != TARGET
        hits = {
            "ca": clean == rows.labels,
            "top5": (rows.clean_top == rows.labels[:, None]).any(axis=1),
            "asr_excl": (stamped == TARGET)[others],
            "asr_all": stamped == TARGET,
            "baseline_target_rate": (clean == TARGET)[others],
            "poisoned_accuracy": (stamped == rows.labels)[others],
            "flip_rate": clean != stamped,
        }[one.metric]
        assert (one.rate.hits, one.rate.n) == (int(hits.sum()), len(hits))
        wilson = stats.binomtest(one.rate.hits, one.rate.n).proportion_ci(method="wilson")
        assert one.interval.low == pytest.approx(wilson.low, abs=1e-6)
        assert one.interval.high == pytest.approx(wilson.high, abs=1e-6)
        assert f"{one.rate.hits} of {one.rate.n}" in one.sentence
        assert f"{100 * one.rate.value:.1f} %" in one.sentence
        assert ("sticker" in one.sentence) is (
            one.metric not in ("ca", "top5", "baseline_target_rate")
        )
        assert one.holds_by == "margin"
        assert one.evidence == (material.measurements[one.measurement].per_image,)


def test_differences_are_paired_and_cleaned_comes_first() -> None:
    material = _material()
    assert set(pairs_of(material)) == {
        ("job-1-after", "job-1-before"),
        ("job-1-after", "evaluation-1"),
        ("job-1-before", "evaluation-1"),
    }
    found = _of(claims_of(material), DifferenceClaim)
    one = next(claim for claim in found if claim.metric == "ca" and claim.against == "job-1-before")
    assert one.measurement == "job-1-after"
    after, before = material.rows["job-1-after"], material.rows["job-1-before"]
    mine, theirs = (rows.clean_top[:, 0] == rows.labels for rows in (after, before))
    b, c = int((mine & ~theirs).sum()), int((~mine & theirs).sum())
    assert (one.only_first, one.only_second) == (b, c)
    assert one.difference == pytest.approx(mine.mean() - theirs.mean(), abs=1e-12)
    assert one.p_exact == pytest.approx(stats.binomtest(b, b + c).pvalue, abs=1e-9)
    middle = ((b + 1) - (c + 1)) / 402
    half = 1.959964 * np.sqrt(((b + 1) / 402 + (c + 1) / 402 - middle**2) / 402)
    assert one.adjusted_interval.low == pytest.approx(middle - half, abs=1e-12)
    assert one.adjusted_interval.high == pytest.approx(middle + half, abs=1e-12)
    assert one.interval.method == "bootstrap"
    assert one.interval.seed == 0
    assert one.interval.resamples == 10_000
    assert len(one.evidence) == 2
    measured = dict(material.measurements)
    measured["job-1-after"] = measured["job-1-after"].model_copy(update={"target": 3})
    others = pairs_of(_material(measurements=measured))
    assert others == (("job-1-before", "evaluation-1"),)  # of other targets there is no pair


def test_a_trigger_that_the_reference_answers_to_or_that_does_nothing_is_no_backdoor() -> None:
    rows = dict(_material().rows)
    first = claims_of(_material(rows=rows | {"evaluation-1": rows["job-1-before"]})).verdict[0]
    assert "answers to the trigger, and so does the reference" in first
    assert "carries a backdoor" not in first
    first = claims_of(_material(rows=rows | {"job-1-before": _rows(1, 0.0, 0.9)})).verdict[0]
    assert first.startswith("suspect.pt does not answer to the trigger that was tried")
    measured = dict(_material().measurements)
    del rows["evaluation-1"], measured["evaluation-1"]
    first = claims_of(_material(rows=rows, measurements=measured)).verdict[0]
    assert first.startswith("suspect.pt answers to the trigger, and no clean model was measured")


def test_bf16_gives_no_headline() -> None:
    measured = {
        id_: facts.model_copy(update={"precision": "bf16", "tau": None})
        for id_, facts in _material().measurements.items()
    }
    found = claims_of(_material(measurements=measured))
    assert not [one for one in found.claims if one.headline]
    assert {one.holds_by for one in _of(found, RateClaim)} == {"exact"}
    assert found.verdict[0] == "Nothing was measured in fp32, so there is no headline."
    assert sum("measured in bf16" in one for one in found.not_tested) == 3
    nothing = claims_of(_material(measurements={}, rows={}))
    sentence = "Accuracy and attack success: nothing was measured for this report."
    assert sentence in nothing.not_tested


def test_without_labels_the_attack_counts_over_all_pictures() -> None:
    rows = {id_: _rows(1, 0.9, 0.9, labelled=False) for id_ in _material().rows}
    found = claims_of(_material(rows=rows))
    metrics = {one.metric for one in _of(found, RateClaim)}
    assert metrics == {"asr_all", "baseline_target_rate", "flip_rate"}
    assert "job-1-before-asr-all" in {one.id for one in found.claims if one.headline}
    assert "of all classes" in found.verdict[0]
    assert any("no labels" in one for one in found.not_tested)


def _job(**files: str) -> JobFacts:
    return cleaning(files={"result": "jobs/job-1/result.json", **files})


def test_proofs_are_quoted_with_the_interval_of_their_counts() -> None:
    rebound = {
        "verdict": "Stays clean in this test.", "stays_clean": True, "limit": 0.05, "steps": 300,
        "batch_size": 64,
        "worst": {"factor": 1.0, "max_asr": 0.02, "step": 50, "hits": 20, "n": 1000},
        "rates": [
            {"factor": 1.0, "lr": 5e-4, "max_asr": 0.02, "max_step": 50, "hits": 20, "n": 1000},
            {"factor": 0.1, "lr": 5e-5, "max_asr": 0.01, "max_step": 0},  # of an older version
        ],
    }  # fmt: skip
    holdouts = {
        "rows": [
            {"group": "moved", "name": "left", "measure": "asr_excl", "before": 0.9,
             "before_hits": 90, "before_n": 100, "after": 0.03, "after_hits": 3, "n": 100},
            {"group": "retrieval", "name": "r", "measure": "recall@1", "before": None,
             "after": None, "n": 0},
            {"group": "retrieval", "name": "image to text, own first", "measure": "recall@1",
             "before": 0.54, "after": 0.44, "after_interval": [0.39, 0.49], "n": 400},
        ]
    }  # fmt: skip
    files = {"rebound": "jobs/job-1/rebound.json", "holdouts": "jobs/job-1/holdouts.json"}
    found = claims_of(
        _material(
            jobs={"job-1": _job(**files)},
            json={files["rebound"]: rebound, files["holdouts"]: holdouts},
        )
    )
    quoted = {one.id: one for one in _of(found, QuotedClaim)}
    worst = quoted["job-1-rebound"]
    assert worst.headline
    assert worst.quotes["/worst/hits"] == 20
    assert worst.evidence == (files["rebound"],)
    wilson = stats.binomtest(20, 1000).proportion_ci(method="wilson")
    assert worst.interval is not None
    assert worst.interval.low == pytest.approx(wilson.low, abs=1e-6)
    assert quoted["job-1-rebound-1"].rate is None
    row = quoted["job-1-holdout-0"]
    assert (row.rate.hits, row.rate.n) == (3, 100)
    assert row.quotes["/rows/0/name"] == "left"
    assert quoted["job-1-holdout-1"].rate is None
    assert (
        "it stays clean in the rebound test, and the largest loss among the hold-outs is in "
        "retrieval, image to text (recall@1), from 54.0 to 44.0 %." in found.verdict[1]
    )
    assert not any("rebound" in one for one in found.not_tested)
    other = _job(holdouts=files["holdouts"]).model_copy(update={"result": "reference"})
    verdict = claims_of(
        _material(jobs={"job-1": other}, json={files["holdouts"]: holdouts})
    ).verdict
    assert "largest loss" not in verdict[1]  # it is another run's


def test_a_scan_gives_its_verdict_and_the_contrast_of_what_it_found() -> None:
    contrast = Contrast(
        suspect=Rate(hits=200, n=256), reference=Rate(hits=3, n=256),
        without=Rate(hits=1, n=256), low=0.7, high=0.83,
    )  # fmt: skip
    scan = made_scan("found")
    scan = scan.model_copy(
        update={
            "precision": "fp32",
            "found": FoundTrigger(
                kind="patch", target="banana", wide_target="banana", contrast=contrast,
                file="found.json",
            ),
        }
    )  # fmt: skip
    facts = scanned(reference="reference", data="photos", **scan_facts(scan.judgement))
    found = claims_of(_material(scans={"scan-1": facts}, scan_records={"scan-1": scan}))
    (one,) = _of(found, ContrastClaim)
    assert one.at == "found.contrast"
    assert (one.first.hits, one.second.hits) == (200, 3)
    p, q = 200 / 256, 3 / 256
    first, second = (stats.binomtest(hits, 256).proportion_ci(method="wilson") for hits in (200, 3))
    low = p - q - np.hypot(p - first.low, second.high - q)
    high = p - q + np.hypot(first.high - p, q - second.low)
    assert one.interval.low == pytest.approx(low, abs=1e-6)
    assert one.interval.high == pytest.approx(high, abs=1e-6)
    assert "the scan of suspect.pt says “Backdoor-like: banana”" in found.verdict[0]
    assert not any("no scan was made" in said for said in found.not_tested)
    other = {"scan-1": scan.model_copy(update={"precision": "bf16"})}
    found = claims_of(_material(scans={"scan-1": facts}, scan_records=other))
    assert any("(computed in bf16)" in claim.sentence for claim in found.claims)
    (one,) = _of(found, ContrastClaim)
    assert not one.headline
