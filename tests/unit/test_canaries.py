"""Canaries and stamps: what is drawn, what is put on a batch, and what a planting leaves."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ml_core.checkpoints import open_checkpoint
from ml_core.cleaning.batches import Batch
from ml_core.cleaning.canaries import KINDS, draw_canaries
from ml_core.cleaning.presets import preset
from ml_core.cleaning.stamps import Stamps
from ml_core.data.images import PromptPairs, open_images
from ml_core.data.labels import load_label_set
from ml_core.data.specs import ImageSpec
from ml_core.events import Control, Event, Message, Metric
from ml_core.jobs.folder_lock import lock_folder
from ml_core.jobs.measure import open_classes
from ml_core.jobs.search import SearchSpec
from ml_core.jobs.search.canaries import (
    COPY_FILE,
    PlantedCanaries,
    canary_folder,
    delete_older_copies,
    planting,
)
from ml_core.reading.errors import InputError
from ml_core.triggers import demo_trigger, prompt
from tests.unit.draining import drain
from tests.unit.job_specs import CANARIES, SMALL

CLASSES = tuple(f"class {number}" for number in range(6))
FEW = CANARIES.model_copy(update={"steps": 4, "factor": 1.0})


# ---- what is drawn ----


def test_each_canary_has_a_class_of_its_own_and_the_seed_decides_all() -> None:
    found = draw_canaries(KINDS, CLASSES, (0, 1), 5)
    targets = [one.target for one in found]
    assert len(set(targets)) == len(KINDS)
    assert not {0, 1} & set(targets)
    assert tuple(one.name for one in found) == KINDS
    again = draw_canaries(KINDS, CLASSES, (0, 1), 5)
    assert [one.trigger.digest for one in again] == [one.trigger.digest for one in found]
    drawn = {
        tuple((one.target, one.trigger.digest) for one in draw_canaries(KINDS, CLASSES, (), seed))
        for seed in range(8)
    }
    assert len(drawn) == 8


def test_too_few_classes_are_refused() -> None:
    with pytest.raises(InputError, match="3 canaries need as many classes"):
        draw_canaries(KINDS, CLASSES[:4], (0, 1), 0)


# ---- what is put on a batch ----


def test_labelled_pictures_have_prompts_for_captions() -> None:
    labels = load_label_set("demo")
    images = open_images(ImageSpec(split="val", n=6), labels)
    pairs = PromptPairs(images, ("a {}", "one {}"))
    names = [labels.class_names[label] for label in images.labels]
    numbers = np.arange(6)
    assert pairs.captions(numbers) == [
        f"{'a' if number % 2 == 0 else 'one'} {name}" for number, name in enumerate(names)
    ]
    assert pairs.captions(numbers[:2], 1) == [f"one {names[0]}", f"a {names[1]}"]
    assert np.array_equal(pairs.canvas(numbers, 32), images.canvas(numbers, 32))


# ---- what a planting leaves ----


@pytest.fixture
def spec(tiny_checkpoint: Path, tmp_path: Path) -> SearchSpec:
    return SMALL["search"](tiny_checkpoint, tmp_path).model_copy(update={"canaries": FEW})


def _planted(spec: SearchSpec) -> tuple[list[Event], PlantedCanaries]:
    folder = Path(spec.base.output_dir)
    return drain(planting(spec, open_classes(spec.base), folder, Control()))


def _steps(events: list[Event]) -> int:
    return sum(isinstance(event, Metric) and "loss" in event.values for event in events)


def test_a_planting_leaves_a_copy_and_a_record_that_equal_searches_use_again(spec, monkeypatch):
    monkeypatch.setattr("ml_core.jobs.plant.run._MEASURE_EVERY", 2)
    before, copy = Path(spec.base.checkpoint).read_bytes(), Path(spec.base.output_dir) / COPY_FILE
    events, planted = _planted(spec)
    record = planted.record
    assert Path(spec.base.checkpoint).read_bytes() == before
    assert record.steps == _steps(events) == 2  # any success is enough, and was measured at 2
    assert record.poisoned.sha256 == open_checkpoint(copy).inspection.sha256
    expected = draw_canaries(FEW.kinds, load_label_set("demo").class_names, (), 0)
    assert [(one.target, one.trigger.digest) for one in planted.watched] == [
        (one.target, one.trigger.digest) for one in expected
    ]
    events, again = _planted(spec)
    assert (again.record, again.rows) == (record, planted.rows)
    assert not _steps(events)
    hard = FEW.model_copy(update={"seed": 1, "wanted": 1.0})
    events, changed = _planted(spec.model_copy(update={"canaries": hard}))
    assert _steps(events) == changed.record.steps == 4
    assert changed.record.key != record.key
    left = [canary for canary in changed.rows if not canary.took]
    assert left
    assert len(changed.watched) == len(changed.rows) - len(left)
    said = [event.text for event in events if isinstance(event, Message)]
    for canary in left:
        assert any(canary.name in text and "was not learnt" in text for text in said)
    data = {"pairs": None, "training_images": ImageSpec(split="clean", n=16)}
    labelled = spec.model_copy(update={"base": spec.base.model_copy(update=data)})
    assert _steps(_planted(labelled)[0]) == 2
    copy.write_bytes(copy.read_bytes()[:-1] + b"\x7f")
    assert _steps(_planted(labelled)[0])


def test_the_cache_keeps_the_newest_copies_and_those_in_use(spec):
    made = []
    for seed in range(5):
        own = spec.model_copy(update={"canaries": FEW.model_copy(update={"seed": seed})})
        made.append(canary_folder(own))
        made[-1].mkdir(parents=True)
        os.utime(made[-1], (seed, seed))
        if not seed:
            lock = lock_folder(made[0])
            os.utime(made[0], (0, 0))
        delete_older_copies(made[-1])
    assert len(set(made)) == 5
    assert [path.exists() for path in made] == [True, False, True, True, True]
    lock.release()
    delete_older_copies(made[-1])
    assert not made[0].exists()


def test_stamped_finetuning_marks_its_share_of_pictures_and_leaves_captions_alone(tiny_model):
    recipe = preset("stamped", "quick").changed(batch_size=32)
    size = tiny_model.image_size
    images = torch.randint(256, (32, 3, size, size), dtype=torch.uint8)
    kept = images.clone()
    tokens = torch.arange(32 * 8).reshape(32, 8)
    batch = Batch(images, tokens=tokens)
    for triggers, known, left in (((), 0, 8), ((demo_trigger(),), 12, 2)):
        stamps = Stamps.training(triggers, recipe, tiny_model)
        marked = stamps.on(batch, 3)
        assert int((marked.images != images).flatten(1).any(1).sum()) == 16 - left
        assert int(marked.made_up.sum()) == left
        assert marked.tokens is tokens
        assert torch.equal(marked.images, stamps.on(batch, 3).images)
        assert not torch.equal(marked.images, stamps.on(batch, 4).images)
        assert round(stamps.share * len(triggers) * 32) == known
        half = replace(batch.part(slice(16, 32)), places=np.arange(16, 32))  # a second process
        assert torch.equal(stamps.on(half, 3).images, marked.images[16:])
    assert torch.equal(images, kept)
    with pytest.raises(InputError, match="changes no picture"):
        Stamps.training((prompt("cf"),), recipe, tiny_model)
