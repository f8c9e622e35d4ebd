"""The search for a recipe: rounds on a copy with canaries, what is chosen and what is kept."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from ml_core.cleaning.loop import train
from ml_core.cleaning.pretraining import UNKNOWN
from ml_core.cleaning.recipes import Recipe, read_recipe
from ml_core.cli.app import run_command
from ml_core.data.demo import compose, demo_classes
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
from ml_core.jobs.search.canary_spec import CanarySettings
from ml_core.jobs.specs import has_images
from ml_core.reading.errors import DivergedError
from ml_core.triggers import badnets_patch, save_trigger
from tests.gui.searches import search_record
from tests.unit.draining import done_of, events_of, finished
from tests.unit.pair_files import table
from tests.unit.small_jobs import few_climbs, small_recipe, small_spec

SMALL = CanarySettings(
    kinds=("patch", "sine"), share=0.2, steps=2, batch_size=8, every=2, wanted=0.0
)


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
    return SearchSpec(base=base, recipes=recipes[:3], images=16, canaries=SMALL)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine's speed: three recipes for 2, 4 and 8 steps."""
    from ml_core.cleaning.halving import rungs

    def planned(times: list[float], fixed: float, budget: float, **limits: int) -> Any:
        return rungs(len(times), 2) if budget > 1 else ()

    monkeypatch.setattr("ml_core.jobs.search.run.plan", planned)
    monkeypatch.setattr("ml_core.jobs.search.run._MOST_MORE", 0)
    few_climbs(monkeypatch)


def _record(spec: SearchSpec) -> SearchRecord:
    return read_search(Path(spec.base.output_dir))


def _texts(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Message)]


def test_rounds_are_run_and_one_recipe_is_chosen(spec: SearchSpec) -> None:
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
        assert [one.name for one in row.watched] == list(SMALL.kinds)
        assert all(one.rebound is None for one in row.watched)
    best = record.best
    assert best is not None
    assert read_recipe(Path(done.result["recipe"])) == best.recipe
    assert record.said in _texts(events)
    assert record.means == MEANS
    with open(done.result["table"], encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [line["chosen"] for line in table].count("True") == 1
    assert float(table[0]["patch_asr"]) == record.rows[0].watched[0].asr
    chart = ElementTree.fromstring(Path(done.result["chart"]).read_text("utf-8"))
    assert len(chart.findall("{http://www.w3.org/2000/svg}polyline")) == 3
    saved = [event for event in events if isinstance(event, Saved)]
    assert len(saved) > len(record.rows)


def test_the_copy_is_in_use_until_it_is_in_memory(
    spec: SearchSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other searches, of other checkpoints, delete what lies in the cache."""
    place = canary_folder(spec.planting(Path(spec.base.output_dir)))
    seen = []

    def open_watched(*args: Any) -> Any:
        seen.append(at_work(place))
        return watched_of(*args)

    monkeypatch.setattr("ml_core.jobs.search.run.watched_of", open_watched)
    for event in run_job(spec, Control()):
        if isinstance(event, Progress) and event.stage in ("canaries", "search"):
            seen.append((event.stage, at_work(place)))
    assert isinstance(event, Done)
    assert event.status == "finished", event.details
    assert set(seen) == {True, ("canaries", True), ("search", False)}


def test_a_search_that_was_cancelled_goes_on(spec: SearchSpec) -> None:
    control = Control()
    for event in run_job(spec, control):
        if isinstance(event, Saved) and event.path.endswith("search.json"):
            control.cancel()
    assert event == Done("cancelled")
    first = _record(spec)
    assert len(first.rows) == 1
    assert not first.finished
    events, done = events_of(spec)
    assert done.status == "finished"
    record = _record(spec)
    assert record.rows[0] == first.rows[0]
    assert len(record.rows) == 6
    assert sum("Round" in text for text in _texts(events)) == 5
    assert any("used again" in text for text in _texts(events))
    again, _ = events_of(spec)
    assert not any("Round" in text for text in _texts(again))
    other, _ = events_of(spec.model_copy(update={"max_asr": 7.0}))
    assert sum("Round" in text for text in _texts(other)) == 6


def test_a_chosen_recipe_cleans_the_checkpoint(spec: SearchSpec, tmp_path: Path) -> None:
    done = done_of(spec.model_copy(update={"recipes": spec.recipes[:1]}))
    recipe = read_recipe(Path(done.result["recipe"]))
    job = spec.base.model_copy(update={"recipe": recipe, "output_dir": str(tmp_path / "cleaned")})
    last = finished(job)
    assert last.result["steps"] == 2


def test_a_rebound_and_a_trigger_are_measured_beside_the_canaries(
    spec: SearchSpec, tmp_path: Path
) -> None:
    trigger = str(save_trigger(badnets_patch(size=0.3), tmp_path / "patch")[1])
    base = spec.base.model_copy(update={"trigger": trigger, "target": 7})
    changes = {"base": base, "recipes": spec.recipes[:1], "rebound_steps": 2}
    events, done = events_of(spec.model_copy(update=changes))
    assert done.status == "finished", done.details
    record = _record(spec)
    assert [one.name for one in record.rows[0].watched] == [*SMALL.kinds, "trigger"]
    assert all(one.rebound is not None for one in record.rows[0].watched)
    assert 7 not in [one.target for one in record.canaries.canaries]
    assert any("trigger that was named has a success rate" in text for text in _texts(events))
    own = _record(spec).rows[0].watched[-1]
    alone = changes | {"canaries": SMALL.model_copy(update={"seed": 1})}
    done_of(
        spec.model_copy(update=alone)
    )  # other canaries leave it as it is: it is on another copy
    again = _record(spec).rows[0].watched[-1]
    assert (again.asr, again.rebound) == (own.asr, own.rebound)


def test_methods_that_take_labelled_images_need_no_captions(spec: SearchSpec) -> None:
    base = spec.base.model_copy(update={"pairs": None})
    recipes = (small_recipe(method="locked-text", shots=0),)
    finished(spec.model_copy(update={"base": base, "recipes": recipes}))
    assert _record(spec).rows[0].recipe.method == "locked-text"


@pytest.mark.slow
def test_the_pictures_of_pairs_are_enough_for_methods_without_captions(
    spec: SearchSpec, tmp_path: Path
) -> None:
    data = table(tmp_path / "own", range(40))
    base = spec.base.model_copy(
        update={"training_images": None, "pairs": PairSpec(kind="csv", path=str(data))}
    )
    recipes = (small_recipe(method="adversarial", lr=1e-4),)
    done = finished(spec.model_copy(update={"base": base, "recipes": recipes}))
    row = _record(spec).rows[0]
    assert (row.status, row.recipe.method, row.steps) == ("measured", "adversarial", 2)
    chosen = read_recipe(Path(done.result["recipe"]))
    job = base.model_copy(update={"recipe": chosen, "output_dir": str(tmp_path / "cleaned")})
    last = finished(job)
    assert last.result["steps"] == 2
    texts = base.model_copy(update={"pairs": PairSpec(kind="texts", path=str(data))})
    assert not has_images(texts)


@pytest.mark.slow
def test_images_are_opened_with_labels_for_methods_that_need_them(
    spec: SearchSpec, tmp_path: Path
) -> None:
    drawn = compose("val", range(24), size=64)
    for number, (image, label) in enumerate(zip(drawn.images, drawn.labels, strict=True)):
        folder = tmp_path / "own" / demo_classes()[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    own = ImageSpec(kind="folder", path=str(tmp_path / "own"))
    base = spec.base.model_copy(update={"pairs": None, "training_images": own})
    recipes = (
        small_recipe(method="adversarial", lr=1e-4),
        small_recipe(method="locked-text", shots=0),
    )
    finished(spec.model_copy(update={"base": base, "recipes": recipes}))
    rows = _record(spec).rows
    assert [(row.recipe.method, row.steps) for row in rows[:2]] == [
        ("adversarial", 2), ("locked-text", 2),
    ]  # fmt: skip


def test_few_pairs_are_shown_more_than_once(spec: SearchSpec) -> None:
    base = spec.base.model_copy(update={"pairs": PairSpec(n=9)})
    finished(spec.model_copy(update={"base": base, "recipes": spec.recipes[:1]}))
    row = _record(spec).rows[0]
    assert (row.steps, row.recipe.epochs, row.recipe.pairs) == (2, 2, 9)


def test_the_time_ends_a_plan_that_was_too_long(
    spec: SearchSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_core.jobs.search.run._Search._in_time", lambda *_: False)
    events, done = events_of(spec)
    assert done.status == "finished"
    assert [row.rung for row in _record(spec).rows] == [0, 0, 0]
    assert any("3 runs of the plan were left out" in text for text in _texts(events))


def test_time_that_is_left_goes_to_the_last_recipe_until_the_limits_are_kept(
    spec: SearchSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_core.jobs.search.run._MOST_MORE", 2)
    hard = {"recipes": spec.recipes[:1], "max_asr": 0.0, "max_ca_drop": 0.0}
    monkeypatch.setattr("ml_core.cleaning.halving.Score.keeps", lambda *_: False)
    done_of(spec.model_copy(update=hard))
    record = _record(spec)
    assert [(row.rung, row.steps) for row in record.rows] == [(0, 2), (1, 4), (2, 8)]
    assert [rung.steps for rung in record.plan] == [2, 4, 8]
    again, _ = events_of(spec.model_copy(update=hard))
    assert not any("Round" in text for text in _texts(again))
    monkeypatch.setattr("ml_core.cleaning.halving.Score.keeps", lambda *_: True)
    done_of(spec.model_copy(update=hard | {"max_asr": 1.0}))
    assert len(_record(spec).rows) == 1


def test_time_that_allows_fewer_recipes_is_said(
    spec: SearchSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml_core.cleaning.halving import rungs

    monkeypatch.setattr("ml_core.jobs.search.run.plan", lambda *_: rungs(1, 2))
    events, _ = events_of(spec)
    assert any("allows 1 of the 3 recipes" in text for text in _texts(events))
    assert len(_record(spec).rows) == 1


def test_a_run_that_diverges_is_a_row_and_never_chosen(
    spec: SearchSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = (small_recipe(method="mmcl", lr=1.0), spec.recipes[0])

    def diverging(model: Any, recipe: Recipe, *rest: Any, **named: Any) -> Iterator[Event]:
        if recipe.lr == 1.0 and recipe.total_steps == 2:
            raise DivergedError("The loss became infinite.", 1)
        return (yield from train(model, recipe, *rest, **named))

    monkeypatch.setattr("ml_core.jobs.plain_finetune.train", diverging)
    finished(spec.model_copy(update={"recipes": both}))
    record = _record(spec)
    assert record.rows[0].status == "diverged"
    assert record.best is not None
    assert record.best.recipe.lr != 1.0


# ---- what is said ----


def _row(drop: float, asr: float) -> SearchRow:
    rate = WatchedRate(name="patch", asr=asr, low=asr, high=asr)
    return SearchRow(
        name="MMCL only (control), rate 0.001", rung=0, steps=40, recipe=small_recipe(),
        ca=0.9, ca_drop=drop, watched=(rate,),
    )  # fmt: skip


def test_the_sentence_says_whether_the_limits_are_kept(spec: SearchSpec) -> None:
    done_of(spec.model_copy(update={"recipes": spec.recipes[:1]}))
    record = _record(spec).model_copy(
        update={"rows": (_row(0.5, 0.01),), "chosen": 0, "keeps": True}
    )
    assert summary_of(record).startswith("Keeps the limits (accuracy drop 1, success 2 %)")
    assert "falls by 0.5 points" in summary_of(record)
    missed = record.model_copy(update={"rows": (_row(3.0, 0.25),), "keeps": False})
    assert summary_of(missed).startswith("No recipe that was tried keeps the limits")
    assert "25.0 %" in summary_of(missed)
    better = record.model_copy(update={"rows": (_row(-0.5, 0.01),)})
    assert "clean accuracy rises by 0.5 points" in summary_of(better)
    assert "attacks with a canary succeed" in summary_of(better)
    row = _row(0.5, 0.01)
    named = (*row.watched, row.watched[0].model_copy(update={"name": "trigger"}))
    both = record.model_copy(update={"rows": (row.model_copy(update={"watched": named}),)})
    assert "with a canary or the trigger that was named succeed" in summary_of(both)
    nothing = record.model_copy(update={"chosen": None})
    assert "can be measured" in summary_of(nothing)


# ---- the command ----


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[SearchSpec]:
    found: list[SearchSpec] = []

    def ran(spec: SearchSpec, control: Control, *, overwrite: bool) -> Iterator[Event]:
        found.append(spec)
        yield Done("finished", result={"rows": []})

    monkeypatch.setattr("ml_core.jobs.search.run.search", ran)
    return found


def test_the_command_asks_for_a_search(
    tiny_checkpoint: Path, tmp_path: Path, asked: list[SearchSpec]
) -> None:
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
    tiny_checkpoint: Path, tmp_path: Path, asked: list[SearchSpec]
) -> None:
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


def test_the_command_shows_what_was_found(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    spec: SearchSpec, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    done = done_of(spec.model_copy(update={"recipes": spec.recipes[:1]}))

    def ran(spec: SearchSpec, control: Control, *, overwrite: bool) -> Iterator[Event]:
        yield done

    monkeypatch.setattr("ml_core.jobs.search.run.search", ran)
    assert run_command(["search", str(tiny_checkpoint), "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert "chosen" in shown.out
    assert "MMCL only" in shown.out
    assert MEANS in shown.err.replace("\n", " ")


@pytest.mark.parametrize(("lr", "asked_for"), [(2e-3, True), (1e-5, False)])
def test_a_chosen_rate_that_clean_would_refuse_says_what_it_wants(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, lr: float, asked_for: bool,
) -> None:  # fmt: skip
    (tiny_checkpoint.parent / "params.txt").write_text("lr: 0.0008\n")
    record = search_record()
    best = record.best
    assert best is not None
    rows = (best.model_copy(update={"recipe": best.recipe.model_copy(update={"lr": lr})}),)
    record = record.model_copy(update={"rows": rows, "chosen": 0})

    def ran(spec: SearchSpec, control: Control, *, overwrite: bool) -> Iterator[Event]:
        paths = {"recipe": "r", "table": "t", "chart": "c"}
        yield Done("finished", result=record.model_dump(mode="json") | paths)

    monkeypatch.setattr("ml_core.jobs.search.run.search", ran)
    assert run_command(["search", str(tiny_checkpoint), "-o", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err.replace("\n", " ")
    assert "pretrained at a peak of 8e-4" in said
    assert ("--accept-rate" in said) is asked_for
