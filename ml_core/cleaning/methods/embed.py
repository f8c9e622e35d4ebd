"""Unit embeddings with gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ml_core.model import ClipModel
from ml_core.text_tower import encode_text


def embed_images(model: ClipModel, images: Tensor) -> Tensor:
    """Unit embeddings [N, D] in float32, with gradients, of images [N, 3, S, S].

    uint8, or float in [0, 1].
    """
    encode: Callable[[Tensor], Tensor] = model.module.encode_image  # type: ignore[assignment]
    last = model.layout == "channels-last"
    layout = torch.channels_last if last else torch.contiguous_format
    inputs = model.normalise(images).contiguous(memory_format=layout)
    return F.normalize(encode(inputs).float(), dim=-1)


def embed_both(model: ClipModel, images: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
    """Unit embeddings [N, D] of images [N, 3, S, S] and of a view of each, made in one pass.

    In two passes a BatchNorm in training would normalise each side by its own statistics, and move
    the running ones twice. Either may be uint8 or float in [0, 1].
    """
    if images.dtype == views.dtype:
        both = torch.cat([images, views])
    else:
        both = torch.cat([_unit(images), _unit(views)])
    first, second = embed_images(model, both).chunk(2)
    return first, second


def _unit(images: Tensor) -> Tensor:
    """Pixels in [0, 1] as floats."""
    return images if images.is_floating_point() else images.float() / 255


def embed_texts(model: ClipModel, tokens: Tensor) -> Tensor:
    """Unit embeddings [N, D] in float32, with gradients, of tokens [N, L], cut or not."""
    return F.normalize(encode_text(model.module, tokens).float(), dim=-1)
