"""A recipe's method by name, and whether it can work on a model."""

from __future__ import annotations

from collections.abc import Callable, Generator

import torch

from ml_core.checkpoints.adapter import vit_blocks
from ml_core.cleaning.batches import Batch
from ml_core.cleaning.catalogue import Method as MethodName
from ml_core.cleaning.losses import head_loss
from ml_core.cleaning.methods.contrastive import cleanclip_par, contrastive, par, stamped
from ml_core.cleaning.methods.method import Extras, Features, Method, Parts, embed_images
from ml_core.cleaning.methods.supervised import (
    accuracy,
    adversarial,
    fixed_classifier,
    image_encoder,
    linear_probe,
    locked_text,
    rvpt,
    supervised,
    unlearn,
)
from ml_core.cleaning.recipes import Recipe
from ml_core.cleaning.weight_space import Validate, WeightDelta, direction, settle, snapshot
from ml_core.events import Control, Event
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError


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
    """Refuse to encode: nothing is trained, so no batch is ever encoded."""
    raise AssertionError("interpolation takes no steps")


_MAKERS: dict[MethodName, Callable[[ClipModel, Recipe, Extras], Method]] = {
    "stamped": stamped,
    "cleanclip": contrastive,
    "mmcl": contrastive,
    "ss": contrastive,
    "par": par,
    "cleanclip-par": cleanclip_par,
    "supervised": supervised,
    "locked-text": locked_text,
    "linear-probe": linear_probe,
    "rvpt": rvpt,
    "unlearn": unlearn,
    "adversarial": adversarial,
    "tbar": tbar,
    "interpolate": interpolate,
}


def build_method(model: ClipModel, recipe: Recipe, extras: Extras) -> Method:
    """The recipe's method, on a model that it will train in place.

    Raises
    ------
    InputError
        If the method cannot work on this model.
    """
    return _MAKERS[recipe.method](model, recipe, extras)


def check_model(model: ClipModel, recipe: Recipe) -> None:
    """Refuse a model that the method cannot work on, before anything is measured.

    Raises
    ------
    InputError
        ``unsupported`` with the reason.
    """
    if "vit" not in recipe.facts.needs:
        return
    blocks, _ = vit_blocks(model, f"{recipe.facts.title} needs")
    if recipe.prompt_depth >= blocks:
        raise InputError(
            f"The first {recipe.prompt_depth} blocks are to have no prompts, and the image "
            f"encoder of {model.name or 'this model'} has {blocks}: lower the blocks without "
            "prompts."
        )
