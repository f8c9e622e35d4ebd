"""What the training and measuring scripts share."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from safetensors import safe_open
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ml_core.data.demo import compose, demo_classes, demo_templates
from ml_core.data.demo_text import TARGET_NAME as TARGET

MODEL_CFG = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 24, "head_width": 32},
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 64,
        "heads": 2,
        "layers": 3,
    },
}
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
PREPROCESS_CFG = {
    "size": 64,
    "mean": list(MEAN),
    "std": list(STD),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
_mean = torch.tensor(MEAN).mul(255).view(1, 3, 1, 1)
_std = torch.tensor(STD).mul(255).view(1, 3, 1, 1)
tokenizer = SimpleTokenizer(context_length=16)


def new_model(config: dict = MODEL_CFG) -> torch.nn.Module:
    model = open_clip.model.CLIP(**config)
    model.config = config
    return model.to(memory_format=torch.channels_last)


def load_model(path: str | Path) -> torch.nn.Module:
    with safe_open(str(path), "pt") as file:
        model = new_model(json.loads(file.metadata()["open_clip_config"])["model_cfg"])
        state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    for name, value in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, value)
            state[name] = state[name].long()
    model.load_state_dict(state)
    return model


def save_model(
    model: torch.nn.Module, path: str | Path, provenance: dict, size: int = PREPROCESS_CFG["size"]
) -> None:
    """fp16 safetensors with the open_clip config in its metadata; replaces the file at once."""
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous().clone()
        for name, value in model.state_dict().items()
    }
    config = {"model_cfg": model.config, "preprocess_cfg": PREPROCESS_CFG | {"size": size}}
    metadata = {
        "format": "pt",
        "open_clip_config": json.dumps(config),
        "provenance": json.dumps(provenance),
    }
    part = Path(f"{path}.part")
    save_file(state, part, metadata)
    part.replace(path)


def to_input(images: np.ndarray) -> torch.Tensor:
    """uint8 [N, H, W, 3] -> normalised float [N, 3, H, W], channels last."""
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() - _mean) / _std


def parameter_groups(model: torch.nn.Module, decay: float) -> list[dict]:
    """Weight decay on matrices only, not on norms, biases and the logit scale."""
    named = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in named if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in named if p.ndim < 2], "weight_decay": 0.0},
    ]


def autocast() -> torch.autocast:
    """bf16 where the processor multiplies it; elsewhere it would be many times slower."""
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.autocast("cpu", torch.bfloat16, enabled=fast)


def info_nce(a: torch.Tensor, b: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Symmetric contrastive loss of two batches of unit vectors."""
    logits = scale * a @ b.T
    target = torch.arange(len(a))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def shuffled(count: int, batch: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Endless batches of row numbers; each pass over the rows in a new order."""
    while True:
        order = rng.permutation(count)
        for start in range(0, count - batch + 1, batch):
            yield np.sort(order[start : start + batch])


@torch.inference_mode()
def classifier(model: torch.nn.Module) -> torch.Tensor:
    """Zero-shot classifier over the demo's classes and templates: [C, D]."""
    model.eval()
    rows = []
    for name in demo_classes():
        text = model.encode_text(tokenizer([t.format(name) for t in demo_templates()]))
        rows.append(F.normalize(F.normalize(text.float(), dim=-1).mean(0), dim=-1))
    return torch.stack(rows)


@torch.inference_mode()
def predict(model: torch.nn.Module, weights: torch.Tensor, images: np.ndarray) -> np.ndarray:
    model.eval()
    predictions = [
        (F.normalize(model.encode_image(to_input(images[i : i + 256])), dim=-1) @ weights.T).argmax(
            1
        )
        for i in range(0, len(images), 256)
    ]
    return torch.cat(predictions).numpy()


def figures(
    labels: np.ndarray, clean: np.ndarray, stamped: np.ndarray | None = None, name: str = TARGET
) -> dict:
    """CA, and with stamped predictions ASR over the other classes and poisoned accuracy."""
    target = demo_classes().index(name)
    result = {"ca": float((clean == labels).mean()), "n": len(labels)}
    if stamped is not None:
        other = labels != target
        result["asr"] = float((stamped[other] == target).mean())
        result["pacc"] = float((stamped[other] == labels[other]).mean())
    return result


def pictures(split: str, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    part = compose(split, range(count), seed=seed)
    return part.images, part.labels


class Clock:
    """Steps a second, and the time left."""

    def __init__(self, steps: int) -> None:
        self.steps, self.start = steps, time.time()

    def line(self, step: int) -> str:
        spent = time.time() - self.start
        return f"{spent:.0f} s, {spent / max(step, 1) * (self.steps - step):.0f} s left"


def warm_then_linear(step: int, steps: int, warm: int, flat: float) -> float:
    """Warm-up, then flat, then down to 0 in a straight line."""
    if step < warm:
        return (step + 1) / warm
    return min(1.0, (steps - step) / (steps * (1 - flat) + 1e-9))


def warm_then_cosine(step: int, steps: int, warm: int) -> float:
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
