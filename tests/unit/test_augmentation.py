"""EDA of captions by its definitions; augmented views of pictures; the same in every process."""

import os
import random
import subprocess
import sys

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import AutoAugment, AutoAugmentPolicy

from ml_core.cleaning.augment import augment_images, autoaugment
from ml_core.data.eda import augment, augment_all, replace_synonyms, swap_words, synonyms

CAPTION = "A large dog sits on the sofa, beside a small red ball."
PLAIN = "a large dog sits on the sofa beside a small red ball"
WORDS = PLAIN.split()


def test_synonyms_are_wordnets():
    assert set(synonyms("sofa")) == {"couch", "lounge"}
    assert set(synonyms("automobile")) == {"car", "auto", "machine", "motorcar"}
    assert "domestic dog" in synonyms("dog")
    assert "couch" in synonyms("sofas")
    assert synonyms("qwxyz") == ()


def test_replacement_touches_count_open_class_words():
    for seed in range(50):
        changed = replace_synonyms(["the", "sofa", "the", "sofa", "on"], 1, random.Random(seed))
        assert changed in (
            ["the", "couch", "the", "couch", "on"],
            ["the", "lounge", "the", "lounge", "on"],
        )
    assert replace_synonyms(["the", "qwxyz"], 1, random.Random(0)) == ["the", "qwxyz"]


def test_swap_exchanges_two_places():
    seen = {tuple(swap_words(["a", "b", "c"], 1, random.Random(seed))) for seed in range(50)}
    assert seen == {("b", "a", "c"), ("c", "b", "a"), ("a", "c", "b")}
    assert swap_words(["a"], 3, random.Random(0)) == ["a"]


def test_caption_is_changed_by_one_of_four_operations():
    seen = [augment(CAPTION, random.Random(seed)).split() for seed in range(200)]
    assert any(sorted(words) == sorted(WORDS) and words != WORDS for words in seen)
    assert any(len(words) < len(WORDS) for words in seen)
    assert any(len(words) > len(WORDS) for words in seen)
    assert any(len(words) == len(WORDS) and set(words) - set(WORDS) for words in seen)
    for caption in ("", "一只狗", "123 !?", "собака"):  # without Latin letters
        assert augment(caption, random.Random(0)) == caption


def test_one_caption_does_not_depend_on_the_others():
    first = augment_all([CAPTION, CAPTION, "a cat"], 5)
    assert augment_all(["another", CAPTION, "a cat"], 5)[1:] == first[1:]
    assert augment_all([CAPTION] * 20, 5) != augment_all([CAPTION] * 20, 6)


def test_hash_seed_does_not_matter():
    code = f"from ml_core.data.eda import augment_all; print(augment_all([{CAPTION!r}] * 40, 3))"
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout == f"{augment_all([CAPTION] * 40, 3)}\n"


# ---- pictures ----


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
    image = np.random.default_rng(3).integers(0, 256, (32, 32, 3), np.uint8)
    images = np.repeat(image[None], 16, axis=0)
    for kind, fewest in (("autoaugment", 5), ("flip", 2)):
        views = augment_images(images, kind, np.random.default_rng(0))
        assert np.array_equal(views, augment_images(images, kind, np.random.default_rng(0)))
        assert len({view.tobytes() for view in views}) >= fewest
        assert np.array_equal(images[0], image)
    seen = {view.tobytes() for view in views}
    assert seen == {image.tobytes(), image[:, ::-1].tobytes()}  # flipped or not
