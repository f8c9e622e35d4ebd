"""The rebound test and the hold-outs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ml_core.cleaning.pretraining import UNKNOWN
from ml_core.data.labels import load_label_set
from ml_core.data.pairs import open_pairs
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Message
from ml_core.jobs.proofs import holdouts_of, rebound_of
from ml_core.jobs.proofs import rebound as rebound_module
from ml_core.jobs.proofs.unseen_pairs import names_class, unseen_pairs
from ml_core.reading.errors import InputError
from ml_core.triggers import badnets_patch, save_trigger
from tests.unit.draining import done_of, events_of, finished
from tests.unit.job_specs import SMALL
from tests.unit.small_jobs import small_recipe, small_spec

Make = Callable[..., Any]


@pytest.fixture
def trigger(tmp_path):
    return str(save_trigger(badnets_patch(size=0.3), tmp_path / "patch")[1])


@pytest.fixture
def rebound_job(tiny_checkpoint, tmp_path):
    """A small rebound test, with other fields where they are named."""
    seen = {"seen": PairSpec(kind="demo", split="clean", n=40)}
    return lambda **changes: SMALL["rebound"](tiny_checkpoint, tmp_path).model_copy(
        update=seen | changes
    )


@pytest.fixture
def holdouts_job(tiny_checkpoint, tmp_path, monkeypatch):
    """Small hold-outs without the triggers of the library."""
    monkeypatch.setattr("ml_core.jobs.proofs.holdouts.LIBRARY", ())
    return lambda **changes: SMALL["holdouts"](tiny_checkpoint, tmp_path).model_copy(update=changes)


# ---- the rebound test ----


def test_every_rate_starts_from_the_same_checkpoint_and_the_worst_point_counts(
    tiny_checkpoint, tmp_path, trigger, rebound_job
):
    few = PairSpec(kind="demo", split="clean", seed=5, n=13)
    events, done = events_of(rebound_job(pairs=few))
    assert done.status == "finished", done.details
    record = done.result
    on_disk = json.loads((tmp_path / "out" / "rebound.json").read_text("utf-8"))
    assert on_disk["rates"] == record["rates"]
    peak = UNKNOWN.assumed
    assert [rate["lr"] for rate in record["rates"]] == pytest.approx([0.1 * peak, peak])
    assert record["pretraining"] == UNKNOWN.sentence
    starts = [rate["points"][0] for rate in record["rates"]]
    assert starts[0] == starts[1]  # no rate goes on from another's end
    assert all([p["step"] for p in rate["points"]] == [0, 2, 4] for rate in record["rates"])
    every = [p["asr_excl"] for rate in record["rates"] for p in rate["points"]]
    assert record["worst"]["max_asr"] == max(every)
    assert record["stays_clean"] == (max(every) < 0.05)
    assert record["pairs"] == 12
    assert any(isinstance(e, Message) and "more than once" in e.text for e in events)


@pytest.mark.parametrize(
    ("asr", "high", "broken", "stays", "words"),
    [
        (0.31, 0.35, None, False, "comes back"),
        (0.01, 0.02, None, True, "Stays clean in this test"),
        (0.04, 0.07, None, True, "use more images"),
        (0.01, 0.01, 1, False, "Not decided: the attack success rate is at most 1.0 %"),
    ],
)
def test_the_verdict_says_no_more_than_was_measured(asr, high, broken, stays, words, rebound_job):
    """What broke down at once proves nothing."""
    point = {"step": 2.0, "asr_excl": asr, "asr_low": 0.0, "asr_high": high}
    low = {"step": 0.0, "asr_excl": 0.0, "asr_low": 0.0, "asr_high": 0.01}
    calm = {"factor": 0.1, "lr": 1e-4, "max_asr": 0.0, "max_step": 0, "points": [low]}
    wild = {"factor": 1.0, "lr": 1e-3, "max_asr": asr, "max_step": 2, "points": [low, point]}
    rates = [rate | {"diverged": broken} for rate in (calm, wild)]
    record = rebound_module._record(rebound_job(), rates, [])
    assert record["stays_clean"] is stays
    assert words in record["verdict"]
    assert record["verdict"].count("broke down at step 1") == (2 if broken else 0)


def test_a_copy_that_breaks_down_is_said_and_what_was_seen_before_counts(monkeypatch, rebound_job):
    def rate_at(step, total_steps, recipe):
        return float("inf") if recipe.lr == 1.0 and step == 2 else 1e-5

    monkeypatch.setattr("ml_core.cleaning.loop.rate_at", rate_at)
    spec = rebound_job(peak_lr=1.0)
    done = finished(spec)
    calm, wild = done.result["rates"]
    assert (calm["diverged"], wild["diverged"]) == (None, 4)  # the third step broke the weights
    assert wild["points"] == calm["points"][:2]
    assert done.result["stays_clean"] is False


# ---- which pairs ----


def test_captions_that_name_the_target_and_seen_pictures_are_left_out():
    pairs = open_pairs(PairSpec(kind="demo", split="clean", n=300))
    seen = open_pairs(PairSpec(kind="demo", split="clean", n=50))
    chosen, left_out = unseen_pairs(pairs, seen, "banana", 400)
    captions = chosen.captions(np.arange(len(chosen)))
    named = [c for c in pairs.captions(np.arange(300)) if "banana" in c]
    assert left_out["target"] == len(named)
    assert not any("banana" in caption for caption in captions)
    assert left_out["seen"] == 50 - sum("banana" in c for c in seen.captions(np.arange(50)))
    assert len(chosen) == 300 - left_out["seen"] - left_out["target"]


@pytest.mark.parametrize(
    ("there", "words"), [(24, "No pair is left"), (25, "Only one pair is left")]
)
def test_too_few_left_are_said_with_numbers(there, words, rebound_job):
    every = PairSpec(kind="demo", split="clean", n=there)
    captions = open_pairs(every).captions(np.arange(there))
    target = next(n for n, name in enumerate(load_label_set("demo").class_names)
                  if not any(names_class(name).search(text) for text in captions))  # fmt: skip
    seen = PairSpec(kind="demo", split="clean", n=24)
    fields = {"pairs": every, "seen": seen, "target": target}
    done = done_of(rebound_job(**fields))
    assert done.error_code == "usage", done.details
    assert done.error.startswith(f"{words} of ")
    assert "24 were seen by the cleaning" in done.error


# ---- hold-outs ----


def test_the_worst_holdout_is_never_the_trigger_itself(monkeypatch, holdouts_job):
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
    tmp_path, monkeypatch, holdouts_job
):
    pets = tmp_path / "pets.txt"
    pets.write_text("cat\ndog\nbanana\nmy own thing\n", encoding="utf-8")
    small = replace(load_label_set("cifar-10"), name="imagenet-1k")
    shown = {"imagenet-1k": small}
    monkeypatch.setattr(
        "ml_core.jobs.proofs.holdouts.load_label_set",
        lambda name: shown.get(name) or load_label_set(name),
    )

    def seconds(target, **changes):
        spec = holdouts_job(label_set=str(pets), target=target, **changes)
        done = finished(spec)
        rows = done.result["rows"]
        names = {row["name"] for row in rows if row["group"] == "second label set"}
        return names, done.result["notes"][:2]

    retrieval = "Retrieval was left out: no image-caption pairs were given"
    others = tmp_path / "others.txt"
    others.write_text("one\ntwo\n", encoding="utf-8")
    for target, labels, name, first in (
        (2, None, "demo", retrieval),  # a banana, which is no animal
        (3, None, None, "A second set of classes was not tried: no built-in one has"),
        (1, pets, None, "A second set of classes was not tried: pets.txt has the run's own"),
        (1, others, None, "A second set of classes was not tried: others.txt has no class"),
    ):  # fmt: skip
        names, notes = seconds(target, **{"other_labels": str(labels)} if labels else {})
        assert names == ({name} if name else set())
        assert notes[0].startswith(first)
        assert any(note.startswith(retrieval) for note in notes)
    many = tuple(f"{n} {{}}" for n in range(30))
    monkeypatch.setattr("ml_core.jobs.proofs.holdouts._PROMPTS", 20)
    names, notes = seconds(1, templates=many)
    assert names == {"imagenet-1k"}
    assert notes[0] == (
        "The second set of classes, imagenet-1k, was evaluated with 2 of 30 prompt templates."
    )


# ---- from a run ----


def test_proofs_of_a_run_take_its_data_and_other_pairs(tiny_checkpoint, tmp_path, trigger):
    spec = small_spec(tiny_checkpoint, tmp_path, small_recipe(), trigger=trigger)
    asked, held = rebound_of(spec), holdouts_of(spec)
    assert asked.pairs.seed != spec.pairs.seed
    assert (held.before, held.after) == (spec.checkpoint, asked.checkpoint)
    table = spec.model_copy(update={"pairs": PairSpec(kind="csv", path="pairs.csv", n=100)})
    other = rebound_of(table)
    assert (other.pairs.n, other.seen) == (None, table.pairs)
    with pytest.raises(InputError, match="no trigger"):
        rebound_of(spec.model_copy(update={"trigger": None}))
    photos = ImageSpec(kind="folder", path=str(tmp_path))
    unpaired = spec.model_copy(update={"pairs": None, "training_images": photos})
    with pytest.raises(InputError, match="the run had none: choose some"):
        rebound_of(unpaired)
    former = spec.model_copy(update={"recipe": small_recipe(method="rvpt")})
    for proof in (rebound_of, holdouts_of):  # it left an adapter, no checkpoint
        with pytest.raises(InputError, match="RVPT is no longer offered"):
            proof(former)
