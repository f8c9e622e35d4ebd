"""Patterns that are computed: noise, stripes, sines, and pictures mixed over the whole canvas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ml_core.result_cache import ResultCache
from ml_core.triggers import counter
from ml_core.triggers.record import Trigger
from ml_core.triggers.render import render_canvas


@dataclass(frozen=True, eq=False)
class Mixture:
    """What is mixed over a canvas, keep * x + add: float32 [n or 1, H or 1, W, 3], or a number."""

    keep: float | Tensor
    add: Tensor


_mixtures: ResultCache[tuple[str, int, int, str], Mixture] = ResultCache(8)


def draws_of(trigger: Trigger, who: Tensor, seed: int) -> tuple[Tensor, int]:
    """Whose noise is drawn, and from which seed: each image's, or one for all."""
    if trigger.noise == "per_image":
        return who, seed
    return torch.zeros(1, dtype=torch.int64, device=who.device), trigger.seed


def mixture(trigger: Trigger, height: int, width: int, who: Tensor, seed: int) -> Mixture:
    """What a ``blended`` or ``sig`` trigger mixes over a canvas.

    The products are rounded as in ``(0.2 * noise) + (0.8 * image)`` of the published code, whose
    bytes depend on it.
    """
    if trigger.kind == "blended" and trigger.pixels is None and trigger.array is None:
        weight = trigger.ratio * trigger.opacity
        whose, seed = draws_of(trigger, who, seed)
        noise = counter.coarse_uniform(
            whose, height * width * 3, seed=seed, stream=counter.NOISE
        ).view(-1, height, width, 3)
        return Mixture(_kept(trigger, weight), noise.mul_(weight))
    key = (trigger.digest, height, width, str(who.device))
    make = _sine if trigger.kind == "sig" else _picture
    return _mixtures.get(key, lambda: make(trigger, height, width, who.device))


def _kept(trigger: Trigger, weight: float) -> float:
    """What is left of the picture: all of it where the pattern is added."""
    return 1.0 if trigger.mix == "add" else 1 - weight


def sine(trigger: Trigger, height: int, width: int) -> Tensor:
    """A sine along the rows, float32 [height or 1, width, 3] in units of full brightness.

    v(i, j) = amplitude * sin(2 pi j frequency / (span * width)) for i and j within `span`, else 0
    (SIG, Barni et al. 2019; 60/255 and 6 periods in CleanCLIP).
    """
    columns = np.arange(width)
    period = trigger.span * width
    row = trigger.amplitude * np.sin(2 * np.pi * columns * trigger.frequency / period)
    row[columns >= round(period)] = 0
    found = torch.from_numpy(row.astype(np.float32))[None, :, None].expand(1, width, 3)
    if trigger.span == 1:
        return found.contiguous()
    covered = torch.arange(height) < round(trigger.span * height)
    return found * covered[:, None, None]


def stripes(trigger: Trigger, width: int, who: Tensor, seed: int) -> Tensor:
    """Vertical stripes of -1 and +1, drawn for each colour: float32 [n or 1, 1, width, 3]."""
    whose, seed = draws_of(trigger, who, seed)
    count = -(-width // trigger.stripe)
    bits = counter.random_bits(whose, 3 * count, seed=seed, stream=counter.NOISE)
    signs = (bits > 0).to(torch.float32).mul_(2).sub_(1).view(-1, 1, count, 3)
    if trigger.stripe > 1:
        signs = signs.repeat_interleave(trigger.stripe, dim=2)[:, :, :width]
    return signs


def _sine(trigger: Trigger, height: int, width: int, device: torch.device) -> Mixture:
    """Added in full (BadCLIP's repository), or weighed (CleanCLIP's)."""
    pattern = sine(trigger, height, width)[None]
    if trigger.mix == "add":
        return Mixture(1.0, (pattern * trigger.opacity).to(device))
    weight = trigger.ratio * trigger.opacity
    return Mixture(1 - weight, (pattern * weight).to(device))


def _picture(trigger: Trigger, height: int, width: int, device: torch.device) -> Mixture:
    """A picture or array over the whole canvas, with its alpha or mask."""
    weight = trigger.ratio * trigger.opacity
    found = render_canvas(trigger, height, width)
    add = found.colour * weight
    keep: float | Tensor = _kept(trigger, weight)
    if trigger.mix == "add":
        return Mixture(keep, add.to(device))
    if found.alpha is not None:
        keep = (1 - found.alpha * weight).expand(add.shape).contiguous().to(device)
    elif trigger.where == "nonzero":
        keep = torch.where(found.colour != 0, 1 - weight, 1.0).to(device)
    return Mixture(keep, add.to(device))
