"""Patches laid on pictures so that gradients reach them."""

from __future__ import annotations

import torch
from torch import Tensor


def paste(pictures: Tensor, patches: Tensor, places: Tensor) -> Tensor:
    """Lay a patch on each picture.

    Parameters
    ----------
    pictures
        float [n, 3, S, S].
    patches
        float [n, 3, p, p].
    places
        int64 [n, 2], row and column of the upper left corner.

    Returns
    -------
    Tensor
        float [n, 3, S, S]; gradients reach the patches.
    """
    n, side = len(pictures), patches.shape[-1]
    line = torch.arange(side, device=pictures.device)
    rows = (places[:, :1] + line)[:, None, :, None]
    columns = (places[:, 1:] + line)[:, None, None, :]
    picture = torch.arange(n, device=pictures.device)[:, None, None, None]
    channel = torch.arange(3, device=pictures.device)[None, :, None, None]
    return pictures.index_put((picture, channel, rows, columns), patches)
