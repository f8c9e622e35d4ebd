"""Adapters and learned prompts: a few tensors beside a checkpoint's untouched weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ml_core.atomic import replace_files
from ml_core.checkpoints.tensors import read_tensors
from ml_core.checkpoints.write_safetensors import write_safetensors
from ml_core.model import ClipModel
from ml_core.reading import InputError, examine
from ml_core.reading.strict_json import JsonError, parse_object


class PromptedVisual(nn.Module):
    """Deep visual prompts (Jia et al. 2022; RVPT, NeurIPS 2025) around a frozen ViT.

    For d = depth .. L - 1, block d + 1 of L sees the class token, the prompts p_d and the patches.
    Its outputs for the prompts are dropped, since the next block gets its own prompts.

    Parameters
    ----------
    inner
        open_clip's ``VisionTransformer``, which is not changed.
    prompts
        [L - depth, b, width].
    depth
        Blocks at the beginning that have no prompts.
    """

    def __init__(self, inner: nn.Module, prompts: Tensor, depth: int) -> None:
        super().__init__()
        self.inner = inner
        self.prompts = nn.Parameter(prompts)
        self.depth = depth
        self.grad_checkpointing = False  # open_clip's name for its transformers' switch

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings [N, D], as the inner encoder gives them, of normalised images."""
        return self._run(self._begin(images), self.prompts)[0]

    def with_features(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings [N, D]; class tokens [N, L - depth, width] with prompts; and without.

        Those without have no gradient.
        """
        begun = self._begin(images)
        with torch.no_grad():
            _, plain = self._run(begun, None)
        embedded, prompted = self._run(begun, self.prompts)
        return embedded, prompted, plain

    def _begin(self, images: Tensor) -> Tensor:
        """Tokens [N, T, width] after the blocks without prompts."""
        embeds = cast(Callable[[Tensor], Tensor], self.inner._embeds)
        tokens = embeds(images)
        for block in self._blocks()[: self.depth]:
            tokens = block(tokens)
        return tokens

    def _run(self, tokens: Tensor, prompts: Tensor | None) -> tuple[Tensor, Tensor]:
        """The other blocks: the embedding, and the class token after each block."""
        seen = []
        count = 0 if prompts is None else prompts.shape[1]
        for number, block in enumerate(self._blocks()[self.depth :]):
            if prompts is not None:
                own = prompts[number].to(tokens.dtype).expand(len(tokens), -1, -1)
                tokens = torch.cat([tokens[:, :1], own, tokens[:, 1:]], dim=1)
            if self.grad_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
            if count:
                tokens = torch.cat([tokens[:, :1], tokens[:, 1 + count :]], dim=1)
            seen.append(tokens[:, 0])
        pool = cast(Callable[[Tensor], tuple[Tensor, Tensor]], self.inner._pool)
        pooled = pool(tokens)[0]
        projection = self.inner.proj
        if isinstance(projection, Tensor):
            pooled = pooled @ projection
        return pooled, torch.stack(seen, dim=1)

    def _blocks(self) -> list[nn.Module]:
        transformer = cast(nn.Module, self.inner.transformer)
        return list(cast(nn.ModuleList, transformer.resblocks))


def vit_blocks(model: ClipModel, what: str) -> tuple[int, int]:
    """Blocks and width of a model's ViT.

    Raises
    ------
    InputError
        ``unsupported`` if its image encoder is no ViT; ``what`` begins the sentence.
    """
    visual = plain_visual(model)
    transformer: Any = getattr(visual, "transformer", None)
    blocks = getattr(transformer, "resblocks", None)
    plain = getattr(transformer, "batch_first", False) and not visual.output_tokens  # as a CoCa's
    if model.convolutional or blocks is None or not plain:
        kind = "a ResNet" if model.convolutional else "of another kind"
        raise InputError(
            f"{what} a vision transformer, and the image encoder of {model.name or 'this model'} "
            f"is {kind}: choose another method or checkpoint.",
            "unsupported",
        )
    return len(blocks), int(transformer.width)


def plain_visual(model: ClipModel) -> nn.Module:
    """The image encoder without prompts."""
    visual = cast(nn.Module, model.module.visual)
    return visual.inner if isinstance(visual, PromptedVisual) else visual


def add_prompts(model: ClipModel, prompts: Tensor, depth: int) -> PromptedVisual:
    """Put prompts on a model's image encoder in place; earlier ones go."""
    prompted = PromptedVisual(plain_visual(model), prompts.to(model.device), depth)
    prompted.train(model.module.training)
    model.module.visual = prompted
    return prompted


_FORMAT = "cleanclip-adapter-1"
_MAX_FACTS = 1 << 20


@dataclass(frozen=True, eq=False)
class Adapter:
    """Deep visual prompts of an adapter file.

    Attributes
    ----------
    name, sha256
        Name and SHA-256 of the file.
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
    inspection = examine(path)
    if inspection.refused:
        raise inspection.refusal()
    depth = inspection.metadata.get("depth", "")
    shapes = {info.name: (info.dtype, len(info.shape)) for info in inspection.tensors}
    if inspection.metadata.get("format") != _FORMAT or not (depth.isdecimal() and len(depth) < 4):
        raise InputError(
            f"{inspection.name} is no adapter of this version: choose the adapter.safetensors of a "
            "run.",
            "unsupported",
        )
    if shapes != {"prompts": ("F32", 3)}:
        raise InputError(
            f"{inspection.name} is a damaged adapter: it should hold the prompts alone.", "damaged"
        )
    prompts = read_tensors(inspection)["prompts"]
    if not prompts.numel() or not bool(torch.isfinite(prompts).all()):
        raise InputError(
            f"{inspection.name} is a damaged adapter: its values are not numbers.", "damaged"
        )
    try:
        facts = parse_object(inspection.metadata.get("facts", "{}").encode(), max_bytes=_MAX_FACTS)
    except (JsonError, UnicodeEncodeError) as error:
        raise InputError(f"{inspection.name} is a damaged adapter: {error}.", "damaged") from error
    return Adapter(inspection.name, inspection.sha256, prompts, int(depth), facts)


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
    caution = f"Measured with the adapter {adapter.name}; the weights alone are not cleaned."
    source = adapter.facts.get("source_sha256")
    if source != model.sha256:
        caution += " It was made for other weights than these."
    model.assumptions = (*model.assumptions, caution)
    return model
