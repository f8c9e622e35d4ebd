"""Gradients are those of the whole batch, whatever is encoded at a time or computed twice."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from open_clip.model import CLIP

from ml_core.cleaning.gradients import backward, on_the_way_back, step_gradient, with_targets
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
    ("method", "half"), [("cleanclip", False), ("cleanclip", True), ("supervised", False)]
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


# ---- on the way back ----


@pytest.mark.parametrize(("way_back", "chunk"), [(0.0, 0), (0.8, 0), (0.8, 3)])
def test_triggered_pictures_are_learnt_from_on_the_way_back_and_clean_ones_here(way_back, chunk):
    """The triggers' gradient is that of weights between, the rest's where they are."""
    model, step = tiny_vit(), 3
    recipe = make_recipe(SMALL | {"method": "unlearning", "way_back": way_back})
    method, batch = _ready(model, recipe)
    batch = replace(batch, image_views=batch.images.flip(-1))
    begin = {name: part.detach().clone() for name, part in method.trained}
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, part in method.trained:
            part.add_(0.05 * torch.randn(part.shape, generator=generator))
    here = {name: part.detach().clone() for name, part in method.trained}
    share = 0.0
    with on_the_way_back(method, recipe, step):
        for name, part in method.trained:
            part = part.detach()
            if way_back:
                share = float(((here[name] - part) / (here[name] - begin[name])).mean())
            assert torch.allclose(part, torch.lerp(here[name], begin[name], share), atol=1e-6)
    assert (0 < share < way_back) == bool(way_back)

    def taken(terms, at):
        with torch.no_grad():
            for name, part in method.trained:
                part.copy_(torch.lerp(here[name], begin[name], at))
        whole = with_targets(model, method, batch, False)
        forward(model, terms, whole, StepSpeed(False))["loss"].backward()
        return _taken(method)

    back, clean = taken(method, share), taken(method.here, 0.0)
    parts = step_gradient(model, method, batch, recipe, step, False, chunk=chunk)
    assert set(parts) == {"loss", "triggered", "match", "clean"}
    assert all(torch.equal(here[name], part) for name, part in method.trained)  # to the last bit
    for name, mine in _taken(method).items():
        assert torch.allclose(mine, back[name] + clean[name], rtol=1e-3, atol=1e-5), name


def test_a_step_takes_its_own_place_on_the_way_back(tiny_model):
    recipe = make_recipe(SMALL | {"method": "unlearning", "way_back": 0.8})
    method, _ = _ready(tiny_model, recipe)
    with torch.no_grad():
        for _, part in method.trained:
            part.add_(1.0)
    _, first = method.trained[0]
    moved = []
    for step in (0, 1, 2, 0):
        before = first.detach().clone()
        with on_the_way_back(method, recipe, step):
            moved.append(float((before - first.detach()).mean()))
    assert moved[0] == moved[3]
    assert len(set(moved)) == 3
    whole = [trained(tiny_vit(), recipe.changed(way_back=way)) for way in (0.0, 0.8)]
    losses = [losses_of(events) for events, _ in whole]
    assert losses[0][0] == losses[1][0]  # the first step is at the beginning, wherever it is taken
    assert losses[0][1] != losses[1][1]
