"""The search for a recipe: rounds on a copy with canaries, what is chosen and what is kept."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from ml_core.cleaning.loop import train
from ml_core.cleaning.pretraining import UNKNOWN
from ml_core.cleaning.recipes import Recipe, read_recipe
from ml_core.cli.app import run_command
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Control, Done, Event, Message, Progress, Saved
from ml_core.jobs.folder_lock import at_work
from ml_core.jobs.runner import run_job
from ml_core.jobs.search import (
    MEANS,
    SearchRecord,
    SearchRow,
    SearchSpec,
    WatchedRate,
    read_search,
    summary_of,
)
from ml_core.jobs.search.canaries import canary_folder, watched_of
from ml_core.jobs.specs import has_images
from ml_core.reading.errors import DivergedError
from ml_core.triggers import badnets_patch, save_trigger
from tests.gui.searches import search_record
from tests.unit.draining import done_of, events_of, finished
from tests.unit.job_specs import CANARIES
from tests.unit.pair_files import table
from tests.unit.small_jobs import few_climbs, small_recipe, small_spec, two_rounds


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
    few_climbs(monkeypatch)


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


def test_the_copy_is_in_use_until_it_is_in_memory(one, monkeypatch):
    """Other searches, of other checkpoints, delete what lies in the cache."""
    place = canary_folder(one.planting(Path(one.base.output_dir)))
    seen = []

    def open_watched(*args: Any) -> Any:
        seen.append(at_work(place))
        return watched_of(*args)

    monkeypatch.setattr("ml_core.jobs.search.run.watched_of", open_watched)
    for event in run_job(one, Control()):
        if isinstance(event, Progress) and event.stage in ("canaries", "search"):
            seen.append((event.stage, at_work(place)))
    assert event.status == "finished", event.details
    assert set(seen) == {True, ("canaries", True), ("search", False)}


def test_a_search_that_was_cancelled_goes_on(spec):
    two, control = spec.model_copy(update={"recipes": spec.recipes[:2]}), Control()
    for event in run_job(two, control):
        if isinstance(event, Saved) and event.path.endswith("search.json"):
            control.cancel()
    assert event == Done("cancelled")
    first = _record(two)
    assert (len(first.rows), first.finished) == (1, False)
    events, done = events_of(two)
    assert done.status == "finished"
    record = _record(two)
    assert (record.rows[0], len(record.rows)) == (first.rows[0], 3)
    assert sum("Round" in text for text in _texts(events)) == 2
    assert any("used again" in text for text in _texts(events))
    again, _ = events_of(two)
    assert not any("Round" in text for text in _texts(again))
    other, _ = events_of(two.model_copy(update={"max_asr": 7.0}))
    assert sum("Round" in text for text in _texts(other)) == 3


def test_a_rebound_and_a_trigger_are_measured_beside_the_canaries(one, tmp_path):
    trigger = str(save_trigger(badnets_patch(size=0.3), tmp_path / "patch")[1])
    base = one.base.model_copy(update={"trigger": trigger, "target": 7})
    named = one.model_copy(update={"base": base, "rebound_steps": 2})
    events, done = events_of(named)
    assert done.status == "finished", done.details
    record = _record(one)
    assert [rate.name for rate in record.rows[0].watched] == [*CANARIES.kinds, "trigger"]
    assert all(rate.rebound is not None for rate in record.rows[0].watched)
    assert 7 not in [canary.target for canary in record.canaries.canaries]
    assert any("trigger that was named has a success rate" in text for text in _texts(events))
    # Other canaries leave it as it is: it is on another copy.
    done_of(named.model_copy(update={"canaries": CANARIES.model_copy(update={"seed": 1})}))
    own, again = record.rows[0].watched[-1], _record(one).rows[0].watched[-1]
    assert (again.asr, again.rebound) == (own.asr, own.rebound)


def test_images_do_without_captions_with_labels_and_without(one):
    methods = ("adversarial", "locked-text")
    recipes = (
        small_recipe(method="adversarial", lr=1e-4),
        small_recipe(method="locked-text", shots=0),
    )
    base = one.base.model_copy(update={"pairs": None})
    finished(one.model_copy(update={"base": base, "recipes": recipes}))
    rows = _record(one).rows[:2]
    assert [(row.recipe.method, row.steps) for row in rows] == [(name, 2) for name in methods]


@pytest.mark.slow
def test_the_pictures_of_pairs_are_enough_for_methods_without_captions(one, tmp_path):
    data = str(table(tmp_path / "own", range(40)))
    pairs = PairSpec(kind="csv", path=data)
    base = one.base.model_copy(update={"training_images": None, "pairs": pairs})
    recipes = (small_recipe(method="adversarial", lr=1e-4),)
    finished(one.model_copy(update={"base": base, "recipes": recipes}))
    row = _record(one).rows[0]
    assert (row.status, row.recipe.method, row.steps) == ("measured", "adversarial", 2)
    texts = base.model_copy(update={"pairs": PairSpec(kind="texts", path=data)})
    assert not has_images(texts)


def test_few_pairs_are_shown_more_than_once(one):
    base = one.base.model_copy(update={"pairs": PairSpec(n=9)})
    finished(one.model_copy(update={"base": base}))
    row = _record(one).rows[0]
    assert (row.steps, row.recipe.epochs, row.recipe.pairs) == (2, 2, 9)


def test_the_time_ends_a_plan_that_was_too_long(spec, monkeypatch):
    monkeypatch.setattr("ml_core.jobs.search.run._Search._in_time", lambda *_: False)
    events, done = events_of(spec)
    assert done.status == "finished"
    assert [row.rung for row in _record(spec).rows] == [0, 0, 0]
    assert any("3 runs of the plan were left out" in text for text in _texts(events))


def test_time_that_is_left_goes_to_the_last_recipe_until_the_limits_are_kept(one, monkeypatch):
    monkeypatch.setattr("ml_core.jobs.search.run._MOST_MORE", 2)
    monkeypatch.setattr("ml_core.cleaning.halving.CanaryScore.keeps", lambda *_: False)
    done_of(one)
    record = _record(one)
    assert [(row.rung, row.steps) for row in record.rows] == [(0, 2), (1, 4), (2, 8)]
    assert [rung.steps for rung in record.plan] == [2, 4, 8]
    again, _ = events_of(one)
    assert not any("Round" in text for text in _texts(again))
    monkeypatch.setattr("ml_core.cleaning.halving.CanaryScore.keeps", lambda *_: True)
    done_of(one.model_copy(update={"max_asr": 1.0}))
    assert len(_record(one).rows) == 1


def test_time_that_allows_fewer_recipes_is_said(spec, monkeypatch):
    from ml_core.cleaning.halving import rungs

    monkeypatch.setattr("ml_core.jobs.search.run.plan", lambda *_: rungs(1, 2))
    events, _ = events_of(spec)
    assert any("allows 1 of the 3 recipes" in text for text in _texts(events))
    assert len(_record(spec).rows) == 1


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


# ---- what is said ----


def _row(drop: float, asr: float) -> SearchRow:
    rate = WatchedRate(name="patch", asr=asr, low=asr, high=asr)
    return SearchRow(
        name="MMCL only (control), rate 0.001", rung=0, steps=40, recipe=small_recipe(),
        ca=0.9, ca_drop=drop, watched=(rate,),
    )  # fmt: skip


def test_the_sentence_says_whether_the_limits_are_kept() -> None:
    record = search_record()
    kept = record.model_copy(update={"rows": (_row(0.5, 0.01),), "chosen": 0, "keeps": True})
    missed = kept.model_copy(update={"rows": (_row(3.0, 0.25),), "keeps": False})
    better = kept.model_copy(update={"rows": (_row(-0.5, 0.01),)})
    row = _row(0.5, 0.01)
    named = (*row.watched, row.watched[0].model_copy(update={"name": "trigger"}))
    both = kept.model_copy(update={"rows": (row.model_copy(update={"watched": named}),)})
    for said, words in (
        (kept, f"Keeps the limits (accuracy drop {record.max_ca_drop:g}, success "),
        (kept, "falls by 0.5 points"),
        (missed, "No recipe that was tried keeps the limits"),
        (missed, "25.0 %"),
        (better, "clean accuracy rises by 0.5 points"),
        (better, "attacks with a canary succeed"),
        (both, "with a canary or the trigger that was named succeed"),
        (kept.model_copy(update={"chosen": None}), "can be measured"),
    ):
        assert words in summary_of(said)


# ---- the command ----


def _ended(record: SearchRecord) -> Done:
    files = {"recipe": "r", "table": "t", "chart": "c"}
    return Done("finished", result=record.model_dump(mode="json") | files)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[SearchSpec]:
    found: list[SearchSpec] = []

    def ran(spec: SearchSpec, control: Control, *, overwrite: bool) -> Iterator[Event]:
        found.append(spec)
        yield _ended(search_record())

    monkeypatch.setattr("ml_core.jobs.search.run.search", ran)
    return found


def test_the_command_asks_for_a_search(tiny_checkpoint, tmp_path, asked):
    arguments = [
        "search", str(tiny_checkpoint), "-o", str(tmp_path / "out"), "--json", "--minutes", "3",
        "--methods", "mmcl,par", "--rates", "1,0.1", "--max-ca-drop", "0.5", "--max-asr", "5",
        "--rebound-steps", "20", "--batch-size", "16", "--seed", "4",
    ]  # fmt: skip
    assert run_command(arguments) == 0
    (spec,) = asked
    assert [(r.method, r.lr, r.batch_size, r.seed) for r in spec.recipes] == [
        (method, pytest.approx(rate), 16, 4)
        for rate in (UNKNOWN.assumed, 0.1 * UNKNOWN.assumed)
        for method in ("mmcl", "par")
    ]
    assert (spec.minutes, spec.max_ca_drop, spec.max_asr) == (3.0, 0.5, 5.0)
    assert (spec.rebound_steps, spec.canaries.seed, spec.peak_lr) == (20, 4, UNKNOWN.assumed)
    assert spec.validation().split == "val"
    assert run_command([*arguments, "--peak-rate", "1e-4"]) == 0
    assert asked[1].recipes[0].lr == pytest.approx(1e-4)


def test_a_checkpoint_is_searched_around_the_rate_of_its_pretraining(
    tiny_checkpoint, tmp_path, asked
):
    (tiny_checkpoint.parent / "params.txt").write_text("lr: 0.0008\n")
    table = tmp_path / "pairs.csv"
    table.write_text("image,caption\na.png,a cat\n", encoding="utf-8")
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\nfish\nbird\n", encoding="utf-8")
    photos = tmp_path / "photos"
    photos.mkdir()
    arguments = [
        "search", str(tiny_checkpoint), "-o", str(tmp_path / "out"), "--pairs", str(table),
        "--images", str(photos), "--labels", str(labels), "--json",
    ]  # fmt: skip
    assert run_command(arguments) == 0
    assert asked[0].peak_lr == 8e-4
    assert asked[0].validation().part == "validation"
    # What takes images alone is tried on those of the pairs.
    assert "adversarial" in {recipe.method for recipe in asked[0].recipes}
    assert asked[0].base.training_images is None


@pytest.mark.parametrize(("lr", "asked_for"), [(2e-3, True), (1e-5, False)])
def test_the_command_shows_the_runs_and_says_what_clean_wants_of_a_high_rate(
    tiny_checkpoint, tmp_path, capsys, monkeypatch, lr, asked_for
):
    (tiny_checkpoint.parent / "params.txt").write_text("lr: 0.0008\n")
    record = search_record()
    best = record.best
    rows = (best.model_copy(update={"recipe": best.recipe.model_copy(update={"lr": lr})}),)
    record = record.model_copy(update={"rows": rows, "chosen": 0})

    def ran(spec: SearchSpec, control: Control, *, overwrite: bool) -> Iterator[Event]:
        yield _ended(record)

    monkeypatch.setattr("ml_core.jobs.search.run.search", ran)
    assert run_command(["search", str(tiny_checkpoint), "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert "chosen" in shown.out
    assert "MMCL only" in shown.out
    said = shown.err.replace("\n", " ")
    assert MEANS in said
    assert "pretrained at a peak of 8e-4" in said
    assert ("--accept-rate" in said) is asked_for
