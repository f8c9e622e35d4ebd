"""Unlearn whatever trigger there may be."""

from __future__ import annotations

import torch

from ml_core.cleaning.adversaries import Adversaries
from ml_core.cleaning.batches import Batch
from ml_core.cleaning.losses import match
from ml_core.cleaning.methods.embed import embed_both
from ml_core.cleaning.methods.frozen_copy import FrozenCopy
from ml_core.cleaning.methods.method import Extras, Features, Method, Parts
from ml_core.cleaning.methods.supervised import image_encoder
from ml_core.cleaning.methods.unlearn import unlearning
from ml_core.cleaning.recipes import Recipe
from ml_core.model import ClipModel

_SCALE = 15.0


def adversarial(model: ClipModel, recipe: Recipe, extras: Extras) -> Method:
    """Pull pictures under triggers that are made up on the way to what they were without them.

    lambda_unlearn * [1 - mean cos(f(x + t), f0(x)) + CE(s f(x + t) f0(x)^T) / s]
        + lambda_hold * (1 - mean cos(f(x), f0(x)))

    as in `unlearn` but for the middle term, where f0 is a frozen copy of the checkpoint and t is
    one of the `Adversaries`, each of which ascends the first line in the same step. The middle
    term, with s = 15, asks that a picture under a trigger be found among the clean ones of its
    batch: a trigger that moves all pictures to one place fails at that most. It takes the min-max
    form of I-BAU (Zeng et al., ICLR 2022, arXiv 2110.03735) to embeddings, without labels,
    captions or a target, and its holding term from unsupervised adversarial finetuning (FARE,
    Schlarmann et al., ICML 2024, arXiv 2402.12336). The image encoder alone is trained. The parts
    are ``triggered`` and ``clean``, the two means, in 0..2, and ``match``, the cross-entropy, in
    nats.
    """
    frozen = FrozenCopy(model, keep_images=recipe.epochs > 1 and not recipe.mix_images)
    adversaries = Adversaries(
        model.image_size, recipe.adversaries, recipe.adversary_steps, recipe.seed, model.device,
        model.embed_dim,
    )  # fmt: skip

    def encode(batch: Batch) -> Features:
        target = frozen.images(batch)
        images = batch.images.float().div_(255)
        numbers = torch.arange(len(images)) if batch.numbers is None else batch.numbers
        clean, triggered = embed_both(model, images, adversaries.apply(images, numbers))
        return {"clean": clean, "triggered": triggered, "target": target}

    def loss(features: Features, batch: Batch) -> Parts:
        parts = unlearning(recipe, features, batch)
        found = match(features["triggered"], features["target"], _SCALE)
        total = parts["loss"] + recipe.lambda_unlearn * found / _SCALE
        return parts | {"loss": total, "match": found}

    return Method(encode, loss, image_encoder(model), opponent=adversaries)
