"""The rate finder: a ramp on a copy, what ends it, and what is kept."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ml_core.cleaning.rate_range import RateRow, propose, ramp_rate, smoothed
from ml_core.cleaning.recipes import Recipe
from ml_core.cli.app import run_command
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Metric, Progress
from ml_core.jobs import plain_finetune
from ml_core.jobs.rates import (
    CPU_BATCH,
    RATES_CHART,
    RATES_FILE,
    RATES_TABLE,
    RateRecord,
    RateSpec,
    ramp_job,
    read_record,
    run,
)
from ml_core.jobs.specs import CleanSpec
from ml_core.reports.html.charts import rate_svg
from tests.unit.draining import done_of, events_of, finished
from tests.unit.small_jobs import small_recipe, small_spec

STEPS = 12


def job(source: Path, folder: Path, recipe: Recipe | None = None, **changes: Any) -> CleanSpec:
    fields: dict[str, Any] = {"images": ImageSpec(split="val", n=40), "test_images": None}
    return small_spec(source, folder, recipe or small_recipe(), **(fields | changes))


def spec(source: Path, folder: Path, recipe: Recipe | None = None, **changes: Any) -> RateSpec:
    own = {
        name: changes.pop(name) for name in ("images", "test_images", "pairs") if name in changes
    }
    fields: dict[str, Any] = {
        "job": job(source, folder, recipe, **own),
        "steps": STEPS, "points": 4, "pictures": 20, "low": 1e-6, "high": 1e-3,
    }  # fmt: skip
    return RateSpec(**(fields | changes))


def record_of(spec: RateSpec) -> RateRecord:
    done = finished(spec)
    return RateRecord.model_validate(done.result)


def test_a_ramp_takes_its_rates_and_measures_on_its_way(tiny_checkpoint, tmp_path):
    digest = hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest()
    out = tmp_path / "rates"
    events, done = events_of(spec(tiny_checkpoint, tmp_path, output_dir=str(out)))
    assert done.status == "finished", done.details
    record = RateRecord.model_validate(done.result)
    rates = [row.lr for row in record.rows]
    assert rates[0] == 0.0
    assert rates[1:] == pytest.approx([1e-6 * 1000 ** (k / (STEPS - 1)) for k in range(STEPS)])
    assert [row.step for row in record.rows if row.ca is not None] == [0, 3, 6, 9, 12]
    assert all(row.loss is not None for row in record.rows[1:])
    assert (record.n, record.batch_size, record.ended) == (20, 8, "finished")
    assert hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest() == digest
    metrics = [e for e in events if isinstance(e, Metric)]
    assert sum("loss" in m.values for m in metrics) == STEPS
    assert [m.values["lr"] for m in metrics if "ca" in m.values][1:] == pytest.approx(
        [rates[3], rates[6], rates[9], rates[12]]
    )
    ramps = [e for e in events if isinstance(e, Progress) and e.stage == "ramp"]
    assert ramps[-1].done == ramps[-1].total == STEPS
    assert not any(isinstance(e, Progress) and e.stage == "train" for e in events)
    assert read_record(out / RATES_FILE) == record
    table = list(csv.DictReader((out / RATES_TABLE).read_text().splitlines()))
    assert [float(row["lr"]) for row in table] == pytest.approx(rates)
    assert table[1]["ca"] == ""
    assert "<svg" in (out / RATES_CHART).read_text()
    assert sorted(p.name for p in out.iterdir()) == [RATES_TABLE, RATES_FILE, RATES_CHART]


def test_the_same_ramp_is_not_run_again_whatever_the_limit(tiny_checkpoint, tmp_path, monkeypatch):
    first = record_of(spec(tiny_checkpoint, tmp_path))
    assert not first.cached

    def train(*_: object, **__: object) -> None:
        raise AssertionError("it trains")

    monkeypatch.setattr(plain_finetune, "train", train)
    # Another folder, rate, schedule and length are of no account.
    other = small_recipe(lr=0.5, epochs=3, warmup_steps=9, eval_every=7)
    events, done = events_of(spec(tiny_checkpoint, tmp_path / "b", other, drop=50.0))
    again = RateRecord.model_validate(done.result)
    assert again.cached
    assert again.rows == first.rows
    assert again.drop == 50.0
    assert sum(isinstance(e, Metric) and "loss" in e.values for e in events) == STEPS
    for changed in (
        spec(tiny_checkpoint, tmp_path, small_recipe(seed=1)),
        spec(tiny_checkpoint, tmp_path, small_recipe(lambda_text=0.25)),
        spec(tiny_checkpoint, tmp_path, high=2e-3),
        spec(tiny_checkpoint, tmp_path, pictures=19),
        spec(tiny_checkpoint, tmp_path, pairs=PairSpec(seed=5)),
    ):
        done = done_of(changed)
        assert "it trains" in done.error, changed


def test_accuracy_that_falls_far_ends_the_ramp(tiny_checkpoint, tmp_path, monkeypatch):
    levels = iter([0.9, 0.9, 0.5])

    def validator(*_: object) -> Any:
        def validate(_head: object) -> Any:
            yield from ()
            ca = next(levels)
            return {"ca": ca, "ca_low": ca - 0.05, "ca_high": ca + 0.05}

        return validate

    monkeypatch.setattr(run, "validator", validator)
    record = record_of(spec(tiny_checkpoint, tmp_path))
    assert record.ended == "fell"
    assert record.rows[-1].step == 6
    assert record.proposal.dropped == record.rows[6].lr
    assert record.proposal.high == pytest.approx(record.rows[3].lr, rel=0.1)


def test_a_loss_that_is_no_number_ends_the_ramp_with_what_was_measured(
    tiny_checkpoint, tmp_path, monkeypatch
):
    def spoilt(step: int, *ramp: Any) -> float:
        return 1e30 if step == 7 else ramp_rate(step, *ramp)

    monkeypatch.setattr(run, "ramp_rate", spoilt)
    record = record_of(spec(tiny_checkpoint, tmp_path))
    assert record.ended == "diverged"
    assert record.diverged_at is not None
    assert 1e-6 < record.diverged_at < 1e-3
    assert len(record.rows) < STEPS + 1
    json.dumps(record.model_dump(mode="json"), allow_nan=False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 10, "points": 11}, "more steps or fewer measurements"),
        ({"high": float("nan")}, "finite"),
    ],
)
def test_a_ramp_that_cannot_be_is_refused(tiny_checkpoint, tmp_path, changes, words):
    with pytest.raises(ValidationError, match=words):
        spec(tiny_checkpoint, tmp_path, **changes)


def test_only_what_is_watched_is_measured_and_never_the_test_images(tiny_checkpoint, tmp_path):
    whole = ImageSpec(split="val")
    alone = ramp_job(spec(tiny_checkpoint, tmp_path, images=whole), 8)
    assert (alone.images.part, alone.images.n) == ("validation", 20)
    both = {"images": whole, "test_images": ImageSpec(split="test")}
    beside = ramp_job(spec(tiny_checkpoint, tmp_path, **both), 8)
    assert (beside.images.part, beside.test_images) == ("all", None)


def test_the_batch_is_small_on_the_cpu_unless_another_is_asked_for(tiny_checkpoint, tmp_path):
    large = small_recipe(batch_size=64, pairs=640)
    assert run._job(spec(tiny_checkpoint, tmp_path, large)).recipe.batch_size == CPU_BATCH
    own = spec(tiny_checkpoint, tmp_path, large, batch_size=64)
    assert run._job(own).recipe.batch_size == 64
    assert run._job(own).recipe.pairs == 64 * STEPS


def test_few_pairs_are_shown_more_than_once_and_it_is_said(tiny_checkpoint, tmp_path):
    record = record_of(spec(tiny_checkpoint, tmp_path, pairs=PairSpec(n=24)))
    assert [row.step for row in record.rows] == list(range(STEPS + 1))
    assert record.rows[-1].lr == pytest.approx(1e-3)
    assert any("24 training examples for 12 steps" in note for note in record.notes)
    uneven = record_of(spec(tiny_checkpoint, tmp_path, pairs=PairSpec(n=24), steps=11))
    assert uneven.rows[-1].ca is not None
    assert max(row.lr for row in uneven.rows) == pytest.approx(1e-3)


def test_as_many_templates_as_there_is_time_for(tiny_checkpoint, tmp_path):
    base = job(tiny_checkpoint, tmp_path).model_copy(update={"templates": ("a {}", "the {}", "{}")})
    classes = record_of(spec(tiny_checkpoint, tmp_path)).classes
    few = spec(tiny_checkpoint, tmp_path, job=base, texts=2 * classes + 1)
    assert record_of(few).templates == 2
    assert record_of(few.model_copy(update={"texts": 1})).templates == 1


def test_an_estimate_measures_steps_and_counts_no_save(tiny_checkpoint, tmp_path):
    found = finished(spec(tiny_checkpoint, tmp_path), estimate=True).result
    assert (found["steps"], found["disk_bytes"], found["save_seconds"]) == (STEPS, 0, 0)
    assert found["evaluation_seconds"] > 0
    parts = ("train_seconds", "evaluation_seconds", "text_seconds", "open_seconds")
    assert found["seconds"] == pytest.approx(sum(found[part] for part in parts), rel=0.01)


def test_supervised_training_is_ramped_too(tiny_checkpoint, tmp_path):
    recipe = small_recipe(method="supervised", image_augmentation="none")
    base = job(tiny_checkpoint, tmp_path, recipe)
    base = base.model_copy(update={"pairs": None, "training_images": ImageSpec(split="clean")})
    record = record_of(spec(tiny_checkpoint, tmp_path, job=base))
    assert len(record.rows) == STEPS + 1


# ---- the command ----


FEW = [
    "--method", "mmcl", "--steps", "10", "--points", "2", "--watched", "12", "--batch-size", "8",
    "--device", "cpu", "--set", "precision=fp32", "--threads", "1",
]  # fmt: skip


@pytest.fixture
def templates(tmp_path: Path) -> list[str]:
    path = tmp_path / "templates.txt"
    path.write_text("a {}\n")
    return ["--templates", str(path)]


def test_the_table_the_sentence_and_the_files(
    tiny_checkpoint, tmp_path, templates, capsys, answer_of
):
    command = ["rates", str(tiny_checkpoint), *FEW, *templates, "--low", "1e-5", "--high", "1e-3"]
    assert run_command([*command, "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    for words in ("Rates for mmcl, 12 validation images", "start", "1e-3", "Accuracy", "rates.svg"):
        assert words in shown or words.lower() in shown, words
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["rates.csv", "rates.json", "rates.svg"]
    found = answer_of(*command)
    assert found["cached"]
    assert found["rows"] == json.loads((tmp_path / "out" / "rates.json").read_text())["rows"]


def test_an_estimate_trains_nothing_else(tiny_checkpoint, templates, capsys, monkeypatch):
    monkeypatch.setattr(run, "find_rate", None)
    assert run_command(["rates", str(tiny_checkpoint), *FEW, *templates, "--estimate"]) == 0
    assert "s a step, measured" in capsys.readouterr().out


def rows(**last: Any) -> list[RateRow]:
    made = [RateRow(0, 0.0, None, 0.9, 0.85, 0.95)]
    for step in range(1, 13):
        found = (0.9, 0.85, 0.95) if step % 3 == 0 else (None, None, None)
        made.append(RateRow(step, 10 ** (-6 + step / 3), 2.0 - 0.01 * step, *found))
    return [*made, *([RateRow(13, 0.03, **last)] if last else [])]


def test_a_chart_of_what_ended_early_can_be_drawn() -> None:
    without = rate_svg(rows(loss=None, ca=0.1), propose([]))
    assert "begin with" not in without
    assert without.count('r="1.8"') == 12
    only_start = rows()[:1]
    assert "</svg>" in rate_svg(only_start, propose(only_start))
    assert smoothed([]) == []
