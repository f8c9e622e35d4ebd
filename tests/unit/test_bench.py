"""Fair comparisons, their table and their chart."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from ml_core.checkpoints.save import save_checkpoint
from ml_core.cleaning.presets import preset
from ml_core.cleaning.recipes import fitted_budget, write_recipe
from ml_core.cleaning.tradeoff import Curve, Limits, Point
from ml_core.cli.app import run_command
from ml_core.data.demo import compose, demo_classes
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Control, Done, Event, Message, Metric, Progress
from ml_core.jobs.runner import run_job
from ml_core.jobs.specs import BenchSpec, CleanSpec, read_spec
from ml_core.reading.errors import InputError
from ml_core.reports.html.charts import tradeoff_svg
from ml_core.triggers import badnets_patch, save_trigger
from tests.unit.draining import done_of, events_of, finished
from tests.unit.pair_files import table
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
    rows = finished(spec).result["rows"]
    heads = [(row["method"], row["seed"], row["head"]) for row in rows]
    assert heads == [
        *(("mmcl", seed, "zero-shot") for seed in (0, 1)),
        *(("supervised", seed, head) for seed in (0, 1) for head in ("zero-shot", "linear")),
    ]
    assert len({row["ca_before"] for row in rows}) == 1
    for row in rows:
        assert row["ca_drop"] == pytest.approx(100 * (row["ca_before"] - row["ca"]))
    folder = Path(spec.base.output_dir)
    with open(folder / "bench.csv", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["method"] for line in lines] == [row["method"] for row in rows]
    assert float(lines[0]["ca"]) == rows[0]["ca"]
    chart = ElementTree.fromstring((folder / "tradeoff.svg").read_text("utf-8"))
    assert len(chart.findall(f"{SVG}g/{SVG}polyline")) == 2 * 4  # and in the legend
    assert len(chart.findall(f"{SVG}circle/{SVG}title")) == 4 * 3  # steps 0, 1 and 2 of each run
    anew, done = _ran_anew(spec)
    assert (anew, len(done.result["rows"])) == (0, 6)
    changed = spec.recipes[0].model_copy(update={"lr": 1e-4})
    longer = spec.recipes[1].model_copy(update={"pairs": 24})
    other = spec.model_copy(update={"recipes": (changed, longer), "seeds": (0,)})
    anew, done = _ran_anew(other, overwrite=True)
    assert anew == 2
    assert [row["steps"] for row in done.result["rows"]] == [2, 3, 3]


def test_a_result_of_other_files_at_the_same_paths_is_not_this_jobs(one, tiny_model):
    def other_weights() -> None:
        tiny_model.module.logit_scale.data.fill_(1.0)
        save_checkpoint(tiny_model, Path(one.base.checkpoint), provenance={"made": "anew"})

    def other_trigger() -> None:
        path = Path(str(one.base.trigger)).with_suffix("")
        save_trigger(badnets_patch(size=0.5), path)

    for change in (lambda: None, other_weights, other_trigger):
        change()
        assert [_ran_anew(one, overwrite=True)[0] for _ in range(2)] == [1, 0], change


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


def test_a_job_that_was_stopped_goes_on(one):
    control = Control()
    for event in run_job(one, control):
        if isinstance(event, Metric) and event.step == 1:
            control.stop()
    result = Path(one.jobs()[0].output_dir) / "result.json"
    assert json.loads(result.read_text("utf-8"))["status"] == "stopped"
    events, done = events_of(one)
    texts = [event.text for event in events if isinstance(event, Message)]
    assert any(text.startswith("Going on after step 1") for text in texts)
    assert [(row["status"], row["steps"]) for row in done.result["rows"]] == [("finished", 2)]


def test_the_rebound_test_follows_the_pretraining_of_the_checkpoint(one):
    (Path(one.base.checkpoint).parent / "params.txt").write_text("lr: 0.0008\n")
    done = done_of(one.model_copy(update={"rebound": True, "rebound_steps": 1}))
    assert done.result["rows"][0]["rebound_max_asr"] is not None
    proof = json.loads((Path(one.jobs()[0].output_dir) / "rebound.json").read_text("utf-8"))
    assert proof["peak_lr"] == 8e-4


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


@pytest.mark.usefixtures("steady")
def test_another_training_time_is_another_job(one):
    for minutes, steps in ((0.0005, 3), (0.001, 6), (None, 2)):
        done = done_of(one.model_copy(update={"minutes": minutes}), overwrite=True)
        assert done.result["rows"][0]["steps"] == steps


@pytest.mark.usefixtures("steady")
def test_the_budget_of_a_recipe_does_not_count_where_time_does(one, tmp_path):
    pairs = PairSpec(kind="csv", path=str(table(tmp_path, range(20))))
    recipes = tuple(small_recipe(method="mmcl", pairs=count) for count in (16, 400))
    base = one.base.model_copy(update={"pairs": pairs})
    done = done_of(one.model_copy(update={"base": base, "recipes": recipes, "minutes": 0.0012}))
    assert [row["steps"] for row in done.result["rows"]] == [7, 7], done.result


@pytest.mark.parametrize(
    ("there", "steps", "epochs", "pairs"),
    [
        (127, 10, 10, 127),  # one batch an epoch
        (703, 10, 1, 703),
        (10_000, 10, 1, 703),
        (640, 20, 2, 640),
        (200, 10, 5, 191),  # three batches would be 9 or 12 steps
        (6400, 151, 2, 4863),  # 75 batches twice
        (128, 100_000, 1000, 128),
    ],
)
def test_epochs_come_as_near_as_they_can(there, steps, epochs, pairs):
    recipe = small_recipe(method="mmcl", batch_size=64, pairs=640, warmup_steps=50)
    found = fitted_budget(recipe, steps, there)
    assert (found.epochs, found.pairs) == (epochs, pairs)
    assert found.warmup_steps == min(50, steps // 4)


@pytest.mark.parametrize(("steps", "epochs"), [(700, 1), (1200, 2), (80, 1), (10_000_000, 1000)])
def test_an_epoch_of_few_images_a_class_is_all_of_them(steps, epochs):
    recipe = preset("rvpt", "quick")
    there = 500 * recipe.batch_size + 3
    fitted = fitted_budget(recipe, steps, there)
    assert (fitted.epochs, fitted.pairs) == (epochs, recipe.pairs)


def test_a_job_that_fails_is_a_row_and_the_others_run(one):
    greedy = one.recipes[0].model_copy(update={"batch_size": 60_000, "pairs": 100_000_000})
    base = one.base.model_copy(update={"pairs": PairSpec(n=30)})
    done = finished(one.model_copy(update={"recipes": (greedy, one.recipes[0]), "base": base}))
    first, second = done.result["rows"]
    assert first["status"] == "failed"
    assert "fewer than the batch size" in first["error"]
    assert second["ca"] is not None


def _nobody_proves(job: CleanSpec) -> None:
    raise AssertionError("nobody waits for a proof")


@pytest.mark.parametrize("there", [False, True])
def test_a_stopped_comparison_begins_no_proof(one, monkeypatch, there):
    if there:
        done_of(one)
    for name in ("rebound_of", "holdouts_of"):
        monkeypatch.setattr(f"ml_core.jobs.bench.{name}", _nobody_proves)
    control = Control()
    for event in run_job(one.model_copy(update={"rebound": True, "holdouts": True}), control):
        if isinstance(event, Metric) or (
            isinstance(event, Message) and "exists already" in event.text
        ):
            control.stop()
    assert event == Done("cancelled")


def test_a_stop_in_one_proof_begins_no_other(one, monkeypatch):
    control = Control()

    def stopped(asked: object, control: Control) -> Iterator[Event]:
        control.stop()
        yield Done("cancelled")

    monkeypatch.setattr("ml_core.jobs.proofs.rebound.rebound", stopped)
    monkeypatch.setattr("ml_core.jobs.bench.holdouts_of", _nobody_proves)
    proven = one.model_copy(update={"rebound": True, "holdouts": True})
    assert done_of(proven, control) == Done("cancelled")


def test_a_stop_while_time_is_measured_begins_no_run(one):
    control = Control()
    for event in run_job(one.model_copy(update={"minutes": 0.01}), control):
        if isinstance(event, Progress) and event.stage == "estimate":
            control.stop()
    assert event == Done("cancelled")
    assert not Path(one.jobs()[0].output_dir).exists()


def test_a_result_that_cannot_be_proven_is_a_row_with_the_budget_that_it_had(one, monkeypatch):
    asked: list[int] = []

    def matched(job: CleanSpec, minutes: float, control: Control) -> Iterator[Event]:
        yield Message(f"{minutes:g} minutes are one step.")
        return job.model_copy(update={"recipe": fitted_budget(job.recipe, 1, 8)})

    def refuse(job: CleanSpec) -> None:
        asked.append(job.recipe.pairs)
        raise InputError("There is nothing to test.")

    monkeypatch.setattr("ml_core.jobs.bench.matched", matched)
    monkeypatch.setattr("ml_core.jobs.bench.rebound_of", refuse)
    one = one.model_copy(update={"minutes": 1.0})
    done_of(one)
    events, done = events_of(one.model_copy(update={"rebound": True}))
    assert asked == [8]
    assert done.status == "finished", done.details
    assert done.result["rows"][0]["ca"] is not None
    assert any(isinstance(e, Message) and "nothing to test" in e.text for e in events)


def test_proofs_stand_in_the_row(one):
    folder = Path(one.jobs()[0].output_dir)
    done_of(one)
    _prove(folder)
    row = done_of(one.model_copy(update={"rebound": True, "holdouts": True})).result["rows"][0]
    assert (row["rebound_max_asr"], row["stays_clean"]) == (0.25, False)
    assert (row["worst_holdout"], row["worst_holdout_asr"]) == ("moved: upper left", 0.5)
    _prove(folder, "a" * 64)  # of other weights
    row = done_of(one).result["rows"][0]
    assert (row["rebound_max_asr"], row["stays_clean"], row["worst_holdout"]) == (None, None, None)


# ---- the chart ----


def test_the_chart_rings_the_front_and_names_every_point() -> None:
    good = Point(2, 0.9, 0.01)
    curves = [Curve("a <b>", (Point(0, 0.95, 0.98), good)), Curve("b", (Point(0, 0.8, 0.5),))]
    text = tradeoff_svg(curves, Limits())
    chart = ElementTree.fromstring(text)
    rings = [c for c in chart.findall(f"{SVG}circle") if c.get("stroke") == "#444"]
    assert len(rings) == 2
    titles = [t.text for t in chart.iter(f"{SVG}title")]
    assert "a <b>, step 2: CA 90.0 %, ASR 1.0 %" in titles
    assert ElementTree.fromstring(tradeoff_svg([], Limits())) is not None


# ---- the command ----


def test_recipes_are_named_by_method_and_preset(tmp_path, monkeypatch):
    specs: list[BenchSpec] = []

    def ran(spec: BenchSpec, control: Control, *, overwrite: bool) -> Iterator[Event]:
        specs.append(spec)
        yield Done("finished", result={"rows": []})

    monkeypatch.setattr("ml_core.jobs.bench.bench", ran)
    own = tmp_path / "own.recipe.json"
    write_recipe(preset("mmcl", "default").changed(lr=3e-4), own)
    rest = ["-o", str(tmp_path), "--json"]
    assert run_command(["bench", "mmcl", "cleanclip:talk", str(own), "--seeds", "0,2", *rest]) == 0
    (found,) = specs
    assert [(r.method, r.preset) for r in found.recipes] == [
        ("mmcl", "quick"),
        ("cleanclip", "talk"),
        ("mmcl", "custom"),
    ]
    assert found.recipes[2].lr == 3e-4
    assert found.seeds == (0, 2)
    assert found.base.trigger is not None


@pytest.mark.slow
def test_bench_and_prove_at_the_command_line(tiny_checkpoint, tmp_path, answer_of):
    photos = tmp_path / "photos"
    shown = compose("val", range(24), size=64)
    for number, (image, label) in enumerate(zip(shown.images, shown.labels, strict=True)):
        folder = photos / demo_classes()[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    trigger = save_trigger(badnets_patch(size=0.3), tmp_path / "patch")[1]
    (tiny_checkpoint.parent / "params.txt").write_text("lr: 0.0008\n")
    templates = tmp_path / "templates.txt"
    templates.write_text("a {}\n", encoding="utf-8")
    found = answer_of(
        "bench", "mmcl", "--checkpoint", tiny_checkpoint, "-o", tmp_path / "bench",
        "--minutes", 0.01, "--images", photos, "--trigger", trigger, "--target", "banana",
        "--templates", templates, "--threads", 1, "--device", "cpu",
    )  # fmt: skip
    assert found["rows"][0]["status"] == "finished"
    run = tmp_path / "bench" / found["rows"][0]["folder"]
    proving = ["--no-holdouts", "--steps", 2, "--threads", 1, "--device", "cpu"]
    proof = answer_of("prove", run, *proving)
    assert proof["rebound"]["steps"] == 2
    assert [rate["lr"] for rate in proof["rebound"]["rates"]] == pytest.approx(
        [8e-5, 2.4e-4, 8e-4]  # of what the checkpoint was pretrained at
    )
    assert (run / "rebound.json").exists()
    moved = run.rename(tmp_path / "moved")
    (moved / "rebound.json").unlink()
    answer_of("prove", moved, *proving)
    assert (moved / "rebound.json").exists()
    assert not run.exists()
