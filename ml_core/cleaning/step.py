"""One optimizer step of a method on a batch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ml_core.cleaning.adversaries import Adversaries
from ml_core.cleaning.batches import Batch
from ml_core.cleaning.gradients import step_gradient
from ml_core.cleaning.losses import MAX_LOG_SCALE
from ml_core.cleaning.methods.method import Method, Parts, embed_images
from ml_core.cleaning.recipes import Recipe
from ml_core.cleaning.speed import StepSpeed, autocast, full_precision
from ml_core.model import ClipModel
from ml_core.ranks import ALONE, Ranks
from ml_core.text_tower import used_length

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


def make_optimizer(
    module: nn.Module, named: Iterable[tuple[str, nn.Parameter]], recipe: Recipe
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019) or SGD with momentum, in two groups.

    Norm layers (found by type, so that a ResNet's ``downsample`` is among them), biases,
    vectors and scalars are not decayed.

    Parameters
    ----------
    module
        Where norm layers are looked for.
    named
        The parameters to train.
    recipe
        Weight decay, betas and peak rate.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _NORMS)]
    norms = {id(part) for layer in layers for part in layer.parameters(recurse=False)}
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in named:
        exempt = parameter.ndim < 2 or id(parameter) in norms or name.endswith("bias")
        (plain if exempt else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    if not (decayed or plain):  # nothing is trained; torch refuses an optimizer of nothing
        groups = [{"params": [nn.Parameter(torch.empty(0))], "weight_decay": 0.0}]
    used = [group for group in groups if group["params"]]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(used, lr=recipe.lr, momentum=recipe.momentum)
    fused = bool(decayed or plain) and (decayed or plain)[0].device.type in ("cpu", "cuda")
    return torch.optim.AdamW(
        used,
        lr=recipe.lr,
        betas=(recipe.beta1, recipe.beta2),
        fused=fused,
    )


def rate_at(step: int, total_steps: int, recipe: Recipe) -> float:
    """Learning rate of one step: linear warm-up from the first step, then the schedule.

    ``cosine`` falls from the peak to the end. ``two-phase`` (PAR, arXiv 2412.00727) falls in a
    straight line, which reaches ``lr_middle`` of the peak at the last step of the first half, then
    along a cosine from there to the end.

    Parameters
    ----------
    step
        0 for the first step.
    total_steps
        Steps of the whole run.
    recipe
        Peak, warm-up length, kind of schedule and the fractions of the peak that it reaches.

    Returns
    -------
    float
        (step + 1) / warmup_steps of the peak while warming up; the peak itself is reached at
        the last warm-up step.
    """
    warmup = min(recipe.warmup_steps, total_steps)
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    step, steps, top = step - warmup, total_steps - warmup, 1.0
    if recipe.schedule == "two-phase":
        first = steps // 2
        if step < first:  # the line ends on its last step, as numpy's linspace does
            return recipe.lr * (1.0 - (1.0 - recipe.lr_middle) * step / max(1, first - 1))
        step, steps, top = step - first, steps - first, recipe.lr_middle
    cosine = (1.0 + math.cos(math.pi * min(1.0, step / max(1, steps)))) / 2
    return recipe.lr * (recipe.lr_end + (top - recipe.lr_end) * cosine)


_SHORT = 80  # tokens: beyond, what plain products keep for the backward pass costs memory


@contextmanager
def short_attention(model: ClipModel, half: bool) -> Iterator[None]:
    """Within it, a step's forward and backward pass take the faster kernel.

    Parameters
    ----------
    model
        Nothing changes unless it is on a CPU and its image encoder has at most 80 tokens (captions
        have 77 at most).
    half
        Whether bfloat16 autocast is on; in float32 the fused kernel is as fast.
    """
    tokens = image_tokens(model.module)
    if not half or model.device.type != "cpu" or tokens is None or tokens > _SHORT:
        yield
        return
    flags = torch.backends.cuda  # of every device
    before = flags.fp16_bf16_reduction_math_sdp_allowed()  # type: ignore[no-untyped-call]
    flags.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        flags.allow_fp16_bf16_reduction_math_sdp(before)


def image_tokens(module: nn.Module) -> int | None:
    """Tokens that the image encoder attends over, CLIP's ViT or ResNet; None for others."""
    visual = getattr(module, "visual", None)
    holder = getattr(visual, "attnpool", visual)
    positions = getattr(holder, "positional_embedding", None)
    return len(positions) if isinstance(positions, Tensor) and positions.ndim == 2 else None


_GROWN_ON = 64  # pictures of a batch


def training_mode(model: ClipModel, recipe: Recipe) -> None:
    """Put the encoders into the mode that the recipe asks for."""
    model.module.train()
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


def forward(model: ClipModel, method: Method, batch: Batch, speed: StepSpeed) -> Parts:
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
    speed: StepSpeed,
    *,
    step: int,
    chunk: int = 0,
    ranks: Ranks = ALONE,
) -> dict[str, float]:
    """One optimizer step, with its number; returns the loss parts and the gradient's norm.

    Weights stay as they are if the loss or the gradient is not a number. ``chunk`` and ``ranks``
    are those of :func:`ml_core.cleaning.gradients.step_gradient`.
    """
    if method.opponent is not None and batch.made_up is not None and method.opponent.due:
        _let_grow(model, method.opponent, batch, speed, ranks)
    training_mode(model, recipe)
    share = -(-recipe.batch_size // ranks.world)  # without the pictures that cannot be read
    batch = replace(batch, fill=min(chunk or share, share))
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    if method.opponent is not None:
        method.opponent.zero_grad()
    with short_attention(model, speed.autocast):
        parts = step_gradient(
            model, method, batch, recipe, step, speed.autocast, chunk=chunk, ranks=ranks
        )
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
    model: ClipModel, opponent: Adversaries, batch: Batch, speed: StepSpeed, ranks: Ranks
) -> None:
    """Let the adversaries grow against the present model, on the pictures of all processes."""
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
            tensor.copy_(ranks.first_says(tensor.float()))


def is_finite(values: dict[str, float]) -> bool:
    """Whether the loss and its gradient are numbers that a step can be taken with."""
    return math.isfinite(values["loss"]) and math.isfinite(values["grad_norm"])


def clamp_scale(module: nn.Module) -> None:
    """Keep the logit scale in [0, ln 100], as CLIP does after every step; SigLIP does not."""
    scale = module.logit_scale
    if isinstance(scale, Tensor) and getattr(module, "logit_bias", None) is None:
        with torch.no_grad():
            scale.clamp_(0.0, MAX_LOG_SCALE)
