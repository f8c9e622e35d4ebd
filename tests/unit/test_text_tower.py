from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ml_core.model import ClipModel, build_model
from ml_core.text_tower import cut, encode_text, used_length
from tests.conftest import TINY_CONFIG

CAPTIONS = ["a cat", "a photo of a small dog", "bird"]


def _model(*, custom: bool = False, **text: object) -> ClipModel:
    config = copy.deepcopy(TINY_CONFIG)
    config["text_cfg"].update(text)
    if custom:
        config["custom_text"] = True
    torch.manual_seed(3)
    from ml_core.reading.clip_config import Preprocess

    return build_model(config, Preprocess(32), None)


def _gradients(module: nn.Module) -> dict[str, torch.Tensor]:
    return {k: p.grad.clone() for k, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("custom", "pool"), [(False, {}), (True, {"pool_type": "eos", "eos_id": 49407})]
)
def test_cut_captions_give_the_same_embeddings_and_gradients(custom, pool):
    model = _model(custom=custom, **pool)
    whole = model.tokenize(CAPTIONS)
    short = cut(model.module, whole)
    assert whole.shape[1] == 16
    assert short.shape[1] == 8  # six words, start and end
    found = []
    with torch.no_grad():
        single = [encode_text(model.module, tokens) for tokens in (whole, short)]
    torch.testing.assert_close(*single, rtol=0, atol=1e-5)
    model.module.double()  # rounding aside, they are equal
    direction = torch.randn(3, 16, dtype=torch.float64)
    for tokens in (whole, short):
        model.module.zero_grad(set_to_none=True)
        features = encode_text(model.module, tokens)
        (F.normalize(features, dim=-1) * direction).sum().backward()
        found.append((features.detach(), _gradients(model.module)))
    (full, full_gradients), (part, part_gradients) = found
    torch.testing.assert_close(part, full, rtol=0, atol=1e-12)
    assert part_gradients.keys() == full_gradients.keys()
    assert len(full_gradients) > 20
    for name, gradient in full_gradients.items():
        torch.testing.assert_close(part_gradients[name], gradient, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("text", [{"no_causal_mask": True}, {"pool_type": "last"}])
def test_a_tower_that_sees_what_follows_is_left_alone(text):
    model = _model(custom=True, **text)
    tokens = model.tokenize(CAPTIONS)
    assert used_length(model.module, tokens) is None
    assert cut(model.module, tokens) is tokens
