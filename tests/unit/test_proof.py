"""The rebound test and the hold-outs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.adapter import PromptedVisual, add_prompts, save_adapter, vit_blocks
from ml_core.checkpoints.save import save_checkpoint
from ml_core.cleaning.pretraining import DEMO, UNKNOWN
from ml_core.cleaning.recipes import Recipe
from ml_core.data.canvas import CanvasCache
from ml_core.data.images import open_images
from ml_core.data.labels import load_label_set
from ml_core.data.pairs import open_pairs
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.evaluation.stamping import own_canvases
from ml_core.events import Control, Done, Message, Metric, Progress, run_to_end
from ml_core.jobs.demo import demo_checkpoint
from ml_core.jobs.measure import OpenSetting, classifier_of, measure
from ml_core.jobs.plain_finetune import plain_recipe
from ml_core.jobs.proofs import (
    holdouts_of,
    rebound_of,
)
from ml_core.jobs.proofs import rebound as rebound_module
from ml_core.jobs.proofs.unseen_pairs import names_class, unseen_pairs
from ml_core.jobs.runner import run_job
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError
from ml_core.triggers import badnets_patch, save_trigger
from ml_core.triggers.files import load_trigger
from ml_core.triggers.library import LIBRARY
from ml_core.triggers.published import published
from tests.unit.draining import done_of, events_of, finished
from tests.unit.job_specs import SMALL
from tests.unit.small_jobs import TEMPLATES, small_recipe, small_spec

Make = Callable[..., Any]


@pytest.fixture
def trigger(tmp_path: Path) -> str:
    return str(save_trigger(badnets_patch(size=0.3), tmp_path / "patch")[1])


@pytest.fixture
def rebound_job(tiny_checkpoint: Path, tmp_path: Path) -> Make:
    """A small rebound test, with other fields where they are named."""
    seen = {"seen": PairSpec(kind="demo", split="clean", n=40)}
    return lambda **changes: SMALL["rebound"](tiny_checkpoint, tmp_path).model_copy(
        update=seen | changes
    )


@pytest.fixture
def holdouts_job(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Small hold-outs without the triggers of the library."""
    monkeypatch.setattr("ml_core.jobs.proofs.holdouts.LIBRARY", ())
    return lambda **changes: SMALL["holdouts"](tiny_checkpoint, tmp_path).model_copy(update=changes)


# ---- the rebound test ----


def test_every_rate_starts_from_the_same_checkpoint_and_the_worst_point_counts(
    tiny_checkpoint: Path, tmp_path: Path, trigger: str, rebound_job: Make
) -> None:
    folder = tmp_path / "out"
    events, done = events_of(rebound_job())
    assert done.status == "finished", done.details
    record = done.result
    on_disk = json.loads((folder / "rebound.json").read_text("utf-8"))
    assert on_disk["rates"] == record["rates"]
    assert [rate["factor"] for rate in record["rates"]] == [0.1, 1.0]
    peak = UNKNOWN.assumed
    assert [rate["lr"] for rate in record["rates"]] == pytest.approx([0.1 * peak, peak])
    starts = [rate["points"][0] for rate in record["rates"]]
    assert starts[0] == starts[1]  # no rate goes on from another's end
    assert starts[0]["asr_excl"] == _measured_by_hand(tiny_checkpoint, trigger)
    assert all([p["step"] for p in rate["points"]] == [0, 2, 4] for rate in record["rates"])
    for one in (*record["rates"], record["worst"]):
        assert one["max_asr"] == one["hits"] / one["n"]
    every = [p["asr_excl"] for rate in record["rates"] for p in rate["points"]]
    assert record["worst"]["max_asr"] == max(every)
    assert record["stays_clean"] == (max(every) < 0.05)
    shown = [e for e in events if isinstance(e, Metric)]
    assert [e.step for e in shown] == [0, 2, 4, 4, 6, 8]
    assert shown[0].total_steps == 8
    assert shown[-1].values["factor"] == 1.0
    assert record["pairs"] == 24


@pytest.mark.parametrize(
    ("params", "named", "peak", "said", "level"),
    [
        ("lr: 0.0008\n", None, 8e-4, "pretrained at a peak of 8e-4 (from params.txt", "info"),
        ("lr: 0.0008\n", 1e-3, 1e-3, None, None),
        ("", None, UNKNOWN.assumed, "It is not known what learning rate", "warning"),
    ],
)
def test_its_rates_follow_the_pretraining(
    tiny_checkpoint: Path,
    params: str,
    named: float | None,
    peak: float,
    said: str | None,
    level: str | None,
    rebound_job: Make,
) -> None:
    (tiny_checkpoint.parent / "params.txt").write_text(params)
    spec = rebound_job(steps=1, peak_lr=named)
    events, done = events_of(spec)
    assert done.status == "finished", done.details
    record = done.result
    assert record["peak_lr"] == peak
    assert [rate["lr"] for rate in record["rates"]] == pytest.approx([0.1 * peak, peak])
    told = [e.level for e in events if isinstance(e, Message) and e.text == record["pretraining"]]
    assert told == ([] if level is None else [level])
    assert record["pretraining"] is None if said is None else said in record["pretraining"]


def test_the_rebound_of_a_run_takes_the_rate_of_its_source(
    tiny_checkpoint: Path, tmp_path: Path, trigger: str
) -> None:
    """Also what only the run's reference tells; its folder may lie elsewhere by then."""
    parent = tmp_path / "parent" / "clean.safetensors"
    parent.parent.mkdir()
    parent.write_bytes(tiny_checkpoint.read_bytes())
    (parent.parent / "params.txt").write_text("lr: 0.0008\n")
    spec = small_spec(
        tiny_checkpoint, tmp_path / "run", small_recipe(method="mmcl", pairs=8), trigger=trigger
    ).model_copy(update={"reference": str(parent)})
    finished(spec)
    (parent.parent / "params.txt").unlink()
    done = finished(rebound_of(spec, steps=1, batch_size=4))
    assert done.result["peak_lr"] == 8e-4
    assert "from the provenance in the file" in done.result["pretraining"]


def test_the_rebound_of_the_demo_takes_the_rate_of_the_demo(rebound_job: Make) -> None:
    spec = rebound_job(checkpoint=str(demo_checkpoint()), steps=1, factors=(1.0,))
    done = finished(spec)
    assert (done.result["peak_lr"], done.result["pretraining"]) == (DEMO.rate, DEMO.sentence)


def test_the_cleaned_checkpoint_is_left_alone(tiny_checkpoint: Path, rebound_job: Make) -> None:
    before = tiny_checkpoint.read_bytes()
    done_of(rebound_job(steps=1))
    assert tiny_checkpoint.read_bytes() == before


@pytest.mark.parametrize(
    ("asr", "high", "stays", "words"),
    [
        (0.31, 0.35, False, "comes back"),
        (0.01, 0.02, True, "Stays clean in this test"),
        (0.04, 0.07, True, "use more images"),
    ],
)
def test_the_verdict_says_no_more_than_was_measured(
    asr: float, high: float, stays: bool, words: str, rebound_job: Make
) -> None:
    spec = rebound_job()
    point = {"step": 2.0, "asr_excl": asr, "asr_low": 0.0, "asr_high": high}
    low = {"step": 0.0, "asr_excl": 0.0, "asr_low": 0.0, "asr_high": 0.01}
    rates = [
        {
            "factor": 0.1,
            "lr": 1e-4,
            "max_asr": 0.0,
            "max_step": 0,
            "points": [low],
            "diverged": None,
        },
        {
            "factor": 1.0,
            "lr": 1e-3,
            "max_asr": asr,
            "max_step": 2,
            "points": [low, point],
            "diverged": None,
        },
    ]
    record = rebound_module._record(spec, rates, [])
    assert record["stays_clean"] is stays
    assert words in record["verdict"]
    assert record["worst"]["factor"] == 1.0


def test_a_copy_that_breaks_down_is_said_and_what_was_seen_before_counts(
    monkeypatch: pytest.MonkeyPatch, rebound_job: Make
) -> None:
    def rate_at(step: int, total_steps: int, recipe: Recipe) -> float:
        return float("inf") if recipe.lr == 1.0 and step == 2 else 1e-5

    monkeypatch.setattr("ml_core.cleaning.loop.rate_at", rate_at)
    spec = rebound_job(peak_lr=1.0)
    done = finished(spec)
    calm, wild = done.result["rates"]
    assert calm["diverged"] is None
    assert [point["step"] for point in calm["points"]] == [0, 2, 4]
    assert wild["diverged"] == 4  # the third step's rate broke the weights
    assert wild["points"] == calm["points"][:2]
    assert done.result["stays_clean"] is False
    assert "broke down at step 4" in done.result["verdict"]


@pytest.mark.parametrize(
    ("asr", "words"), [(0.01, "Not decided: the attack success rate is at most 1.0 %"),
                       (0.06, "The backdoor comes back")],
)  # fmt: skip
def test_what_broke_down_at_once_proves_nothing(asr: float, words: str, rebound_job: Make) -> None:
    start = {"step": 0.0, "asr_excl": asr, "asr_low": 0.0, "asr_high": 0.01}
    rate = {"lr": 1.0, "max_asr": asr, "max_step": 0, "points": [start], "diverged": 1}
    rates = [rate | {"factor": factor} for factor in (0.1, 1.0)]
    record = rebound_module._record(rebound_job(), rates, [])
    assert record["stays_clean"] is False
    assert record["verdict"].startswith(words)
    assert record["verdict"].count("broke down at step 1") == 2


def test_few_pairs_are_shown_again_and_said(rebound_job: Make) -> None:
    few = PairSpec(kind="demo", split="clean", seed=5, n=13)
    events = list(run_job(rebound_job(pairs=few), Control()))
    assert isinstance(events[-1], Done)
    assert events[-1].status == "finished", events[-1].details
    assert any(isinstance(e, Message) and "more than once" in e.text for e in events)


@pytest.mark.parametrize("pairs", [24, 23, 18, 13, 7, 6, 3])
def test_few_pairs_make_no_more_steps(pairs: int) -> None:
    """Whole epochs over nearly enough pairs would double the test and its schedule."""
    recipe = plain_recipe(pairs, 4, 6, 1.0, every=2, even=True)
    assert recipe.total_steps == 4
    assert recipe.batch_size == min(6, pairs)
    assert recipe.pairs <= pairs


def _measured_by_hand(checkpoint: Path, trigger: str) -> float | None:
    model = open_checkpoint(checkpoint).build("cpu")
    labels = replace(load_label_set("demo"), templates=TEMPLATES)
    spec = ImageSpec(split="test", n=36)
    setting = OpenSetting(spec, open_images(spec, labels), labels, load_trigger(Path(trigger)))
    bench = setting.on(model.preprocess)
    classifier = run_to_end(classifier_of(model, labels, Control()))
    found = run_to_end(measure(model, bench, classifier, Control(), "x"))
    assert found is not None
    return found.asr_excl


# ---- which pairs ----


def test_captions_that_name_the_target_and_seen_pictures_are_left_out() -> None:
    pairs = open_pairs(PairSpec(kind="demo", split="clean", n=300))
    seen = open_pairs(PairSpec(kind="demo", split="clean", n=50))
    chosen, left_out = unseen_pairs(pairs, seen, "banana", 400)
    captions = chosen.captions(np.arange(len(chosen)))
    named = [c for c in pairs.captions(np.arange(300)) if "banana" in c]
    assert left_out["target"] == len(named)
    assert not any("banana" in caption for caption in captions)
    assert left_out["seen"] == 50 - sum("banana" in c for c in seen.captions(np.arange(50)))
    assert len(chosen) == 300 - left_out["seen"] - left_out["target"]
    same = chosen.canvas(np.array([0]), 64)
    at = pairs.captions(np.arange(300)).index(captions[0])
    assert np.array_equal(same, pairs.canvas(np.array([at]), 64))


@pytest.mark.parametrize(
    ("there", "said"), [(24, "No pair is left"), (25, "Only one pair is left")]
)
def test_too_few_left_are_said_with_numbers(there: int, said: str, rebound_job: Make) -> None:
    every = PairSpec(kind="demo", split="clean", n=there)
    captions = open_pairs(every).captions(np.arange(there))
    target = next(n for n, name in enumerate(load_label_set("demo").class_names)
                  if not any(names_class(name).search(text) for text in captions))  # fmt: skip
    seen = PairSpec(kind="demo", split="clean", n=24)
    fields = {"pairs": every, "seen": seen, "target": target}
    done = done_of(rebound_job(**fields))
    assert done.error_code == "usage", done.details
    assert done.error.startswith(f"{said} of ")
    assert "24 were seen by the cleaning" in done.error


@pytest.mark.parametrize(
    ("caption", "named"),
    [
        ("two bananas on a plate", True),
        ("BANANA!", True),
        ("banana_split", False),
        ("bananarama", False),
        ("an apple", False),
    ],
)
def test_a_class_is_found_as_a_word(caption: str, named: bool) -> None:
    assert bool(names_class("banana").search(caption)) is named
    assert names_class("fire engine").search("a red fire-engine")


# ---- hold-outs ----


def test_holdouts_measure_both_checkpoints_on_what_was_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holdouts_job: Make
) -> None:
    few = tuple(entry for entry in LIBRARY if entry.id in ("T4", "T11", "T16"))
    monkeypatch.setattr("ml_core.jobs.proofs.holdouts.LIBRARY", few)
    fruit = tmp_path / "fruit.txt"
    fruit.write_text("plum\nbanana\nfig\n", encoding="utf-8")
    spec = holdouts_job(
        images=ImageSpec(n=36), pairs=PairSpec(kind="demo", split="clean", seed=5, n=40),
        other_labels=str(fruit),
    )  # fmt: skip
    events, done = events_of(spec)
    assert done.status == "finished", done.details
    rows = done.result["rows"]
    groups = list(dict.fromkeys(row["group"] for row in rows))
    assert groups == [
        "itself", "clean accuracy", "moved", "scaled", "other triggers", "second label set",
        "retrieval",
    ]  # fmt: skip
    assert all(row["before"] == row["after"] for row in rows)  # it is the same checkpoint
    for row in rows:
        assert row["after"] == row["after_hits"] / row["n"]
        assert row["before"] == row["before_hits"] / row["before_n"]
    others = [row["name"] for row in rows if row["group"] == "other triggers"]
    assert others == ["Blended (T4)", "White grid (T16)"]  # T11 needs its file
    stages = {e.stage for e in events if isinstance(e, Progress)}
    counted = [(e.stage, e.done / e.total) for e in events if isinstance(e, Progress) and e.total]
    shares = [share for stage, share in counted if stage == "before"]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    (total,) = {e.total for e in events if isinstance(e, Progress) and e.stage == "before"}
    assert total == 15 * done.result["n"]  # of 15 questions: each picture is a step
    assert stages - {"texts"} == {"open", "before", "after"}
    assert done.result["notes"] == []


@pytest.mark.parametrize("canvas", ["original", "squash", "resize_256"])
def test_retrieval_takes_triggers_on_other_canvases(
    tmp_path: Path, canvas: str, monkeypatch: pytest.MonkeyPatch, holdouts_job: Make
) -> None:
    """As published triggers have them: pairs that were held out can be drawn in every way."""
    monkeypatch.setattr("ml_core.jobs.proofs.holdouts.variants", lambda _trigger: ())
    shown = next(
        made
        for made in (published(one.id, 32) for one in LIBRARY if not one.needs_file)
        if made.canvas == canvas
    )
    spec = holdouts_job(
        trigger=str(save_trigger(shown, tmp_path / "trigger")[1]),
        pairs=PairSpec(kind="demo", split="clean", seed=5, n=40),
        seen=PairSpec(kind="demo", split="clean", seed=5, n=20),
    )
    done = finished(spec)
    ranked = [row for row in done.result["rows"] if row["measure"] == "recall@1"]
    assert {row["n"] for row in ranked} == {20}


@pytest.mark.parametrize("id_", [one.id for one in LIBRARY if not one.needs_file])
def test_chosen_pairs_bear_every_published_trigger(tiny_model: ClipModel, id_: str) -> None:
    pairs = open_pairs(PairSpec(n=8)).fitted(tiny_model.preprocess.fit)
    chosen, _ = unseen_pairs(pairs, None, None, 6)
    cache = CanvasCache(chosen, tiny_model.image_size)
    shown = published(id_, tiny_model.image_size)
    own = own_canvases(cache, shown, tiny_model.image_size, 0)
    assert (own is None) == (shown.canvas == "model")
    if own is not None:
        assert len(own.get(np.arange(6))) == 6
        assert not own.broken


def test_the_worst_holdout_is_never_the_trigger_itself(
    monkeypatch: pytest.MonkeyPatch, holdouts_job: Make
) -> None:
    rates = {"itself": 0.9, "moved": 0.1, "scaled": 0.4}
    rows = [
        {"group": group, "name": "one", "measure": "asr_excl", "after": rate}
        for group, rate in rates.items()
    ]
    monkeypatch.setattr("ml_core.jobs.proofs.holdouts._rows", lambda *_: rows)
    spec = holdouts_job(other_labels="demo")
    done = finished(spec)
    assert done.result["worst"] == {"group": "scaled", "name": "one", "after": 0.4}


def test_a_built_in_label_set_is_the_second_one_and_what_is_left_out_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holdouts_job: Make
) -> None:
    pets = tmp_path / "pets.txt"
    pets.write_text("cat\ndog\nbanana\nmy own thing\n", encoding="utf-8")
    small = replace(load_label_set("cifar-10"), name="imagenet-1k")
    shown = {"imagenet-1k": small}
    monkeypatch.setattr(
        "ml_core.jobs.proofs.holdouts.load_label_set",
        lambda name: shown.get(name) or load_label_set(name),
    )

    def seconds(target: int, **changes: Any) -> tuple[set[str], list[str]]:
        spec = holdouts_job(label_set=str(pets), target=target, **changes)
        done = finished(spec)
        rows = done.result["rows"]
        found = {row["name"] for row in rows if row["group"] == "second label set"}
        return found, done.result["notes"][:2]

    retrieval = "Retrieval was left out: no image-caption pairs were given"
    for target, name in ((1, "imagenet-1k"), (2, "demo")):  # a dog; a banana, which is no animal
        found, notes = seconds(target)
        assert found == {name}
        assert notes[0].startswith(retrieval)
    found, notes = seconds(3)
    assert not found
    assert notes[0].startswith(
        "The second label set was left out: no other built-in one has a class 'my own thing'; "
    )
    assert notes[1].startswith(retrieval)
    found, notes = seconds(1, other_labels=str(pets))
    assert not found
    assert notes[0] == "The second label set was left out: pets.txt has the run's own classes."
    many = tuple(f"{n} {{}}" for n in range(30))
    monkeypatch.setattr("ml_core.jobs.proofs.holdouts._PROMPTS", 20)
    found, notes = seconds(1, templates=many)
    assert found == {"imagenet-1k"}
    assert notes[0] == (
        "The second label set imagenet-1k was evaluated with the first 2 of 30 prompt templates."
    )


def test_a_label_set_without_the_target_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holdouts_job: Make
) -> None:
    labels = tmp_path / "others.txt"
    labels.write_text("one\ntwo\n", encoding="utf-8")
    spec = holdouts_job(other_labels=str(labels))
    done = finished(spec)
    assert any("has no class" in note for note in done.result["notes"])
    assert not any(row["group"] == "second label set" for row in done.result["rows"])


# ---- from a run ----


def test_proofs_of_a_run_take_its_data_and_other_pairs(
    tiny_checkpoint: Path, tmp_path: Path, trigger: str
) -> None:
    spec = small_spec(tiny_checkpoint, tmp_path, small_recipe(), trigger=trigger)
    asked = rebound_of(spec)
    assert asked.checkpoint == str(tmp_path / "cleaned.safetensors")
    assert asked.peak_lr is None
    assert spec.pairs is not None
    assert asked.pairs.seed != spec.pairs.seed
    assert (asked.steps, asked.batch_size, asked.factors) == (300, 64, (0.1, 0.3, 1.0))
    held = holdouts_of(spec)
    assert (held.before, held.after) == (spec.checkpoint, asked.checkpoint)
    assert held.images == spec.test_images
    many = spec.model_copy(update={"test_images": ImageSpec(split="test")})
    assert rebound_of(many).images.n == holdouts_of(many).images.n == 1000
    table = spec.model_copy(update={"pairs": PairSpec(kind="csv", path="pairs.csv", n=100)})
    other = rebound_of(table)
    assert (other.pairs.n, other.seen) == (None, table.pairs)
    assert holdouts_of(table).seen == table.pairs
    with pytest.raises(InputError, match="no trigger"):
        rebound_of(spec.model_copy(update={"trigger": None}))


def test_pairs_are_named_for_a_run_without_some(tmp_path: Path, trigger: str) -> None:
    spec = small_spec(
        tmp_path / "suspect.pt", tmp_path, small_recipe(), trigger=trigger
    ).model_copy(
        update={"pairs": None, "training_images": ImageSpec(kind="folder", path=str(tmp_path))}
    )
    with pytest.raises(InputError, match="the run had none: choose some"):
        rebound_of(spec)
    assert holdouts_of(spec).pairs is None
    mine = PairSpec(kind="csv", path="mine.csv", exclude="found.json")
    asked = rebound_of(spec, pairs=mine)
    assert asked.pairs == mine
    assert holdouts_of(spec, pairs=mine).pairs == mine


def test_an_adapter_has_holdouts_and_no_rebound(
    tiny_checkpoint: Path, tmp_path: Path, trigger: str
) -> None:
    spec = small_spec(tiny_checkpoint, tmp_path, small_recipe(), trigger=trigger)
    (tmp_path / "adapter.safetensors").write_bytes(b"")
    held = holdouts_of(spec)
    assert held.before == held.after == str(tiny_checkpoint)
    assert held.adapter == str(tmp_path / "adapter.safetensors")
    with pytest.raises(InputError, match="left an adapter"):
        rebound_of(spec)


def test_holdouts_measure_the_model_with_its_adapter(
    tiny_vit: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holdouts_job: Make
) -> None:
    monkeypatch.setattr("ml_core.jobs.proofs.holdouts._SECOND", ())
    source = save_checkpoint(tiny_vit, tmp_path / "vit.safetensors", provenance={})
    adapted = open_checkpoint(source).build("cpu")
    blocks, width = vit_blocks(adapted, "")
    add_prompts(adapted, 5 * torch.randn(blocks - 1, 4, width), 1)
    facts = {"method": "rvpt", "source_sha256": adapted.sha256, "source_name": source.name}
    adapter = save_adapter(adapted, tmp_path / "adapter.safetensors", facts)
    seen: list[bool] = []

    def clean(model: ClipModel, *rest: object) -> object:
        seen.append(isinstance(model.module.visual, PromptedVisual))
        return classifier_of(model, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("ml_core.jobs.proofs.holdouts.classifier_of", clean)
    spec = holdouts_job(before=str(source), after=str(source), adapter=str(adapter))
    finished(spec)
    assert seen == [False, True]
