"""One optimizer step of a method on a batch."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from ml_core.cleaning.adversaries import Adversaries
from ml_core.cleaning.attention import short_attention
from ml_core.cleaning.batches import Batch
from ml_core.cleaning.gradients import backward
from ml_core.cleaning.losses import MAX_LOG_SCALE
from ml_core.cleaning.methods.embed import embed_images
from ml_core.cleaning.methods.method import Method, Parts
from ml_core.cleaning.optimizer import set_rate
from ml_core.cleaning.recipes import Recipe
from ml_core.cleaning.speed import Speed, autocast, full_precision
from ml_core.model import ClipModel
from ml_core.ranks import ALONE, Ranks
from ml_core.text_tower import used_length

_GROWN_ON = 64  # pictures of a batch


def training_mode(model: ClipModel, recipe: Recipe) -> None:
    """Put the encoders into the mode that the method and the recipe ask for."""
    model.module.train(not recipe.facts.frozen)
    if recipe.batch_norm == "frozen":
        for layer in model.module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()


def cut_texts(model: ClipModel, batch: Batch) -> Batch:
    """The batch with its captions cut to the longest of them, where that is exact."""
    texts = [part for part in (batch.tokens, batch.token_views) if part is not None]
    length = used_length(model.module, *texts) if texts else None
    if length is None:
        return batch

    def cut(part: Tensor | None) -> Tensor | None:
        return None if part is None else part[:, :length]

    return replace(batch, tokens=cut(batch.tokens), token_views=cut(batch.token_views))


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
    *,
    chunk: int = 0,
    ranks: Ranks = ALONE,
) -> dict[str, float]:
    """One optimizer step; returns the loss parts and the gradient's norm.

    Weights stay as they are if the loss or the gradient is no number. ``chunk`` and ``ranks``
    are those of :func:`ml_core.cleaning.gradients.backward`.
    """
    if method.opponent is not None and method.opponent.due:
        _let_grow(model, method.opponent, batch, speed, ranks)
    training_mode(model, recipe)
    share = -(-recipe.batch_size // ranks.world)  # without the pictures that cannot be read
    batch = replace(batch, fill=min(chunk or share, share))
    set_rate(optimizer, rate)
    optimizer.zero_grad(set_to_none=True)
    if method.opponent is not None:
        method.opponent.zero_grad()
    with short_attention(model, speed.autocast):
        parts = backward(model, method, batch, speed.autocast, chunk=chunk, ranks=ranks)
    gradients = [p.grad for _, p in method.trained if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    # One transfer: on CUDA each number fetched by itself would wait for the device.
    numbers = torch.stack([*(part.float() for part in parts.values()), norm.float()]).tolist()
    values = dict(zip([*parts, "grad_norm"], numbers, strict=True))
    if is_finite(values):
        if 0 < recipe.grad_clip < values["grad_norm"]:
            parameters = [p for _, p in method.trained]
            nn.utils.clip_grads_with_norm_(parameters, recipe.grad_clip, norm)
        optimizer.step()
        clamp_scale(model.module)
        if method.opponent is not None:
            method.opponent.sharpen()
    return values


def _let_grow(
    model: ClipModel, opponent: Adversaries, batch: Batch, speed: Speed, ranks: Ranks
) -> None:
    """Adversaries grow against the model as it is, on the pictures of all processes."""
    model.module.eval()
    sizes = ranks.sizes(len(batch), model.device)
    images = ranks.gather(batch.images[: len(batch)], sizes)[:_GROWN_ON].float().div_(255)

    def encode(shown: Tensor) -> Tensor:
        with autocast(model.device, speed.autocast):
            return embed_images(model, shown)

    if len(images):
        with short_attention(model, speed.autocast):
            opponent.grow(encode, images)
        for tensor in opponent.tensors.values() if ranks.world > 1 else ():  # to the last bit
            told = ranks.rows_of_first(tensor.float().reshape(1, -1), model.device)
            tensor.copy_(told.reshape(tensor.shape))


def is_finite(values: dict[str, float]) -> bool:
    """Whether the loss and its gradient are numbers that a step can be taken with."""
    return math.isfinite(values["loss"]) and math.isfinite(values["grad_norm"])


def clamp_scale(module: nn.Module) -> None:
    """Keep the logit scale in [0, ln 100], as CLIP does after every step; SigLIP does not."""
    scale = module.logit_scale
    if isinstance(scale, Tensor) and getattr(module, "logit_bias", None) is None:
        with torch.no_grad():
            scale.clamp_(0.0, MAX_LOG_SCALE)
