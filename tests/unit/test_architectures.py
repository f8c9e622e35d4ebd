"""Any size of model is told from its tensors or a config, and computes what the library does."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip.tokenizer import tokenize
from safetensors.torch import save_file
from torch import Tensor

from ml_core.checkpoints import Checkpoint, open_checkpoint
from ml_core.checkpoints.architecture import mlp_ratio
from ml_core.checkpoints.choice import Choice
from ml_core.model import ClipModel
from ml_core.reading.clip_config import CLIP_MEAN, CLIP_STD
from tests.unit.layout_files import TEXTS, bare_safetensors, contiguous, lively, pixels, side


def text(width: int, heads: int, layers: int, context: int) -> dict[str, Any]:
    return {"width": width, "heads": heads, "layers": layers, "context_length": context}


def vit(width: int, patch: int, size: int, layers: int, **more: Any) -> dict[str, Any]:
    return {"width": width, "patch_size": patch, "image_size": size, "layers": layers, **more}


def resnet(width: int, size: int, layers: list[int], head: int = 64) -> dict[str, Any]:
    return {"width": width, "image_size": size, "layers": layers, "head_width": head}


# Heads of 64, or what divides the features and is next to it, as is assumed.
SIZES: dict[str, dict[str, Any]] = {
    "wide text": {"embed_dim": 40, "vision_cfg": vit(64, 4, 20, 3),
        "text_cfg": text(192, 3, 1, 20)},
    "odd patch": {"embed_dim": 7, "vision_cfg": vit(192, 7, 49, 1, mlp_ratio=2.5),
        "text_cfg": text(64, 1, 3, 9)},
    "narrow": {"embed_dim": 12, "vision_cfg": vit(96, 8, 16, 2, head_width=48),
        "text_cfg": text(40, 1, 2, 16)},
    "large ResNet input": {"embed_dim": 24, "vision_cfg": resnet(16, 96, [2, 1, 3, 1]),
        "text_cfg": text(128, 2, 1, 16)},
    "no pre-norm, layer scale": {"embed_dim": 12,
        "vision_cfg": vit(64, 8, 24, 2, no_ln_pre=True, ls_init_value=0.1),
        "text_cfg": text(64, 1, 1, 16) | {"ls_init_value": 0.1}},
}  # fmt: skip


def same(model: ClipModel, module: Any) -> tuple[float, float]:
    """Largest differences from the library's own embeddings."""
    mean, std = torch.tensor(CLIP_MEAN).view(3, 1, 1), torch.tensor(CLIP_STD).view(3, 1, 1)
    images = pixels(side(module))
    context = module.positional_embedding.shape[0]
    with torch.inference_mode():
        theirs: tuple[Tensor, Tensor] = (
            module.encode_image((images - mean) / std, normalize=True),
            module.encode_text(tokenize(TEXTS, context), normalize=True),
        )
    ours = model.encode_images(images), model.encode_texts(TEXTS)
    image, words = ((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))
    return image, words


def with_config(config: dict[str, Any], folder: Path) -> tuple[Checkpoint, Any]:
    module = lively(config)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    save_file(contiguous(module.state_dict()), folder / "open_clip_model.safetensors")
    return open_checkpoint(folder), module


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_told_from_the_tensors(name: str, tmp_path: Path) -> None:
    config = SIZES[name] | {"quick_gelu": True}
    module = lively(config)
    checkpoint = open_checkpoint(bare_safetensors(module, tmp_path))
    assert checkpoint.architecture.source == "shapes"
    told = checkpoint.architecture.config
    for part in ("vision_cfg", "text_cfg"):
        for key, value in config[part].items():
            if key != "ls_init_value":
                assert told[part][key] == pytest.approx(value), (part, key)
    assert told["embed_dim"] == config["embed_dim"]
    assert max(same(checkpoint.build(), module)) <= 1e-4


def test_heads_are_counted_as_the_library_counts_them(tmp_path: Path) -> None:
    """open_clip divides and drops the rest: 96 features with heads of 64 are one head."""
    config: dict[str, Any] = SIZES["narrow"] | {"quick_gelu": True}
    config["vision_cfg"] = config["vision_cfg"] | {"head_width": 64}
    checkpoint, module = with_config(config, tmp_path)
    assert max(same(checkpoint.build(), module)) <= 1e-4
    assert same(checkpoint.build(choice=Choice(image_heads=2)), module)[0] > 1e-4


def test_ratios_give_the_hidden_features_back() -> None:
    troubled = 0
    for width in range(1, 300):
        for hidden in range(1, 4 * width, max(1, width // 7)):
            troubled += int(width * (hidden / width)) != hidden
            assert int(width * mlp_ratio(hidden, width)) == hidden
    assert troubled > 0  # or the rounding would need no care
    assert mlp_ratio(3072, 768) == 4.0


def test_logit_scale_and_bias_in_any_shape(tmp_path: Path) -> None:
    module = lively(SIZES["narrow"] | {"init_logit_bias": -10, "nonscalar_logit_scale": True})
    module.logit_scale.data.fill_(math.log(30.0))
    model = open_checkpoint(bare_safetensors(module, tmp_path)).build()
    assert model.logit_scale == pytest.approx(30.0)
