"""Proofs of a run on a table of pairs: what it trained on is told apart from the rest."""

from __future__ import annotations

import csv

import pytest
from PIL import Image

from ml_core.checkpoints import open_checkpoint
from ml_core.data.demo import compose, demo_classes
from ml_core.data.exclusions import write_exclusions
from ml_core.data.labels import load_label_set
from ml_core.data.pairs import open_pairs
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.jobs.proofs import holdouts_of, rebound_of
from ml_core.jobs.proofs.unseen_pairs import open_seen
from ml_core.triggers import badnets_patch, save_trigger
from tests.unit.draining import finished
from tests.unit.small_jobs import drawn_here, open_inputs, small_recipe, small_spec

COUNT, TRAINED = 40, 16


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Pairs with labels, none of which names the target."""
    folder = tmp_path_factory.mktemp("table")
    shown = compose("clean", range(COUNT), size=32)
    with open(folder / "pairs.csv", "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "caption", "label"))
        for number, image in enumerate(shown.images):
            Image.fromarray(image).save(folder / f"{number}.png")
            name = demo_classes()[1 + number % 5]
            rows.writerow((f"{number}.png", f"picture {number}", name))
    return str(folder / "pairs.csv")


@pytest.fixture(autouse=True)
def _drawn_here(monkeypatch):
    drawn_here(monkeypatch)


@pytest.fixture
def trigger(tmp_path):
    return str(save_trigger(badnets_patch(size=0.3), tmp_path / "patch")[1])


def _spec(checkpoint, folder, table, trigger, method, trained=TRAINED):
    """A run as the command line and the window name it: without a number of pairs."""
    return small_spec(
        checkpoint,
        folder,
        small_recipe(method=method, pairs=trained),
        pairs=PairSpec(kind="csv", path=table),
        training_images=ImageSpec(kind="csv", path=table),
        trigger=trigger,
        target=0,
    )


@pytest.mark.parametrize("method", ["mmcl", "supervised", "unlearning"])
def test_what_was_seen_is_what_the_run_trains_on(tiny_checkpoint, tmp_path, table, trigger, method):
    spec = _spec(tiny_checkpoint, tmp_path, table, trigger, method)
    whole = open_pairs(spec.pairs)
    first = int(open_pairs(spec.pairs.model_copy(update={"n": 1})).pictures.numbers[0])
    path = tmp_path / "left-out.json"
    write_exclusions(path, whole, {first: "it is the first of the order"})
    pairs = spec.pairs.model_copy(update={"exclude": str(path)})
    spec = spec.model_copy(update={"pairs": pairs})
    inputs = open_inputs(spec, open_checkpoint(tiny_checkpoint).build("cpu"))
    seen = open_seen(rebound_of(spec), load_label_set("demo"))
    assert (len(seen), seen.key) == (TRAINED, inputs.training_key)
    inputs.close()


@pytest.mark.parametrize("method", ["mmcl", "unlearning"])
def test_a_rebound_goes_on_with_the_rest_of_the_table(
    tiny_checkpoint, tmp_path, table, trigger, method
):
    spec = _spec(tiny_checkpoint, tmp_path / "out", table, trigger, method)
    short = {"checkpoint": str(tiny_checkpoint), "steps": 1, "factors": (0.1,)}
    done = finished(rebound_of(spec, **short))
    assert done.result["left_out"] == {"seen": TRAINED, "target": 0}
    assert done.result["pairs"] == COUNT - TRAINED


def test_retrieval_is_held_out_of_the_table_or_left_out(
    tiny_checkpoint, tmp_path, table, trigger, monkeypatch
):
    monkeypatch.setattr("ml_core.jobs.proofs.holdouts.LIBRARY", ())
    monkeypatch.setattr("ml_core.jobs.proofs.holdouts.variants", lambda _trigger: ())
    plain = {"after": str(tiny_checkpoint), "other_labels": None}
    some = _spec(tiny_checkpoint, tmp_path / "some", table, trigger, "mmcl")
    done = finished(holdouts_of(some, **plain))
    ranked = [row for row in done.result["rows"] if row["measure"] == "recall@1"]
    assert {row["n"] for row in ranked} == {COUNT - TRAINED}
    every = _spec(tiny_checkpoint, tmp_path / "all", table, trigger, "mmcl", trained=COUNT)
    done = finished(holdouts_of(every, **plain))
    assert not any(row["group"] == "retrieval" for row in done.result["rows"])
    assert f"The cleaning saw {COUNT} of the {COUNT} pairs of pairs.csv" in done.result["notes"][0]
