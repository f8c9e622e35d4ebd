"""A trigger's pixels at the size and angle in which they are stamped."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ml_core.result_cache import ResultCache
from ml_core.triggers.record import Trigger


@dataclass(frozen=True, eq=False)
class Patch:
    """Premultiplied colour, float32 [n or 1, h, w, 3], and alpha, [1, h, w, 1 or 3].

    Alpha is None where the patch is opaque all over.
    """

    colour: Tensor
    alpha: Tensor | None
    is_bytes: bool = False  # opaque, and every value is k / 255


_patches: ResultCache[tuple[str, int, str], Patch] = ResultCache(16)


def patch_size(trigger: Trigger, side: int) -> tuple[int, int]:
    """Height and width in pixels on a canvas whose shorter side is `side`, before rotation."""
    longer = max(1, round(trigger.size * side))
    source = trigger.pixels if trigger.pixels is not None else trigger.array
    if source is None:
        return longer, longer
    height, width = source.shape[:2]
    scale = longer / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def render_patch(trigger: Trigger, side: int, device: torch.device) -> Patch:
    """Scale, mirror and rotate a picture for a canvas of `side` pixels; opacity included.

    At the native size without rotation the pixels are untouched, at multiples of 90 degrees they
    only change places; otherwise they are resampled once, antialiased, with premultiplied alpha.
    The last few results are kept.
    """
    key = (trigger.digest, side, str(device))
    return _patches.get(key, lambda: _render(trigger, side, device))


def render_canvas(trigger: Trigger, height: int, width: int) -> Patch:
    """A picture or array at the size of a whole canvas, mirrored and resampled as need be.

    Opacity is left to the caller.
    """
    return _patch(_resized(_layers(trigger), (height, width)), trigger)


def _render(trigger: Trigger, side: int, device: torch.device) -> Patch:
    """Do the work of `render_patch`."""
    layers = _resized(_layers(trigger), patch_size(trigger, side))
    layers = _rotate(layers, trigger.rotation)
    return _patch(layers.mul_(trigger.opacity).to(device), trigger)


def _layers(trigger: Trigger) -> Tensor:
    """Premultiplied colour, then one alpha a colour: float32 [6, h, w], mirrored if it is asked."""
    if trigger.pixels is not None:
        rgba = torch.from_numpy(np.array(trigger.pixels)).permute(2, 0, 1).to(torch.float32) / 255
        colour, alpha = rgba[:3], rgba[3:].expand(3, -1, -1)
    else:
        assert trigger.array is not None
        colour = torch.from_numpy(np.array(trigger.array)).permute(2, 0, 1)
        alpha = torch.ones_like(colour)
        if trigger.mask is not None:
            mask = torch.from_numpy(np.array(trigger.mask)).permute(2, 0, 1)
            alpha = mask.expand(3, -1, -1)
    layers = torch.cat([colour * alpha, alpha])
    return layers.flip(2) if trigger.mirrored else layers


def _patch(layers: Tensor, trigger: Trigger) -> Patch:
    """Lay out [6, h, w] as a `Patch`; an alpha that is 1 all over is left out."""
    if trigger.pixels is not None:
        layers = layers.clamp(0, 1)
    colour = layers[:3].permute(1, 2, 0).contiguous()[None]
    alpha = layers[3:].permute(1, 2, 0).contiguous()[None]
    alpha[alpha > 1 - 1e-6] = 1  # resampling leaves 0.9999999
    if bool((alpha == 1).all()):
        whole = (colour * 255).round().clamp(0, 255) / 255
        return Patch(colour, None, bool((whole == colour).all()))
    if bool((alpha == alpha[..., :1]).all()):
        alpha = alpha[..., :1].contiguous()
    return Patch(colour, alpha)


def _resized(layers: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, antialiased; untouched at its own size."""
    if size == tuple(layers.shape[1:]):
        return layers.clone()
    return functional.interpolate(
        layers[None], size=size, mode="bilinear", antialias=True, align_corners=False
    )[0]


def _rotate(image: Tensor, degrees: float) -> Tensor:
    """Rotate [C, h, w] counter-clockwise on a frame that holds it all."""
    degrees = degrees % 360
    if degrees % 90 == 0:
        return torch.rot90(image, int(degrees // 90), dims=(1, 2))
    height, width = image.shape[1:]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    new_height = math.ceil(abs(height * cos) + abs(width * sin) - 1e-6)
    new_width = math.ceil(abs(width * cos) + abs(height * sin) - 1e-6)
    rows = torch.arange(new_height, device=image.device) + 0.5 - new_height / 2
    columns = torch.arange(new_width, device=image.device) + 0.5 - new_width / 2
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    # Where each new pixel comes from: the inverse turn, with y pointing down.
    from_x = (cos * x - sin * y) * (2 / width)
    from_y = (sin * x + cos * y) * (2 / height)
    grid = torch.stack([from_x, from_y], dim=-1)[None]
    return functional.grid_sample(
        image[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )[0]
