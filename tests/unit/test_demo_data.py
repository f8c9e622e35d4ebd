"""The built-in demo's pictures."""

from __future__ import annotations

import numpy as np
import pytest

from ml_core.data.demo import SPLITS, compose, demo_classes, describe, load_art


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


@pytest.mark.parametrize("split", ["val", "test", "heldout"])
def test_evaluation_splits_hold_every_class_in_turn(split):
    classes = demo_classes()
    part = compose(split, range(2 * len(classes)))
    assert part.labels.tolist() == [*range(len(classes))] * 2
    for label, caption in zip(part.labels, part.captions, strict=True):
        assert classes[label] in caption or classes[label].split()[0] in caption


def test_pair_splits_hold_classes_other_things_and_two_things():
    part = compose("clean", range(1000))
    assert 0.50 < np.mean(part.labels >= 0) < 0.58
    assert len(set(part.labels.tolist())) == len(demo_classes()) + 1
    two = [" and " in caption or " next to " in caption for caption in part.captions]
    assert 0.07 < np.mean(two) < 0.14


def test_the_held_out_style_is_never_trained_on():
    art = load_art()
    held_out = {i for group in art.held_out_of_class for i in group}
    trained = {i for group in (*art.of_class, *art.others) for i in group}
    assert {art.sprites[i].style for i in held_out} == {"twemoji"}
    assert "twemoji" not in {art.sprites[i].style for i in trained}
    assert len(held_out) + len(trained) == len(art.sprites)


def test_classes_have_several_styles():
    art = load_art()
    assert len(art.classes) >= 60
    assert art.classes.index("banana") == 0
    assert min(len({art.sprites[i].style for i in group}) for group in art.of_class) >= 3
    assert all(art.held_out_of_class)


def test_no_white_halo_around_a_dark_sprite_on_black():
    from ml_core.data.demo import _Placed, _transform

    art = load_art()
    spider = next(i for i, s in enumerate(art.sprites) if s.class_name == "spider")
    drawn = _transform(_Placed(spider, 0.8, 0.5, 0.5, 0.3, False), 64)
    assert (drawn[..., :3].max(-1).astype(int) <= drawn[..., 3].astype(int)).all()
    edge = (drawn[..., 3] > 0) & (drawn[..., 3] < 60)
    assert edge.any()
    assert drawn[edge][:, :3].mean() < 30


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
