"""Methods in weight space: subtract what the attack teaches, or blend with a clean reference."""

from __future__ import annotations

from collections.abc import Generator

import torch

from ml_core.cleaning.batches import Batch
from ml_core.cleaning.losses import head_loss
from ml_core.cleaning.methods.method import Extras, Features, Method, Parts, embed_images
from ml_core.cleaning.methods.supervised import accuracy, fixed_classifier, image_encoder
from ml_core.cleaning.recipes import Recipe
from ml_core.cleaning.weight_space import Validate, WeightDelta, direction, settle, snapshot
from ml_core.events import Control, Event
from ml_core.model import ClipModel


def tbar(model: ClipModel, recipe: Recipe, extras: Extras) -> Method:
    """TBAR: theta_b - alpha (theta_ft - theta_b) (arXiv 2510.14845).

    theta_ft is the image encoder after a short finetune on the attack itself: triggered images
    with the target class as their label, over the fixed zero-shot classifier. The parts are
    ``loss`` in nats and ``learnt``, the share of triggered images that go to the target.
    """
    classifier = fixed_classifier(model, extras)
    scale = model.logit_scale
    base = snapshot(model)

    def encode(batch: Batch) -> Features:
        if batch.image_views is None:
            raise ValueError("TBAR needs triggered images")
        return {"triggered": embed_images(model, batch.image_views)}

    def loss(features: Features, batch: Batch) -> Parts:
        images = features["triggered"]
        labels = torch.full((len(images),), extras.target, device=images.device)
        value = head_loss(images, classifier, labels, scale)
        return {"loss": value, "learnt": accuracy(images, classifier, labels)}

    def finish(validate: Validate | None, control: Control) -> Generator[Event, None, WeightDelta]:
        back = direction(snapshot(model), base)
        return (yield from settle(model, base, back, recipe, validate, control))

    return Method(encode, loss, image_encoder(model), finish=finish)


def interpolate(model: ClipModel, recipe: Recipe, extras: Extras) -> Method:
    """Blend with a reference: (1 - alpha) theta_b + alpha theta_ref (Wortsman et al. 2022)."""
    if extras.reference is None:
        raise ValueError("interpolation needs a reference")
    base = snapshot(model)
    towards = direction(base, extras.reference)

    def finish(validate: Validate | None, control: Control) -> Generator[Event, None, WeightDelta]:
        return (yield from settle(model, base, towards, recipe, validate, control))

    return Method(_untrained, _untrained, [], finish=finish)


def _untrained(*_: object) -> Features:
    """Nothing is trained, so no batch is ever encoded."""
    raise AssertionError("interpolation takes no steps")
