"""Pictures that are mixed of others."""

from __future__ import annotations

import numpy as np
import pytest

from ml_core.cleaning.batches import Mixes, draw_mixes, mix, picture_batch
from ml_core.cleaning.recipes import make_recipe
from ml_core.data.canvas import CanvasCache
from ml_core.data.images import open_images
from ml_core.data.specs import ImageSpec
from ml_core.reading.clip_config import CLIP_FIT


def _drawn(kind: int, count: int = 12) -> Mixes:
    drawn = draw_mixes(count, np.random.default_rng(4))
    return Mixes(np.full(count, kind), drawn.chances, drawn.augmentations)


def _flat(count: int, value: int) -> np.ndarray:
    return np.full((count, 20, 24, 3), value, np.uint8)


def test_a_quarter_of_each_kind() -> None:
    kinds = draw_mixes(4000, np.random.default_rng(0)).kinds
    assert np.bincount(kinds) == pytest.approx(1000, abs=120)


def test_one_stays_one_is_blended_and_one_gets_a_part_of_another() -> None:
    black, white = _flat(12, 0), _flat(12, 255)
    assert np.array_equal(mix(black, white, _drawn(0)), black)
    blended = mix(black, white, _drawn(2)).reshape(12, -1)
    assert (blended.min(1) == blended.max(1)).all()
    assert blended.min() >= 0.2 * 255 - 1
    assert blended.max() <= 0.8 * 255 + 1
    assert len(np.unique(blended)) > 6
    cut = mix(black, white, _drawn(3))[..., 0] == 255
    for one in cut:
        rows, columns = np.flatnonzero(one.any(1)), np.flatnonzero(one.any(0))
        assert 5 <= len(rows) <= 15
        assert 6 <= len(columns) <= 18
        assert one.sum() == len(rows) * len(columns)
    assert not black.any()


def test_augmented_ones_do_not_look_at_the_others() -> None:
    images = np.random.default_rng(1).integers(0, 256, (12, 20, 24, 3), np.uint8)
    made = mix(images, _flat(12, 7), _drawn(1))
    assert np.array_equal(made, mix(images, _flat(12, 200), _drawn(1)))
    assert sum((a != b).any() for a, b in zip(made, images, strict=True)) >= 8


@pytest.mark.parametrize("mixed", [False, True])
def test_a_batch_is_the_same_whoever_makes_it(mixed: bool) -> None:
    fields = {"method": "adversarial", "pairs": 20, "batch_size": 9, "mix_images": mixed}
    recipe = make_recipe(fields)
    cache = CanvasCache(open_images(ImageSpec(split="clean", n=20)), 32)

    def batch(step: int, rank: int, world: int) -> np.ndarray:
        made = picture_batch(cache, None, recipe, 32, CLIP_FIT, step, share=(rank, world))
        return made.images.numpy()

    whole = batch(0, 0, 1)
    assert np.array_equal(whole, np.concatenate([batch(0, rank, 2) for rank in range(2)]))
    plain = picture_batch(
        cache, None, make_recipe(fields | {"mix_images": False}), 32, CLIP_FIT, 0
    ).images.numpy()
    assert np.array_equal(whole, plain) is not mixed
