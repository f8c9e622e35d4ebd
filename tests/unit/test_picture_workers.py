"""Processes that draw the pictures of training batches."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from PIL import Image

from ml_core.cleaning.augment import apply_draws, draw_augmentations
from ml_core.cleaning.batches import pair_batch, pair_drawing
from ml_core.cleaning.picture_workers import PictureWorkers, can_travel
from ml_core.cleaning.recipes import make_recipe
from ml_core.data.pairs import open_pairs
from ml_core.data.specs import PairSpec
from ml_core.jobs.inputs import CachedSet
from ml_core.reading.errors import InputError

STEPS = (0, 1, 2, 3, 4, 5, 1, 7, 11)
RECIPE = make_recipe({"pairs": 24, "batch_size": 4, "epochs": 2, "warmup_steps": 1})


@pytest.fixture
def pairs(tmp_path):
    """24 small pictures with captions; number 5 is damaged."""
    rng = np.random.default_rng(0)
    lines = ["image,caption"]
    for number in range(24):
        name = f"{number}.png"
        pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
        lines.append(f"{name},caption {number}")
    (tmp_path / "5.png").write_bytes((tmp_path / "5.png").read_bytes()[:200])
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    return open_pairs(PairSpec(kind="csv", path=str(tmp_path / "pairs.csv")))


def _batch(pairs, recipe, step, draw=None):
    def tokenize(texts):
        import torch

        return torch.tensor([[len(text), sum(map(ord, text))] for text in texts])

    return pair_batch(
        pairs, recipe, 32, tokenize, lambda c, r: c * r.randrange(1, 9), step, draw=draw
    )


def test_processes_make_the_batches_of_a_thread(pairs):
    source = CachedSet(pairs, 32)
    assert can_travel(source)
    workers = PictureWorkers(source, pair_drawing(source, RECIPE, 32), 2, RECIPE.total_steps)
    try:
        found = [_batch(source, RECIPE, step, workers) for step in STEPS]
        broken = dict(pairs.broken)
        assert list(broken) == [5]
        assert len({child.pid for child in multiprocessing.active_children()}) >= 2
    finally:
        workers.close()
    wanted = [_batch(pairs, RECIPE, step) for step in STEPS]
    assert dict(pairs.broken) == broken
    for one, other in zip(found, wanted, strict=True):
        for name in ("images", "image_views", "tokens", "token_views", "numbers"):
            assert getattr(one, name).equal(getattr(other, name)), name
    assert sorted(len(batch) for batch in found)[0] == 3


@pytest.mark.parametrize("kind", ["flip", "autoaugment", "noise-erase", "noise-erase-code"])
def test_a_draw_belongs_to_its_place(kind):
    draws = draw_augmentations(8, kind, np.random.default_rng(0))
    images = np.random.default_rng(1).integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)
    places = np.array([1, 4, 6])
    assert np.array_equal(
        apply_draws(images[places], draws.rows(places)), apply_draws(images, draws)[places]
    )


def test_what_went_wrong_in_a_process_is_said_here(pairs, tmp_path):
    for number in range(24):
        (tmp_path / f"{number}.png").unlink()
    workers = PictureWorkers(pairs, pair_drawing(pairs, RECIPE, 32), 1, RECIPE.total_steps)
    try:
        with pytest.raises(InputError, match="Fewer than two of the"):
            workers(0)
    finally:
        workers.close()


def test_a_process_that_was_killed_is_a_sentence_and_none_is_left(pairs):
    workers = PictureWorkers(pairs, pair_drawing(pairs, RECIPE, 32), 1, RECIPE.total_steps)
    try:
        workers(0)
        (child,) = [c for c in multiprocessing.active_children() if c.name == "cleaning-pictures"]
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join(10)
        with pytest.raises(InputError, match="was killed"):
            workers(2)
    finally:
        workers.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and multiprocessing.active_children():
        time.sleep(0.05)
    assert not multiprocessing.active_children()
