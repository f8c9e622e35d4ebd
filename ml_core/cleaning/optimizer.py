"""The optimizer with the right parameters decayed, and the schedule of its rate."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from ml_core.cleaning.recipes import Recipe

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


def norm_parameters(module: nn.Module) -> set[int]:
    """Identities of the parameters of all normalisation layers, whatever their name."""
    return {
        id(parameter)
        for layer in module.modules()
        if isinstance(layer, _NORMS)
        for parameter in layer.parameters(recurse=False)
    }


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
    norms = norm_parameters(module)
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


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
