"""Batches, and the loop: what it reports, how it is steered, and what it does about bad numbers."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import Tensor

from ml_core.cleaning.batches import Batch, pair_batch, prefetch, step_indices
from ml_core.cleaning.recipes import make_recipe
from ml_core.cleaning.state import read_facts
from ml_core.events import Control, Message, Metric, Saved
from ml_core.reading.errors import InputError
from tests.unit.draining import drain, losses_of, metrics_of, warnings_of
from tests.unit.fake_pictures import FakePairs
from tests.unit.tiny_models import batches, different, trained, training

SMALL = {
    "pairs": 24, "batch_size": 4, "epochs": 1, "warmup_steps": 2, "eval_every": 0,
    "save_every": 0, "precision": "fp32",
}  # fmt: skip
RECIPE = make_recipe(
    SMALL | {"method": "mmcl", "batch_size": 2, "warmup_steps": 0, "lr_end": 1.0, "save_every": 2}
)


# ---- batches ----


def test_a_batch_depends_on_seed_and_step_alone(tiny_model):
    recipe = make_recipe(SMALL | {"epochs": 2})
    make = batches(tiny_model, recipe)
    make(0)
    ahead, fresh = make(4), batches(tiny_model, recipe)(4)
    for name in ("images", "image_views", "tokens", "token_views"):
        assert torch.equal(getattr(ahead, name), getattr(fresh, name)), name
    other = batches(tiny_model, recipe.changed(seed=1))(4)
    assert not torch.equal(ahead.images, other.images)
    steps = [step_indices(recipe, 24, step) for step in range(12)]
    first, second = (np.concatenate(steps[i : i + 6]).tolist() for i in (0, 6))
    assert sorted(first) == sorted(second) == list(range(24))  # an epoch sees each example once
    assert first != second


class _DamagedCaptions(FakePairs):
    """Notes the captions of all but some pairs when they are read, as a `PairSet` does."""

    def __init__(self, good):
        super().__init__()
        self._good = good

    def captions(self, indices, epoch=0):
        bad = set(indices.tolist()) - self._good
        self.broken.update((i, f"pair {i}: its caption is empty") for i in bad)
        return ["" if i in bad else "a cat" for i in indices.tolist()]


@pytest.mark.parametrize("good", [1, 2])
def test_broken_pairs_are_left_out_while_two_are_left(tiny_model, good):
    recipe = make_recipe(SMALL)
    chosen = step_indices(recipe, 24, 0).tolist()
    damaged, torn = _DamagedCaptions(set(chosen[:good])), FakePairs()
    torn.broken = {i: f"pair {i}: its caption is empty" for i in chosen[good:]}
    for pairs in (damaged, torn):

        def make(pairs=pairs):
            return pair_batch(pairs, recipe, 32, tiny_model.tokenize, lambda c, _: c, 0)

        if good == 2:
            assert len(make()) == 2
            continue
        words = f"The first error: pair {chosen[good]}: its caption is empty\\.$"
        with pytest.raises(InputError, match=words):
            make()


def test_prefetch_keeps_the_order_ends_its_thread_and_raises_what_happened_there():
    ready = [Batch(torch.full((1, 3, 1, 1), i, dtype=torch.uint8)) for i in range(9)]

    def make(step):
        if step == 8:
            raise InputError("Row 7 is bad.")
        return ready[step]

    ahead = prefetch(make, range(2, 8))
    assert [next(ahead), next(ahead)] == ready[2:4]
    ahead.close()
    assert not [t for t in threading.enumerate() if t.name == "cleaning-batches"]
    with pytest.raises(InputError, match="Row 7 is bad"):
        next(prefetch(make, range(8, 9)))


# ---- the loop ----


def test_stop_saves_after_the_step_and_cancel_keeps_the_save_before(tiny_model, tmp_path):
    for act, status, saved in (("stop", "stopped", 2), ("cancel", "cancelled", 0)):
        path, control = tmp_path / act / "state.safetensors", Control()
        run = training(tiny_model, make_recipe(SMALL), control, state_path=path)
        events, outcome = drain(run, getattr(control, act), 2)
        assert (outcome.status, outcome.step) == (status, 2)
        assert read_facts(path)["step"] == saved
        assert any(isinstance(e, Saved) and e.step == 2 for e in events) == (act == "stop")


def test_pause_holds_before_the_next_step(tiny_model):
    control, steps = Control(), list[int]()
    for event in training(tiny_model, make_recipe(SMALL), control):
        if isinstance(event, Metric):
            steps.append(event.step)
            if event.step == 1:
                control.pause()
        if isinstance(event, Message) and event.text == "Paused.":
            assert steps == [1]
            threading.Timer(0.2, control.resume).start()
    assert steps == [1, 2, 3, 4, 5, 6]


# ---- a loss that is no number ----


def _broken(model, calls, patch):
    """The image encoder gives NaN at chosen calls, one call a step."""
    whole, count = model.module.encode_image, 0

    def encode(images):
        nonlocal count
        count += 1
        features: Tensor = whole(images)
        return features * float("nan") if count in calls else features

    patch.setattr(model.module, "encode_image", encode, raising=False)


def _sentence(step, save):
    return (
        f"The loss became infinite or not a number at step {step}: the run goes back to the save "
        f"of step {save} and continues at half the learning rate."
    )


def test_a_loss_that_is_no_number_goes_back_to_the_save_at_half_the_rate(
    tiny_model, tmp_path, monkeypatch
):
    path, begun, again = tmp_path / "state.safetensors", tiny_model.copy(), tiny_model.copy()
    _broken(tiny_model, {6}, monkeypatch)
    events, outcome = trained(tiny_model, RECIPE, state_path=path)
    assert warnings_of(events) == [_sentence(6, 4)]
    metrics = metrics_of(events)
    assert [m.step for m in metrics] == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 11, 12]
    assert {m.values["lr"] for m in metrics[:5]} == {RECIPE.lr}
    assert {m.values["lr"] for m in metrics[5:]} == {RECIPE.lr / 2}
    assert metrics[4].values["loss"] == metrics[5].values["loss"]  # the same step once more
    assert (outcome.status, outcome.step, outcome.rate_factor) == ("finished", 12, 0.5)
    assert read_facts(path)["rate_factor"] == 0.5
    # Killed right after it went back, the run ends in the same bits.
    path = tmp_path / "killed.safetensors"
    _broken(begun, {6}, monkeypatch)
    run = training(begun, RECIPE, state_path=path)
    for event in run:
        if isinstance(event, Message) and event.level == "warning":
            run.close()
    assert read_facts(path)["step"] == 4
    trained(again, RECIPE, state_path=path, resume=True)
    assert not different(tiny_model, again)


# ---- too little memory ----


def _recipe(**changes):
    return make_recipe(
        SMALL | {"batch_size": 8, "warmup_steps": 1, "batch_norm": "frozen"} | changes
    )


def _little(model, most, monkeypatch):
    """The encoder runs out of memory over a number of images; how many it was given each time."""
    sizes: list[int] = []
    whole = model.module.encode_image

    def encode(images):
        sizes.append(len(images))
        if len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(images)

    monkeypatch.setattr(model.module, "encode_image", encode, raising=False)
    return sizes


def test_a_batch_that_does_not_fit_is_halved_through_caching(tiny_model, monkeypatch):
    plain, _ = trained(tiny_model.copy(), _recipe())
    cached, outcome = trained(tiny_model.copy(), _recipe(cache_chunk=3))
    assert outcome.chunk == 3
    sizes = _little(tiny_model, 4, monkeypatch)  # two images of an example go together
    events, outcome = trained(tiny_model, _recipe())
    warnings = warnings_of(events)
    assert (outcome.chunk, len(warnings)) == (2, 2)
    assert "from step 1 on 2 are encoded at a time" in warnings[1]
    assert sizes[:3] == [16, 8, 4]
    assert set(sizes[3:]) == {4}
    for losses in (losses_of(events), losses_of(cached)):
        assert losses == pytest.approx(losses_of(plain), abs=1e-5)
    assert losses[0] != losses[-1]


@pytest.mark.parametrize(
    ("fields", "most", "words"),
    [
        ({"batch_norm": "train"}, 2, "set BatchNorm to frozen"),
        ({"batch_norm": "train", "cache_chunk": 4}, 99, "set BatchNorm to frozen"),
        ({}, 0, "even for one example"),
    ],
)
def test_a_batch_that_cannot_be_divided_is_a_sentence(fields, most, words, tiny_model, monkeypatch):
    _little(tiny_model, most, monkeypatch)
    with pytest.raises(InputError, match=words):
        trained(tiny_model, _recipe(**fields))


def test_compile_is_left_out_without_cuda_and_said(tiny_model):
    events, _ = trained(tiny_model, _recipe(compile=True, pairs=8))
    assert any(isinstance(e, Message) and "Compile is left out" in e.text for e in events)
