"""Plain products for short attention: as exact as the fused kernel, and gone afterwards."""

from __future__ import annotations

import pytest
import torch

from ml_core.cleaning.gradients import backward
from ml_core.cleaning.loop import prepared
from ml_core.cleaning.methods.build import build_method
from ml_core.cleaning.methods.method import Extras
from ml_core.cleaning.recipes import make_recipe
from ml_core.cleaning.speed import StepSpeed
from ml_core.cleaning.step import cut_texts, image_tokens, short_attention, take_step
from tests.unit.tiny_models import batches, tiny_vit

SMALL = {"pairs": 24, "batch_size": 8, "eval_every": 0, "save_every": 0}
Gradients = dict[str, torch.Tensor]


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


def _batch(model, recipe):
    return cut_texts(model, batches(model, recipe)(1))


def _gradients(model, half, *, short=False, chunk=0):
    recipe = make_recipe(SMALL)
    method = build_method(model, recipe, Extras())
    for _, parameter in method.trained:
        parameter.requires_grad_(True)
        parameter.grad = None
    with short_attention(model, half and short):
        backward(model, method, _batch(model, recipe), half, chunk=chunk)
    return {name: p.grad.clone() for name, p in method.trained if p.grad is not None}


def _off(found, exact):
    """Norm of what all gradients are off by, over that of the exact ones."""
    assert found.keys() == exact.keys()
    total = sum(float((found[name] - one).square().sum()) for name, one in exact.items())
    return float((total / sum(float(one.square().sum()) for one in exact.values())) ** 0.5)


def test_plain_products_are_as_exact_as_the_fused_kernel():
    model = tiny_vit()
    exact = _gradients(model, half=False)
    fused = _off(_gradients(model, half=True), exact)
    plain = _off(_gradients(model, half=True, short=True), exact)
    assert 0 < plain <= 2 * fused
    assert fused < 0.1


def test_the_plain_kernel_is_what_is_used(monkeypatch):
    model, seen = tiny_vit(), []
    attend = torch.nn.functional.scaled_dot_product_attention

    def noted(*arguments, **options):
        seen.append(_flags())
        return attend(*arguments, **options)

    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", noted)
    before = _flags()
    _gradients(model, half=True, short=True)
    assert set(seen) == {(False, False, True, True)}
    seen.clear()
    _gradients(model, half=True)
    assert set(seen) == {before}


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

    def fail():
        with short_attention(tiny_model, True):
            assert _flags() == (False, False, True, True)
            raise KeyError

    flags = torch.backends.cuda
    try:
        for allowed in (not before[-1], before[-1]):
            flags.allow_fp16_bf16_reduction_math_sdp(allowed)
            with pytest.raises(KeyError):
                fail()
            assert _flags() == (*before[:-1], allowed)
    finally:
        flags.allow_fp16_bf16_reduction_math_sdp(before[-1])


@pytest.mark.parametrize("fields", [{}, {"checkpoint_activations": True}], ids=["kept", "anew"])
@pytest.mark.parametrize("chunk", [0, 3])
def test_it_goes_with_checkpointed_activations_and_gradient_caching(fields, chunk):
    model = tiny_vit()
    recipe = make_recipe(SMALL | fields | {"batch_norm": "frozen"})
    wanted = _gradients(model, half=True, short=True)
    with prepared(model, recipe):
        found = _gradients(model, half=True, short=True, chunk=chunk)
    assert _off(found, wanted) < (0.05 if chunk else 1e-6)


@pytest.mark.parametrize("chunk", [0, 3])
def test_a_whole_step_is_taken_within_it(chunk):
    """What is computed anew in the backward pass takes the same kernel, or it would not fit."""
    model = tiny_vit()
    recipe = make_recipe(SMALL | {"checkpoint_activations": True})
    method = build_method(model, recipe, Extras())
    for _, parameter in method.trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.SGD([p for _, p in method.trained])
    start = {name: p.detach().clone() for name, p in method.trained}
    with prepared(model, recipe):
        batch = _batch(model, recipe)
        values = take_step(
            model, method, optimizer, batch, recipe, 0.1, StepSpeed(True), chunk=chunk
        )
    assert values["grad_norm"] > 0
    assert any(not torch.equal(p, start[name]) for name, p in method.trained)
