"""Triggers that are sharpened against a model while it learns to ignore them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch

from ml_core.cleaning.adversaries import Adversaries, bent, patch, texture
from ml_core.cleaning.batches import Batch, picture_batch
from ml_core.cleaning.loop import train
from ml_core.cleaning.methods.method import embed_images
from ml_core.cleaning.recipes import make_recipe
from ml_core.cleaning.speed import Speed
from ml_core.data.canvas import CanvasCache
from ml_core.data.images import open_images
from ml_core.data.specs import ImageSpec
from ml_core.events import Control, Metric
from ml_core.model import ClipModel
from ml_core.reading.clip_config import CLIP_FIT
from ml_core.triggers.render import paste
from tests.unit.draining import drain
from tests.unit.small_jobs import few_climbs

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _short(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "grow" not in request.node.name:
        few_climbs(monkeypatch)


WIDTH = 16


def _images(count: int, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_each_acts_on_its_share_and_the_result_is_a_picture() -> None:
    rivals = Adversaries(32, 4, 10, 0, CPU, WIDTH)
    images = _images(16)
    with torch.no_grad():
        made = rivals.apply(images, torch.arange(16))
    assert made.shape == images.shape
    assert float(made.min()) >= 0
    assert float(made.max()) <= 1
    changed = (made - images).abs().flatten(1).amax(1)
    assert bool((changed > 0.01).all())


def test_what_is_done_to_a_picture_does_not_depend_on_its_batch() -> None:
    rivals = Adversaries(32, 3, 10, 5, CPU, WIDTH)
    images, numbers = _images(9), torch.tensor([4, 17, 2, 9, 30, 8, 1, 0, 12])
    with torch.no_grad():
        whole = rivals.apply(images, numbers)
        parts = [rivals.apply(images[k : k + 4], numbers[k : k + 4]) for k in (0, 4, 8)]
    assert torch.equal(whole, torch.cat(parts))


def test_the_same_seed_draws_the_same_and_another_one_others() -> None:
    images, numbers = _images(8), torch.arange(8)
    with torch.no_grad():
        first, again, other = (
            Adversaries(32, 4, 10, seed, CPU, WIDTH).apply(images, numbers) for seed in (3, 3, 4)
        )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_they_are_replaced_in_turns_after_their_steps() -> None:
    rivals = Adversaries(32, 2, 4, 0, CPU, WIDTH)
    seen = []
    for _ in range(9):
        seen.append(rivals.tensors["patterns"].clone())
        rivals.sharpen()  # nothing acted, so a pattern changes only where another one begins
    changes = [[bool((a[slot] != b[slot]).any()) for slot in range(2)] for a, b in pairwise(seen)]
    assert [row[0] for row in changes] == [False, False, False, True] * 2
    assert [row[1] for row in changes] == [False, True, False, False] * 2


def test_sharpening_moves_embeddings_further(tiny_model: ClipModel) -> None:
    model = tiny_model
    model.module.requires_grad_(False).eval()
    rivals = Adversaries(32, 4, 1000, 2, CPU, WIDTH)
    images, numbers = _images(32), torch.arange(32)
    with torch.no_grad():
        plain = embed_images(model, images)
    moved = []
    for _ in range(30):
        away = 1 - (embed_images(model, rivals.apply(images, numbers)) * plain).sum(1).mean()
        away.backward()
        moved.append(away.item())
        rivals.sharpen()
    assert np.mean(moved[-5:]) > 1.5 * np.mean(moved[:5])


def test_textures_are_of_many_kinds_and_a_straight_field_bends_nothing() -> None:
    made = [texture(48, np.random.default_rng(k)) for k in range(24)]
    assert all(one.shape == (3, 48, 48) and one.dtype == np.float32 for one in made)
    assert all(one.min() > 0 and one.max() < 1 for one in made)
    steps = [float(np.abs(np.diff(one)).mean()) for one in made]  # between neighbours
    assert max(steps) > 5 * min(steps)
    images = _images(2)
    assert torch.allclose(bent(images, torch.zeros(2, 6, 6)), images, atol=1e-5)
    turned = bent(images, torch.ones(2, 6, 6))
    assert not torch.allclose(turned, images, atol=0.05)


def test_patches_are_of_few_colours_or_of_many() -> None:
    made = [patch(12, np.random.default_rng(k)) for k in range(40)]
    assert all(one.shape == (3, 12, 12) and one.dtype == np.float32 for one in made)
    assert all(one.min() > 0 and one.max() < 1 for one in made)
    colours = [len(np.unique(one.reshape(3, -1), axis=1).T) for one in made]
    assert sum(count == 1 for count in colours) >= 2
    assert sum(count == 2 for count in colours) >= 6
    assert sum(count == 144 for count in colours) >= 6
    assert patch(2, np.random.default_rng(0)).shape == (3, 2, 2)


@pytest.mark.parametrize("chunk", [0, 3])
def test_the_model_learns_to_ignore_them(tiny_model: ClipModel, chunk: int) -> None:
    recipe = make_recipe(
        {
            "method": "adversarial", "pairs": 24, "batch_size": 8, "epochs": 12, "lr": 2e-3,
            "warmup_steps": 2, "eval_every": 0, "save_every": 0, "precision": "fp32",
            "batch_norm": "frozen", "lambda_hold": 1.0, "cache_chunk": chunk,
        }
    )  # fmt: skip
    cache = CanvasCache(open_images(ImageSpec(split="clean", n=24)), 32)
    texts = tiny_model.encode_texts(["a cat"])

    def make(step: int) -> Batch:
        return picture_batch(cache, None, recipe, 32, CLIP_FIT, step)

    events, _ = drain(train(tiny_model, recipe, make, Control()))
    values = [event.values for event in events if isinstance(event, Metric)]
    assert values[0]["clean"] == pytest.approx(0.0, abs=1e-6)
    assert np.mean([v["triggered"] for v in values[-8:]]) < 0.8 * np.mean(
        [v["triggered"] for v in values[:8]]
    )
    assert torch.equal(texts, tiny_model.encode_texts(["a cat"]))


def test_gradient_caching_changes_nothing(tiny_model: ClipModel) -> None:
    fields = {
        "method": "adversarial", "pairs": 16, "batch_size": 8, "epochs": 3, "lr": 1e-3,
        "warmup_steps": 0, "eval_every": 0, "save_every": 0, "precision": "fp32",
        "batch_norm": "frozen",
    }  # fmt: skip
    cache = CanvasCache(open_images(ImageSpec(split="clean", n=16)), 32)
    losses = []
    for chunk in (0, 4):
        recipe = make_recipe(fields | {"cache_chunk": chunk})
        model = tiny_model.copy()

        def make(step: int, recipe=recipe) -> Batch:  # type: ignore[no-untyped-def]
            return picture_batch(cache, None, recipe, 32, CLIP_FIT, step)

        events, _ = drain(train(model, recipe, make, Control()))
        losses.append([e.values["loss"] for e in events if isinstance(e, Metric)])
    # Adam makes a full step of a gradient that is nothing but rounding, hence not closer.
    assert losses[0] == pytest.approx(losses[1], rel=0.02, abs=1e-6)


def test_what_a_trial_left_does_not_sharpen(tiny_model, monkeypatch):
    """Steps measured to choose a precision, and steps that did not fit, leave a gradient."""

    fields = {
        "method": "adversarial", "pairs": 16, "batch_size": 8, "epochs": 2, "lr": 1e-3,
        "warmup_steps": 0, "eval_every": 0, "save_every": 0, "batch_norm": "frozen",
        "precision": "auto",
    }  # fmt: skip
    cache = CanvasCache(open_images(ImageSpec(split="clean", n=16)), 32)
    recipe, losses = make_recipe(fields), []

    def make(step: int) -> Batch:
        return picture_batch(cache, None, recipe, 32, CLIP_FIT, step)

    for tried in (False, True):

        def trial(recipe, device, passes, *_, tried=tried):
            if tried:
                passes(Speed(False))
            return Speed(False)

        monkeypatch.setattr("ml_core.cleaning.loop.measure_speed", trial)
        events, _ = drain(train(tiny_model.copy(), recipe, make, Control()))
        losses.append([e.values["loss"] for e in events if isinstance(e, Metric)])
    assert losses[0] == losses[1]


def _encode(model: ClipModel) -> Callable[[torch.Tensor], torch.Tensor]:
    model.module.requires_grad_(False).eval()
    return lambda images: embed_images(model, images)


def test_patches_that_live_long_grow_along_a_direction_before_they_act(tiny_model):
    rivals = Adversaries(32, 8, 4, 0, CPU, tiny_model.embed_dim)
    encode, images = _encode(tiny_model), _images(16)
    before = rivals.tensors["patterns"].clone()
    assert rivals.due
    rivals.grow(encode, images)
    assert not rivals.due  # a step that is tried again lets nothing grow twice
    grown = [k for k in range(8) if bool((before[k] != rivals.tensors["patterns"][k]).any())]
    assert grown == [2, 5, 7]  # the patches among those that live for more than 4 steps
    directions, effects = rivals.tensors["directions"], rivals.tensors["effects"]
    assert torch.allclose(directions.norm(dim=1), torch.ones(len(directions)), atol=1e-5)
    plain = encode(images)
    strongest = int(effects.argmax())
    side = int(rivals.tensors["remembered"][strongest, 1])
    pattern = rivals.tensors["memory"][strongest, :, :side, :side].sigmoid()
    place = rivals.tensors["remembered"][strongest, 2:4].long().expand(16, 2)
    moved = encode(paste(images, pattern.expand(16, -1, -1, -1), place))
    random = torch.from_numpy(patch(side, np.random.default_rng(3)))
    control = encode(paste(images, random.expand(16, -1, -1, -1), place))
    gains = ((moved - plain) @ directions.T).mean(0), ((control - plain) @ directions.T).mean(0)
    assert float(gains[0].max()) > 2 * float(gains[1].max())


def test_nothing_grows_where_no_patch_begins(tiny_model: ClipModel) -> None:
    rivals = Adversaries(32, 8, 4, 0, CPU, tiny_model.embed_dim)
    rivals.grow(_encode(tiny_model), _images(8))
    due = []
    for _ in range(40):
        rivals.sharpen()
        due.append(rivals.due)
    assert 2 <= sum(due) <= 6
    assert not any(Adversaries(32, 2, 4, 0, CPU, WIDTH).due for _ in range(1))  # both live shortly


def test_the_strongest_are_met_again_as_they_were(tiny_model: ClipModel) -> None:
    rivals = Adversaries(32, 8, 4, 0, CPU, tiny_model.embed_dim)
    rivals.grow(_encode(tiny_model), _images(8))
    kept = rivals.tensors["memory"].clone()
    met = []
    for _ in range(16):
        rivals.sharpen()
        now = rivals.tensors["patterns"][0]
        met.append(any(bool((now[:, : m.shape[1], : m.shape[2]] == m).all()) for m in kept))
    assert any(met)
    assert not all(met)
    again = Adversaries(32, 8, 4, 0, CPU, tiny_model.embed_dim)
    for name, tensor in again.tensors.items():
        tensor.copy_(rivals.tensors[name])
    again.taken_up()
    images, numbers = _images(8), torch.arange(8)
    with torch.no_grad():
        assert torch.equal(rivals.apply(images, numbers), again.apply(images, numbers))
