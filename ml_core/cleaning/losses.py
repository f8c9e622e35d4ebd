"""The losses of cleaning, as pure functions of embeddings; taken in float32 or wider."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_LOG_SCALE = math.log(100.0)


def _wide(vectors: Tensor) -> Tensor:
    """At least float32: a similarity of 8 or 11 bits times a scale of 100 is off by tenths."""
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))


def scale_of(logit_scale: Tensor) -> Tensor:
    """The factor s of all logits: exp of ``logit_scale`` clamped to [0, ln 100].

    Radford et al. 2021, section 2.5; as a scalar tensor, also for a one-element parameter.
    """
    return logit_scale.reshape(()).clamp(0.0, MAX_LOG_SCALE).exp()


def match(queries: Tensor, keys: Tensor, scale: Tensor | float) -> Tensor:
    """Cross-entropy of finding key i for query i: CE(s Q K^T).

    Between originals and their augmented views it is CleanCLIP's self-supervision in a modality
    (Bansal et al. 2023, section 3.2), which adds half of it, times lambda.

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
    logits = scale * _wide(queries) @ _wide(keys).T  # [N, N]
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
    logits = scale * _wide(images) @ _wide(texts).T  # [N, N]
    rows = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, rows)) / 2


def sigmoid_loss(
    images: Tensor, texts: Tensor, scale: Tensor | float, bias: Tensor | float
) -> Tensor:
    """SigLIP's loss, -1/N sum_ij log sigmoid(z_ij (s I_i . T_j + b)) (Zhai et al. 2023, eq. 1).

    z is 1 for the N pairs and -1 for all others. Each image and text are judged on their own,
    without a softmax over the batch.

    Parameters
    ----------
    images, texts
        Unit vectors [N, D] of matching pairs.
    scale
        Factor s of the cosine similarities; SigLIP does not bound it.
    bias
        b of all logits, a scalar.

    Returns
    -------
    torch.Tensor
        Scalar in nats.
    """
    logits = scale * _wide(images) @ _wide(texts).T + bias  # [N, N]
    signs = 2 * torch.eye(len(logits), device=logits.device) - 1
    return -F.logsigmoid(signs * logits).sum() / len(logits)


class PairLoss:
    """The loss of matching pairs that a model was trained with, at its scale.

    Parameters
    ----------
    module
        With ``logit_scale``; one with a ``logit_bias`` has the sigmoid loss, any other InfoNCE.
    """

    def __init__(self, module: nn.Module) -> None:
        scale, bias = module.logit_scale, getattr(module, "logit_bias", None)
        assert isinstance(scale, Tensor)
        self._scale, self._bias = scale, bias if isinstance(bias, Tensor) else None

    @property
    def scale(self) -> Tensor:
        """The factor s with its gradient; CLIP's loss bounds it as CLIP does."""
        return scale_of(self._scale) if self._bias is None else self._scale.reshape(()).exp()

    def __call__(self, images: Tensor, texts: Tensor, *, fixed: bool = False) -> Tensor:
        """The loss of unit vectors [N, D] in nats.

        Parameters
        ----------
        fixed
            Whether scale and bias stay without a gradient.
        """
        scale, bias = self.scale, self._bias
        if fixed:
            scale = scale.detach()
        if bias is None:
            return clip_loss(images, texts, scale)
        bias = bias.reshape(())
        return sigmoid_loss(images, texts, scale, bias.detach() if fixed else bias)


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
    logits = scale * _wide(images) @ _wide(head).T  # [N, C]
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def squared_distance(now: Tensor, before: Tensor) -> Tensor:
    """S of PAR (arXiv 2412.00727): mean over n of |now_n - before_n|^2.

    Parameters
    ----------
    now, before
        Unit vectors [N, D] of the same examples; ``before`` of the frozen copy.

    Returns
    -------
    torch.Tensor
        Scalar in 0..4, equal to 2 - 2 * mean cosine.
    """
    return (_wide(now) - _wide(before)).square().sum(1).mean()


def truncated(distance: Tensor, tau: float) -> Tensor:
    """PAR's trunc(S): S as long as S <= tau; above it 0, with no gradient."""
    return torch.where(distance <= tau, distance, torch.zeros_like(distance))


def pulled(now: Tensor, before: Tensor) -> Tensor:
    """Mean over n of 1 - cos(now_n, before_n), in 0..2, of unit vectors [N, D]."""
    return 1.0 - (_wide(now) * _wide(before)).sum(1).mean()
