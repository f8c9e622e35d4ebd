"""RVPT's prompts: what they do to a ViT, and their file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ml_core.checkpoints.adapter import (
    PromptedVisual,
    add_prompts,
    apply_adapter,
    plain_visual,
    read_adapter,
    save_adapter,
)
from ml_core.checkpoints.write_safetensors import write_safetensors
from ml_core.cleaning.batches import Batch, labelled_batch
from ml_core.cleaning.loop import train
from ml_core.cleaning.methods.build import build_method, check_model
from ml_core.cleaning.methods.method import Extras
from ml_core.cleaning.recipes import make_recipe
from ml_core.events import Control, Metric
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError
from tests.unit.fake_pictures import FakePairs

RVPT = {
    "method": "rvpt", "pairs": 24, "batch_size": 4, "epochs": 3, "warmup_steps": 0, "lr": 0.05,
    "optimizer": "sgd", "prompt_depth": 1, "prompt_length": 4, "eval_every": 0, "save_every": 0,
    "precision": "fp32", "image_augmentation": "none", "lambda_repel": 2.0,
}  # fmt: skip


def _pixels() -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (5, 3, 32, 32), generator=generator, dtype=torch.uint8)


def test_prompts_follow_vpt_written_out(tiny_vit: ClipModel) -> None:
    prompts = 0.5 * torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(0))
    visual = plain_visual(tiny_vit)
    with torch.no_grad():
        x = visual._embeds(tiny_vit.normalise(_pixels()))
        first, second, third = visual.transformer.resblocks
        x = first(x)
        for block, own in ((second, prompts[0]), (third, prompts[1])):
            x = block(torch.cat([x[:, :1], own.expand(5, 4, 32), x[:, 1:]], 1))
            x = torch.cat([x[:, :1], x[:, 5:]], 1)
        expected = visual.ln_post(x[:, 0]) @ visual.proj
    add_prompts(tiny_vit, prompts, 1)
    expected = expected / expected.norm(dim=1, keepdim=True)
    assert torch.allclose(tiny_vit.encode_images(_pixels()), expected, atol=1e-5)


def test_training_moves_prompts_alone_and_resumes_to_the_same_bits(
    tiny_vit: ClipModel, tmp_path: Path
) -> None:
    weights = tiny_vit.copy().module.visual.state_dict()
    recipe = make_recipe(RVPT | {"save_every": 7})
    pairs, path = FakePairs(), tmp_path / "state.safetensors"
    classifier = tiny_vit.encode_texts(["cat", "dog", "bird"]).clone()
    models = [tiny_vit.copy() for _ in range(3)]

    def run(model: ClipModel, **more: object) -> object:
        return train(
            model, recipe, lambda s: labelled_batch(pairs, recipe, 32, s), Control(),
            extras=Extras(classifier), **more,
        )  # fmt: skip

    metrics = [event for event in run(models[0]) if isinstance(event, Metric)]
    assert metrics[-1].values["repulsion"] < metrics[0].values["repulsion"]
    for event in run(models[1], state_path=path):
        if isinstance(event, Metric) and event.step == 9:
            break
    list(run(models[2], state_path=path, resume=True))
    left, right = (m.module.visual for m in (models[0], models[2]))
    assert torch.equal(left.prompts, right.prompts)
    inner = left.inner.state_dict()
    assert all(torch.equal(inner[key], value) for key, value in weights.items())


def test_a_resnet_is_refused_with_a_sentence(tiny_model: ClipModel, tiny_vit: ClipModel) -> None:
    with pytest.raises(InputError, match=r"RVPT needs a vision transformer.*is a ResNet"):
        check_model(tiny_model, make_recipe(RVPT))
    with pytest.raises(InputError, match="has 3: lower the blocks without prompts"):
        check_model(tiny_vit, make_recipe(RVPT | {"prompt_depth": 3}))
    check_model(tiny_vit, make_recipe(RVPT))


def test_an_adapter_comes_back_from_the_disk(tiny_vit: ClipModel, tmp_path: Path) -> None:
    tiny_vit.sha256 = "ab" * 32
    fresh, before = tiny_vit.copy(), tiny_vit.encode_images(_pixels())
    add_prompts(tiny_vit, torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(1)), 1)
    path = save_adapter(tiny_vit, tmp_path / "adapter.safetensors", {"source_sha256": "ab" * 32})
    identity = fresh.identity
    apply_adapter(fresh, read_adapter(path))
    assert torch.equal(fresh.encode_images(_pixels()), tiny_vit.encode_images(_pixels()))
    assert not torch.allclose(fresh.encode_images(_pixels()), before, atol=1e-3)
    assert fresh.identity != identity  # embeddings that were kept are not those of the adapter
    assert "the weights alone are not cleaned" in fresh.assumptions[-1]
    assert "other weights" not in fresh.assumptions[-1]
    other = tiny_vit.copy()
    other.sha256 = "cd" * 32
    assert "other weights" in apply_adapter(other, read_adapter(path)).assumptions[-1]


def test_adapters_that_do_not_fit_or_are_none_are_refused(
    tiny_vit: ClipModel, tiny_model: ClipModel, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    add_prompts(tiny_vit, torch.zeros(2, 4, 32), 1)
    good = save_adapter(tiny_vit, tmp_path / "a.safetensors", {})
    with pytest.raises(InputError, match="is an adapter for a vision transformer"):
        apply_adapter(tiny_model, read_adapter(good))
    with pytest.raises(InputError, match="is no adapter of this version"):
        read_adapter(tiny_checkpoint)
    bad: list[tuple[dict[str, torch.Tensor], dict[str, str], str]] = [
        ({"prompts": torch.zeros(2, 4)}, {}, "prompts alone"),
        ({"prompts": torch.zeros(2, 4, 32), "more": torch.zeros(1)}, {}, "prompts alone"),
        ({"prompts": torch.full((2, 4, 32), float("nan"))}, {}, "not numbers"),
        ({"prompts": torch.zeros(2, 4, 32)}, {"depth": "-1"}, "no adapter of this version"),
        ({"prompts": torch.zeros(2, 4, 32)}, {"facts": "[]"}, "damaged"),
    ]
    for number, (tensors, changes, words) in enumerate(bad):
        path = tmp_path / f"bad-{number}.safetensors"
        metadata = {"format": "cleanclip-adapter-1", "depth": "1", "facts": json.dumps({})}
        with path.open("wb") as file:
            write_safetensors(file, tensors, metadata | changes)
        with pytest.raises(InputError, match=words):
            read_adapter(path)
    wide = replace(read_adapter(good), prompts=torch.zeros(2, 4, 64))
    with pytest.raises(InputError, match="3 blocks of width 64, and the image encoder has 3 of 32"):
        apply_adapter(tiny_vit, wide)


def test_checkpointed_activations_give_the_same_gradient(tiny_vit: ClipModel) -> None:
    given = Extras(tiny_vit.encode_texts(["cat", "dog", "bird"]).clone())
    batch = Batch(_pixels(), labels=torch.tensor([0, 1, 2, 0, 1]))
    gradients = []
    for checkpointing in (False, True):
        method = build_method(tiny_vit, make_recipe(RVPT), given)
        visual = tiny_vit.module.visual
        assert isinstance(visual, PromptedVisual)
        visual.grad_checkpointing = checkpointing
        method.loss(method.encode(batch), batch)["loss"].backward()
        gradients.append(visual.prompts.grad)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6)
