"""Adapters: a few tensors that change what a checkpoint answers, beside its untouched weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ml_core.atomic import replace_files
from ml_core.checkpoints.prompted import PromptedVisual, add_prompts, vit_blocks
from ml_core.checkpoints.tensors import read_tensors
from ml_core.checkpoints.write_safetensors import write_safetensors
from ml_core.model import ClipModel
from ml_core.reading import InputError, examine
from ml_core.reading.strict_json import JsonError, parse_object

_FORMAT = "cleanclip-adapter-1"
_MAX_FACTS = 1 << 20


@dataclass(frozen=True, eq=False)
class Adapter:
    """Deep visual prompts of an adapter file.

    Attributes
    ----------
    name, sha256
        Of the file.
    prompts
        float32 [blocks with prompts, prompts a block, width].
    depth
        Blocks at the beginning without prompts.
    facts
        What the file says of itself (method, source_sha256, recipe); not checked.
    """

    name: str
    sha256: str
    prompts: Tensor
    depth: int
    facts: Mapping[str, Any]


def save_adapter(model: ClipModel, path: Path, facts: Mapping[str, Any]) -> Path:
    """Write the prompts that are on a model.

    Parameters
    ----------
    facts
        JSON-ready: how they were made, with ``source_sha256`` of the weights they belong to.

    Raises
    ------
    OSError
        If the disk is full or the place cannot be written.
    """
    visual = model.module.visual
    assert isinstance(visual, PromptedVisual), "the model has no prompts"
    metadata = {
        "format": _FORMAT,
        "depth": str(visual.depth),
        "facts": json.dumps(dict(facts), sort_keys=True, allow_nan=False),
    }
    tensors = {"prompts": visual.prompts.detach().float()}
    replace_files({path: lambda file: write_safetensors(file, tensors, metadata)})
    return path


def read_adapter(path: Path) -> Adapter:
    """Read an adapter file without running anything.

    Raises
    ------
    InputError
        If the file is refused, or holds no adapter.
    """
    found = examine(path)
    if found.refused:
        raise found.refusal()
    depth = found.metadata.get("depth", "")
    shapes = {info.name: (info.dtype, len(info.shape)) for info in found.tensors}
    if found.metadata.get("format") != _FORMAT or not (depth.isdecimal() and len(depth) < 4):
        raise InputError(
            f"{found.name} is no adapter of this version: choose the adapter.safetensors of a run.",
            "unsupported",
        )
    if shapes != {"prompts": ("F32", 3)}:
        raise InputError(
            f"{found.name} is a damaged adapter: it should hold the prompts alone.", "damaged"
        )
    prompts = read_tensors(found)["prompts"]
    if not prompts.numel() or not bool(torch.isfinite(prompts).all()):
        raise InputError(
            f"{found.name} is a damaged adapter: its values are not numbers.", "damaged"
        )
    try:
        facts = parse_object(found.metadata.get("facts", "{}").encode(), max_bytes=_MAX_FACTS)
    except (JsonError, UnicodeEncodeError) as error:
        raise InputError(f"{found.name} is a damaged adapter: {error}.", "damaged") from error
    return Adapter(found.name, found.sha256, prompts, int(depth), facts)


def apply_adapter(model: ClipModel, adapter: Adapter) -> ClipModel:
    """Put an adapter on a model in place, and say so in its origin and assumptions.

    Raises
    ------
    InputError
        If the model has no ViT, or one of another shape.
    """
    blocks, width = vit_blocks(model, f"{adapter.name} is an adapter for")
    with_prompts, _, own_width = adapter.prompts.shape
    if (adapter.depth + with_prompts, own_width) != (blocks, width):
        raise InputError(
            f"{adapter.name} does not fit {model.name or 'this model'}: it is for "
            f"{adapter.depth + with_prompts} blocks of width {own_width}, and the image encoder "
            f"has {blocks} of {width}."
        )
    add_prompts(model, adapter.prompts, adapter.depth).requires_grad_(False)
    model.origin = model.origin | {"adapter": {"name": adapter.name, "sha256": adapter.sha256}}
    said = f"Measured with the adapter {adapter.name}; the weights alone are not cleaned."
    source = adapter.facts.get("source_sha256")
    if source != model.sha256:
        said += " It was made for other weights than these."
    model.assumptions = (*model.assumptions, said)
    return model
