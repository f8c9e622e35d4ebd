"""Unit embeddings with gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from ml_core.model import ClipModel


def embed_images(model: ClipModel, images: Tensor) -> Tensor:
    """Unit embeddings [N, D] in float32, with gradients, of uint8 images [N, 3, S, S]."""
    encode: Callable[[Tensor], Tensor] = model.module.encode_image  # type: ignore[assignment]
    return F.normalize(encode(model.normalise(images)).float(), dim=-1)


def embed_texts(model: ClipModel, tokens: Tensor) -> Tensor:
    """Unit embeddings [N, D] in float32, with gradients, of tokens [N, L]."""
    encode: Callable[[Tensor], Tensor] = model.module.encode_text  # type: ignore[assignment]
    return F.normalize(encode(tokens).float(), dim=-1)
