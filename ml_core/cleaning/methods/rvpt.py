"""Repulsive Visual Prompt Tuning."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ml_core.checkpoints.adapter import add_prompts, vit_blocks
from ml_core.cleaning.batches import Batch
from ml_core.cleaning.losses import feature_repulsion, head_loss
from ml_core.cleaning.methods.method import Extras, Features, Method, Parts
from ml_core.cleaning.methods.supervised import accuracy
from ml_core.cleaning.recipes import Recipe
from ml_core.model import ClipModel


def rvpt(model: ClipModel, recipe: Recipe, extras: Extras) -> Method:
    """CE(s f_p(x) Z^T, y) + lambda_repel * FR, of the prompts p alone (RVPT, NeurIPS 2025).

    FR is the mean over blocks d in [D + 1, L] and images of cos(c_d, sigma_d): class tokens with
    prompts, and those of the encoder as it was. Z is the fixed zero-shot classifier. The model's
    image encoder gets the prompts in place; its weights do not move. The parts are ``ce`` in
    nats, ``repulsion`` (FR) in -1..1 and ``accuracy``.
    """
    if extras.classifier is None:
        raise ValueError("RVPT needs the zero-shot classifier")
    classifier = extras.classifier.detach().clone().float().to(model.device)
    blocks, width = vit_blocks(model, "RVPT needs")
    generator = torch.Generator().manual_seed(recipe.seed)
    shape = (blocks - recipe.prompt_depth, recipe.prompt_length, width)
    first = recipe.prompt_std * torch.randn(shape, generator=generator)
    visual = add_prompts(model, first, recipe.prompt_depth)
    visual.inner.requires_grad_(False)
    scale = model.logit_scale

    def encode(batch: Batch) -> Features:
        embedded, prompted, plain = visual.with_features(model.normalise(batch.images))
        return {
            "images": F.normalize(embedded.float(), dim=-1),
            "prompted": prompted.float(),
            "plain": plain.float(),
        }

    def loss(features: Features, batch: Batch) -> Parts:
        if batch.labels is None:
            raise ValueError("RVPT needs labels")
        images = features["images"]
        ce = head_loss(images, classifier, batch.labels, scale)
        repulsion = feature_repulsion(features["prompted"], features["plain"])
        return {
            "loss": ce + recipe.lambda_repel * repulsion,
            "ce": ce,
            "repulsion": repulsion,
            "accuracy": accuracy(images, classifier, batch.labels),
        }

    return Method(encode, loss, [("visual.prompts", visual.prompts)])
