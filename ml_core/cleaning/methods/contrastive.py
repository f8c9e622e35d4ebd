"""Methods on image-caption pairs: CleanCLIP, the image-text contrast alone, and PAR."""

from __future__ import annotations

from dataclasses import replace

import torch

from ml_core.cleaning.batches import Batch
from ml_core.cleaning.losses import PairLoss, match, squared_distance, truncated
from ml_core.cleaning.methods.method import (
    Extras,
    Features,
    Method,
    Named,
    Parts,
    adversaries_of,
    embed_both,
    embed_images,
    embed_texts,
    frozen_copy,
    with_made_up,
)
from ml_core.cleaning.recipes import Recipe
from ml_core.model import ClipModel


def contrastive(model: ClipModel, recipe: Recipe, extras: Extras) -> Method:
    """CleanCLIP's loss; without second views MMCL's.

    lambda_clip * CLIP(I, T) + 1/2 [lambda_image * CE(s I I'^T) + lambda_text * CE(s T T'^T)]

    (Bansal et al. 2023, section 3.2.) Both encoders and the logit scale, whose exponential is s,
    are trained. CLIP(I, T) of a SigLIP is its own sigmoid loss, whose bias is trained too; inside a
    modality the softmax stays, since it tells the views of one batch apart. The parts are the
    losses ``clip`` and, if views are drawn, ``image`` and ``text``, in nats.
    """

    pairs = PairLoss(model.module)

    def encode(batch: Batch) -> Features:
        features: Features = {}
        if batch.image_views is not None:
            images, views = embed_both(model, batch.images, batch.image_views)
            features |= {"images": images, "image_views": views}
        else:
            features["images"] = embed_images(model, batch.images)
        return features | _texts(model, batch)

    def loss(features: Features, batch: Batch) -> Parts:
        scale = pairs.scale
        parts = {"clip": pairs(features["images"], features["texts"])}
        total = recipe.lambda_clip * parts["clip"]
        if "image_views" in features:
            parts["image"] = match(features["images"], features["image_views"], scale)
            total = total + recipe.lambda_image * parts["image"] / 2
        if "text_views" in features:
            parts["text"] = match(features["texts"], features["text_views"], scale)
            total = total + recipe.lambda_text * parts["text"] / 2
        return {"loss": total, **parts}

    trained = _encoders(model)
    if extras.texts_only:
        trained = [(key, value) for key, value in trained if not key.startswith("visual.")]
    return Method(encode, loss, trained)


def stamped(model: ClipModel, recipe: Recipe, extras: Extras) -> Method:
    """MMCL on pictures that carry triggers, their captions as they are: CLIP(I + t, T).

    The batch brings known and random triggers on its pictures; on those that it leaves to the
    method act `Adversaries`, which ascend the loss. With known triggers it is the unlearning of
    Neural Cleanse (Wang et al., S&P 2019, section VI.C: finetune with the reversed trigger on
    rightly labelled pictures), with captions in the place of labels; with the others universal
    adversarial training (Shafahi et al., AAAI 2020, arXiv 1811.11304).
    """
    plain, adversaries = contrastive(model, recipe, extras), adversaries_of(model, recipe)

    def encode(batch: Batch) -> Features:
        return plain.encode(replace(batch, images=with_made_up(batch, adversaries)))

    return replace(plain, encode=encode, opponent=adversaries)


def par(model: ClipModel, recipe: Recipe, extras: Extras) -> Method:
    """PAR: lambda_clip * CLIP(I, T) - lambda_repel / 2 * [trunc(S_image) + trunc(S_text)].

    (arXiv 2412.00727.) S is the mean squared distance to the embeddings of a frozen copy of the
    checkpoint, trunc(S) = S up to tau and 0 above. Both encoders are trained, the logit scale and a
    SigLIP's bias are not. CLIP is the model's own loss, see `contrastive`. The parts are ``clip``
    in nats and ``image_distance`` and ``text_distance`` in 0..4, both before the cut.
    """
    frozen = frozen_copy(model, recipe)
    pairs = PairLoss(model.module)

    def encode(batch: Batch) -> Features:
        features = {"images": embed_images(model, batch.images)} | _texts(model, batch)
        return features | frozen.both(batch)

    def loss(features: Features, batch: Batch) -> Parts:
        clip = pairs(features["images"], features["texts"], fixed=True)
        image = squared_distance(features["images"], features["frozen_images"])
        text = squared_distance(features["texts"], features["frozen_texts"])
        pushed = truncated(image, recipe.tau) + truncated(text, recipe.tau)
        return {
            "loss": recipe.lambda_clip * clip - recipe.lambda_repel / 2 * pushed,
            "clip": clip,
            "image_distance": image,
            "text_distance": text,
        }

    named = [(k, v) for k, v in _encoders(model) if not k.startswith("logit_")]
    return Method(encode, loss, named)


def _encoders(model: ClipModel) -> Named:
    """All parameters but those of a CoCa's decoder, which no embedding depends on."""
    named = model.module.named_parameters()
    return [(key, value) for key, value in named if not key.startswith("text_decoder.")]


def _texts(model: ClipModel, batch: Batch) -> Features:
    """Embeddings of captions and, in the same pass, of their views."""
    if batch.tokens is None:
        raise ValueError("contrastive cleaning needs captions")
    if batch.token_views is None:
        return {"texts": embed_texts(model, batch.tokens)}
    both = embed_texts(model, torch.cat([batch.tokens, batch.token_views]))
    texts, views = both.chunk(2)
    return {"texts": texts, "text_views": views}
