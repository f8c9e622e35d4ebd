"""Plain products for short attention: as exact as the fused kernel, and gone afterwards."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch

from ml_core.cleaning.gradients import backward
from ml_core.cleaning.methods.build import build_method
from ml_core.cleaning.methods.method import Extras
from ml_core.cleaning.recipes import make_recipe
from ml_core.cleaning.step import cut_texts, image_tokens, short_attention
from tests.unit.tiny_models import batches, tiny_vit

SMALL = {"pairs": 24, "batch_size": 8, "eval_every": 0, "save_every": 0}


@pytest.fixture(autouse=True)
def _flags_are_put_back():
    before = _flags()
    yield
    assert _flags() == before


def _flags():
    """Which kernels may be taken, and whether the plain one may add up in bfloat16."""
    flags = torch.backends.cuda
    return (
        flags.flash_sdp_enabled(),
        flags.mem_efficient_sdp_enabled(),
        flags.math_sdp_enabled(),
        flags.fp16_bf16_reduction_math_sdp_allowed(),
    )


def _gradients(model, half, *, short=False):
    recipe = make_recipe(SMALL)
    method = build_method(model, recipe, Extras())
    for _, parameter in method.trained:
        parameter.requires_grad_(True)
        parameter.grad = None
    with short_attention(model, half and short):
        backward(model, method, cut_texts(model, batches(model, recipe)(1)), half)
    return {name: p.grad.clone() for name, p in method.trained if p.grad is not None}


def _off(found, exact):
    """Norm of what all gradients are off by, over that of the exact ones."""
    assert found.keys() == exact.keys()
    total = sum(float((found[name] - one).square().sum()) for name, one in exact.items())
    return float((total / sum(float(one.square().sum()) for one in exact.values())) ** 0.5)


def test_plain_products_are_used_and_as_exact_as_the_fused_kernel(monkeypatch):
    model, seen = tiny_vit(), []
    attend = torch.nn.functional.scaled_dot_product_attention

    def noted(*arguments, **options):
        seen.append(_flags())
        return attend(*arguments, **options)

    exact = _gradients(model, half=False)
    fused = _off(_gradients(model, half=True), exact)
    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", noted)
    plain = _off(_gradients(model, half=True, short=True), exact)
    assert set(seen) == {(False, False, True, True)}
    assert 0 < plain <= 2 * fused
    assert fused < 0.1


def test_nothing_changes_in_float32_or_where_attention_is_long_or_unknown(tiny_model, monkeypatch):
    before = _flags()
    short, long = tiny_vit(), tiny_vit(patch_size=3)
    assert (image_tokens(short.module), image_tokens(long.module)) == (17, 101)
    assert image_tokens(tiny_model.module) == 2
    with short_attention(short, False):
        assert _flags() == before
    with short_attention(long, True):
        assert _flags() == before
    unknown = torch.nn.Module()
    unknown.visual = torch.nn.Linear(2, 2)
    assert image_tokens(unknown) is None
    monkeypatch.setattr(short, "module", unknown)
    with short_attention(short, True):
        assert _flags() == before

    with suppress(KeyError), short_attention(tiny_model, True):
        assert _flags() == (False, False, True, True)
        raise KeyError
    assert _flags() == before
