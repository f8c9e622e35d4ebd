"""Unit embeddings with gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ml_core.model import ClipModel
from ml_core.text_tower import encode_text


def embed_images(model: ClipModel, images: Tensor) -> Tensor:
    """Unit embeddings [N, D] in float32, with gradients, of uint8 images [N, 3, S, S]."""
    encode: Callable[[Tensor], Tensor] = model.module.encode_image  # type: ignore[assignment]
    last = model.layout == "channels-last"
    layout = torch.channels_last if last else torch.contiguous_format
    inputs = model.normalise(images).contiguous(memory_format=layout)
    return F.normalize(encode(inputs).float(), dim=-1)


def embed_texts(model: ClipModel, tokens: Tensor) -> Tensor:
    """Unit embeddings [N, D] in float32, with gradients, of tokens [N, L], cut or not."""
    return F.normalize(encode_text(model.module, tokens).float(), dim=-1)
