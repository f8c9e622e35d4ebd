"""The one door to a CLIP, against hand-computed values and against the bare module."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from ml_core.model import Preprocess, build_model, normalise
from ml_core.reading import InputError
from tests.conftest import TINY_CONFIG

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def pixels(n=3, size=32):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_identity_follows_weights_config_and_preprocessing(tiny_model):
    assert tiny_model.identity is None
    tiny_model.sha256 = "a" * 64
    found = {tiny_model.identity, tiny_model.copy().identity}
    assert len(found) == 1
    for change in (
        {"sha256": "b" * 64},
        {"config": tiny_model.config | {"quick_gelu": True}},
        {"preprocess": Preprocess(32, std=(1.0, 1.0, 1.0))},
    ):
        found.add(replace(tiny_model, **change).identity)
    assert len(found) == 4


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_every_layout_is_normalised_by_the_formula(dtype, channels_last):
    bytes_ = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    images = bytes_ if dtype == torch.uint8 else (bytes_.double() / 255).to(dtype)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    before = images.clone()
    normal = normalise(images, MEAN, STD)
    unit = images.double() / (255 if dtype == torch.uint8 else 1)
    mean, std = torch.tensor(MEAN).view(3, 1, 1).double(), torch.tensor(STD).view(3, 1, 1)
    assert normal.dtype == torch.float32
    assert torch.allclose(normal.double(), (unit - mean) / std, atol=2e-6)
    assert torch.equal(images, before)
    assert normal.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert normalise(images[:0], MEAN, STD).shape == (0, 3, 5, 7)


def test_image_embeddings_are_those_of_the_module(tiny_model):
    embedded = tiny_model.encode_images(pixels())
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        expected = F.normalize(tiny_model.module.encode_image((pixels() - mean) / std), dim=-1)
    torch.testing.assert_close(embedded, expected, atol=1e-5, rtol=0)
    assert (embedded[0] - embedded[1]).abs().max() > 1e-4
    tokens = tiny_model.tokenize(["a dog", "dog " * 40])  # a long text keeps its end
    assert tokens.tolist() == [
        [49406, 320, 1929, 49407] + [0] * 12, [49406] + [1929] * 14 + [49407]
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 3, 64, 64), (1, 1, 32, 32), (1, 32, 32, 3)])
def test_wrong_shape_is_a_programming_error(tiny_model, shape):
    with pytest.raises(ValueError, match="images must be"):
        tiny_model.encode_images(torch.zeros(shape))


def test_encoding_while_training_neither_learns_nor_forgets_the_mode(tiny_model):
    expected = tiny_model.encode_images(pixels())
    tiny_model.module.train()
    tiny_model.module.visual.bn2.eval()
    before = copy.deepcopy(tiny_model.module.state_dict())
    embedded = tiny_model.encode_images(pixels())
    assert torch.equal(embedded, expected)
    assert tiny_model.module.training
    assert tiny_model.module.visual.bn1.training
    assert not tiny_model.module.visual.bn2.training
    after = tiny_model.module.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_whole_numbers_and_another_size_are_refused(tiny_model):
    state = dict(tiny_model.module.state_dict())
    state["ln_final.weight"] = torch.ones(16, dtype=torch.int64)
    with pytest.raises(InputError, match=r"ln_final\.weight holds torch\.int64"):
        build_model(TINY_CONFIG, Preprocess(32), state)
    with pytest.raises(InputError, match="32 px"):
        build_model(TINY_CONFIG, Preprocess(64), None)
