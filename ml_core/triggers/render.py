"""A trigger's pixels at the size and angle in which they are stamped."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ml_core.recent import Recent
from ml_core.triggers.record import Trigger


@dataclass(frozen=True, eq=False)
class Patch:
    """Premultiplied colour, float32 [3, h, w], and alpha, float32 [1, h, w], both 0 to 1."""

    colour: Tensor
    alpha: Tensor


_patches: Recent[tuple[str, int, str], Patch] = Recent(16)


def patch_size(trigger: Trigger, side: int) -> tuple[int, int]:
    """Height and width in pixels on a canvas of `side`, before rotation."""
    longer = max(1, round(trigger.size * side))
    if trigger.pixels is None:
        return longer, longer
    height, width = trigger.pixels.shape[:2]
    scale = longer / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def render_patch(trigger: Trigger, side: int, device: torch.device) -> Patch:
    """Scale and rotate a picture for a canvas of `side` pixels; opacity included.

    At the native size without rotation the pixels are untouched, at multiples of 90 degrees they
    only change places; otherwise they are resampled once, antialiased, with premultiplied alpha.
    The last few results are kept.
    """
    key = (trigger.digest, side, str(device))
    return _patches.get(key, lambda: _render(trigger, side, device))


def _render(trigger: Trigger, side: int, device: torch.device) -> Patch:
    """Do the work of `render_patch`."""
    assert trigger.pixels is not None
    pixels = torch.from_numpy(np.array(trigger.pixels)).to(device)
    rgba = pixels.permute(2, 0, 1).to(torch.float32) / 255
    alpha = rgba[3:]
    premultiplied = torch.cat([rgba[:3] * alpha, alpha])  # [4, h, w]
    size = (side, side) if trigger.kind == "blended" else patch_size(trigger, side)
    if size != tuple(premultiplied.shape[1:]):
        premultiplied = functional.interpolate(
            premultiplied[None], size=size, mode="bilinear", antialias=True, align_corners=False
        )[0]
    if trigger.kind != "blended":
        premultiplied = _rotate(premultiplied, trigger.rotation)
    premultiplied = (premultiplied * trigger.opacity).clamp_(0, 1)
    return Patch(premultiplied[:3].contiguous(), premultiplied[3:].contiguous())


def _rotate(image: Tensor, degrees: float) -> Tensor:
    """Rotate [4, h, w] counter-clockwise on a frame that holds it all."""
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
