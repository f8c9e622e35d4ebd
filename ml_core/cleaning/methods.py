"""Each method of cleaning: from a batch to named loss parts; ``loss`` is what is minimised."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ml_core.cleaning.batches import Batch
from ml_core.cleaning.losses import clip_loss, head_loss, inmodal_losses, scale_of
from ml_core.cleaning.recipes import Recipe
from ml_core.cleaning.speed import full_precision
from ml_core.model import ClipModel

Parts = dict[str, Tensor]
LossParts = Callable[[Batch], Parts]


def embed_images(model: ClipModel, images: Tensor) -> Tensor:
    """Unit embeddings [N, D] in float32, with gradients, of uint8 images [N, 3, S, S]."""
    encode: Callable[[Tensor], Tensor] = model.module.encode_image  # type: ignore[assignment]
    return F.normalize(encode(model.normalise(images)).float(), dim=-1)


def embed_texts(model: ClipModel, tokens: Tensor) -> Tensor:
    """Unit embeddings [N, D] in float32, with gradients, of tokens [N, L]."""
    encode: Callable[[Tensor], Tensor] = model.module.encode_text  # type: ignore[assignment]
    return F.normalize(encode(tokens).float(), dim=-1)


def contrastive_parts(model: ClipModel, recipe: Recipe, batch: Batch) -> Parts:
    """CleanCLIP's loss; without second views it is MMCL's (Bansal et al. 2023, section 3.2).

    lambda_clip * CLIP(I, T) + lambda_inmodal * 1/2 [CE(s I I'^T) + CE(s T T'^T)]

    Parameters
    ----------
    model
        Its logit scale gives s.
    recipe
        Gives both lambdas.
    batch
        With ``tokens``; with both views for CleanCLIP.

    Returns
    -------
    dict
        ``loss``, ``clip`` and, with views, ``image`` and ``text``: scalars in nats.
    """
    if batch.tokens is None:
        raise ValueError("contrastive cleaning needs captions")
    logit_scale = model.module.logit_scale
    assert isinstance(logit_scale, Tensor)
    scale = scale_of(logit_scale)
    images = embed_images(model, batch.images)
    if batch.image_views is None or batch.token_views is None:
        texts = embed_texts(model, batch.tokens)
        with full_precision(model.device):
            clip = clip_loss(images, texts, scale)
        return {"loss": recipe.lambda_clip * clip, "clip": clip}
    image_views = embed_images(model, batch.image_views)
    both = embed_texts(model, torch.cat([batch.tokens, batch.token_views]))
    texts, text_views = both.chunk(2)
    with full_precision(model.device):
        clip = clip_loss(images, texts, scale)
        image, text = inmodal_losses(images, image_views, texts, text_views, scale)
    loss = recipe.lambda_clip * clip + recipe.lambda_inmodal * (image + text) / 2
    return {"loss": loss, "clip": clip, "image": image, "text": text}


def supervised_parts(
    model: ClipModel, recipe: Recipe, head: Tensor, scale: float, batch: Batch
) -> Parts:
    """Cross-entropy of a linear head over the trained image encoder (Bansal et al. 2023, 4.3).

    Parameters
    ----------
    model
        Its image encoder is trained.
    recipe
        Gives the label smoothing.
    head
        Linear head [C, D], trained as well.
    scale
        The checkpoint's logit scale, held fixed.
    batch
        With ``labels``.

    Returns
    -------
    dict
        ``loss`` in nats and ``accuracy`` of the batch, a fraction.
    """
    if batch.labels is None:
        raise ValueError("supervised finetuning needs labels")
    images = embed_images(model, batch.images)
    with full_precision(model.device):
        loss = head_loss(images, head, batch.labels, scale, recipe.label_smoothing)
        with torch.no_grad():
            accuracy = ((images @ head.T).argmax(1) == batch.labels).float().mean()
    return {"loss": loss, "accuracy": accuracy}


def new_head(recipe: Recipe, classifier: Tensor) -> Tensor:
    """The linear head before its first step, [C, D] with unit rows.

    Parameters
    ----------
    recipe
        ``head_init`` chooses the zero-shot classifier or random directions (from the seed).
    classifier
        Zero-shot classifier [C, D].
    """
    if recipe.head_init == "zero-shot":
        return classifier.detach().clone().float()
    generator = torch.Generator().manual_seed(recipe.seed)
    rows = torch.randn(classifier.shape, generator=generator)
    return F.normalize(rows, dim=-1).to(classifier.device)


def trained_parameters(
    model: ClipModel, recipe: Recipe, head: nn.Parameter | None
) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and parameters that the method trains: all, or the image encoder and the head."""
    for name, parameter in model.module.named_parameters():
        if recipe.uses_pairs or name.startswith("visual."):
            yield name, parameter
    if head is not None:
        yield "head", head
