"""Make ``resources/open_clip_shapes.json``: which of open_clip's configs has just these tensors.

    python packaging/open_clip/shapes.py

Takes a minute, as each model is built without values. Left out are CLIPs of OpenAI's own kind,
whose config is read off the shapes, and those with a text encoder of the transformers library,
whose sizes are. Of the former the file names those that open_clip has with GELU alone.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import open_clip
import timm
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

from ml_core.checkpoints.architecture import digest
from ml_core.reading import InputError
from ml_core.reading.clip_config import check_model_config, is_hf, is_timm
from ml_core.towers import shapes_of

OUT = Path(__file__).parents[2] / "resources" / "open_clip_shapes.json"
_TOLD = {
    "image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio", "heads",
    "context_length", "vocab_size",
}  # fmt: skip
_PREPROCESS = ("mean", "std", "interpolation", "resize_mode")


def preprocess_of(name: str) -> dict[str, Any]:
    """What all published weights of a model agree on."""
    configs = [get_pretrained_cfg(name, tag) for tag in list_pretrained_tags_by_model(name)]
    shared = {}
    for key in _PREPROCESS:
        values = {json.dumps(item.get(key)) for item in configs}
        if len(values) == 1 and (value := json.loads(values.pop())) is not None:
            shared[key] = value
    return shared


def told_by_shapes(config: dict[str, Any]) -> bool:
    """Whether the config can be read off the shapes, but for the activation."""
    parts = {**config["vision_cfg"], **config["text_cfg"]}
    return not is_timm(config) and set(parts) <= _TOLD


def main() -> None:
    models: dict[str, list[dict[str, Any]]] = defaultdict(list)
    activations: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for name in open_clip.list_models():
        try:
            config = check_model_config(open_clip.get_model_config(name), name)
        except InputError as error:
            print(error.sentence)
            continue
        if is_hf(config):
            continue
        shapes = shapes_of(config)
        if told_by_shapes(config):
            activations[digest(shapes)].append((name, config.get("quick_gelu", False)))
            continue
        entry = {"name": name, "config": config, "preprocess": preprocess_of(name)}
        models[digest(shapes)].append(entry)
    record = {
        "open_clip": open_clip.__version__,
        "timm": timm.__version__,
        "models": dict(sorted(models.items())),
        "gelu": {
            key: " or ".join(name for name, _ in users)
            for key, users in activations.items()
            if not any(quick for _, quick in users)
        },
    }
    OUT.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    for entries in models.values():
        if len(entries) > 1:
            print("the same tensors:", ", ".join(entry["name"] for entry in entries))
    print(f"{len(models)} sets of tensors, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
