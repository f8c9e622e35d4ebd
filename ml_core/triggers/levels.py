"""From brightness to bytes, in the ways that published code does it, and through a JPEG."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ml_core.triggers.kinds import Levels


def to_bytes(values: Tensor, levels: Levels) -> Tensor:
    """Turn float brightness into uint8; `values` is used up.

    Parameters
    ----------
    values
        Float of any shape and range, 1 is full brightness.
    levels
        ``round`` and ``float`` clip and round, ``truncate`` clips and cuts off, ``wrap`` gives
        trunc(255 x) modulo 256: -1 becomes 1, 1.004 becomes 0.
    """
    if levels == "wrap":
        return values.mul_(255).to(torch.int32).bitwise_and_(255).to(torch.uint8)
    scaled = values.clamp_(0, 1).mul_(255)
    return (scaled if levels == "truncate" else scaled.round_()).to(torch.uint8)


def settle(values: Tensor, levels: Levels) -> Tensor:
    """Bring float brightness into [0, 1] as `levels` says; `values` is used up."""
    if levels == "float":
        return values.clamp_(0, 1)
    return to_bytes(values, levels).to(values.dtype).div_(255)


def through_jpeg(pictures: Tensor, quality: int) -> Tensor:
    """Save uint8 [n, H, W, 3] as JPEG (4:2:0, Pillow's tables) and read it again, one by one."""
    made = np.empty(tuple(pictures.shape), np.uint8)
    for row, picture in enumerate(pictures.cpu().numpy()):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
        with Image.open(buffer, formats=("JPEG",)) as image:
            made[row] = np.asarray(image)
    return torch.from_numpy(made).to(pictures.device)
