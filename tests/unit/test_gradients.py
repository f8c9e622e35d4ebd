"""Gradients are those of the whole batch, whatever is encoded at a time or computed twice."""

from __future__ import annotations

import copy

import pytest
import torch
from open_clip.model import CLIP

from ml_core.cleaning.gradients import backward
from ml_core.cleaning.methods.build import build_method
from ml_core.cleaning.methods.method import Extras
from ml_core.cleaning.recipes import make_recipe
from ml_core.cleaning.speed import StepSpeed
from ml_core.cleaning.step import cut_texts, forward, training_mode
from tests.unit.draining import losses_of
from tests.unit.tiny_models import batches, different, some_classes, tiny_vit, trained

SMALL = {
    "pairs": 24, "batch_size": 8, "warmup_steps": 1, "eval_every": 0, "save_every": 0,
    "precision": "fp32", "batch_norm": "frozen",
}  # fmt: skip


def _model(kind, tiny_model):
    return tiny_model if kind == "resnet" else tiny_vit()


def _ready(model, recipe):
    """The method on a model in the mode of its training, and a batch."""
    method = build_method(model, recipe, Extras(some_classes(model)))
    for _, parameter in method.trained:
        parameter.requires_grad_(True)
    training_mode(model, recipe)
    return method, cut_texts(model, batches(model, recipe)(1))


def _taken(method):
    """The gradients, which are gone then."""
    gradients = {name: p.grad.clone() for name, p in method.trained if p.grad is not None}
    for _, parameter in method.trained:
        parameter.grad = None
    return gradients


@pytest.mark.parametrize(
    ("method", "half"),
    [("cleanclip", False), ("cleanclip", True), ("supervised", False)],
)
@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_chunks_give_the_gradients_of_the_whole_batch(kind, method, half, tiny_model):
    model = _model(kind, tiny_model)
    way, batch = _ready(model, make_recipe(SMALL | {"method": method}))
    parts = forward(model, way, batch, StepSpeed(half))
    parts["loss"].backward()
    whole, loss = _taken(way), float(parts["loss"].detach())
    before = torch.get_rng_state()
    parts = backward(model, way, batch, half, chunk=3)
    assert torch.equal(before, torch.get_rng_state())
    chunked = _taken(way)
    assert whole.keys() == chunked.keys()
    assert ("logit_scale" in whole) == (method != "supervised")
    assert ("head" in whole) == (method == "supervised")
    assert float(parts["loss"]) == pytest.approx(loss, rel=1e-3 if half else 1e-6)
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    assert largest > 1e-3
    for name, gradient in whole.items():
        size = max(float(gradient.norm()), 1e-3 * largest)
        off = float((chunked[name] - gradient).norm()) / size
        assert off < (0.05 if half else 1e-4), (name, off)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
@pytest.mark.parametrize("norm", ["train", "frozen"])
def test_checkpointed_activations_change_nothing(kind, norm, tiny_model):
    plain = _model(kind, tiny_model)
    spared, recipe = plain.copy(), make_recipe(SMALL | {"batch_norm": norm})
    events, _ = trained(plain, recipe)
    again, _ = trained(spared, recipe.changed(checkpoint_activations=True))
    assert losses_of(events) == losses_of(again)
    assert not different(plain, spared)
    for part in spared.module.modules():  # nothing is left that a copy would share
        assert not {"forward", "stem"} & vars(part).keys()


VIT_KINDS = [{}, {"no_ln_pre": True, "final_ln_after_pool": True, "ls_init_value": 0.1}]


def _pass(module, images):
    """Embeddings, and every gradient of a loss on them."""
    leaf = images.clone().requires_grad_()
    embedded = module.encode_image(leaf)
    (embedded * torch.arange(embedded.numel()).reshape(embedded.shape)).sum().backward()
    gradients = {n: p.grad for n, p in module.named_parameters() if p.grad is not None}
    return {**gradients, "images": leaf.grad, "embedded": embedded.detach()}


@pytest.mark.parametrize("kind", ["resnet", 0, 1])
def test_embeddings_and_gradients_are_open_clips(kind, tiny_model):
    model = tiny_vit(**VIT_KINDS[kind]) if isinstance(kind, int) else tiny_model.copy()
    module = CLIP(**copy.deepcopy(model.config))  # open_clip's own, with the same weights
    module.load_state_dict(model.module.state_dict())
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    theirs, ours = (_pass(one.double().train(), images) for one in (module, model.module))
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-9, atol=1e-9)
