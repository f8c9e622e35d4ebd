"""Fair comparisons, their table and their chart."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from ml_core.checkpoints import open_checkpoint
from ml_core.cleaning.recipes import fitted_budget
from ml_core.cleaning.tradeoff import Curve, Limits, Point
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Control, Done, Event, Message, Metric, Progress
from ml_core.jobs.demo import pretraining_at
from ml_core.jobs.proofs import ReboundSpec
from ml_core.jobs.runner import run_job
from ml_core.jobs.specs import BenchSpec, CleanSpec, read_spec
from ml_core.reading.errors import InputError
from ml_core.reports.html.charts import tradeoff_svg
from ml_core.triggers import badnets_patch, save_trigger
from tests.unit.draining import done_of, events_of, finished
from tests.unit.small_jobs import small_recipe, small_spec

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def spec(tiny_checkpoint: Path, tmp_path: Path) -> BenchSpec:
    trigger = str(save_trigger(badnets_patch(size=0.3), tmp_path / "patch")[1])
    base = small_spec(
        tiny_checkpoint,
        tmp_path / "bench",
        small_recipe(),
        trigger=trigger,
        images=ImageSpec(split="val", n=24),
        training_images=ImageSpec(split="clean"),
    )
    recipes = (
        small_recipe(method="mmcl", pairs=16, eval_every=1),
        small_recipe(method="supervised", pairs=16, eval_every=1),
    )
    return BenchSpec(base=base, recipes=recipes, seeds=(0, 1))


@pytest.fixture
def one(spec: BenchSpec) -> BenchSpec:
    """A comparison of one recipe with one seed."""
    return spec.model_copy(update={"recipes": spec.recipes[:1], "seeds": (0,)})


def _ran_anew(spec: BenchSpec, **options: Any) -> tuple[int, Done]:
    """How many of the runs were not taken over from an earlier comparison, and the end."""
    events, done = events_of(spec, **options)
    texts = [event.text for event in events if isinstance(event, Message)]
    return len(spec.jobs()) - sum("not run again" in text for text in texts), done


def test_every_recipe_runs_once_with_every_seed_on_the_same_data(spec):
    asked = [(job.recipe.method, job.recipe.seed) for job in spec.jobs()]
    assert asked == [("mmcl", 0), ("mmcl", 1), ("supervised", 0), ("supervised", 1)]
    spec = spec.model_copy(update={"seeds": (0,)})
    rows = finished(spec).result["rows"]
    heads = [(row["method"], row["head"]) for row in rows]
    assert heads == [("mmcl", "zero-shot"), ("supervised", "zero-shot"), ("supervised", "linear")]
    assert len({row["ca_before"] for row in rows}) == 1
    for row in rows:
        assert row["ca_drop"] == pytest.approx(100 * (row["ca_before"] - row["ca"]))
    folder = Path(spec.base.output_dir)
    with open(folder / "bench.csv", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["ca"]) for line in lines] == [row["ca"] for row in rows]
    chart = ElementTree.fromstring((folder / "tradeoff.svg").read_text("utf-8"))
    assert len(chart.findall(f"{SVG}g/{SVG}polyline")) == 2 * 2  # and in the legend
    anew, done = _ran_anew(spec)
    assert (anew, len(done.result["rows"])) == (0, 3)


def test_runs_of_one_title_are_two_curves():
    ends = ((0.8, 0.5), (0.7, 0.2))
    curves = [Curve("mmcl", (Point(0, 0.9, 0.9), Point(5, *end))) for end in ends]
    chart = ElementTree.fromstring(tradeoff_svg(curves, Limits()))
    assert len(chart.findall(f"{SVG}g/{SVG}polyline")) == 2 * 2


def test_a_job_that_cannot_start_draws_no_curve_of_an_earlier_one(one):
    chart = Path(one.base.output_dir) / "tradeoff.svg"
    done_of(one)
    assert "<polyline" in chart.read_text("utf-8")
    refused = one.model_copy(update={"base": one.base.model_copy(update={"target": 999})})
    before = chart.read_bytes()
    assert "holds the result of another job" in done_of(refused).error
    assert chart.read_bytes() == before
    assert done_of(refused, overwrite=True).result["rows"][0]["status"] == "failed"
    assert "<polyline" not in chart.read_text("utf-8")


def test_an_earlier_runs_numbers_are_not_a_new_jobs(one):
    """The first run was proven, the second one cancelled, the third one is to be made anew."""
    done_of(one)
    _prove(Path(one.jobs()[0].output_dir))
    other = one.model_copy(update={"recipes": (small_recipe(method="mmcl", pairs=24),)})
    control = Control()
    for event in run_job(other, control, overwrite=True):
        if isinstance(event, Metric):
            control.cancel()
    assert event == Done("cancelled")
    anew, done = _ran_anew(other, overwrite=True)
    row = done.result["rows"][0]
    assert (anew, row["steps"], row["rebound_max_asr"], row["worst_holdout"]) == (1, 3, None, None)


def _prove(folder: Path, sha256: str = "") -> None:
    """Proofs of the weights of a result, or of others."""
    result = json.loads((folder / "result.json").read_text())
    proven = sha256 or result["checkpoint_sha256"]
    rebound = {
        "limit": 0.1, "peak_lr": 1e-3, "steps": 3, "batch_size": 8, "rates": [],
        "worst": {"max_asr": 0.25}, "stays_clean": False, "verdict": "The backdoor comes back.",
        "checkpoint_sha256": proven,
    }  # fmt: skip
    worst = {"group": "moved", "name": "upper left", "after": 0.5}
    (folder / "rebound.json").write_text(json.dumps(rebound))
    holdouts = {"rows": [], "worst": worst, "after": {"sha256": proven}}
    (folder / "holdouts.json").write_text(json.dumps(holdouts))


def test_training_time_sets_the_number_of_examples(one):
    one = one.model_copy(update={"minutes": 0.01})
    events, done = events_of(one)
    assert done.status == "finished", done.details
    said = next(e.text for e in events if isinstance(e, Message) and "minutes are" in e.text)
    steps = int(said.split(" steps")[0].rsplit(" ", 1)[1])
    assert done.result["rows"][0]["steps"] == steps
    assert _ran_anew(one)[0] == 0  # whatever this machine's speed now


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose steps take 10 ms."""

    def measured(job: CleanSpec, control: Control) -> Iterator[Event]:
        yield Done("finished", {"train_seconds": 0.01 * job.recipe.total_steps,
                                "steps": job.recipe.total_steps})  # fmt: skip

    monkeypatch.setattr("ml_core.jobs.clean.estimate.estimate", measured)


@pytest.mark.usefixtures("steady")
def test_clean_takes_a_training_time_too(tiny_checkpoint, tmp_path, answer_of):
    folder = tmp_path / "cleaned"
    given = ["clean", tiny_checkpoint, "-o", folder, "--method", "mmcl", "--set", "batch_size=8"]
    given += ["--set", "eval_every=0", "--set", "save_every=0", "--threads", 1]
    given += ["--pairs", "demo", "--test-images", "demo:val"]
    result = answer_of(*given, "--minutes", 0.0005)
    assert result["total_steps"] == 3
    assert result["recipe"]["warmup_steps"] == 0  # 50 of the preset: the rate would only rise
    assert read_spec(folder / "spec.json").minutes == 0.0005


@pytest.mark.parametrize(
    ("there", "steps", "epochs", "pairs"),
    [
        (127, 10, 10, 127),  # one batch an epoch
        (10_000, 10, 1, 703),
        (200, 10, 5, 191),  # three batches would be 9 or 12 steps
    ],
)
def test_epochs_come_as_near_as_they_can(there, steps, epochs, pairs):
    recipe = small_recipe(method="mmcl", batch_size=64, pairs=640, warmup_steps=50)
    found = fitted_budget(recipe, steps, there)
    assert (found.epochs, found.pairs) == (epochs, pairs)
    assert found.warmup_steps == min(50, steps // 4)


def test_a_job_that_fails_is_a_row_and_the_others_run(one):
    greedy = one.recipes[0].model_copy(update={"batch_size": 60_000, "pairs": 100_000_000})
    base = one.base.model_copy(update={"pairs": PairSpec(n=30)})
    done = finished(one.model_copy(update={"recipes": (greedy, one.recipes[0]), "base": base}))
    first, second = done.result["rows"]
    assert first["status"] == "failed"
    assert "fewer than the batch size" in first["error"]
    assert second["ca"] is not None


def test_a_stop_while_time_is_measured_begins_no_run(one):
    control = Control()
    for event in run_job(one.model_copy(update={"minutes": 0.01}), control):
        if isinstance(event, Progress) and event.stage == "estimate":
            control.stop()
    assert event == Done("cancelled")
    assert not Path(one.jobs()[0].output_dir).exists()


def test_proofs_of_a_result_that_is_there(one, monkeypatch):
    (Path(one.base.checkpoint).parent / "params.txt").write_text("lr: 0.0008\n")  # of pretraining
    folder = Path(one.jobs()[0].output_dir)
    done_of(one)
    proven = one.model_copy(update={"rebound": True, "holdouts": True})
    asked, control = [], Control()

    def stopped(spec: ReboundSpec, control: Control) -> Iterator[Event]:
        asked.append(spec)
        control.stop()
        yield Done("cancelled")

    def refuse(job: CleanSpec, **_changes: object) -> None:
        raise InputError("There is nothing to test.")

    def nobody(job: CleanSpec, **_changes: object) -> None:
        raise AssertionError("nobody waits for a proof")

    with monkeypatch.context() as patch:
        patch.setattr("ml_core.jobs.proofs.rebound.rebound", stopped)
        patch.setattr("ml_core.jobs.chain.holdouts_of", nobody)
        assert done_of(proven, control) == Done("cancelled")
    (cleaned,) = (open_checkpoint(Path(spec.checkpoint)) for spec in asked)
    assert pretraining_at(cleaned).rate == 8e-4  # which the rebound test follows
    with monkeypatch.context() as patch:
        patch.setattr("ml_core.jobs.chain.rebound_of", refuse)
        events, done = events_of(one.model_copy(update={"rebound": True}))
    assert done.result["rows"][0]["ca"] is not None
    assert any(isinstance(e, Message) and "nothing to test" in e.text for e in events)

    _prove(folder)
    row = done_of(proven).result["rows"][0]
    assert (row["rebound_max_asr"], row["stays_clean"]) == (0.25, False)
    assert (row["worst_holdout"], row["worst_holdout_asr"]) == ("moved: upper left", 0.5)
    _prove(folder, "a" * 64)  # of other weights
    row = done_of(one).result["rows"][0]
    assert (row["rebound_max_asr"], row["stays_clean"], row["worst_holdout"]) == (None, None, None)
