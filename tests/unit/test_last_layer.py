"""What the last layer leaves out changes neither the embedding nor a gradient, and costs less."""

from __future__ import annotations

import copy

import pytest
import torch
from open_clip.model import CLIP
from torch.utils.flop_counter import FlopCounterMode

from tests.unit.tiny_models import tiny_vit

VIT_KINDS = [{}, {"no_ln_pre": True, "final_ln_after_pool": True, "ls_init_value": 0.1}]


def _published(model):
    """open_clip's own module with the same weights, in float64."""
    module = CLIP(**copy.deepcopy(model.config))
    module.load_state_dict(model.module.state_dict())
    return module.double()


def _passes(module, images):
    """Embeddings, every gradient of a loss on them, and the floating-point operations."""
    leaf = images.clone().requires_grad_()
    with FlopCounterMode(display=False) as count:
        embedded = module.encode_image(leaf)
        (embedded * torch.arange(embedded.numel()).reshape(embedded.shape)).sum().backward()
    gradients = {n: p.grad for n, p in module.named_parameters() if p.grad is not None}
    return embedded.detach(), {**gradients, "images": leaf.grad}, count.get_total_flops()


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("kind", ["resnet", 0, 1])
def test_embeddings_and_gradients_are_open_clips(kind, train, tiny_model):
    model = tiny_vit(**VIT_KINDS[kind]) if isinstance(kind, int) else tiny_model.copy()
    published, ours = _published(model), model.module.double()
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    expected, theirs, all_flops = _passes(published.train(train), images)
    embedded, gradients, flops = _passes(ours.train(train), images)
    torch.testing.assert_close(embedded, expected, rtol=1e-12, atol=1e-12)
    assert gradients.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-9, atol=1e-9)
    assert flops < all_flops
