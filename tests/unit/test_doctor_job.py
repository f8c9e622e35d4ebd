"""The loader doctor as a job: its spec on disk, its events, and how the worker runs it."""

import pytest

from ml_core.data.specs import ImageSpec
from ml_core.evaluation.records import wilson_interval
from ml_core.events import Control, Finding, from_json, to_json
from ml_core.jobs.doctor import DoctorSpec
from ml_core.jobs.runner import run_job
from ml_core.paths import resource


@pytest.fixture
def spec():
    return DoctorSpec(
        checkpoint=str(resource("demo", "poisoned.safetensors")),
        images=ImageSpec(kind="demo", split="val", n=40),
        threads=1,
    )


def test_every_trial_is_told_with_its_interval(spec):
    events = list(run_job(spec, Control()))
    trials = [event.values for event in events if isinstance(event, Finding)]
    done = events[-1]
    assert done.status == "finished"
    assert trials == done.result["trials"]
    assert trials[0]["question"] == "as opened"
    assert {trial["question"] for trial in trials} > {"activation", "normalisation"}
    for trial in trials:
        assert (trial["low"], trial["high"]) == wilson_interval(trial["correct"], trial["n"])
    assert done.result["best"] in trials
    assert len(done.result["sha256"]) == 64
    assert from_json(to_json(done)).result["best"]["correct"] == done.result["best"]["correct"]
