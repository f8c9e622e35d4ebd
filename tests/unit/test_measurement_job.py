"""A measurement that is kept for a report, and the report as it would be written of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_core.checkpoints.save import save_checkpoint
from ml_core.data.specs import ImageSpec
from ml_core.events import Control, run_to_end
from ml_core.jobs.measurement import MeasurementSpec
from ml_core.jobs.report import ReportSpec
from ml_core.jobs.report.run import draft
from ml_core.jobs.runner import run_job
from ml_core.model import ClipModel
from ml_core.triggers import demo_trigger, save_trigger


@pytest.fixture
def spec(tiny_model: ClipModel, tmp_path: Path) -> MeasurementSpec:
    source = save_checkpoint(tiny_model, tmp_path / "tiny.safetensors", provenance={})
    trigger = save_trigger(demo_trigger(), tmp_path / "trigger")[1]
    return MeasurementSpec(
        checkpoint=str(source), images=ImageSpec(kind="demo", split="test", n=24),
        trigger=str(trigger), target=2, output_dir=str(tmp_path / "kept"), device="cpu",
    )  # fmt: skip


def test_a_draft_claims_what_a_bundle_would(spec, tmp_path):
    list(run_job(spec, Control()))
    asked = ReportSpec(measurements=(spec.output_dir,), out="draft", name="Tiny")
    made = run_to_end(draft(asked, Control()))
    metrics = {claim.metric for claim in made.evidence.claims if claim.kind == "rate"}
    assert {"ca", "asr_excl", "baseline_target_rate"} <= metrics
    assert all(claim.holds_by == "exact" for claim in made.evidence.claims)  # tau is not known
    assert b"<h1" in made.html
    assert b"Tiny" in made.html
    assert not (tmp_path / "draft").exists()
