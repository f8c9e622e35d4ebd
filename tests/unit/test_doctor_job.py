"""The loader doctor as a job: its spec on disk, its events, and how the worker runs it."""

import json
import subprocess

import pytest

from ml_core.data.specs import ImageSpec
from ml_core.evaluation.records import wilson_interval
from ml_core.events import Control, Done, Finding, from_json, to_json
from ml_core.jobs.doctor_spec import DoctorSpec, read_doctor_spec
from ml_core.jobs.runner import run_job
from ml_core.jobs.spec_file import write_spec_file
from ml_core.paths import resource
from ml_core.reading import InputError


@pytest.fixture
def spec():
    return DoctorSpec(
        checkpoint=str(resource("demo", "poisoned.safetensors")),
        images=ImageSpec(kind="demo", split="val", n=40),
        threads=1,
    )


def test_the_spec_comes_back(spec, tmp_path):
    path = write_spec_file(spec, tmp_path / "deep" / "spec.json")
    assert read_doctor_spec(path) == spec


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not a job file: it is not valid JSON"),
        ("[]", "is not a job file: it is not a JSON object"),
        ("{}", "checkpoint"),
        ('{"checkpoint": "x", "images": {}, "device": "toaster"}', "device"),
    ],
)
def test_a_bad_spec_is_one_sentence(tmp_path, text, said):
    path = tmp_path / "spec.json"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_doctor_spec(path)


def test_every_trial_is_told_with_its_interval(spec):
    events = list(run_job(spec, Control()))
    trials = [event.values for event in events if isinstance(event, Finding)]
    done = events[-1]
    assert isinstance(done, Done)
    assert done.status == "finished"
    assert trials == done.result["trials"]
    assert trials[0]["question"] == "as opened"
    assert {trial["question"] for trial in trials} > {"activation", "normalisation"}
    for trial in trials:
        assert (trial["low"], trial["high"]) == wilson_interval(trial["correct"], trial["n"])
    assert done.result["best"] in trials
    assert len(done.result["sha256"]) == 64
    assert from_json(to_json(done)).result["best"]["correct"] == done.result["best"]["correct"]


def test_cancel_ends_it(spec):
    control = Control()
    events = run_job(spec, control)
    next(events)
    control.cancel()
    assert [type(event) for event in events][-1:] == [Done]
    assert list(events) == []


def test_too_few_images_are_a_sentence(spec):
    few = spec.model_copy(update={"images": ImageSpec(kind="demo", split="val", n=5)})
    done = list(run_job(few, Control()))[-1]
    assert (done.status, done.error_code) == ("failed", "usage")
    assert "at least 20" in done.error


def test_the_worker_runs_it_on_request(spec, tmp_path, warm_torch):
    missing = spec.model_copy(update={"checkpoint": str(tmp_path / "gone.pt")})
    path = write_spec_file(missing, tmp_path / "spec.json")
    with warm_torch.start(
        "ml_core.jobs.worker", str(path), "--doctor", stdin=subprocess.DEVNULL, text=True
    ) as ended:
        last = json.loads(ended.stdout.read().splitlines()[-1])
    assert (last["event"], last["status"]) == ("done", "failed")
    assert "gone.pt" in last["error"]
    assert ended.returncode == 3
