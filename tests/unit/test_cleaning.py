from __future__ import annotations

import json
import math
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from ml_core.cleaning.batches import Batch, labelled_batch, pair_batch, prefetch, step_indices
from ml_core.cleaning.loop import train
from ml_core.cleaning.methods.build import build_method
from ml_core.cleaning.methods.method import Extras
from ml_core.cleaning.recipes import Recipe, make_recipe
from ml_core.cleaning.speed import Speed
from ml_core.cleaning.state import earlier_state, intact_state, load_state, read_facts, save_state
from ml_core.cleaning.step import make_optimizer
from ml_core.events import Control, Event, Message, Metric, Progress, Saved
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError
from tests.unit.draining import drain, silently
from tests.unit.fake_pictures import FakePairs
from tests.unit.tiny_models import batches, trained

SMALL = {
    "pairs": 24,
    "batch_size": 4,
    "epochs": 1,
    "warmup_steps": 2,
    "eval_every": 0,
    "save_every": 0,
    "precision": "fp32",
}


# ---- batches ----


def test_an_epoch_sees_each_example_once_and_the_next_in_another_order() -> None:
    recipe = make_recipe(SMALL | {"epochs": 2, "preset": "test"})
    epochs = [[step_indices(recipe, 24, e * 6 + s) for s in range(6)] for e in range(2)]
    orders = [np.concatenate(parts).tolist() for parts in epochs]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(24))
    assert orders[0] != orders[1]


def test_a_batch_depends_on_seed_and_step_alone(tiny_model: ClipModel) -> None:
    make = batches(tiny_model, make_recipe(SMALL))
    make(0)
    ahead = make(4)
    fresh = batches(tiny_model, make_recipe(SMALL))(4)
    for name in ("images", "image_views", "tokens", "token_views"):
        assert torch.equal(getattr(ahead, name), getattr(fresh, name)), name
    other = batches(tiny_model, make_recipe(SMALL | {"seed": 1}))(4)
    assert not torch.equal(ahead.images, other.images)


def test_broken_pictures_are_left_out_of_the_batch(tiny_model: ClipModel) -> None:
    recipe = make_recipe(SMALL)
    pairs = FakePairs()
    first = int(step_indices(recipe, 24, 0)[0])
    pairs.broken = {first: "row 2: damaged"}
    batch = pair_batch(pairs, recipe, 32, tiny_model.tokenize, lambda c, _: c, 0)
    assert len(batch.images) == 3
    pairs.broken = dict.fromkeys(range(24), "row 2: damaged")
    with pytest.raises(InputError, match="row 2: damaged"):
        pair_batch(pairs, recipe, 32, tiny_model.tokenize, lambda c, _: c, 0)


class _DamagedCaptions(FakePairs):
    """Notes the captions of all but some pairs when they are read, as a `PairSet` does."""

    def __init__(self, good: set[int]) -> None:
        super().__init__()
        self._good = good

    def captions(self, indices: np.ndarray, epoch: int = 0) -> list[str]:
        bad = set(indices.tolist()) - self._good
        self.broken.update((i, f"pair {i}: its caption is empty") for i in bad)
        return ["" if i in bad else "a cat" for i in indices.tolist()]


@pytest.mark.parametrize("good", [0, 1, 2])
def test_fewer_than_two_usable_captions_are_no_batch(tiny_model: ClipModel, good: int) -> None:
    recipe = make_recipe(SMALL)
    chosen = step_indices(recipe, 24, 0).tolist()
    pairs = _DamagedCaptions(set(chosen[:good]))

    def make() -> Batch:
        return pair_batch(pairs, recipe, 32, tiny_model.tokenize, lambda c, _: c, 0)

    if good == 2:
        assert len(make()) == 2
        return
    words = f"4 pairs in a batch .* The first error: pair {chosen[good]}: its caption is empty\\.$"
    with pytest.raises(InputError, match=words):
        make()


def test_unlabelled_images_are_left_out() -> None:
    images = FakePairs()
    images.labels = np.where(np.arange(24) < 12, 1, -1)
    recipe = make_recipe(SMALL | {"method": "supervised", "pairs": 12})
    seen = [labelled_batch(images, recipe, 32, step).labels for step in range(3)]
    assert all(labels is not None and labels.tolist() == [1] * 4 for labels in seen)


def test_prefetch_keeps_the_order_and_ends_its_thread() -> None:
    made = [Batch(torch.full((1, 3, 1, 1), i, dtype=torch.uint8)) for i in range(9)]
    batches = prefetch(lambda step: made[step], range(2, 9))
    assert next(batches) is made[2]
    assert next(batches) is made[3]
    batches.close()
    assert not [t for t in threading.enumerate() if t.name == "cleaning-batches"]


def test_prefetch_raises_what_happened_in_its_thread() -> None:
    def make(step: int) -> Batch:
        raise InputError("Row 7 is bad.")

    with pytest.raises(InputError, match="Row 7 is bad"):
        next(prefetch(make, range(3)))


# ---- state ----


def test_a_failed_save_leaves_the_old_state(
    tiny_model: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(SMALL)
    named = build_method(tiny_model, recipe, Extras()).trained
    optimizer = make_optimizer(tiny_model.module, named, recipe)
    path = tmp_path / "state.safetensors"
    save_state(path, tiny_model.module, named, optimizer, {"step": 1})
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_state(path, tiny_model.module, named, optimizer, {"step": 2})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]


def test_foreign_states_are_refused(tiny_model: ClipModel, tmp_path: Path) -> None:
    recipe = make_recipe(SMALL)
    named = build_method(tiny_model, recipe, Extras()).trained
    optimizer = make_optimizer(tiny_model.module, named, recipe)
    path = tmp_path / "state.safetensors"
    small = nn.Linear(2, 2)
    save_state(path, small, [], torch.optim.AdamW(small.parameters()), {"step": 1})
    with pytest.raises(InputError, match="belongs to another checkpoint"):
        load_state(path, tiny_model.module, named, optimizer)


def _flip(path: Path, name: str, *, bit: int = 30) -> None:
    """Flip a bit of the first value of a tensor, as a disk may."""
    raw = bytearray(path.read_bytes())
    size = int.from_bytes(raw[:8], "little")
    start = 8 + size + json.loads(raw[8 : 8 + size])[name]["data_offsets"][0]
    raw[start + bit // 8] ^= 1 << bit % 8
    path.write_bytes(raw)


def _interrupted(model: ClipModel, path: Path, recipe: Recipe, stop: int = 5) -> None:
    """Train until the save of a step is followed by one more, as if killed then."""
    run = train(model, recipe, batches(model, recipe), Control(), state_path=path)
    for event in run:
        if isinstance(event, Metric) and event.step == stop:
            run.close()
            return


@pytest.mark.parametrize("name", ["model/text_projection", "rng/cpu", "adamw/exp_avg/logit_scale"])
def test_a_flipped_bit_is_not_trained_on(tiny_model: ClipModel, tmp_path: Path, name: str) -> None:
    """The save before is taken; one as good as no bit of a weight is noticed, too."""
    recipe = make_recipe(SMALL | {"save_every": 2})
    whole, fresh = tiny_model.copy(), tiny_model.copy()
    trained(whole, recipe)
    path = tmp_path / "state" / "state.safetensors"
    _interrupted(tiny_model, path, recipe)
    assert read_facts(path)["step"] == 4
    assert read_facts(earlier_state(path))["step"] == 2
    _flip(path, name, bit=0)
    events, _ = trained(fresh, recipe, state_path=path, resume=True)
    (said,) = [e.text for e in events if isinstance(e, Message) and e.level == "warning"]
    assert said == (
        "The saved state state.safetensors is damaged or gone: the run goes on from the save "
        "before it, of step 2."
    )
    left, right = _weights(whole), _weights(fresh)
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert intact_state(earlier_state(path))[1] == ""  # the damaged one did not take its place
    for state in (path, earlier_state(path)):
        _flip(state, name)
    again = train(fresh, recipe, batches(fresh, recipe), Control(), state_path=path, resume=True)
    with pytest.raises(InputError, match=r"state\.safetensors is damaged; start the run again"):
        drain(again)


def test_a_state_of_an_earlier_version_is_taken_up_unless_it_is_absurd(
    tiny_model: ClipModel, tmp_path: Path
) -> None:
    recipe = make_recipe(SMALL | {"save_every": 4})
    whole, fresh = tiny_model.copy(), tiny_model.copy()
    trained(whole, recipe)
    path = tmp_path / "state.safetensors"
    _interrupted(tiny_model, path, recipe)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    del metadata["sha256"]
    save_file(load_file(path), path, metadata)
    earlier_state(path).unlink()
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(path.read_bytes())
    _flip(damaged, "model/text_projection")
    before = damaged.read_bytes()
    run = train(whole.copy(), recipe, batches(whole, recipe), Control(), state_path=damaged,
                resume=True)  # fmt: skip
    with pytest.raises(InputError, match=r"damaged: it holds [\d.]+e\+3\d in text_projection, wh"):
        drain(run)
    assert damaged.read_bytes() == before
    trained(fresh, recipe, state_path=path, resume=True)
    left, right = _weights(whole), _weights(fresh)
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("value", [math.nan, math.inf, 6e37])
def test_absurd_weights_are_not_saved_over_good_ones(
    tiny_model: ClipModel, tmp_path: Path, value: float
) -> None:
    recipe = make_recipe(SMALL | {"save_every": 2})
    path = tmp_path / "state.safetensors"
    run = train(tiny_model, recipe, batches(tiny_model, recipe), Control(), state_path=path)
    for event in run:
        if isinstance(event, Metric) and event.step == 4:
            break
    with torch.no_grad():
        tiny_model.module.get_parameter("text_projection")[0, 0] = value
    with pytest.raises(InputError, match=r"After step 4 a weight .* The last save is intact\."):
        list(run)
    assert read_facts(path)["step"] == 2
    assert intact_state(path) == (path, "")


# ---- loop ----


def test_training_lowers_the_loss_and_reports_every_step(tiny_model: ClipModel) -> None:
    recipe = make_recipe(SMALL | {"epochs": 8, "lr": 3e-3})
    events, outcome = trained(tiny_model, recipe)
    metrics = [e for e in events if isinstance(e, Metric)]
    assert [m.step for m in metrics] == list(range(1, 49))
    assert {"loss", "clip", "image", "text", "lr", "grad_norm"} <= set(metrics[0].values)
    assert metrics[0].values["lr"] == pytest.approx(1.5e-3)
    losses = [m.values["loss"] for m in metrics]
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6])
    assert (outcome.status, outcome.step, outcome.head) == ("finished", 48, None)
    assert not tiny_model.module.training


def test_logit_scale_stays_at_most_100(tiny_model: ClipModel) -> None:
    with torch.no_grad():
        tiny_model.module.logit_scale.fill_(7.0)
    recipe = make_recipe(SMALL | {"pairs": 8})
    trained(tiny_model, recipe)
    assert tiny_model.logit_scale <= 100.001


def _weights(model: ClipModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.module.state_dict().items()}


def test_resuming_with_another_recipe_is_refused(tiny_model: ClipModel, tmp_path: Path) -> None:
    recipe = make_recipe(SMALL)
    path = tmp_path / "state.safetensors"
    trained(tiny_model, recipe, state_path=path)
    with pytest.raises(InputError, match="another recipe"):
        trained(tiny_model, recipe.changed(lr=1e-4), state_path=path, resume=True)


def test_stop_saves_after_the_step_and_cancel_keeps_the_save_before(
    tiny_model: ClipModel, tmp_path: Path
) -> None:
    recipe = make_recipe(SMALL)
    for act, status, saved in (("stop", "stopped", 2), ("cancel", "cancelled", 0)):
        path = tmp_path / act / "state.safetensors"
        control = Control()
        run = train(tiny_model, recipe, batches(tiny_model, recipe), control, state_path=path)
        events: list[Event] = []
        while True:
            try:
                event = next(run)
            except StopIteration as end:
                outcome = end.value
                break
            events.append(event)
            if isinstance(event, Metric) and event.step == 2:
                getattr(control, act)()
        assert (outcome.status, outcome.step) == (status, 2)
        assert read_facts(path)["step"] == saved
        assert any(isinstance(e, Saved) and e.step == 2 for e in events) == (act == "stop")


def test_pause_holds_before_the_next_step(tiny_model: ClipModel) -> None:
    recipe = make_recipe(SMALL)
    control = Control()
    run = train(tiny_model, recipe, batches(tiny_model, recipe), control)
    steps = []
    for event in run:
        if isinstance(event, Metric):
            steps.append(event.step)
            if event.step == 1:
                control.pause()
        if isinstance(event, Message) and event.text == "Paused.":
            assert steps == [1]
            threading.Timer(0.2, control.resume).start()
    assert steps == [1, 2, 3, 4, 5, 6]


def test_falling_accuracy_stops_the_run_with_a_sentence(tiny_model: ClipModel) -> None:
    recipe = make_recipe(SMALL | {"eval_every": 2, "stop_below_ca": 10.0})
    answers = iter([0.90, 0.85, 0.79, 0.5])
    events, outcome = trained(
        tiny_model, recipe, validate=silently(lambda head: {"ca": next(answers)})
    )
    assert (outcome.status, outcome.step) == ("stopped", 4)
    assert "11.0 points under its start" in outcome.reason
    assert [e.values["ca"] for e in events if isinstance(e, Metric) and "ca" in e.values] == [
        0.90,
        0.85,
        0.79,
    ]


def test_a_loss_that_is_no_number_stops_with_a_sentence(tiny_model: ClipModel) -> None:
    with torch.no_grad():
        tiny_model.module.token_embedding.weight.fill_(math.nan)
    recipe = make_recipe(SMALL)
    start = tiny_model.module.visual.conv1.weight.detach().clone()
    with pytest.raises(InputError, match="not a number at step 1: lower the learning rate"):
        trained(tiny_model, recipe)
    assert torch.equal(start, tiny_model.module.visual.conv1.weight)


def test_measuring_the_precision_leaves_the_model_alone(tiny_model: ClipModel) -> None:
    recipe = make_recipe(SMALL | {"precision": "auto"})
    before = _weights(tiny_model)
    run = train(tiny_model, recipe, batches(tiny_model, recipe), Control())
    events = [next(run) for _ in range(3)]
    assert events[:2] == [Progress("prepare", 0, 0), Progress("prepare", 1, 1)]
    message = events[2]
    assert isinstance(message, Message)
    assert "fp32" in message.text
    assert "bf16" in message.text
    after = _weights(tiny_model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    run.close()


def test_a_resumed_run_keeps_the_precision_that_was_chosen(
    tiny_model: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ml_core.cleaning.loop.measure_speed", lambda *_: Speed(True, {"fp32": 2.0, "bf16": 1.0})
    )
    recipe = make_recipe(SMALL | {"precision": "auto"})
    control, path = Control(), tmp_path / "state.safetensors"
    make = batches(tiny_model, recipe)
    for event in train(tiny_model, recipe, make, control, state_path=path):
        if isinstance(event, Metric) and event.step == 2:
            control.stop()
    monkeypatch.setattr(
        "ml_core.cleaning.loop.measure_speed", lambda *_: pytest.fail("measured anew")
    )
    _, outcome = drain(train(tiny_model, recipe, make, Control(), state_path=path, resume=True))
    assert (outcome.speed.precision, outcome.step) == ("bf16", 6)
