"""What the files of a bundle give, and what does not follow from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from ml_core.evaluation.records import wilson_interval
from ml_core.reports.arithmetic import counts_of, judged
from ml_core.reports.bundle_files import Files
from ml_core.reports.derive import FACTS, holdouts_of, rebound_of
from ml_core.reports.verify.derived import MALFORMED, first_difference
from tests.evidence_samples import checkpoint, cleaning, minimal


def _point(step: int, hits: int, n: int = 100) -> dict[str, Any]:
    low, high = wilson_interval(hits, n)
    rate = {"asr_excl": hits / n, "asr_low": low, "asr_high": high}
    return {"step": float(step), "asr_hits": hits, "asr_n": n, **rate}


def _rebound() -> dict[str, Any]:
    rates = []
    for factor, hits in ((0.1, (1, 2)), (1.0, (1, 4))):
        points = [_point(25 * k, one) for k, one in enumerate(hits)]
        rates.append({
            "factor": factor, "max_asr": points[1]["asr_excl"], **counts_of(points[1]),
            "max_step": 25, "diverged": None, "points": points,
        })  # fmt: skip
    return {"limit": 0.05, "rates": rates, **judged(rates, 0.05)}


def _holdouts() -> dict[str, Any]:
    row = {
        "group": "place", "name": "left", "measure": "asr_excl", "before": 0.9, "before_hits": 90,
        "before_n": 100, "before_interval": list(wilson_interval(90, 100)), "after": 0.02,
        "after_hits": 2, "after_interval": list(wilson_interval(2, 100)), "n": 100,
    }  # fmt: skip
    return {"rows": [row], "worst": {"group": "place", "name": "left", "after": 0.02}}


PROOFS = {"rebound": (_rebound, rebound_of), "holdouts": (_holdouts, holdouts_of)}
CHANGES: list[tuple[str, Callable[[Any], object]]] = [
    ("rebound", lambda value: value.update(stays_clean=False)),
    ("rebound", lambda value: value.update(limit=0.03)),
    ("rebound", lambda value: value["rates"][1].update(max_asr=0.01, hits=1)),
    ("rebound", lambda value: value["rates"].clear()),
    ("rebound", lambda value: value["rates"][0].update(points=None)),
    ("holdouts", lambda value: value["rows"][0].update(after=0.01)),
    ("holdouts", lambda value: value["rows"][0].update(after_hits=200)),
    ("holdouts", lambda value: value["worst"].update(after=0.01)),
    ("holdouts", lambda value: value.update(rows=3)),
]


@pytest.mark.parametrize(("kind", "change"), CHANGES)
def test_a_proof_that_was_changed_does_not_follow(kind, change):
    make, derived = PROOFS[kind]
    record = make()
    assert first_difference(record, derived(record)) is None
    change(record)
    with suppress(*MALFORMED):
        assert first_difference(record, derived(record)) is not None


@pytest.mark.parametrize(
    ("name", "place"),
    [("m.pt with a.safetensors", None), ("m.pt", None), ("other.pt", "/name"), ("m.ptx", "/name")],
)
def test_a_checkpoint_may_be_named_with_its_adapter(name: str, place: str | None) -> None:
    facts = checkpoint(name, "cleaned", adapter="a" * 64, inspection="inspections/cleaned.json")
    record = {
        "name": "m.pt", "sha256": facts.sha256, "size": facts.bytes, "format": facts.format,
        "verdict": "loads", "parameters": facts.parameters, "reasons": list(facts.safety_reasons),
    }  # fmt: skip
    evidence = minimal()[0].model_copy(update={"checkpoints": {"cleaned": facts}})
    files = Files(evidence, lambda path, *_: json.dumps(record).encode())
    ((_, stated, derived),) = FACTS["checkpoints"][0](files, "cleaned")
    difference = first_difference(stated, derived)
    assert (difference and difference[0]) == place


@pytest.mark.parametrize(("taken", "place"), [(100, None), (60, None), (101, "/pairs")])
def test_a_run_takes_the_pairs_that_there_are_and_no_more_than_its_recipe(
    taken: int, place: str | None
) -> None:
    recipe = {"method": "cleanclip", "pairs": 100}
    written = {"recipe.json": recipe, "result.json": {"recipe": recipe | {"pairs": taken}}}
    facts = cleaning(files={"result": "result.json", "recipe": "recipe.json"}, result=None)
    evidence = minimal()[0].model_copy(update={"jobs": {"job-1": facts}})
    files = Files(evidence, lambda path, *_: json.dumps(written[path]).encode())
    pairs = [pair for pair in FACTS["jobs"][0](files, "job-1") if pair[0].endswith("#/recipe")]
    difference = first_difference(*pairs[0][1:])
    assert (difference and difference[0]) == place
