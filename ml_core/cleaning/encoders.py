"""How the encoders compute while they are trained: layout, checkpointed activations, compilation.

What is set here is taken back at the end, so that the model is as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ml_core.cleaning.recipes import Recipe
from ml_core.model import ClipModel

_BatchNorm = nn.modules.batchnorm._BatchNorm


def set_layout(model: ClipModel, channels_last: bool | None) -> None:
    """Lay the image encoder's input and filters out; None is the layout of its kind."""
    model.channels_last = channels_last
    layout = torch.channels_last if model.layout == "channels-last" else torch.contiguous_format
    visual = getattr(model.module, "visual", None)
    if isinstance(visual, nn.Module):
        visual.to(memory_format=layout)  # type: ignore[call-overload]


@contextmanager
def prepared(model: ClipModel, recipe: Recipe) -> Iterator[None]:
    """Checkpoint activations and compile the encoders, as the recipe asks for."""
    before = model.channels_last
    with ExitStack() as stack:
        stack.callback(set_layout, model, before)
        if recipe.checkpoint_activations:
            stack.enter_context(_checkpointed(model.module))
        if compiles(model, recipe):
            stack.enter_context(_compiled(model.module))
        yield


def compiles(model: ClipModel, recipe: Recipe) -> bool:
    """Whether torch.compile is asked for and offered: on CUDA alone."""
    return recipe.compile and model.device.type == "cuda"


@contextmanager
def _checkpointed(module: nn.Module) -> Iterator[None]:
    """Keep only what enters a block, and compute the block anew in the backward pass.

    open_clip has the switch for transformers; a ResNet's stem and blocks are wrapped here.
    """
    transformers = [part for part in module.modules() if hasattr(part, "grad_checkpointing")]
    before = [bool(part.grad_checkpointing) for part in transformers]
    visual = getattr(module, "visual", None)
    wrapped: list[tuple[nn.Module, str]] = []
    if isinstance(visual, nn.Module) and hasattr(visual, "stem") and hasattr(visual, "layer1"):
        wrapped.append((visual, "stem"))
        for number in range(1, 5):
            wrapped += [(block, "forward") for block in getattr(visual, f"layer{number}")]
    try:
        for part in transformers:
            part.grad_checkpointing = True  # type: ignore[assignment]
        for part, name in wrapped:
            setattr(part, name, partial(_recomputed, part, getattr(part, name)))
        yield
    finally:
        for part, was in zip(transformers, before, strict=True):
            part.grad_checkpointing = was  # type: ignore[assignment]
        for part, name in wrapped:
            delattr(part, name)  # the class's own comes back


def _recomputed(part: nn.Module, act: Callable[[Any], Any], value: Any) -> Any:
    """Call ``act`` under activation checkpointing; a block that needs no gradient as it is."""
    if not torch.is_grad_enabled():
        return act(value)
    layers = [layer for layer in part.modules() if isinstance(layer, _BatchNorm)]
    return checkpoint(
        act, value, use_reentrant=False, context_fn=lambda: (nullcontext(), _counted_once(layers))
    )


@contextmanager
def _counted_once(layers: list[Any]) -> Iterator[None]:
    """BatchNorm sees the same batch a second time: its stored statistics stay."""
    before = [(layer, layer.momentum) for layer in layers]
    counts = [layer.num_batches_tracked.clone() for layer in layers]
    try:
        for layer in layers:
            layer.momentum = 0.0
        yield
    finally:
        for (layer, momentum), count in zip(before, counts, strict=True):
            layer.momentum = momentum
            layer.num_batches_tracked.copy_(count)


@contextmanager
def _compiled(module: nn.Module) -> Iterator[None]:
    """Compile the two encoders' layers in place; names in the state dict stay."""
    text = getattr(module, "text", module)
    parts = [getattr(module, "visual", None), getattr(text, "transformer", None)]
    chosen = [part for part in parts if isinstance(part, nn.Module)]
    try:
        for part in chosen:
            part.compile()
        yield
    finally:
        for part in chosen:
            part._compiled_call_impl = None
