"""The one door to a CLIP, against hand-computed values and against the bare module."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ml_core.model import Preprocess, build_model, normalise
from ml_core.reading import InputError
from tests.conftest import TINY_CONFIG

VIT_CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "layers": 2, "width": 32, "head_width": 16},
    "text_cfg": TINY_CONFIG["text_cfg"],
}  # fmt: skip
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


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.float16])
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


@pytest.mark.parametrize("channels_last", [False, True])
def test_gradients_pass_normalisation(channels_last):
    images = torch.rand(1, 3, 4, 4)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    images.requires_grad_()
    normalise(images, MEAN, STD).sum().backward()
    expected = (1 / torch.tensor(STD)).view(1, 3, 1, 1).expand_as(images)
    assert torch.allclose(images.grad, expected)


def test_image_embeddings_are_those_of_the_module(tiny_model):
    embedded = tiny_model.encode_images(pixels())
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        expected = F.normalize(tiny_model.module.encode_image((pixels() - mean) / std), dim=-1)
    assert embedded.shape == (3, 16)
    assert embedded.dtype == torch.float32
    torch.testing.assert_close(embedded, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(embedded.norm(dim=-1), torch.ones(3))
    assert (embedded[0] - embedded[1]).abs().max() > 1e-4


def test_text_embeddings_are_those_of_the_module(tiny_model):
    texts = ["a dog", "a photo of a banana"]
    with torch.no_grad():
        expected = F.normalize(tiny_model.module.encode_text(tiny_model.tokenize(texts)), dim=-1)
    torch.testing.assert_close(tiny_model.encode_texts(texts), expected, atol=1e-6, rtol=0)


def test_tokens_are_clips_and_a_long_text_keeps_its_end_token(tiny_model):
    tokens = tiny_model.tokenize(["a dog", "dog " * 40])
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


def test_bf16_is_close_and_comes_back_as_fp32(tiny_model):
    expected = tiny_model.encode_images(pixels())
    tiny_model.precision = "bf16"
    embedded = tiny_model.encode_images(pixels())
    assert embedded.dtype == torch.float32
    assert not torch.equal(embedded, expected)
    assert F.cosine_similarity(embedded, expected).min() > 0.99


def test_copy_is_independent(tiny_model):
    twin = tiny_model.copy()
    with torch.no_grad():
        twin.module.visual.attnpool.c_proj.weight.zero_()
    twin.config["embed_dim"] = 3
    assert tiny_model.embed_dim == 16
    assert tiny_model.module.visual.attnpool.c_proj.weight.abs().sum() > 0
    assert (twin.name, twin.preprocess) == (tiny_model.name, tiny_model.preprocess)


def test_quick_gelu_of_the_config_is_used():
    plain = build_model(TINY_CONFIG, Preprocess(32), None)
    quick = build_model(
        TINY_CONFIG | {"quick_gelu": True}, Preprocess(32), plain.module.state_dict()
    )
    x = torch.tensor([2.0])
    activation = quick.module.transformer.resblocks[0].mlp.gelu
    assert activation(x).item() == pytest.approx(2 / (1 + math.exp(-1.702 * 2)))
    activation = plain.module.transformer.resblocks[0].mlp.gelu
    assert activation(x).item() == pytest.approx(1 + math.erf(math.sqrt(2)))


@pytest.mark.parametrize(
    "config",
    [
        TINY_CONFIG,
        VIT_CONFIG,
        TINY_CONFIG | {"custom_text": True},
        VIT_CONFIG | {"init_logit_bias": -10, "nonscalar_logit_scale": True},
    ],
    ids=["resnet", "vit", "custom text", "bias"],
)
def test_built_from_its_own_parameters_it_is_the_same_model(config):
    torch.manual_seed(3)
    first = build_model(config, Preprocess(32), None)
    state = first.module.state_dict()
    second = build_model(config, Preprocess(32), state)
    assert torch.equal(first.encode_images(pixels()), second.encode_images(pixels()))
    assert torch.equal(first.encode_texts(["a dog"]), second.encode_texts(["a dog"]))
    assert not any(p.is_meta for p in [*second.module.parameters(), *second.module.buffers()])
    assert all(p.requires_grad for p in second.module.parameters())


def test_parameters_become_fp32_copies_unless_taken_over(tiny_model):
    state = {k: v.contiguous() for k, v in tiny_model.module.state_dict().items()}
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    small = build_model(TINY_CONFIG, Preprocess(32), half)
    assert {p.dtype for p in small.module.parameters()} == {torch.float32}
    name = "positional_embedding"
    assert torch.equal(small.module.state_dict()[name], half[name].float())
    before = state[name].clone()
    copied = build_model(TINY_CONFIG, Preprocess(32), state)
    taken = build_model(TINY_CONFIG, Preprocess(32), state, take_over=True)
    state[name].zero_()
    assert torch.equal(copied.module.positional_embedding, before)
    assert taken.module.positional_embedding.abs().sum() == 0


def test_wrong_tensors_are_listed(tiny_model):
    state = dict(tiny_model.module.state_dict())
    del state["logit_scale"]
    state["linear.weight"] = torch.zeros(2)
    state["positional_embedding"] = torch.zeros(77, 16)
    with pytest.raises(InputError) as caught:
        build_model(TINY_CONFIG, Preprocess(32), state, name="epoch.safetensors")
    error = caught.value
    assert error.code == "damaged"
    assert error.sentence.startswith("epoch.safetensors does not hold")
    assert "1 missing, 1 unexpected, 1 of another shape" in error.sentence
    assert error.details.splitlines() == [
        "missing: logit_scale",
        "unexpected: linear.weight",
        "shape: positional_embedding: [77, 16] instead of [16, 16]",
    ]


def test_whole_numbers_and_another_size_are_refused(tiny_model):
    state = dict(tiny_model.module.state_dict())
    state["ln_final.weight"] = torch.ones(16, dtype=torch.int64)
    with pytest.raises(InputError, match=r"ln_final\.weight holds torch\.int64"):
        build_model(TINY_CONFIG, Preprocess(32), state)
    with pytest.raises(InputError, match="32 px"):
        build_model(TINY_CONFIG, Preprocess(64), None)
