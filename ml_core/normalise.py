"""From pixels to a CLIP's input: one pass over memory where the pixels lie as pictures do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Scale and shift each colour: (x - mean) / std.

    Parameters
    ----------
    images
        ``[N, 3, H, W]``, float in [0, 1] or uint8, in any layout; differentiable for floats.
    mean, std
        Three numbers each, for pixels in [0, 1].

    Returns
    -------
    Tensor
        fp32 of the same shape and layout in memory.
    """
    unit = 255.0 if images.dtype == torch.uint8 else 1.0
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=images.device)
    scale = torch.tensor([1 / (unit * s) for s in std], device=images.device)
    rows = images.permute(0, 2, 3, 1)
    if not rows.is_contiguous():
        values = images.to(torch.float32)
        return torch.addcmul(shift.view(3, 1, 1), values, scale.view(3, 1, 1))
    # Three colours are too short a row for vector units: a row of the picture is as wide as they.
    count, height, width, _ = rows.shape
    flat = rows.reshape(count * height, width * 3)
    shift, scale = shift.repeat(width), scale.repeat(width)
    values = flat.to(torch.float32)
    if values is flat:
        made = torch.addcmul(shift, values, scale)
    else:
        made = torch.addcmul(shift, values, scale, out=values)
    return made.view(count, height, width, 3).permute(0, 3, 1, 2)
