"""The built-in demo's pictures."""

from __future__ import annotations

import numpy as np
import pytest

from ml_core.data.demo import SPLITS, compose, describe, load_art


def test_a_picture_depends_only_on_split_seed_and_number():
    together = compose("train", range(70), seed=3)
    alone = compose("train", [41], seed=3)
    assert np.array_equal(alone.images[0], together.images[41])
    assert alone.labels[0] == together.labels[41]
    assert alone.captions[0] == together.captions[41]
    backwards = compose("train", list(range(69, -1, -1)), seed=3)
    assert np.array_equal(backwards.images[::-1], together.images)


def test_splits_and_seeds_share_no_picture():
    seen = set()
    for split in SPLITS:
        for seed in (0, 1):
            part = compose(split, range(24), seed=seed)
            seen |= {image.tobytes() for image in part.images}
    assert len(seen) == len(SPLITS) * 2 * 24


def test_the_held_out_style_is_never_trained_on():
    art = load_art()
    held_out = {i for group in art.held_out_of_class for i in group}
    trained = {i for group in (*art.of_class, *art.others) for i in group}
    assert {art.sprites[i].style for i in held_out} == {"twemoji"}
    assert "twemoji" not in {art.sprites[i].style for i in trained}
    assert len(held_out) + len(trained) == len(art.sprites)


def test_describe_says_what_compose_draws():
    with pytest.raises(ValueError, match="Unknown split 'tests'"):
        compose("tests", [0])
    with pytest.raises(ValueError, match="start at 0"):
        compose("test", [0, -1])
    for split in ("clean", "test", "heldout"):
        numbers = [0, 3, 71, 4000]
        composed = compose(split, numbers, seed=2)
        labels, captions = describe(split, numbers, seed=2)
        assert labels.tolist() == composed.labels.tolist()
        assert captions == composed.captions
