"""Unlearn a known or an inverted trigger."""

from __future__ import annotations

from functools import partial

from ml_core.cleaning.batches import Batch
from ml_core.cleaning.losses import pulled
from ml_core.cleaning.methods.embed import embed_both
from ml_core.cleaning.methods.frozen_copy import FrozenCopy
from ml_core.cleaning.methods.method import Extras, Features, Method, Parts
from ml_core.cleaning.methods.supervised import image_encoder
from ml_core.cleaning.recipes import Recipe
from ml_core.model import ClipModel


def unlearn(model: ClipModel, recipe: Recipe, extras: Extras) -> Method:
    """Pull triggered images to what a frozen copy says of the same images without the trigger.

    lambda_unlearn * (1 - mean cos(f(x + t), f0(x))) + lambda_hold * (1 - mean cos(f(x), f0(x)))

    The image encoder alone is trained, so that texts keep their meaning. The parts are
    ``triggered`` and ``clean``, the two means, in 0..2.
    """
    frozen = FrozenCopy(model, keep_images=recipe.epochs > 1)

    def encode(batch: Batch) -> Features:
        if batch.image_views is None:
            raise ValueError("unlearning needs triggered images")
        target = frozen.images(batch)
        clean, triggered = embed_both(model, batch.images, batch.image_views)
        return {"clean": clean, "triggered": triggered, "target": target}

    return Method(encode, partial(unlearning, recipe), image_encoder(model))


def unlearning(recipe: Recipe, features: Features, batch: Batch) -> Parts:
    """The loss of `unlearn` on ``clean``, ``triggered`` and ``target`` embeddings [N, D]."""
    triggered = pulled(features["triggered"], features["target"])
    clean = pulled(features["clean"], features["target"])
    total = recipe.lambda_unlearn * triggered + recipe.lambda_hold * clean
    return {"loss": total, "triggered": triggered, "clean": clean}
