"""What is trained, decayed, and at which rate."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ml_core.cleaning.methods.build import build_method
from ml_core.cleaning.methods.method import Extras
from ml_core.cleaning.recipes import make_recipe
from ml_core.cleaning.step import make_optimizer, rate_at
from ml_core.model import ClipModel


def test_norms_biases_and_vectors_are_not_decayed(tiny_model: ClipModel) -> None:
    module = tiny_model.module
    recipe = make_recipe({"weight_decay": 0.2})
    named = build_method(tiny_model, recipe, Extras()).trained
    optimizer = make_optimizer(module, named, recipe)
    decayed, plain = optimizer.param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.2, 0.0)
    names = {id(p): n for n, p in named}
    free = {names[id(p)] for p in plain["params"]}
    downsample = [n for n, p in named if "downsample" in n and p.ndim == 1]
    assert downsample
    assert set(downsample) <= free
    assert "logit_scale" in free
    assert "visual.conv1.weight" not in free
    norms = {
        f"{name}.{part}"
        for name, layer in module.named_modules()
        if isinstance(layer, (nn.BatchNorm2d, nn.LayerNorm))
        for part in ("weight", "bias")
    }
    assert norms <= free
    assert len(decayed["params"]) + len(plain["params"]) == len(named)


def test_supervised_trains_the_image_encoder_and_the_head(tiny_model: ClipModel) -> None:
    recipe = make_recipe({"method": "supervised"})
    names = [n for n, _ in build_method(tiny_model, recipe, Extras(torch.zeros(3, 16))).trained]
    assert names[-1] == "head"
    assert all(name.startswith("visual.") for name in names[:-1])
    assert len(names) - 1 == sum(1 for _ in tiny_model.module.visual.parameters())


def test_rate_warms_up_from_the_first_step_and_falls_along_a_cosine() -> None:
    recipe = make_recipe({"lr": 0.8, "warmup_steps": 4, "lr_end": 0.1})
    rates = [rate_at(step, 12, recipe) for step in range(12)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4] == pytest.approx(0.8)  # cosine begins at its peak
    assert rates[8] == pytest.approx(0.8 * (0.1 + 0.9 * 0.5))  # half way
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rate_at(12, 12, recipe) == pytest.approx(0.08)
