"""One optimizer step of a method on a batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ml_core.cleaning.batches import Batch
from ml_core.cleaning.losses import MAX_LOG_SCALE
from ml_core.cleaning.methods.method import Method, Parts
from ml_core.cleaning.optimizer import set_rate
from ml_core.cleaning.recipes import Recipe
from ml_core.cleaning.speed import Speed, autocast, full_precision
from ml_core.model import ClipModel


def training_mode(model: ClipModel, method: Method, recipe: Recipe) -> None:
    """Put the encoders into the mode that the method and the recipe ask for."""
    model.module.train(not method.frozen)
    if recipe.batch_norm == "frozen":
        for layer in model.module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()


def forward(model: ClipModel, method: Method, batch: Batch, speed: Speed) -> Parts:
    """The named parts of the loss, with gradients; similarities in float32."""
    with autocast(model.device, speed.autocast):
        features = method.encode(batch)
    with full_precision(model.device):
        return method.loss(features, batch)


def take_step(
    model: ClipModel,
    method: Method,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    recipe: Recipe,
    rate: float,
    speed: Speed,
) -> dict[str, float]:
    """One optimizer step; returns the loss parts and the gradient's norm.

    Weights stay as they are if the loss is no number.
    """
    training_mode(model, method, recipe)
    set_rate(optimizer, rate)
    optimizer.zero_grad(set_to_none=True)
    parts = forward(model, method, batch, speed)
    parts["loss"].backward()  # type: ignore[no-untyped-call]
    limit = recipe.grad_clip if recipe.grad_clip > 0 else math.inf
    norm = nn.utils.clip_grad_norm_([p for _, p in method.trained], limit)
    values = {name: float(part.detach()) for name, part in parts.items()}
    if math.isfinite(values["loss"]):
        optimizer.step()
        clamp_scale(model.module)
    return {**values, "grad_norm": float(norm)}


def clamp_scale(module: nn.Module) -> None:
    """Keep the logit scale in [0, ln 100], as CLIP does after every step."""
    scale = module.logit_scale
    if isinstance(scale, Tensor):
        with torch.no_grad():
            scale.clamp_(0.0, MAX_LOG_SCALE)
