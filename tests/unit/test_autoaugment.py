"""Augmented views of training images."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import AutoAugment, AutoAugmentPolicy

from ml_core.cleaning.augment import augment_images, autoaugment
from tests.unit.fake_pictures import FakePairs


def test_autoaugment_equals_torchvision_for_the_same_draws():
    rng = np.random.default_rng(1)
    reference = AutoAugment(AutoAugmentPolicy.IMAGENET)
    for policy in range(25):
        for sign in (0, 1):
            image = Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
            draws = policy, torch.tensor([0.0, 0.3]), torch.tensor([sign, 1 - sign])
            reference.get_params = lambda _, draws=draws: draws
            expected = np.asarray(reference(image))
            found = np.asarray(autoaugment(image, policy, (0.0, 0.3), (sign, 1 - sign)))
            assert np.array_equal(found, expected), policy


def test_views_differ_by_image_and_repeat_by_seed():
    images = np.repeat(FakePairs().canvas(np.array([3]), 32), 16, axis=0)
    first = augment_images(images, "autoaugment", np.random.default_rng(0))
    again = augment_images(images, "autoaugment", np.random.default_rng(0))
    assert np.array_equal(first, again)
    assert len({view.tobytes() for view in first}) >= 5
    assert np.array_equal(images[0], images[15])


def test_flip_mirrors_left_to_right():
    images = FakePairs().canvas(np.arange(12), 8)
    views = augment_images(images, "flip", np.random.default_rng(0))
    mirrored = [np.array_equal(v, i[:, ::-1]) for v, i in zip(views, images, strict=True)]
    same = [np.array_equal(v, i) for v, i in zip(views, images, strict=True)]
    assert all(m != s for m, s in zip(mirrored, same, strict=True))
    assert any(mirrored)
    assert any(same)
