"""The rate finder: a ramp on a copy, what ends it, what it proposes, and its command."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ml_core.cleaning.rate_range import RateRow, propose, ramp_rate, rounded
from ml_core.cleaning.recipes import Recipe
from ml_core.cli.app import run_command
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Progress
from ml_core.figures import rate_text
from ml_core.jobs import plain_finetune
from ml_core.jobs.rates import (
    RATES_CHART,
    RATES_FILE,
    RATES_TABLE,
    RateRecord,
    RateSpec,
    ramp_job,
    read_record,
    run,
)
from tests.unit.draining import done_of, events_of, finished
from tests.unit.small_jobs import small_recipe, small_spec

STEPS = 12


def spec(source: Path, folder: Path, recipe: Recipe | None = None, **changes: Any) -> RateSpec:
    job: dict[str, Any] = {"images": ImageSpec(split="val", n=40), "test_images": None}
    for name in ("images", "test_images", "pairs", "training_images"):
        if name in changes:
            job[name] = changes.pop(name)
    fields: dict[str, Any] = {
        "job": small_spec(source, folder, recipe or small_recipe(), **job),
        "steps": STEPS, "points": 4, "pictures": 20, "low": 1e-6, "high": 1e-3,
    }  # fmt: skip
    return RateSpec(**(fields | changes))


def record_of(spec: RateSpec) -> RateRecord:
    return RateRecord.model_validate(finished(spec).result)


def test_a_ramp_takes_its_rates_and_is_not_run_again(tiny_checkpoint, tmp_path, monkeypatch):
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
    ramps = [e for e in events if isinstance(e, Progress) and e.stage == "ramp"]
    assert ramps[-1].done == ramps[-1].total == STEPS
    assert read_record(out / RATES_FILE) == record
    table = list(csv.DictReader((out / RATES_TABLE).read_text().splitlines()))
    assert [float(row["lr"]) for row in table] == pytest.approx(rates)
    assert table[1]["ca"] == ""
    assert "<svg" in (out / RATES_CHART).read_text()

    def train(*_: object, **__: object) -> None:
        raise AssertionError("it trains")

    monkeypatch.setattr(plain_finetune, "train", train)
    # Another folder, rate, schedule, length and limit are of no account; another seed is.
    other = small_recipe(lr=0.5, epochs=3, warmup_steps=9, eval_every=7)
    again = record_of(spec(tiny_checkpoint, tmp_path / "b", other, drop=50.0))
    assert again.cached
    assert again.rows == record.rows
    assert again.drop == 50.0
    assert "it trains" in done_of(spec(tiny_checkpoint, tmp_path, small_recipe(seed=1))).error


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


def test_a_ramp_that_cannot_be_is_refused(tiny_checkpoint, tmp_path):
    with pytest.raises(ValidationError, match="more steps or fewer measurements"):
        spec(tiny_checkpoint, tmp_path, steps=10, points=11)


def test_only_what_is_watched_is_measured_and_never_the_test_images(tiny_checkpoint, tmp_path):
    whole = ImageSpec(split="val")
    alone = ramp_job(spec(tiny_checkpoint, tmp_path, images=whole), 8)
    assert (alone.images.part, alone.images.n) == ("validation", 20)
    both = {"images": whole, "test_images": ImageSpec(split="test")}
    beside = ramp_job(spec(tiny_checkpoint, tmp_path, **both), 8)
    assert (beside.images.part, beside.test_images) == ("all", None)


def test_few_pairs_are_shown_more_than_once_and_it_is_said(tiny_checkpoint, tmp_path):
    record = record_of(spec(tiny_checkpoint, tmp_path, pairs=PairSpec(n=24), steps=11))
    assert record.rows[-1].ca is not None
    assert max(row.lr for row in record.rows) == pytest.approx(1e-3)
    assert any("24 training examples for 11 steps" in note for note in record.notes)


def test_supervised_training_is_ramped_too(tiny_checkpoint, tmp_path):
    recipe = small_recipe(method="supervised", image_augmentation="none")
    images = {"pairs": None, "training_images": ImageSpec(split="clean")}
    assert len(record_of(spec(tiny_checkpoint, tmp_path, recipe, **images)).rows) == STEPS + 1


# ---- what it proposes, on made-up curves ----


def ramp(ca: Callable[[float], float]) -> list[RateRow]:
    """The rows of 60 steps from 1e-6 to 1e-2 whose accuracy depends on the rate alone."""
    rows = [RateRow(0, 0.0, None, ca(0.0), ca(0.0) - 0.02, ca(0.0) + 0.02)]
    for step in range(1, 61):
        rate = ramp_rate(step - 1, 60, 1e-6, 1e-2)
        measured = (ca(rate), ca(rate) - 0.02, ca(rate) + 0.02) if step % 5 == 0 else ()
        rows.append(RateRow(step, rate, 2.0, *measured))
    return rows


def test_the_upper_end_is_the_last_rate_before_accuracy_falls() -> None:
    rows = ramp(lambda rate: 0.5 if rate >= 3e-4 else 0.9)
    found = propose(rows)
    measured = [row.lr for row in rows[1:] if row.ca is not None]
    borne = max(rate for rate in measured if rate < 3e-4)
    assert found.high == rounded(borne) <= borne
    assert found.dropped == min(rate for rate in measured if rate >= 3e-4)
    assert found.surely_dropped == found.dropped
    assert found.low == rounded(borne / 10)
    assert found.low is not None
    assert found.start is not None
    assert found.low < found.start <= found.high
    assert rate_text(found.start) in found.sentence
    assert "beyond doubt" in found.sentence
    lost = propose(ramp(lambda rate: 0.8 if rate else 0.9))
    assert (lost.low, lost.high, lost.start) == (None, None, None)
    assert "at the first measurement already" in lost.sentence


# ---- the command ----


def test_the_command_shows_the_table_writes_files_and_estimates(
    tiny_checkpoint, tmp_path, capsys, monkeypatch
):
    (tmp_path / "templates.txt").write_text("a {}\n")
    command = [
        "rates", str(tiny_checkpoint), "--method", "mmcl", "--steps", "10", "--points", "2",
        "--watched", "12", "--batch-size", "8", "--device", "cpu", "--set", "precision=fp32",
        "--threads", "1", "--templates", str(tmp_path / "templates.txt"), "--high", "1e-3",
    ]  # fmt: skip
    assert run_command([*command, "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    for words in ("Rates for mmcl, 12 validation images", "start", "1e-3", "accuracy", "rates.svg"):
        assert words in shown or words in shown.lower(), words
    assert len(list((tmp_path / "out").iterdir())) == 3
    monkeypatch.setattr(run, "find_rate", None)  # an estimate trains nothing else
    assert run_command([*command, "--estimate"]) == 0
    assert "s a step, measured" in capsys.readouterr().out
