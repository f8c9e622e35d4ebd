"""CleanCLIP, and its image-text part alone."""

from __future__ import annotations

import torch
from torch import Tensor

from ml_core.cleaning.batches import Batch
from ml_core.cleaning.losses import clip_loss, inmodal_losses, scale_of
from ml_core.cleaning.methods.embed import embed_images, embed_texts
from ml_core.cleaning.methods.method import Features, Given, Method, Parts
from ml_core.cleaning.recipes import Recipe
from ml_core.model import ClipModel


def contrastive(model: ClipModel, recipe: Recipe, given: Given) -> Method:
    """CleanCLIP's loss; without second views it is MMCL's (Bansal et al. 2023, section 3.2).

    lambda_clip * CLIP(I, T) + 1/2 [lambda_image * CE(s I I'^T) + lambda_text * CE(s T T'^T)]

    Both encoders and the logit scale, whose exponential is s, are trained. The parts are
    ``clip`` and, with views, ``image`` and ``text``, in nats.
    """

    def encode(batch: Batch) -> Features:
        if batch.tokens is None:
            raise ValueError("contrastive cleaning needs captions")
        features = {"images": embed_images(model, batch.images)}
        if batch.image_views is None or batch.token_views is None:
            return features | {"texts": embed_texts(model, batch.tokens)}
        features["image_views"] = embed_images(model, batch.image_views)
        both = embed_texts(model, torch.cat([batch.tokens, batch.token_views]))
        features["texts"], features["text_views"] = both.chunk(2)
        return features

    def loss(features: Features, batch: Batch) -> Parts:
        logit_scale = model.module.logit_scale
        assert isinstance(logit_scale, Tensor)
        scale = scale_of(logit_scale)
        images, texts = features["images"], features["texts"]
        clip = clip_loss(images, texts, scale)
        if "image_views" not in features:
            return {"loss": recipe.lambda_clip * clip, "clip": clip}
        image, text = inmodal_losses(
            images, features["image_views"], texts, features["text_views"], scale
        )
        inmodal = (recipe.lambda_image * image + recipe.lambda_text * text) / 2
        return {
            "loss": recipe.lambda_clip * clip + inmodal,
            "clip": clip,
            "image": image,
            "text": text,
        }

    return Method(encode, loss, list(model.module.named_parameters()))
