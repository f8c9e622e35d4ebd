"""WaNet: a picture bent by a smooth random field (Nguyen and Tran, ICLR 2021)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ml_core.result_cache import ResultCache
from ml_core.triggers import counter
from ml_core.triggers.patterns import draws_of
from ml_core.triggers.record import Trigger

_grids: ResultCache[tuple[str, int, int, str], Tensor] = ResultCache(4)


def warp(trigger: Trigger, images: Tensor, who: Tensor, seed: int) -> Tensor:
    """Bend float [n, H, W, 3]; where `trigger.absolute` on the original picture, the grid's size.

    ``grid_sample`` with bilinear interpolation, zeros outside and ``align_corners=True``.
    """
    grid = sampling_grid(trigger, images.shape[1], images.shape[2], who, seed)
    grid = grid.to(images.dtype).expand(len(images), -1, -1, -1)
    bent = functional.grid_sample(
        images.permute(0, 3, 1, 2),
        grid,
        mode="bilinear",
        padding_mode="zeros",
        align_corners=True,
    )
    return bent.permute(0, 2, 3, 1)


def sampling_grid(trigger: Trigger, height: int, width: int, who: Tensor, seed: int) -> Tensor:
    """Where each pixel comes from: float32 [n or 1, H, W, 2], x then y, from -1 to 1.

    clamp((identity + s * noise / side) * grid_rescale, -1, 1), the noise upsampled from its
    control points by bicubic interpolation with aligned corners.
    """
    if trigger.array is None and trigger.noise == "per_image":
        whose, seed = draws_of(trigger, who, seed)
        return _from_noise(trigger, _drawn(trigger, whose, seed), height, width)
    if trigger.absolute and trigger.canvas == "original":
        assert trigger.array is not None
        height, width = trigger.array.shape[:2]
    key = (trigger.digest, height, width, str(who.device))
    return _grids.get(key, lambda: _fixed(trigger, height, width, who.device))


def _fixed(trigger: Trigger, height: int, width: int, device: torch.device) -> Tensor:
    """The one grid of a trigger."""
    if trigger.array is None:
        nobody = torch.zeros(1, dtype=torch.int64, device=device)
        noise = _drawn(trigger, nobody, trigger.seed)
        return _from_noise(trigger, noise, height, width)
    given = torch.from_numpy(np.array(trigger.array)).to(device)[None]
    if not trigger.absolute:
        return _from_noise(trigger, given, height, width)
    grid = given
    if tuple(given.shape[1:3]) != (height, width):
        grid = functional.interpolate(
            given.permute(0, 3, 1, 2), (height, width), mode="bilinear", align_corners=True
        ).permute(0, 2, 3, 1)
    if trigger.opacity < 1:
        grid = torch.lerp(_identity(height, width, device), grid, trigger.opacity)
    return grid.contiguous()


def _drawn(trigger: Trigger, whose: Tensor, seed: int) -> Tensor:
    """Noise of the control grid, uniform, divided by the mean of its absolute values."""
    k = trigger.grid_size
    draws = counter.uniform(whose, 2 * k * k, seed=seed, stream=counter.NOISE)
    noise = draws.view(-1, k, k, 2) * 2 - 1
    return noise / noise.abs().mean(dim=(1, 2, 3), keepdim=True)


def _from_noise(trigger: Trigger, noise: Tensor, height: int, width: int) -> Tensor:
    """Add the noise of a control grid to the places of the pixels."""
    if tuple(noise.shape[1:3]) != (height, width):
        noise = functional.interpolate(
            noise.permute(0, 3, 1, 2), (height, width), mode="bicubic", align_corners=True
        ).permute(0, 2, 3, 1)
    sides = torch.tensor([width, height], device=noise.device)
    shift = trigger.strength * trigger.opacity * noise / sides
    grid = (_identity(height, width, noise.device) + shift) * trigger.grid_rescale
    return grid.clamp_(-1, 1).contiguous()


def _identity(height: int, width: int, device: torch.device) -> Tensor:
    """The grid that bends nothing, float32 [1, H, W, 2]."""
    rows = torch.linspace(-1, 1, steps=height, device=device)
    columns = torch.linspace(-1, 1, steps=width, device=device)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((x, y), 2)[None]
