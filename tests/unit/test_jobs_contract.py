"""What every kind of job keeps to, whatever it does: one suite over the table."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import BaseModel

from ml_core.cleaning.halving import candidates_of
from ml_core.cleaning.recipes import Recipe
from ml_core.cleaning.speed import StepSpeed
from ml_core.data.specs import ImageSpec, PairSpec, PathText
from ml_core.events import Control, Done, Event, Progress, from_json, to_json
from ml_core.jobs import folder_lock, worker
from ml_core.jobs.folder_lock import at_work, lock_folder
from ml_core.jobs.overall import Overall, Plan, PlannedStage
from ml_core.jobs.runner import run_job
from ml_core.jobs.specs import write_spec_file
from ml_core.jobs.table import JOBS, Job, job_of
from ml_core.paths import cache_dir
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger, save_trigger
from tests.unit.draining import done_of, finished
from tests.unit.job_specs import CANARIES, SMALL, folder_of
from tests.unit.small_jobs import small_recipe, two_rounds

KINDS = tuple(JOBS)
STOPPED = (
    "clean",
    "auto",
    "examine",
    "plant",
)  # by a stop, with what they have; others are cancelled
UNLABELLED = ImageSpec(kind="folder", path="unlabelled")
GO_ON = (
    "clean",
    "auto",
    "bench",
    "scan",
    "examine",
    "plant",
    "curve",
    "search",
)  # from what a cancelled one left
OVERWRITE = (
    "clean",
    "auto",
    "bench",
    "audit",
    "scan",
    "examine",
    "plant",
    "curve",
    "search",
    "rates",
)
OF_THE_MOMENT = ("seconds", "rate", "speed", "timings", "cached", "size", "date")
Make = Callable[[str], BaseModel]


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """A search of two rounds whatever this machine's speed, few steps, and few hold-outs."""
    two_rounds(monkeypatch)

    def small(method, _name, _pretraining):
        return small_recipe(method=method, eval_every=3, adversaries=1, adversary_steps=2)

    monkeypatch.setattr("ml_core.jobs.auto.choice.preset", small)
    monkeypatch.setattr("ml_core.jobs.proofs.holdouts.LIBRARY", ())
    monkeypatch.setattr("ml_core.jobs.proofs.holdouts.MOST", 16)
    # A precision that is chosen by timing may be another one in the next run on a busy machine.
    monkeypatch.setattr("ml_core.cleaning.loop.measure_speed", lambda *_: StepSpeed(False))


@pytest.fixture
def make(tiny_checkpoint, tmp_path):
    """Makes a small spec of a kind, in the test's folder."""
    return lambda kind: SMALL[kind](tiny_checkpoint, tmp_path)


def _files(folder):
    """What lies in a folder and below it, but for locks and the folders that hold them."""
    paths = (p for p in folder.rglob("*") if p.name != ".lock" and not (p / ".lock").exists())
    return {str(path.relative_to(folder)) for path in paths}


def _lasting(value):
    """A result without what depends on the moment."""
    if isinstance(value, dict):
        lasting = {k: v for k, v in value.items() if not any(word in k for word in OF_THE_MOMENT)}
        return {key: _lasting(part) for key, part in lasting.items()}
    return [_lasting(part) for part in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("kind", KINDS)
def test_cancelled_in_each_stage_it_leaves_nothing_and_at_last_the_same_result_twice(
    kind, make, tmp_path
):
    spec, job = make(kind), JOBS[kind]
    assert job_of(spec) is job
    before, ended, events = _files(tmp_path), set[str](), list[Event]()
    folder = folder_of(spec) if job.result else tmp_path
    while True:
        control, stage, events = Control(), "", []
        for event in run_job(spec, control):
            events.append(event)
            assert not isinstance(event, Done) or not at_work(folder)  # one may look at once
            if not stage and isinstance(event, Progress) and event.stage not in ended:
                stage = event.stage
                control.cancel()
        *rest, done = events
        assert isinstance(done, Done)
        assert not [event for event in rest if isinstance(event, Done)]
        if not stage:
            break
        assert done.status == "cancelled", (stage, done.error, done.details)
        ended.add(stage)
        if kind not in GO_ON:
            assert _files(tmp_path) - {"out"} == before, stage  # an empty folder at most
    assert len(ended) > 1 or kind in ("doctor", "verify")
    assert done.status == "finished", done.error + done.details
    assert all(isinstance(from_json(to_json(event)), type(event)) for event in events)
    left = _files(tmp_path) - before
    assert left or kind in ("doctor", "verify")
    assert not [name for name in left if name.endswith(".part")]
    assert not job.result or (folder / job.result).is_file()
    if job.plan is not None:
        bar = Overall(job.plan(spec))
        for event in rest:
            if isinstance(event, Progress):
                bar.take(event)
        assert bar.fraction > 0.5
    if kind == "report":  # a bundle is never written over
        return
    for place in (folder, cache_dir()):  # damaged records of an earlier job stop nobody
        for path in place.rglob("*.json") if job.result else ():
            path.write_bytes(path.read_bytes()[:-20])
    options = {"overwrite": True} if kind in OVERWRITE else {}
    assert _lasting(finished(spec, **options).result) == _lasting(done.result)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_saves_or_cancels(kind, make, tmp_path):
    spec, control = make(kind), Control()
    before = _files(tmp_path)
    control.stop()
    done = done_of(spec, control)
    assert done.status == ("stopped" if kind in STOPPED else "cancelled"), done.error
    if not JOBS[kind].saves:
        assert _files(tmp_path) == before


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_gone_is_a_sentence_and_nothing_is_written(kind, make, tmp_path):
    spec = make(kind)
    for path in tmp_path.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = done_of(spec)
    assert done.status == "failed"
    assert done.error_code in ("usage", "damaged"), done.details
    assert done.error.endswith(".")
    assert _files(tmp_path) <= {"out/events.jsonl"}  # the journal of a run says why it failed


@pytest.mark.parametrize("kind", KINDS)
def test_an_estimate_writes_nothing(kind, make, tmp_path):
    spec = make(kind)
    before = _files(tmp_path)
    done = done_of(spec, estimate=True)
    if JOBS[kind].estimate:
        assert done.status == "finished", done.error + done.details
        assert done.result["seconds"] > 0
    else:
        assert (done.status, done.error_code) == ("failed", "usage")
        assert kind in done.error
    assert _files(tmp_path) == before


@pytest.mark.parametrize("kind", [kind for kind, job in JOBS.items() if job.folder])
def test_a_folder_that_is_in_use_is_left_alone(kind, make, monkeypatch):
    monkeypatch.setattr(folder_lock, "_PATIENCE_SECONDS", 0.1)
    spec = make(kind)
    folder = folder_of(spec)
    lock = lock_folder(folder)
    try:
        done = done_of(spec)
        assert at_work(folder)
    finally:
        lock.release()
    assert done.status == "failed"
    assert done.error.startswith("Another process is working on the run in")
    assert not _files(folder)


# ---- a new kind ----


class CountSpec(BaseModel):
    """Count up to a number."""

    to: int
    output_dir: PathText


def count(spec, control):
    """The whole work of a new kind: it raises what goes wrong."""
    for number in range(spec.to):
        yield Progress("count", number, spec.to)
        if number == 13:
            raise InputError("13 is no number to count to.")
    folder = Path(spec.output_dir)
    folder.mkdir()
    (folder / "count.json").write_text(json.dumps({"to": spec.to}))
    yield Done("finished", {"to": spec.to})


def test_a_new_kind_is_a_module_and_a_row(tmp_path, monkeypatch, capfd):
    row = Job(
        kind="count", title="count", spec=CountSpec, work=f"{__name__}:count", result="count.json",
        stages={"count": "Counting"},
        plan=lambda spec: Plan((PlannedStage("count", items=spec.to),)),
        folder=lambda spec: str(Path(spec.output_dir).parent), needs_model=False,
    )  # fmt: skip
    monkeypatch.setitem(JOBS, "count", row)
    spec = CountSpec(to=5, output_dir=str(tmp_path / "out"))
    assert done_of(spec) == Done("finished", {"to": 5})
    assert done_of(spec).error_code == "disk"  # whatever it raises is a sentence
    assert done_of(spec.model_copy(update={"to": 20})).error == "13 is no number to count to."
    assert row.words("count") == "Counting"
    path = write_spec_file(spec.model_copy(update={"to": 20}), tmp_path / "spec.json")
    monkeypatch.setattr("ml_core.jobs.devices.lower_priority", lambda: None)
    monkeypatch.setattr(worker, "_own_stdout", lambda: worker.sys.stdout)
    monkeypatch.setattr(worker, "_on_sigterm", lambda control: None)
    assert worker.main([str(path), "--count"]) == 3
    last = from_json(capfd.readouterr().out.splitlines()[-1])
    assert last == Done("failed", error="13 is no number to count to.", error_code="usage",
                        details=last.details)  # fmt: skip


# ---- what cannot be done ----


def _changed(spec, changes):
    """The spec with other fields; ``base.pairs`` is one of the job that it is based on."""
    for name, value in changes.items():
        outer, _, inner = name.rpartition(".")
        own = getattr(spec, outer).model_copy(update={inner: value}) if outer else value
        spec = spec.model_copy(update={outer or name: own})
    return spec


REFUSALS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("clean", {"target": 999}, "target class 999 does not exist"),
    ("clean", {"device": "cuda:7"}, "This machine has no device cuda:7"),
    ("clean", {"pairs": PairSpec(n=4)}, "4 usable pairs, fewer than the batch size of 8"),
    (
        "clean",
        {
            "recipe": small_recipe(method="supervised", pairs=16),
            "training_images": ImageSpec(split="test", n=24),
        },
        "for measuring",
    ),
    (
        "clean",
        {"recipe": small_recipe(method="rvpt"), "training_images": ImageSpec(split="clean", n=24)},
        "RVPT is no longer offered: take Supervised finetuning instead.",
    ),
    ("clean", {"recipe": small_recipe(method="interpolate")}, "choose a reference"),
    ("doctor", {"images": ImageSpec(split="val", n=5)}, "at least 20"),
    ("audit", {"k": 32}, "at least 128"),
    ("audit", {"checkpoint": "nowhere", "k": 17, "chunk_size": 64}, "at least 68"),
    ("audit", {"pairs": PairSpec(kind="texts", path="a.txt")}, "holds captions alone"),
    ("rebound", {"target": 99}, "The target class 99 does not exist"),
    ("rebound", {"images": UNLABELLED}, "Choose labelled images"),
    ("holdouts", {"target": 99}, "The target class 99 does not exist"),
    ("search", {"base.pairs": None}, "trains on image-caption pairs"),
    (
        "search",
        {
            "recipes": candidates_of(("unlearning",), (0.1,), 1e-3),
            "base.training_images": None,
            "base.pairs": None,
        },
        "Trigger unlearning trains on images: choose some",
    ),
    ("search", {"base.images": None}, "labelled validation images"),
    ("search", {"minutes": 0.001}, "too short for a search"),
    ("search", {"base.pairs": PairSpec(n=3)}, "has 3 pairs"),
    (
        "search",
        {"canaries": CANARIES.model_copy(update={"wanted": 1.0, "kinds": ("patch",)})},
        "No canary was learnt",
    ),
    ("rates", {"job.recipe": Recipe(method="interpolate")}, "takes no training step"),
    ("rates", {"job.recipe": Recipe(method="tbar")}, "TBAR is no longer offered"),
    ("rates", {"job.images": None}, "choose labelled images"),
    ("rates", {"job.images": UNLABELLED}, "None of the validation images has a label"),
    ("scan", {"images": ImageSpec(n=40)}, "a scan needs 144"),
)


@pytest.mark.parametrize(("kind", "changes", "words"), REFUSALS)
def test_what_it_cannot_do_is_a_sentence(kind, changes, words, make, tmp_path):
    for number in range(3):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(tmp_path / f"{number}.png")
    here = ImageSpec(kind="folder", path=str(tmp_path))
    known = {name: here if part is UNLABELLED else part for name, part in changes.items()}
    if isinstance(trigger := known.get("trigger"), Trigger):
        known["trigger"] = str(save_trigger(trigger, tmp_path / "trigger")[1])
    done = done_of(_changed(make(kind), known))
    assert done.status == "failed"
    assert done.error_code in ("usage", "unsupported"), done.details
    assert words in done.error
    assert "\n" not in done.error


ANOTHERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("audit", {"facts": {"checkpoint_sha256": "another"}}),
    ("rates", {"recipe": {"method": "another"}}),
    ("scan", {"suspect": {"sha256": "another"}}),
    ("scan", {"reference": {"sha256": "another"}}),
    ("scan", {"seed": 1}),
    ("search", {"source_sha256": "another"}),
)


@pytest.mark.parametrize(("kind", "record"), ANOTHERS)
def test_the_result_of_another_job_is_not_replaced_unasked(kind, record, make):
    spec, name = make(kind), JOBS[kind].result
    folder = folder_of(spec)
    folder.mkdir()
    (folder / name).write_text(json.dumps(record))
    done = done_of(spec)
    assert f"{folder} holds the result of another job ({name}); choose" in done.error
    assert _files(folder) == {name}
    if kind == "audit":  # the others are as slow as they are sure
        finished(spec, overwrite=True)
