"""Supervised finetuning of the image encoder with a linear head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ml_core.cleaning.batches import Batch
from ml_core.cleaning.losses import head_loss
from ml_core.cleaning.methods.embed import embed_images
from ml_core.cleaning.methods.method import Features, Given, Method, Named, Parts
from ml_core.cleaning.recipes import Recipe
from ml_core.model import ClipModel


def supervised(model: ClipModel, recipe: Recipe, given: Given) -> Method:
    """Cross-entropy of a linear head over the trained image encoder (Bansal et al. 2023, 4.3).

    The checkpoint's logit scale is held fixed. The parts are ``loss`` in nats and ``accuracy``
    of the batch, a fraction.
    """
    if given.classifier is None:
        raise ValueError("supervised finetuning needs the zero-shot classifier")
    head = nn.Parameter(new_head(recipe, given.classifier).to(model.device))
    scale = model.logit_scale

    def encode(batch: Batch) -> Features:
        return {"images": embed_images(model, batch.images)}

    def loss(features: Features, batch: Batch) -> Parts:
        if batch.labels is None:
            raise ValueError("supervised finetuning needs labels")
        images = features["images"]
        value = head_loss(images, head, batch.labels, scale, recipe.label_smoothing)
        with torch.no_grad():
            accuracy = ((images @ head.T).argmax(1) == batch.labels).float().mean()
        return {"loss": value, "accuracy": accuracy}

    return Method(encode, loss, [*image_encoder(model), ("head", head)], head)


def image_encoder(model: ClipModel) -> Named:
    """Names and parameters of the image encoder."""
    return [(k, v) for k, v in model.module.named_parameters() if k.startswith("visual.")]


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
