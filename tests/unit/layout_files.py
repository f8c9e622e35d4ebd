"""Checkpoints as training programs and libraries write them, and the embeddings that they give."""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.tokenizer import tokenize
from safetensors.torch import save_file
from torch import Tensor, nn

from ml_core.model import ClipModel
from ml_core.reading.clip_config import CLIP_MEAN, CLIP_STD

TOLERANCE = 1e-4
TEXTS = ["a photo of a dog", "banana", "a very long sentence about nothing in particular"]
TEXT: dict[str, Any] = {"context_length": 16, "width": 128, "heads": 2, "layers": 2}
RESNET: dict[str, Any] = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": [1, 2, 1, 1], "width": 8, "head_width": 64},
    "text_cfg": TEXT,
}
VIT: dict[str, Any] = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 128, "layers": 2},
    "text_cfg": TEXT,
}


def lively(config: dict[str, Any], seed: int = 0) -> nn.Module:
    """open_clip's own module, with weights so large that every setting shows."""
    arguments = json.loads(json.dumps(config))
    custom = arguments.pop("custom_text", False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = (CustomTextCLIP if custom else CLIP)(**arguments)
        with torch.no_grad():
            for name, value in module.named_parameters():
                if value.ndim > 1 and "embedding" not in name:
                    value.mul_(2.0)
                elif value.ndim == 1 and "bn" in name:
                    nn.init.uniform_(value, 0.5, 1.0)
                elif "embedding" in name:
                    value.mul_(20.0)
    return module.eval()


def side(module: nn.Module) -> int:
    """Side of the module's input."""
    size = module.visual.image_size
    return int(size[0] if isinstance(size, tuple) else size)


def pixels(size: int) -> Tensor:
    return torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(1))


def theirs(module, mean=CLIP_MEAN, std=CLIP_STD):
    """Normalised embeddings of images and texts by the library itself."""
    images = pixels(side(module))
    images = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.inference_mode():
        return (
            module.encode_image(images, normalize=True),
            module.encode_text(tokenize(TEXTS, TEXT["context_length"]), normalize=True),
        )


def apart(model: ClipModel, expected: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Largest differences of the image and the text embeddings."""
    got = model.encode_images(pixels(model.image_size)), model.encode_texts(TEXTS)
    image, text = ((a - b).abs().max().item() for a, b in zip(got, expected, strict=True))
    return image, text


def assert_equal(model: ClipModel, expected: tuple[Tensor, Tensor]) -> None:
    image, text = apart(model, expected)
    assert image <= TOLERANCE, f"image embeddings differ by {image}"
    assert text <= TOLERANCE, f"text embeddings differ by {text}"


def contiguous(state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    return {prefix + key: value.contiguous() for key, value in state.items()}


def cleanclip(module: nn.Module, folder: Path) -> Path:
    optimizer = torch.optim.AdamW(module.parameters(), lr=float(np.float64(1e-6)))
    for group in optimizer.param_groups:
        group["lr"] = np.float64(1e-6)
    record = {
        "epoch": 10,
        "name": "nodefence",
        "state_dict": contiguous(module.state_dict(), "module."),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(record, folder / "epoch_10.pt")
    return folder / "epoch_10.pt"


def finetuned(module: nn.Module, folder: Path) -> Path:
    state = contiguous(module.state_dict(), "model.")
    state |= {"linear.weight": torch.randn(10, 24), "linear.bias": torch.randn(10)}
    torch.save({"state_dict": state}, folder / "finetune.pt")
    return folder / "finetune.pt"


def par(module: nn.Module, folder: Path) -> Path:
    record = {
        "epoch": 3,
        "state_dict": contiguous(module.state_dict(), "module."),
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []},
        "scaler": {"scale": 65536.0},
        "best_acc1": 0.5,
        "args": argparse.Namespace(lr=1e-5, attack="badnet_rs"),
    }
    torch.save(record, folder / "best.pth")
    return folder / "best.pth"


def invertune(module: nn.Module, folder: Path) -> Path:
    record = {
        "model_state_dict": contiguous(module.state_dict()),
        "critical_neurons": {"layer4": np.arange(5), "score": np.float64(0.5)},
    }
    torch.save(record, folder / "defended.pt")
    return folder / "defended.pt"


def bare_safetensors(module: nn.Module, folder: Path) -> Path:
    save_file(contiguous(module.state_dict()), folder / "m.safetensors")
    return folder / "m.safetensors"


def pickled(module: nn.Module, folder: Path) -> Path:
    torch.save(module, folder / "whole.pt")
    return folder / "whole.pt"


def openai_archive(module: nn.Module, folder: Path) -> Path:
    """A traced archive with OpenAI's attribute names, three numbers and half precision."""
    size = side(module)
    for name, value in {
        "input_resolution": size,
        "context_length": TEXT["context_length"],
        "vocab_size": 49408,
    }.items():
        if name in module.__dict__:
            del module.__dict__[name]
        module.register_buffer(name, torch.tensor(value))
    traced(module).half().save(str(folder / "openai.pt"))
    return folder / "openai.pt"


def traced(module: nn.Module) -> torch.jit.ScriptModule:
    """The module as TorchScript."""
    images = torch.ones(2, 3, side(module), side(module))
    texts = torch.zeros(2, TEXT["context_length"], dtype=torch.int)
    inputs = {"forward": (images, texts), "encode_image": (images,), "encode_text": (texts,)}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace_module(module, inputs)


def vision_names(module: nn.Module) -> dict[str, Tensor]:
    return contiguous(module.visual.state_dict())


def tecoa(module: nn.Module, folder: Path) -> Path:
    record = {"vision_encoder_state_dict": vision_names(module), "optimizer": {"lr": 1e-5}}
    torch.save(record, folder / "fare.pt")
    return folder / "fare.pt"


def bare_vision(module: nn.Module, folder: Path) -> Path:
    torch.save(vision_names(module), folder / "visual.pt")
    return folder / "visual.pt"


def decree(module: nn.Module, folder: Path) -> Path:
    state = {f"visual.{key}": value for key, value in vision_names(module).items()}
    torch.save({"epoch": 200, "state_dict": state}, folder / "decree.pth")
    return folder / "decree.pth"


def text_only(module: nn.Module, folder: Path) -> Path:
    state = {k: v for k, v in module.state_dict().items() if not k.startswith("visual.")}
    save_file(contiguous(state), folder / "text.safetensors")
    return folder / "text.safetensors"


_TO_TRANSFORMERS = (
    ("visual.class_embedding", "vision_model.embeddings.class_embedding"),
    ("visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"),
    ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    ("visual.ln_pre.", "vision_model.pre_layrnorm."),
    ("visual.ln_post.", "vision_model.post_layernorm."),
    ("visual.transformer.resblocks.", "vision_model.encoder.layers."),
    ("transformer.resblocks.", "text_model.encoder.layers."),
    ("token_embedding.", "text_model.embeddings.token_embedding."),
    ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
    ("ln_final.", "text_model.final_layer_norm."),
    ("visual.proj", "visual_projection.weight"),
    ("text_projection", "text_projection.weight"),
)

_IN_LAYER = {
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
    ".attn.out_proj.": ".self_attn.out_proj.",
}


def as_transformers(module: nn.Module) -> dict[str, Tensor]:
    """A state dict in the library's names."""
    made: dict[str, Tensor] = {}
    for key, value in contiguous(module.state_dict()).items():
        for old, new in _TO_TRANSFORMERS:
            if key.startswith(old):
                key = new + key.removeprefix(old)
                break
        for old, new in _IN_LAYER.items():
            key = key.replace(old, new)
        if ".attn.in_proj_" in key:
            for letter, part in zip("qkv", value.chunk(3), strict=True):
                name = key.replace(".attn.in_proj_", f".self_attn.{letter}_proj.")
                made[name] = part.clone()
            continue
        made[key] = value.t().contiguous() if "projection.weight" in key else value
    made["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    return made


def in_shards(state: Mapping[str, Tensor], folder: Path, ending: str = "safetensors") -> Path:
    """Write a transformers folder with two shards; return the index."""
    names = sorted(state)
    weight_map, stem = {}, "model" if ending == "safetensors" else "pytorch_model"
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        shard = f"{stem}-0000{number}-of-00002.{ending}"
        tensors = {name: state[name] for name in part}
        if ending == "safetensors":
            save_file(tensors, folder / shard)
        else:
            torch.save(tensors, folder / shard)
        weight_map |= dict.fromkeys(part, shard)
    index = folder / f"{stem}.{ending}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


@pytest.fixture(params=["quick_gelu", "gelu"])
def hugging(request: pytest.FixtureRequest) -> Any:
    """A tiny CLIPModel of the library, with weights so large that every setting shows."""
    transformers = pytest.importorskip("transformers")
    common = {"hidden_act": request.param, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.CLIPConfig(
        text_config=common
        | {"hidden_size": 64, "intermediate_size": 96, "max_position_embeddings": 16},
        vision_config=common
        | {"hidden_size": 96, "intermediate_size": 160, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.CLIPModel(config).eval()
        with torch.no_grad():
            for name, value in model.named_parameters():
                if value.ndim > 1 and "embedding" not in name:
                    nn.init.normal_(value, std=0.2)
                elif "bias" in name:
                    nn.init.normal_(value, std=0.1)
                elif "embedding" in name:
                    nn.init.normal_(value, std=0.5)
    return model


def of_transformers(model, mean=CLIP_MEAN, std=CLIP_STD):
    """Normalised embeddings by the library."""
    images = (pixels(32) - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.inference_mode():
        made = model(input_ids=tokenize(TEXTS, 16), pixel_values=images)
    return made.image_embeds, made.text_embeds
