"""Triggers that are sharpened against a model while it learns to ignore them; mixed pictures."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from ml_core.cleaning.adversaries import Adversaries, bent
from ml_core.cleaning.batches import Mixes, draw_mixes, mix, picture_batch
from ml_core.cleaning.loop import train
from ml_core.cleaning.methods.method import embed_images
from ml_core.cleaning.recipes import make_recipe
from ml_core.cleaning.stamps import Stamps
from ml_core.data.canvas import CanvasCache
from ml_core.data.images import open_images
from ml_core.data.specs import ImageSpec
from ml_core.events import Control
from tests.unit.draining import drain, losses_of, metrics_of

CPU = torch.device("cpu")
WIDTH = 16
SMALL = {
    "method": "unlearning", "pairs": 16, "batch_size": 8, "epochs": 2, "lr": 1e-3,
    "warmup_steps": 0, "eval_every": 0, "save_every": 0, "precision": "fp32",
    "batch_norm": "frozen",
}  # fmt: skip


@pytest.fixture(scope="module")
def pictures():
    """Pictures of the demo."""
    return CanvasCache(open_images(ImageSpec(split="clean", n=24)), 32)


def _images(count, size=32):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def _trained(model, recipe, pictures):
    """The steps of a training."""
    stamps = Stamps.training((), recipe, model)

    def make(step):
        return stamps.on(picture_batch(pictures, recipe, step), step)

    return metrics_of(drain(train(model, recipe, make, Control()))[0])


def test_what_is_done_to_a_picture_depends_on_the_seed_and_its_number_alone():
    images, numbers = _images(9), torch.tensor([4, 17, 2, 9, 30, 8, 1, 0, 12])
    first, again, other = (Adversaries(32, 3, 10, seed, CPU, WIDTH) for seed in (5, 5, 4))
    with torch.no_grad():
        whole = first.apply(images, numbers)
        parts = [again.apply(images[k : k + 4], numbers[k : k + 4]) for k in (0, 4, 8)]
        assert not torch.equal(whole, other.apply(images, numbers))
    assert torch.equal(whole, torch.cat(parts))
    assert 0 <= float(whole.min()) <= float(whole.max()) <= 1
    assert bool(((whole - images).abs().flatten(1).amax(1) > 0.01).all())


def test_they_are_replaced_in_turns_after_their_steps():
    rivals = Adversaries(32, 2, 4, 0, CPU, WIDTH)
    seen = []
    for _ in range(9):
        seen.append(rivals.tensors["patterns"].clone())
        rivals.sharpen()  # nothing acted, so a pattern changes only where another one begins
    changes = [[bool((a[slot] != b[slot]).any()) for slot in range(2)] for a, b in pairwise(seen)]
    assert [row[0] for row in changes] == [False, False, False, True] * 2
    assert [row[1] for row in changes] == [False, True, False, False] * 2


def test_a_straight_field_bends_nothing():
    images = _images(2)
    assert torch.allclose(bent(images, torch.zeros(2, 6, 6)), images, atol=1e-5)
    assert not torch.allclose(bent(images, torch.ones(2, 6, 6)), images, atol=0.05)


def test_gradient_caching_changes_nothing(tiny_model, pictures):
    plain, cached = (
        losses_of(_trained(tiny_model.copy(), make_recipe(SMALL | {"cache_chunk": n}), pictures))
        for n in (0, 3)
    )
    # Adam makes a full step of a gradient that is nothing but rounding, hence not closer.
    assert plain == pytest.approx(cached, rel=0.02, abs=1e-6)


def test_few_steps_let_a_patch_grow(tiny_model):
    rivals = Adversaries(32, 8, 4, 0, CPU, tiny_model.embed_dim)
    tiny_model.module.requires_grad_(False).eval()
    rivals.grow(lambda images: embed_images(tiny_model, images), _images(8))
    due = []
    for _ in range(40):
        rivals.sharpen()
        due.append(rivals.due)
    assert 2 <= sum(due) <= 6
    assert not Adversaries(32, 2, 4, 0, CPU, WIDTH).due  # both live shortly


# ---- mixed pictures ----


def _drawn(kind, count=12):
    drawn = draw_mixes(count, np.random.default_rng(4))
    return Mixes(np.full(count, kind), drawn.chances, drawn.augmentations)


def _flat(count, value):
    return np.full((count, 20, 24, 3), value, np.uint8)


def test_one_stays_one_is_augmented_one_blended_and_one_gets_a_part_of_another():
    kinds = draw_mixes(4000, np.random.default_rng(0)).kinds
    assert np.bincount(kinds) == pytest.approx(1000, abs=120)
    black, white = _flat(12, 0), _flat(12, 255)
    assert np.array_equal(mix(black, white, _drawn(0)), black)
    images = np.random.default_rng(1).integers(0, 256, (12, 20, 24, 3), np.uint8)
    augmented = mix(images, _flat(12, 7), _drawn(1))
    assert np.array_equal(augmented, mix(images, _flat(12, 200), _drawn(1)))
    assert sum((a != b).any() for a, b in zip(augmented, images, strict=True)) >= 8
    blended = mix(black, white, _drawn(2)).reshape(12, -1)
    assert (blended.min(1) == blended.max(1)).all()
    assert blended.min() >= 0.2 * 255 - 1
    assert blended.max() <= 0.8 * 255 + 1
    assert len(np.unique(blended)) > 6
    for cut in mix(black, white, _drawn(3))[..., 0] == 255:
        rows, columns = np.flatnonzero(cut.any(1)), np.flatnonzero(cut.any(0))
        assert 5 <= len(rows) <= 15
        assert 6 <= len(columns) <= 18
        assert cut.sum() == len(rows) * len(columns)
    assert not black.any()


def test_a_batch_is_the_same_whoever_makes_it(pictures):
    def batch(mixed, rank=0, world=1):
        fields = {"method": "unlearning", "pairs": 20, "batch_size": 9, "mix_images": mixed}
        made = picture_batch(pictures, make_recipe(fields), 0, share=(rank, world))
        return made.images.numpy()

    for mixed in (False, True):
        shares = [batch(mixed, rank, 2) for rank in range(2)]
        assert np.array_equal(batch(mixed), np.concatenate(shares))
    assert not np.array_equal(batch(True), batch(False))
