"""A measurement that is kept for a report, and the report as it would be written of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_core.events import Control, Progress, run_to_end
from ml_core.jobs.measurement import MeasurementSpec
from ml_core.jobs.report import ReportSpec
from ml_core.jobs.report.run import draft
from ml_core.jobs.runner import run_job
from ml_core.reports.measurement_files import read_measurement
from tests.unit.draining import events_of
from tests.unit.job_specs import SMALL


@pytest.fixture
def spec(tiny_checkpoint: Path, tmp_path: Path) -> MeasurementSpec:
    return SMALL["measurement"](tiny_checkpoint, tmp_path)


def test_it_is_measured_in_fp32_and_kept_with_every_answer(spec):
    events, done = events_of(spec)
    assert done.status == "finished", done.details
    stages = {event.stage for event in events if isinstance(event, Progress)}
    assert {"open", "measure"} <= stages
    found = read_measurement(Path(spec.output_dir))
    facts = found.facts
    assert (facts.when, facts.precision, facts.target) == ("evaluation", "fp32", 2)
    assert len(found.rows) == 24
    assert facts.trigger is not None
    assert done.result["asr_excl"] == found.evaluation["asr_excl"]


def test_nobody_named_a_target_of_a_measurement_without_a_trigger(spec):
    bare = spec.model_copy(update={"trigger": None, "targeted": False, "when": "reference"})
    list(run_job(bare, Control()))
    kept = read_measurement(Path(spec.output_dir)).facts
    assert (kept.when, kept.target, kept.trigger) == ("reference", None, None)


def test_a_draft_claims_what_a_bundle_would(spec, tmp_path):
    list(run_job(spec, Control()))
    asked = ReportSpec(measurements=(spec.output_dir,), out="draft", name="Tiny")
    made = run_to_end(draft(asked))
    metrics = {claim.metric for claim in made.evidence.claims if claim.kind == "rate"}
    assert {"ca", "asr_excl", "baseline_target_rate"} <= metrics
    assert all(claim.holds_by == "exact" for claim in made.evidence.claims)  # tau is not known
    assert b"<h1" in made.html
    assert b"Tiny" in made.html
    assert not (tmp_path / "draft").exists()
