"""The losses of cleaning, as pure functions of embeddings."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_LOG_SCALE = math.log(100.0)


def scale_of(logit_scale: Tensor) -> Tensor:
    """The factor s of all logits: exp of ``logit_scale`` clamped to [0, ln 100].

    Radford et al. 2021, section 2.5; as a scalar tensor, also for a one-element parameter.
    """
    return logit_scale.reshape(()).clamp(0.0, MAX_LOG_SCALE).exp()


def match(queries: Tensor, keys: Tensor, scale: Tensor | float) -> Tensor:
    """Cross-entropy of finding key i for query i: CE(s Q K^T).

    Parameters
    ----------
    queries, keys
        Unit vectors [N, D]; row i of one belongs to row i of the other.
    scale
        Factor s of the cosine similarities.

    Returns
    -------
    torch.Tensor
        Scalar, the mean over the N queries, in nats.
    """
    logits = scale * queries @ keys.T  # [N, N]
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def clip_loss(images: Tensor, texts: Tensor, scale: Tensor | float) -> Tensor:
    """Symmetric InfoNCE, 1/2 [CE(s I T^T) + CE(s T I^T)] (Radford et al. 2021, figure 3).

    Parameters
    ----------
    images, texts
        Unit vectors [N, D] of matching pairs.
    scale
        Factor s of the cosine similarities.

    Returns
    -------
    torch.Tensor
        Scalar in nats.
    """
    logits = scale * images @ texts.T  # [N, N]
    rows = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, rows)) / 2


def inmodal_losses(
    images: Tensor, image_views: Tensor, texts: Tensor, text_views: Tensor, scale: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Self-supervision inside each modality (Bansal et al. 2023, section 3.2).

    Parameters
    ----------
    images, image_views, texts, text_views
        Unit vectors [N, D] of the originals and of their augmented views.
    scale
        Factor s of the cosine similarities.

    Returns
    -------
    tuple of torch.Tensor
        CE(s I I'^T) and CE(s T T'^T); CleanCLIP adds half of each, times lambda.
    """
    return match(images, image_views, scale), match(texts, text_views, scale)


def head_loss(
    images: Tensor, head: Tensor, labels: Tensor, scale: Tensor | float, smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy of a linear head on image embeddings.

    Parameters
    ----------
    images
        Unit vectors [N, D].
    head
        One row a class [C, D]; no bias, so that it takes the zero-shot classifier's place.
    labels
        int64 [N] in 0..C-1.
    scale
        Factor s of the products.
    smoothing
        Label smoothing in [0, 1).

    Returns
    -------
    torch.Tensor
        Scalar in nats.
    """
    return F.cross_entropy(scale * images @ head.T, labels, label_smoothing=smoothing)
