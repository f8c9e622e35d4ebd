"""The search for a recipe: rounds on a copy with canaries, what is chosen and what is kept."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from ml_core.cleaning.loop import train
from ml_core.cleaning.recipes import Recipe, read_recipe
from ml_core.cli.app import run_command
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Control, Done, Event, Message, Saved
from ml_core.jobs.search import MEANS, SearchRecord, SearchSpec, read_search
from ml_core.reading.errors import DivergedError
from ml_core.triggers import badnets_patch, save_trigger
from tests.gui.searches import search_record
from tests.unit.draining import done_of, events_of, finished
from tests.unit.job_specs import CANARIES
from tests.unit.small_jobs import small_recipe, small_spec, two_rounds


@pytest.fixture
def spec(tiny_checkpoint: Path, tmp_path: Path) -> SearchSpec:
    base = small_spec(
        tiny_checkpoint,
        tmp_path / "search",
        small_recipe(),
        images=ImageSpec(split="val", n=24),
        training_images=ImageSpec(split="clean"),
    )
    recipes = tuple(
        small_recipe(method=method, lr=lr)
        for lr in (1e-3, 1e-4)
        for method in ("mmcl", "cleanclip")
    )
    return SearchSpec(base=base, recipes=recipes[:3], images=16, canaries=CANARIES)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine's speed: three recipes for 2, 4 and 8 steps."""
    two_rounds(monkeypatch)


@pytest.fixture
def one(spec: SearchSpec) -> SearchSpec:
    """A search that tries a single recipe, once."""
    return spec.model_copy(update={"recipes": spec.recipes[:1]})


def _record(spec: SearchSpec) -> SearchRecord:
    return read_search(Path(spec.base.output_dir))


def _texts(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Message)]


def test_rounds_are_run_and_the_recipe_that_is_chosen_cleans(spec, tmp_path):
    events, done = events_of(spec)
    assert done.status == "finished", done.details
    record = _record(spec)
    assert record.finished
    assert [(row.rung, row.steps) for row in record.rows] == [
        (0, 2), (0, 2), (0, 2), (1, 4), (1, 4), (2, 8),
    ]  # fmt: skip
    assert {row.name for row in record.rows[3:5]} >= {record.rows[5].name}
    for row in record.rows:
        assert row.ca is not None
        assert row.ca_drop == pytest.approx(100 * (record.ca_before - row.ca))
        assert [rate.name for rate in row.watched] == list(CANARIES.kinds)
        assert all(rate.rebound is None for rate in row.watched)
    best = record.best
    assert read_recipe(Path(done.result["recipe"])) == best.recipe
    assert record.said in _texts(events)
    assert record.means == MEANS
    with open(done.result["table"], encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [line["chosen"] for line in table].count("True") == 1
    assert float(table[0]["patch_asr"]) == record.rows[0].watched[0].asr
    chart = ElementTree.fromstring(Path(done.result["chart"]).read_text("utf-8"))
    assert len(chart.findall("{*}g/{*}polyline")) == 2 * 3  # of each run, and in the legend
    assert sum(isinstance(event, Saved) for event in events) > len(record.rows)
    changes = {"recipe": best.recipe, "output_dir": str(tmp_path / "cleaned")}
    assert finished(spec.base.model_copy(update=changes)).result["steps"] == best.steps


def test_a_rebound_and_a_trigger_are_measured_beside_the_canaries(one, tmp_path):
    trigger = str(save_trigger(badnets_patch(size=0.3), tmp_path / "patch")[1])
    base = one.base.model_copy(update={"trigger": trigger, "target": 7})
    named = one.model_copy(update={"base": base, "rebound_steps": 2})
    events, done = events_of(named)
    assert done.status == "finished", done.details
    record = _record(one)
    assert [rate.name for rate in record.rows[0].watched] == [*CANARIES.kinds, "trigger"]
    assert all(rate.rebound is not None for rate in record.rows[0].watched)
    assert 7 not in [canary.target for canary in record.canaries]
    assert any("named trigger has a success rate" in text for text in _texts(events))


def test_images_do_without_captions_and_the_time_ends_a_plan_that_was_too_long(one, monkeypatch):
    monkeypatch.setattr("ml_core.jobs.search.run._Search._in_time", lambda *_: False)
    recipes = tuple(small_recipe(method="unlearning", lr=lr) for lr in (1e-4, 1e-5))
    base = one.base.model_copy(update={"pairs": None})
    events, done = events_of(one.model_copy(update={"base": base, "recipes": recipes}))
    assert done.status == "finished", done.details
    assert [(row.recipe.lr, row.rung, row.steps) for row in _record(one).rows] == [
        (1e-4, 0, 2), (1e-5, 0, 2),
    ]  # fmt: skip
    assert any("1 runs of the plan were left out" in text for text in _texts(events))


def test_time_allows_fewer_recipes_and_few_pairs_are_shown_more_than_once(spec, monkeypatch):
    from ml_core.cleaning.halving import rungs

    monkeypatch.setattr("ml_core.jobs.search.run.plan", lambda *_: rungs(1, 2))
    base = spec.base.model_copy(update={"pairs": PairSpec(n=9)})
    events, _ = events_of(spec.model_copy(update={"base": base}))
    assert any("allows 1 of the 3 recipes" in text for text in _texts(events))
    (row,) = _record(spec).rows
    assert (row.steps, row.recipe.epochs, row.recipe.pairs) == (2, 2, 9)


def test_time_that_is_left_goes_to_the_last_recipe(one, monkeypatch):
    monkeypatch.setattr("ml_core.jobs.search.run._MOST_MORE", 2)
    monkeypatch.setattr("ml_core.cleaning.halving.CanaryScore.keeps", lambda *_: False)
    done_of(one)
    record = _record(one)
    assert [(row.rung, row.steps) for row in record.rows] == [(0, 2), (1, 4), (2, 8)]
    assert [rung.steps for rung in record.plan] == [2, 4, 8]
    again, done = events_of(one)
    assert done.status == "finished", done.error
    assert not any("Round" in text for text in _texts(again))
    assert _record(one).rows == record.rows


def test_a_run_that_diverges_is_a_row_and_never_chosen(spec, monkeypatch):
    both = (small_recipe(method="mmcl", lr=1.0), spec.recipes[0])

    def diverging(model: Any, recipe: Recipe, *rest: Any, **named: Any) -> Iterator[Event]:
        if recipe.lr == 1.0 and recipe.total_steps == 2:
            raise DivergedError("The loss became infinite.", 1)
        return (yield from train(model, recipe, *rest, **named))

    monkeypatch.setattr("ml_core.jobs.plain_finetune.train", diverging)
    finished(spec.model_copy(update={"recipes": both}))
    record = _record(spec)
    assert record.rows[0].status == "diverged"
    assert record.best.recipe.lr != 1.0


def test_the_command_asks_for_a_search(tiny_checkpoint, tmp_path, monkeypatch, capsys):
    asked: list[SearchSpec] = []

    def ran(spec: SearchSpec, control: Control, *, overwrite: bool) -> Iterator[Event]:
        asked.append(spec)
        files = {"recipe": "r", "table": "t", "chart": "c"}
        yield Done("finished", result=search_record().model_dump(mode="json") | files)

    monkeypatch.setattr("ml_core.jobs.search.run.search", ran)
    (tiny_checkpoint.parent / "params.txt").write_text("lr: 0.0008\n")
    arguments = [
        "search", str(tiny_checkpoint), "-o", str(tmp_path / "out"), "--minutes", "3",
        "--methods", "mmcl,par", "--rates", "1,0.1", "--max-ca-drop", "0.5", "--max-asr", "5",
        "--rebound-steps", "20", "--batch-size", "16", "--seed", "4",
    ]  # fmt: skip
    assert run_command([*arguments, "--json"]) == 0
    (spec,) = asked
    assert [(r.method, r.lr, r.batch_size, r.seed) for r in spec.recipes] == [
        (method, pytest.approx(rate), 16, 4) for rate in (8e-4, 8e-5) for method in ("mmcl", "par")
    ]
    assert (spec.minutes, spec.max_ca_drop, spec.max_asr) == (3.0, 0.5, 5.0)
    assert (spec.rebound_steps, spec.canaries.seed, spec.peak_lr) == (20, 4, 8e-4)
    assert spec.validation().split == "val"
    assert run_command([*arguments, "--peak-rate", "1e-4"]) == 0
    assert asked[1].recipes[0].lr == pytest.approx(1e-4)
    shown = capsys.readouterr()
    assert "MMCL only" in shown.out
    assert MEANS in shown.err.replace("\n", " ")
