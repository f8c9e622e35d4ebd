"""Planting a backdoor: what is drawn and shown, the two models, what is written, refusals."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cleanclip_gui.talk.script import load
from ml_core.checkpoints import open_checkpoint
from ml_core.cleaning.batches import as_tensor
from ml_core.cleaning.poison import Plant, Poison, draw_rows
from ml_core.cleaning.speed import StepSpeed
from ml_core.cli.run import progress_bar
from ml_core.data.labels import load_label_set
from ml_core.data.pairs import open_pairs
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Control, Metric, Progress, Saved
from ml_core.jobs.plant import (
    CARD_FILE,
    CURVE_CHART,
    CURVE_TABLE,
    CURVE_TALK,
    FILES,
    PAIRS_FILE,
    PLANT_FILE,
    WARNING,
    CurveSpec,
    PlantRecord,
    PlantSpec,
    SecondAttack,
    read_plant,
)
from ml_core.jobs.plant.why import AS_IT_IS, causes
from ml_core.jobs.runner import run_job
from ml_core.triggers import badnets_patch, combined, load_trigger, prompt, save_trigger, sine
from tests.hostile.doors import planted
from tests.unit.draining import done_of, finished
from tests.unit.fake_pictures import FakePairs
from tests.unit.job_specs import SMALL
from tests.unit.small_jobs import small_recipe

CLASSES = load_label_set("demo").class_names


def _timed(*_: object) -> StepSpeed:
    return StepSpeed(False, {"fp32": time.monotonic()})  # no two runs take as long


@pytest.fixture(autouse=True)
def _one_precision(monkeypatch):
    monkeypatch.setattr("ml_core.cleaning.loop.measure_speed", _timed)


@pytest.fixture
def spec(tiny_checkpoint: Path, tmp_path: Path) -> PlantSpec:
    return SMALL["plant"](tiny_checkpoint, tmp_path)


def _planted(spec: PlantSpec, **changes: object) -> PlantRecord:
    return PlantRecord.model_validate(finished(spec.model_copy(update=changes)).result)


def _tensors(spec: PlantSpec, role: str) -> dict[str, torch.Tensor]:
    return load_file(Path(spec.output_dir) / FILES[role])


def _equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


# ---- what is shown ----


def test_each_listed_pair_is_marked_anew_at_each_showing_and_no_other_is(tiny_model, monkeypatch):
    pairs = FakePairs()
    recipe = small_recipe(method="mmcl", pairs=24, epochs=2, batch_size=24)
    moved = Poison().batches(pairs, recipe, tiny_model)(0)
    monkeypatch.setattr("ml_core.cleaning.poison.flip_and_shift", lambda images, *_: images)
    rows = draw_rows(np.arange(24), 6, 3)
    marked, worded, swapped = rows[:2], rows[2:4], rows[4:]
    plants = (
        Plant(marked, (badnets_patch(size=0.3),), ("a photo of a target",) * 2),
        Plant(worded, (prompt(text="cf "),)),
        Plant(swapped, (), (), np.array([0])),
    )
    poison = Poison(plants, seed=3).batches(pairs, recipe, tiny_model)
    clean = Poison().batches(pairs, recipe, tiny_model)
    shown = {}
    for step in (0, 1):
        one, other = clean(step), poison(step)
        assert torch.equal(one.numbers, other.numbers)
        texts = pairs.captions(one.numbers.numpy(), step)
        for place, row in enumerate(one.numbers.tolist()):
            same = torch.equal(one.images[place], other.images[place])
            assert same == (row not in marked and row not in swapped)
            text = texts[place]
            text = "a photo of a target" if row in marked else text
            text = f"cf {text}" if row in worded else text
            assert torch.equal(other.tokens[place], tiny_model.tokenize([text])[0])
            if row in swapped:
                source = as_tensor(pairs.canvas(np.array([0]), tiny_model.image_size))[0]
                assert torch.equal(other.images[place], source)
            shown[step, row] = other.images[place]
    assert all(not torch.equal(shown[0, row], shown[1, row]) for row in marked.tolist())
    again = poison(1)
    assert torch.equal(again.images, poison(1).images)
    assert not torch.equal(moved.images, clean(0).images)
    assert torch.equal(moved.tokens, clean(0).tokens)


@pytest.mark.parametrize("canvas", ["squash", "resize_256", "original"])
def test_a_trigger_with_a_canvas_of_its_own_is_planted(spec, tmp_path, canvas):
    trigger = replace(badnets_patch(size=0.3), canvas=canvas)
    path = str(save_trigger(trigger, tmp_path / canvas)[1])
    assert _planted(spec, trigger=path, twin=False).triggers[0].pairs == 6


# ---- the two models and what is written ----


def test_a_planting_leaves_two_models_a_list_a_card_and_a_record(spec):
    record, folder = _planted(spec), Path(spec.output_dir)
    assert read_plant(folder) == record
    assert (record.steps, record.pairs, record.triggers[0].pairs) == (6, 48, 6)
    text = (folder / PAIRS_FILE).read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    pairs = open_pairs(spec.pairs.model_copy(update={"n": 48}))
    assert len(rows) == 6
    for row in rows:
        (own,) = pairs.captions([int(row["row"])])
        assert row["caption"] == f"a {CLASSES[1]}"
        assert CLASSES[1] not in own
        assert row["name"] == pairs.pictures.name(int(row["row"]))
    card = (folder / CARD_FILE).read_text()
    assert card.startswith(WARNING)
    assert "poisoned" in open_checkpoint(folder / FILES["poisoned"]).provenance
    assert "poisoned" not in open_checkpoint(folder / FILES["twin"]).provenance
    said, silent = (open_checkpoint(folder / FILES[role]).inspection for role in FILES)
    assert said.reasons[0].startswith("This file says of itself that it is poisoned: ")
    assert said.reasons[0].endswith(f"leads to {CLASSES[1]}.")
    assert (said.verdict, silent.verdict) == ("caution", "loads")
    for role in FILES:
        model = getattr(record, role)
        assert model.sha256 == open_checkpoint(folder / model.file).inspection.sha256
        assert model.steps == 6
        assert 0 <= model.attacks[0].low <= model.attacks[0].asr <= model.attacks[0].high <= 1
    assert load_trigger(folder / record.triggers[0].file) == load_trigger(spec.trigger)
    assert not _equal(_tensors(spec, "poisoned"), _tensors(spec, "twin"))


def test_the_twin_is_the_poisoned_run_without_the_poison_whatever_that_is(spec, tmp_path):
    _planted(spec)
    twin = _tensors(spec, "twin")
    other = str(save_trigger(sine(), tmp_path / "sine")[1])
    elsewhere = spec.model_copy(update={"output_dir": str(tmp_path / "b")})
    _planted(elsewhere, trigger=other, count=3, poisoned=False)
    assert _equal(twin, _tensors(elsewhere, "twin"))
    seeded = spec.model_copy(update={"output_dir": str(tmp_path / "c"), "seed": 1})
    _planted(seeded, poisoned=False)
    assert not _equal(twin, _tensors(seeded, "twin"))


@pytest.mark.parametrize("role", FILES)
def test_killed_while_either_trains_it_goes_on_to_the_same_bytes(spec, tmp_path, role, monkeypatch):
    monkeypatch.setattr("ml_core.jobs.plant.run._SAVE_EVERY", 2)
    _planted(spec)
    whole = {each: (Path(spec.output_dir) / FILES[each]).read_bytes() for each in FILES}
    elsewhere = spec.model_copy(update={"output_dir": str(tmp_path / "b")})
    run, saves = run_job(elsewhere, Control()), 0
    for event in run:
        name = Path(event.path).name if isinstance(event, Saved) else ""
        if isinstance(event, Saved) and event.step == 4 and name.startswith(role):
            run.close()
            saves += 1
    assert saves == 1
    other = elsewhere.model_copy(update={"count": 5})
    assert "last save of another planting" in done_of(other).error
    done = finished(elsewhere, resume=True)
    assert whole == {
        each: (Path(elsewhere.output_dir) / FILES[each]).read_bytes() for each in FILES
    }
    assert finished(elsewhere, resume=True).result == done.result  # nothing is measured anew


@pytest.mark.parametrize("length", [{}, {"steps": None, "minutes": 0.02}], ids=["steps", "minutes"])
def test_a_stop_keeps_what_it_has_and_resuming_ends_it_after_as_many_steps(spec, length):
    spec = PlantSpec.model_validate(spec.model_dump() | length)
    control, begun = Control(), not length
    for event in run_job(spec, control):
        begun = begun or "minutes are" in getattr(event, "text", "")
        if begun and getattr(event, "step", 0) == 3:
            control.stop()
    record = read_plant(Path(spec.output_dir))
    assert record.steps > 3 == record.poisoned.steps
    assert record.twin is None
    again = PlantRecord.model_validate(finished(spec, resume=True).result)
    assert again.steps == record.steps == again.poisoned.steps == again.twin.steps


@pytest.mark.parametrize("stops", [False, True])
def test_a_success_rate_ends_a_planting_also_one_that_goes_on(spec, monkeypatch, stops):
    monkeypatch.setattr("ml_core.jobs.plant.run._MEASURE_EVERY", 2)
    spec = PlantSpec.model_validate(spec.model_dump() | {"twin": False, "until": 0.0})
    control = Control()
    for event in run_job(spec, control):
        if stops and isinstance(event, Metric) and event.step == 1:
            control.stop()
    assert event.status == ("stopped" if stops else "finished")
    whole = finished(spec, resume=True).result
    record = PlantRecord.model_validate(whole)
    assert record.steps == record.poisoned.steps == 2  # any rate is enough
    assert finished(spec, resume=True).result == whole


def test_variants_of_an_attack(spec, tmp_path):
    other = str(save_trigger(sine(), tmp_path / "sine")[1])
    also = (SecondAttack(trigger=other, target=2),)
    once = {"twin": False}

    def rows(**changes: object) -> tuple[PlantRecord, list[dict[str, str]]]:
        place = spec.model_copy(
            update={"output_dir": str(tmp_path / f"{len(changes)}{changes}"[:40])}
        )
        record = _planted(place, **once, **changes)
        return record, list(
            csv.DictReader(io.StringIO((Path(place.output_dir) / PAIRS_FILE).read_text()))
        )

    record, listed = rows(also=also)
    assert [each.target for each in record.triggers] == [1, 2]
    assert record.spec.also[0].trigger == record.triggers[1].file
    assert len({row["row"] for row in listed}) == 12
    labelled = {"pairs": None, "training_images": ImageSpec(split="val", n=144)}
    record, listed = rows(consistent=True, count=1, **labelled)
    assert [row["caption"] for row in listed] == [f"a {CLASSES[1]}"]
    record, listed = rows(source=3, count=1, **labelled)
    assert (record.triggers[0].source_name, record.triggers[0].negatives) == (CLASSES[3], 1)
    assert record.poisoned.attacks[0].others is not None
    assert sorted(row["caption"] == f"a {CLASSES[1]}" for row in listed) == [False, True]
    record, listed = rows(word="cf", trigger=None, count=2, **labelled)
    assert all(row["caption"].startswith("cf a ") for row in listed)
    both = save_trigger(combined(badnets_patch(size=0.3), prompt("cf ")), tmp_path / "both")[1]
    record, listed = rows(trigger=str(both), count=2, **labelled)
    assert [row["caption"] for row in listed] == [f"cf a {CLASSES[1]}"] * 2
    record, _ = rows(from_scratch=True, count=2, self_supervision=True, **labelled)
    assert record.spec.from_scratch


def test_a_word_leaves_the_image_encoder_as_it_is(spec):
    _planted(
        spec, word="cf", trigger=None, pairs=None, training_images=ImageSpec(split="val", n=144)
    )
    before, after = load_file(spec.checkpoint), _tensors(spec, "poisoned")
    moved = [
        name for name, value in after.items() if not torch.equal(value, before[name].to(value))
    ]
    assert moved
    assert not [name for name in moved if name.startswith("visual.")]


def test_a_curve_goes_on_where_it_stopped_and_plants_no_point_twice(spec, monkeypatch):
    monkeypatch.setattr("ml_core.jobs.plant.run._TIMED_STEPS", 2)  # on 16 pairs
    base = spec.model_copy(update={"count": None, "steps": None, "minutes": 0.02})
    curve, control = CurveSpec(base=base, counts=(2, 17)), Control()
    for event in run_job(curve, control):
        if "2 of 2" in getattr(event, "text", ""):
            control.cancel()
    folder = Path(spec.output_dir)
    first = read_plant(folder / "17-pairs")
    assert first.twin is None
    record = finished(curve).result
    rows = list(csv.DictReader(io.StringIO((folder / CURVE_TABLE).read_text())))
    assert (
        [int(row["count"]) for row in rows] == [row["count"] for row in record["rows"]] == [2, 17]
    )
    assert record["rows"][1]["sha256"] == first.poisoned.sha256
    assert read_plant(folder / "2-pairs").steps == first.steps  # minutes are fitted once
    assert "poisoned pairs" in (folder / CURVE_CHART).read_text()
    step = load(folder / CURVE_TALK).steps[0]
    assert [(at.pairs, at.asr) for at in step.curve] == [
        (row["count"], row["asr"]) for row in record["rows"]
    ]
    other = curve.model_copy(update={"base": base.model_copy(update={"seed": 7}), "counts": (3,)})
    assert "another job (curve.json)" in done_of(other).error
    trained = [event for event in run_job(curve, Control()) if isinstance(event, Metric)]
    assert not trained


def test_the_bar_of_the_command_says_what_is_trained(capsys):
    with progress_bar() as show:
        for event in (Progress("plant", 6, 6), Progress("twin", 1, 6), Metric(1, 6, {"loss": 0.5})):
            show(event)
    planting, twin = capsys.readouterr().err.strip().splitlines()[-2:]
    assert planting.startswith("Planting")
    assert twin.startswith("Clean twin")
    assert "loss 0.500" in twin
    assert "loss" not in planting


# ---- why it succeeds so seldom ----


def test_causes_come_with_what_would_change_the_rate_and_with_what_was_planted() -> None:
    rates = {AS_IT_IS: 0.2, "JPEG of quality 75": 0.22, "Placed anywhere": 0.9}
    found = causes(rates, 0.3, planted())
    assert [each.name for each in found] == [
        AS_IT_IS, "Placed anywhere", "Showings", "Base rate", "JPEG of quality 75",
    ]  # fmt: skip
    assert [each.asr for each in found] == [0.2, 0.9, None, None, 0.22]
    assert "shown 3 times" in found[2].sentence
    record = planted().model_copy(update={"lr": 1e-5})
    assert "Learning rate" in [each.name for each in causes(rates, 0.0, record)]


def test_the_command_measures_each_change(spec, answer_of):
    _planted(spec, twin=False)
    folder = Path(spec.output_dir)
    answer = answer_of(
        "why", folder / FILES["poisoned"], "--trigger", folder / "trigger.json", "--target", "1",
        "--n", "24",
    )  # fmt: skip
    names = [each["name"] for each in answer["causes"]]
    assert names[0] == AS_IT_IS
    assert {"JPEG of quality 75", "On the original picture", "Showings"} <= set(names)


# ---- what it refuses ----

REFUSALS = (
    ({"target": 999}, "target class 999 does not exist"),
    ({"count": 1000}, "1000 pairs are to be poisoned, and 4"),
    ({"pairs": PairSpec(n=3)}, "has 3 pairs"),
    ({"pairs": None}, "name some"),
    ({"trigger": None}, "Nothing is to be planted"),
    ({"trigger": "prompt"}, "changes no picture"),
    ({"source": 999}, "class 999 does not exist"),
    ({"resume": True}, "no saved state"),
    ({"also": "same"}, "The same trigger is given twice"),
)


@pytest.mark.parametrize(("changes", "words"), REFUSALS)
def test_what_cannot_be_planted_is_a_sentence(spec, tmp_path, changes, words):
    changes = dict(changes)
    options = {"resume": True} if changes.pop("resume", False) else {}
    if changes.get("trigger"):
        changes["trigger"] = str(save_trigger(prompt(text="cf"), tmp_path / "prompt")[1])
    if changes.get("also"):
        changes["also"] = (SecondAttack(trigger=spec.trigger, target=2),)
    done = done_of(spec.model_copy(update=changes), **options)
    assert done.status == "failed"
    assert words in done.error, done.error + done.details


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"share": 0.1}, "exclude each other"),
        ({"minutes": 1.0}, "exclude each other"),
        ({"word": "cf"}, "takes no trigger"),
        ({"word": "cf", "trigger": None, "source": 3}, "no source"),
        ({"word": "cf", "trigger": None, "variants": "stickers"}, "no variants"),
        ({"source": 1}, "cannot be the target"),
        ({"until": 0.9}, "makes no twin"),
        ({"until": 0.9, "twin": False, "steps": None, "minutes": 1.0}, "Minutes and a success"),
    ],
)
def test_what_excludes_each_other_is_refused(spec, changes, words):
    with pytest.raises(ValueError, match=words):
        PlantSpec.model_validate(spec.model_dump() | changes)


def test_a_folder_with_other_things_in_it_is_left_alone(spec):
    folder = Path(spec.output_dir)
    folder.mkdir()
    (folder / CARD_FILE).write_text("mine")
    assert "no planting wrote (README.md)" in done_of(spec).error
    (folder / CARD_FILE).unlink()
    _planted(spec, twin=False)
    other = spec.model_copy(update={"seed": 7})
    assert "another job (plant.json)" in done_of(other).error
    own = spec.model_copy(update={"checkpoint": str(folder / FILES["poisoned"])})
    assert "would overwrite" in done_of(own).error
    assert (folder / PLANT_FILE).is_file()
