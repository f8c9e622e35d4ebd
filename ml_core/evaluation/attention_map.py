"""Gradient-weighted attention of a vision transformer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from ml_core.model import ClipModel


def attention_layers(model: ClipModel) -> list[nn.MultiheadAttention]:
    """Self-attention of each block of the image encoder, first to last.

    Raises
    ------
    InputError
        If the image encoder is no plain vision transformer.
    """
    if model.convolutional:
        raise InputError(
            "Attention maps need a vision transformer and this image encoder is a ResNet; choose "
            "Grad-CAM."
        )
    visual: Any = model.module.visual
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
    if blocks is None:
        raise InputError(
            "This image encoder is not open_clip's own, and attention maps cannot be computed "
            "for it; choose occlusion.",
            "unsupported",
        )
    found = [block.attn for block in blocks]
    if visual.attn_pool is not None or not all(type(a) is nn.MultiheadAttention for a in found):
        raise InputError(
            "This vision transformer computes attention in a way that attention maps do not "
            "support; choose occlusion.",
            "unsupported",
        )
    return found


def attention_map(model: ClipModel, images: Tensor, direction: Tensor) -> Tensor:
    """Relevance of the patches to a class, through all layers (Chefer et al. 2021, eq. 5 and 6).

    With ``A`` the attention of a layer and ``dA`` the score's gradient by it, the heads' mean of
    ``max(0, dA * A)`` is added up layer by layer: ``R = R + mean(...) R``, from the identity on.
    The map is the class token's row of ``R``; for a model that averages its patches instead, the
    mean of their rows.

    Parameters
    ----------
    model
        A ViT CLIP; its parameters get no gradient.
    images
        float [N, 3, S, S] in [0, 1].
    direction
        float32 [D] or [N, D]: text embedding of the class. The score is its logit, the logit
        scale times the cosine.

    Returns
    -------
    Tensor
        float32 [N, g, g] on the CPU, at least 0.

    Raises
    ------
    InputError
        If the image encoder is no plain vision transformer.
    """
    layers = attention_layers(model)
    toward = direction.to(model.device, torch.float32).expand(len(images), -1)
    # One image at a time: the weights of all layers are in memory, twice.
    maps = [
        _relevance(model, layers, images[row : row + 1], toward[row]) for row in range(len(images))
    ]
    return torch.cat(maps).cpu()


def _relevance(
    model: ClipModel, layers: list[nn.MultiheadAttention], image: Tensor, direction: Tensor
) -> Tensor:
    """The map of one image, [1, g, g]."""
    with torch.enable_grad(), watched(layers) as attention:
        leaf = image.detach().to(model.device, torch.float32).requires_grad_()
        score = model.logit_scale * (model.embed_images(leaf) * direction).sum()
        gradients = torch.autograd.grad(score, attention)
    relevance = torch.eye(attention[0].shape[-1], device=leaf.device)[None]  # [1, L, L]
    for weights, gradient in zip(attention, gradients, strict=True):
        step = (gradient * weights.detach()).clamp_min(0).mean(dim=1).float()
        added = step @ relevance  # the last layer may have the class token's row alone
        relevance = relevance + F.pad(added, (0, 0, 0, relevance.shape[1] - added.shape[1]))
    visual: Any = model.module.visual
    rows = relevance[:, 1:, 1:].mean(dim=1) if visual.pool_type == "avg" else relevance[:, 0, 1:]
    return rows.reshape(1, *visual.grid_size)


@contextmanager
def watched(layers: list[nn.MultiheadAttention]) -> Iterator[list[Tensor]]:
    """Let attention layers give out their weights, inside the graph.

    torch's own attention keeps them in a fused kernel; here each is computed from its queries and
    keys, and what the layer gives out is made from them.

    Yields
    ------
    list[Tensor]
        float32 [N, H, Q, L] of each layer, in the order of the forward pass, for its Q queries.
    """
    kept: list[Tensor] = []

    def explicit(layer: nn.Module, inputs: Any, options: dict[str, Any], _: object) -> Any:
        assert isinstance(layer, nn.MultiheadAttention)
        mask = options.get("attn_mask")
        weights, output = explicit_attention(layer, inputs[0], inputs[1], mask)
        kept.append(weights)
        return output, None

    handles = [layer.register_forward_hook(explicit, with_kwargs=True) for layer in layers]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def explicit_attention(
    layer: nn.MultiheadAttention, queries: Tensor, tokens: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention written out: softmax of queries times keys, then the values.

    Parameters
    ----------
    layer
        One input projection for all three, as CLIP's.
    queries
        float [N, Q, D], or [Q, N, D] where the layer is not ``batch_first``.
    tokens
        float [N, L, D] or [L, N, D] likewise: of the keys and the values.
    mask
        Added to the products, or None.

    Returns
    -------
    tuple[Tensor, Tensor]
        Weights [N, H, Q, L], and the layer's output in the shape of `queries`.
    """
    first, width = layer.batch_first, layer.embed_dim
    asked, x = (part if first else part.transpose(0, 1) for part in (queries, tokens))
    weight, bias = layer.in_proj_weight, layer.in_proj_bias

    def heads(part: Tensor) -> Tensor:  # [N, H, length, d]
        split = (*part.shape[:2], layer.num_heads, layer.head_dim)
        return part.view(split).transpose(1, 2)

    query = heads(F.linear(asked, weight[:width], bias[:width]))
    key, value = map(heads, F.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1))
    products = query @ key.transpose(-1, -2) / layer.head_dim**0.5
    if mask is not None:
        products = products + mask
    weights = products.softmax(dim=-1)
    mixed = (weights @ value).transpose(1, 2).flatten(2)
    output = F.linear(mixed, layer.out_proj.weight, layer.out_proj.bias)
    return weights, output if first else output.transpose(0, 1)
