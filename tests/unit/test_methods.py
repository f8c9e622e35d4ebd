"""What each method trains, remembers and draws, and at which rate."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from ml_core.cleaning.augment import augment_images
from ml_core.cleaning.methods.build import build_method
from ml_core.cleaning.methods.method import Extras, FrozenCopy, RowCache, frozen_copy
from ml_core.cleaning.presets import preset
from ml_core.cleaning.recipes import make_recipe
from ml_core.cleaning.step import make_optimizer, rate_at
from tests.unit.draining import metrics_of
from tests.unit.tiny_models import batches, trained

SMALL = {
    "pairs": 24, "batch_size": 4, "epochs": 2, "warmup_steps": 2, "eval_every": 0,
    "save_every": 0, "precision": "fp32",
}  # fmt: skip


# ---- what is trained, decayed, and at which rate ----


def test_norms_biases_and_vectors_are_not_decayed(tiny_model):
    module, recipe = tiny_model.module, make_recipe({"weight_decay": 0.2})
    named = build_method(tiny_model, recipe, Extras()).trained
    decayed, plain = make_optimizer(module, named, recipe).param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.2, 0.0)
    names = {id(p): n for n, p in named}
    free = {names[id(p)] for p in plain["params"]}
    norms = {
        f"{name}.{part}"
        for name, layer in module.named_modules()
        if isinstance(layer, (nn.BatchNorm2d, nn.LayerNorm))
        for part in ("weight", "bias")
    }
    assert norms | {"logit_scale"} <= free
    assert "visual.conv1.weight" not in free
    assert len(decayed["params"]) + len(plain["params"]) == len(named)


def test_rate_warms_up_from_the_first_step_and_falls_along_a_cosine():
    recipe = make_recipe({"lr": 0.8, "warmup_steps": 4, "lr_end": 0.1})
    rates = [rate_at(step, 12, recipe) for step in range(12)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8])  # the cosine begins at its peak
    assert rates[8] == pytest.approx(0.8 * (0.1 + 0.9 * 0.5))  # half way
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rate_at(12, 12, recipe) == pytest.approx(0.08)


def test_the_two_phase_schedule_is_pars():
    recipe = preset("par", "paper")
    for total in (2, 3, 22, 23, 1000):
        first = total // 2  # of the steps, the line takes a half and the cosine the rest
        line = np.linspace(3e-5, 3e-6, first)
        turn = np.pi * np.arange(total - first) / (total - first)
        expected = [*line, *(1e-9 + (3e-6 - 1e-9) * (1 + np.cos(turn)) / 2)]
        rates = [rate_at(step, total, recipe) for step in range(total)]
        assert rates == pytest.approx(expected, rel=1e-12)
        assert rate_at(total, total, recipe) == pytest.approx(1e-9)
    warmed = [rate_at(step, 26, recipe.changed(warmup_steps=4)) for step in range(26)]
    assert warmed[:5] == pytest.approx([0.75e-5, 1.5e-5, 2.25e-5, 3e-5, 3e-5])
    assert warmed[14:16] == pytest.approx([3e-6, 3e-6])


# ---- PAR, and what is remembered ----


def test_par_starts_at_no_distance_and_trains_all_but_the_logit_scale(tiny_model):
    recipe = make_recipe(SMALL | {"method": "par", "batch_norm": "frozen", "pairs": 8})
    scale = tiny_model.logit_scale
    first, *_, last = metrics_of(trained(tiny_model, recipe)[0])
    for name in ("image_distance", "text_distance"):
        assert first.values[name] == pytest.approx(0.0, abs=1e-6)
        assert last.values[name] > 1e-4
    assert tiny_model.logit_scale == scale  # frozen
    names = {n for n, _ in build_method(tiny_model, recipe, Extras()).trained}
    assert "logit_scale" not in names
    assert {"visual.conv1.weight", "token_embedding.weight"} <= names


def test_remembered_embeddings_are_those_computed_anew(tiny_model):
    recipe = make_recipe(SMALL | {"method": "par", "image_augmentation": "none"})
    remembering, fresh = frozen_copy(tiny_model, recipe), FrozenCopy(tiny_model)
    make = batches(tiny_model, recipe)
    for step in range(recipe.total_steps):
        first, again = remembering.both(make(step)), fresh.both(make(step))
        for name, value in again.items():
            assert torch.equal(first[name], value), (step, name)
    assert remembering.images_kept.made == remembering.texts_kept.made == 6  # of 12 batches
    noisy = recipe.changed(image_augmentation="noise-erase")
    assert frozen_copy(tiny_model, noisy).images_kept is None  # other pixels each time
    rows, limited = torch.arange(10.0).reshape(5, 2), RowCache(limit=3 * 8)  # bytes of three rows
    for _ in range(2):
        assert torch.equal(limited.get(range(5), rows, torch.clone), rows)
    limited.get(range(3), rows[:3], torch.zeros_like, fill=5)
    assert limited.made == 2


# ---- triggers and pictures ----


def test_noise_is_on_both_sides_and_the_code_only_brightens():
    grey = np.full((200, 32, 32, 3), 128, np.uint8)
    views = augment_images(grey, "noise-erase", np.random.default_rng(0), (0, 0, 0))
    # most pixels of a view say whether it has noise; the erased squares are black
    untouched = np.array([np.isin(view, (0, 128)).all() for view in views])
    assert 70 <= untouched.sum() <= 130
    noisy = views[~untouched].astype(float)
    inside = noisy[(noisy > 0) & (noisy < 255)]
    assert abs((inside - 128).mean()) < 2
    assert (inside - 128).std() / 255 == pytest.approx(0.2, abs=0.02)
    erased = (views == 0).all(axis=-1).sum(axis=(1, 2))
    with_square = erased[erased >= 4]
    assert 70 <= len(with_square) <= 130
    assert with_square.max() <= math.ceil(math.sqrt(0.01 * 1024)) ** 2
    code = augment_images(grey, "noise-erase-code", np.random.default_rng(0), (255, 255, 255))
    assert code.min() == 128
